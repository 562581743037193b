"""Data URLs and media types, as several formats need them for images and files."""

import re

from gateway.conversation import Media, Source
from gateway.errors import InvalidRequest

_DATA = re.compile(r"data:([^;,\s]{0,127})((?:;[^;,\s]{1,127}){0,4}),")
# How the base64 of common image files begins: clients often name the wrong type, which some services refuse.
_BEGINNINGS = (("/9j/", "image/jpeg"), ("iVBORw0KGgo", "image/png"), ("R0lGOD", "image/gif"), ("UklGR", "image/webp"))
_BASE64 = re.compile(r"[A-Za-z0-9+/_=\r\n-]*")


def source_of(url: str, param: str, *, image: bool = False) -> Source:
    """A link or a data URL. Raises `InvalidRequest` for what is neither, or for a data URL that is not base64."""
    if url[:5] != "data:":
        if url[:7] not in ("http://", "https:/") and "://" not in url[:20]:
            raise InvalidRequest("A link must begin with https:// or be a data URL.", param=param)
        return Source("url", url)
    found = _DATA.match(url)
    if found is None or not found.group(2).endswith(";base64"):
        raise InvalidRequest("A data URL must have the form `data:<type>;base64,<data>`.", param=param)
    data = url[found.end() :]
    if not data or _BASE64.fullmatch(data, 0, 4096) is None:
        raise InvalidRequest("A data URL does not hold base64.", param=param)
    kind = found.group(1)
    if image:
        kind = image_type(data, kind)
        if not kind.startswith("image/"):
            raise InvalidRequest(f"An image was sent with the type `{kind[:64]}`.", param=param)
    return Source("base64", data, kind)


def image_type(data: str, said: str) -> str:
    """The type of an image by its first bytes, or as it was said."""
    return next((kind for beginning, kind in _BEGINNINGS if data.startswith(beginning)), said)


def media_of(kind: str) -> Media:
    """The sort of media of a MIME type."""
    sort = kind.partition("/")[0]
    return sort if sort in ("image", "audio", "video") else "document"  # type: ignore[return-value]


def data_url(source: Source, default: str = "application/octet-stream") -> str:
    """The base64 source as a data URL."""
    return f"data:{source.media_type or default};base64,{source.data}"
