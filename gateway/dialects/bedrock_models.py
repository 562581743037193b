"""What models behind Bedrock's Converse take, by their family; and what formats of media are called there.

Source: docs.aws.amazon.com/bedrock (Converse, supported models and features, inference profiles), and recorded
requests. A model that is not known counts as one that takes what most do.
"""

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Literal

import msgspec

from gateway.dialects.anthropic_models import Traits as Claude
from gateway.dialects.anthropic_models import traits as claude_traits

Thinks = Literal["claude", "nova", "effort", "config", "none"]


class Traits(msgspec.Struct, frozen=True):
    """`thinking`: how reasoning is asked for. `forces`: takes a tool choice. `caches`: takes cache points.

    `schema`: takes a JSON schema for its answer. `claude` has what only Claude models have.
    """

    thinking: Thinks = "none"
    forces: bool = True
    caches: bool = False
    schema: bool = False
    nova: bool = False
    claude: Claude | None = None


_FAMILIES: tuple[tuple[str, Traits], ...] = (
    ("nova-2", Traits(thinking="nova", caches=True, nova=True)),
    ("nova", Traits(caches=True, nova=True)),
    ("openai.", Traits(thinking="effort", schema=True)),
    ("deepseek", Traits(forces=False)),
    ("qwen", Traits(thinking="config", schema=True)),
    ("llama", Traits(forces=False)),
    ("titan", Traits(forces=False)),
    ("cohere", Traits(forces=False)),
    ("ai21", Traits(forces=False)),
)

FORMATS: Mapping[str, str] = MappingProxyType({
    "pdf": "application/pdf", "csv": "text/csv", "doc": "application/msword",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xls": "application/vnd.ms-excel", "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "html": "text/html", "txt": "text/plain", "md": "text/markdown", "mp3": "audio/mpeg", "three_gp": "video/3gpp",
    "mov": "video/quicktime", "mkv": "video/x-matroska", "wmv": "video/x-ms-wmv", "flv": "video/x-flv",
})
_BY_TYPE = {kind: name for name, kind in FORMATS.items()}
_ALSO = {
    "image/jpg": "jpeg", "audio/x-wav": "wav", "audio/wave": "wav", "audio/mp3": "mp3", "video/mpg": "mpg",
    "text/x-markdown": "md", "application/json": "txt", "application/xhtml+xml": "html",
}
_TAKEN = {
    "image": frozenset({"png", "jpeg", "gif", "webp"}),
    "document": frozenset({"pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"}),
    "video": frozenset({"mkv", "mov", "mp4", "webm", "flv", "mpeg", "mpg", "wmv", "three_gp"}),
    "audio": frozenset({"mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "mkv", "m4a", "mpeg", "pcm", "webm"}),
}


@lru_cache(maxsize=256)
def traits(model: str) -> Traits:
    """By the model's name, which may be an id, an inference profile's, or an ARN that ends in one."""
    name = model.rpartition("/")[2].lower()
    if "claude" in name or "anthropic" in name:
        claude = claude_traits(name)
        thinking: Thinks = "none" if claude.thinking == "none" else "claude"
        return Traits(thinking=thinking, caches=True, schema=claude.schema, claude=claude)
    return next((found for family, found in _FAMILIES if family in name), Traits())


def media_type(media: str, name: str) -> str:
    """The MIME type of a format of Bedrock's; empty where none is named."""
    return FORMATS.get(name) or (f"{media}/{name}" if name and media != "document" else "")


def format_of(media: str, kind: str) -> str | None:
    """Bedrock's name of a MIME type for such media, or `None` where it takes none of this type."""
    kind = kind.partition(";")[0].strip().lower()
    name = _BY_TYPE.get(kind) or _ALSO.get(kind) or kind.partition("/")[2]
    if name in _TAKEN.get(media, ()):
        return name
    return "txt" if media == "document" and kind.startswith("text/") else None
