"""Files in requests: finds them in any dialect's body, has them read, and judges their text by the policy that holds.

A file cannot be edited: what a policy would redact in a text, it refuses in a file (or warns of, by option).
"""

import asyncio
import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal
from urllib.parse import unquote_to_bytes

import msgspec

from gateway.config import Action
from gateway.exchange import Exchange
from gateway.files.kinds import FileText, Reason
from gateway.files.reader import Reader
from gateway.guardrails.chain import Place
from gateway.guardrails.check import STRENGTH, Check, Hit
from gateway.guardrails.notes import decide
from gateway.guardrails.policy import Policy

PART = "file"
Act = Literal["block", "warn", "pass"]
_DATA_KEYS = ("url", "image_url", "file_data", "file_url", "data", "image", "video_url", "audio_url")
_LINKS = ("file_id", "fileUri", "file_uri", "file_url")
_TYPES = ("media_type", "mime_type", "mimeType", "format")
_EDITS = ("redact", "mask", "pseudonymise")


class Found(msgspec.Struct, frozen=True):
    """A file in a request: base64 `data`, or empty for a link or a provider's id. `said` is its type as the client
    says."""

    data: str
    said: str = ""


class Contents(msgspec.Struct, frozen=True):
    """What the files of a request say, and the hits for those that could not be read."""

    texts: tuple[str, ...]
    unread: tuple[Hit, ...]
    checks: tuple[Check, ...]

    @property
    def places(self) -> list[Place]:
        """What a chain looks at."""
        return [(text, PART) for text in self.texts]


def files_in(body: object) -> Iterator[Found]:
    """Every file of a request's body: data URLs, base64 with a type beside it, and links to what is elsewhere."""
    waiting = [body]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, dict):
            yield from _of(value)
            waiting.extend(each for each in value.values() if isinstance(each, dict | list))


async def read_files(policy: Policy, body: Mapping[str, Any]) -> Contents | None:
    """Have all files read, if a guardrail of the policy reads files and there are any."""
    checks = policy.file_checks
    found = tuple(dict.fromkeys(files_in(body))) if checks else ()
    if not found:
        return None
    texts: dict[str, None] = {}
    unread: list[Hit] = []
    for check in checks:
        reads: Any = check.guardrail  # `guardrail.files`, or one with the same attributes
        files = [each for each in found if each.data]
        if len(files) > reads.max_files:
            unread += _hit(check, reads.unreadable, "file_too_many")
            files = files[: reads.max_files]
        if len(found) > len([each for each in found if each.data]):
            unread += _hit(check, reads.links, "file_link")
        for told in await asyncio.gather(*(_read(reads.reader, each) for each in files)):
            if told.reason is not None:
                unread += _hit(check, reads.unreadable, f"file_{told.reason}")
            elif told.text.strip():
                texts[told.text] = None
    return Contents(tuple(texts), tuple(unread), checks)


async def check_files(policy: Policy, exchange: Exchange, contents: Contents) -> None:
    """Judge what the files say. Raises `ContentBlocked` and `Unavailable` as for texts."""
    decide(exchange, contents.unread, "input", PART)
    if not contents.texts:
        return
    for hits in await policy.input.examine(contents.places, exchange, "input"):
        decide(exchange, without_edits(hits, contents.checks), "input", PART)


def without_edits(hits: Sequence[Hit], checks: Sequence[Check]) -> list[Hit]:
    """The hits with what is done about them in a file, which nobody can edit."""
    acts = [_capped(check, getattr(check.guardrail, "redactions", "block")) for check in checks]
    instead = max(acts, key=STRENGTH.index, default="block")
    return [msgspec.structs.replace(hit, action=instead) if hit.action in _EDITS else hit for hit in hits]


def bytes_of(data: str, most: int) -> bytes | FileText:
    """The bytes of base64, with or without its `=`; or why there are none."""
    if len(data) > most * 3 // 2:
        return FileText("unknown", reason="too_large")
    text = "".join(data.split()).replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return FileText("unknown", reason="damaged")


def unread(policy: Policy, reason: Reason) -> dict[str, Action]:
    """What becomes of a file that cannot be read, by guardrail. Where none of the policy reads files, it is refused."""
    if not policy.file_checks:
        return {"guardrail.files": "block"}
    hits = [
        hit for check in policy.file_checks
        for hit in _hit(check, getattr(check.guardrail, "unreadable", "block"), f"file_{reason}")
    ]
    return {hit.check.name: hit.action for hit in hits if hit.action not in ("restore", "failed")}  # type: ignore[misc]


def _hit(check: Check, act: Act, kind: str) -> list[Hit]:
    return [] if act == "pass" else [Hit(0, 0, kind, 1.0, _capped(check, act), check)]


def _capped(check: Check, act: Literal["block", "warn"]) -> Any:  # noqa: ANN401 - an `Action`
    """A rule whose action is only to warn or to watch refuses nothing."""
    return check.action if check.action in ("warn", "monitor") else act


async def _read(reader: Reader, found: Found) -> FileText:
    data = await asyncio.to_thread(bytes_of, found.data, reader.limits.max_bytes)
    if not isinstance(data, bytes):
        return data
    told = await reader.read(data)
    if told.kind == "unknown" and told.reason == "unsupported" and found.said.startswith(("audio", "pcm", "video")):
        return FileText("sound")  # sound without a head, as some services take it
    return told


def _of(value: dict[str, Any]) -> Iterator[Found]:
    said = next((value[key] for key in _TYPES if isinstance(value.get(key), str)), "")
    for key in _DATA_KEYS:
        text = value.get(key)
        if not isinstance(text, str) or not text:
            continue
        head, comma, data = text.partition(",") if text[:5].lower() == "data:" else ("", "", text)
        if comma:
            yield Found(data if head.lower().endswith(";base64") else _quoted(data), head[5:].partition(";")[0])
        elif key == "file_data" or (key == "data" and said and value.get("type") != "text"):
            yield Found(text, said)
        elif key not in ("data", "image") and text[:8].lower().startswith(("http://", "https://", "gs://")):
            yield Found("", said)
    if any(isinstance(value.get(key), str) for key in _LINKS[:3]):
        yield Found("", said)


def _quoted(data: str) -> str:
    """The base64 of a data URL that is percent-encoded."""
    return base64.b64encode(unquote_to_bytes(data)).decode()
