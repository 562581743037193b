"""The parts of Gemini's contents, read into the common form and written from it. Requests and replies share them.

A `thoughtSignature` stays on the part that it came on: Gemini refuses the next turn of a conversation without it.
"""

import base64
from typing import Any

import msgspec

from gateway.conversation import Foreign, Media, MediaPart, Part, Refusal, Source, TextPart, Thinking, ToolCall
from gateway.dialects.gemini_fields import NAME, camel
from gateway.dialects.seals import Seal, seal, unseal
from gateway.dialects.soundness import arguments_of as sent_arguments

Json = dict[str, Any]

# Ids that the gateway made for calls that came without one: they are not sent to Gemini, which has not made them.
MADE = "call_gw"
_encode = msgspec.json.Encoder().encode
_EXTENSIONS = {
    "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "gif": "image/gif", "webp": "image/webp",
    "heic": "image/heic", "heif": "image/heif", "bmp": "image/bmp", "svg": "image/svg+xml", "pdf": "application/pdf",
    "txt": "text/plain", "md": "text/markdown", "html": "text/html", "csv": "text/csv", "json": "application/json",
    "mp3": "audio/mpeg", "wav": "audio/wav", "ogg": "audio/ogg", "flac": "audio/flac", "aac": "audio/aac",
    "m4a": "audio/mp4", "mp4": "video/mp4", "mpeg": "video/mpeg", "mov": "video/quicktime", "webm": "video/webm",
}  # fmt: skip
_USUAL = {"image": "image/jpeg", "document": "application/pdf", "audio": "audio/mpeg", "video": "video/mp4"}
_FILES = ("https://generativelanguage.googleapis.com/", "files/")


def read_part(part: Json, call_id: str) -> Part | None:
    """One part that is no tool's result; `call_id` is for a call without an id. `None` where nothing is said."""
    signature = _string(part.get("thoughtSignature"))
    if (text := part.get("text")) is not None:
        text = _string(text)
        if part.get("thought") is True:
            return thought(text, signature)
        return TextPart(text, signature=signature) if text or signature else None
    if type(call := part.get("functionCall")) is dict:
        return read_call(call, call_id, signature)
    if part.get("thought") is True:
        return thought("", signature)
    return read_media(part) or Foreign(NAME, part)


def read_call(call: Json, call_id: str, signature: str) -> ToolCall:
    """A function call; it is always whole, its arguments an object."""
    arguments = call.get("args")
    return ToolCall(
        id=_string(call.get("id")) or call_id, name=_string(call.get("name")),
        arguments=_encode(arguments).decode() if type(arguments) is dict else "{}", signature=signature,
    )


def read_media(part: Json) -> MediaPart | None:
    """An `inlineData` or `fileData` part."""
    if type(data := part.get("inlineData")) is dict:
        data = camel(data)
        kind = _string(data.get("mimeType"))
        source = Source("base64", _string(data.get("data")), kind, _string(data.get("displayName")))
        return MediaPart(_media(kind), source)
    if type(data := part.get("fileData")) is dict:
        data = camel(data)
        uri, kind = _string(data.get("fileUri")), _string(data.get("mimeType"))
        where = Source("file" if uri.startswith(_FILES) else "url", uri, kind, _string(data.get("displayName")))
        return MediaPart(_media(kind), where)
    return None


def thought(text: str, signature: str) -> Thinking:
    """A part with `thought: true`. A signature of another dialect was packed by the gateway."""
    found = unseal(signature, NAME) if signature else Seal("", "")
    return Thinking(text, found.signature, found.redacted, found.origin or NAME)


def write_part(part: Part) -> Json | None:
    """One part of a message, or `None` for what has no place in Gemini's format."""
    match part:
        case TextPart(text=text, signature=signature):
            return _signed({"text": text}, signature) if text or signature else None
        case ToolCall():
            return write_call(part)
        case Thinking():
            return write_thought(part)
        case Refusal(text=text):
            return {"text": text}
        case MediaPart():
            return write_media(part)
        case Foreign(dialect=dialect, value=value):
            return value if dialect == NAME else None
    return None


def write_call(call: ToolCall, name: str = "") -> Json:
    """A function call, under another `name` if given. Raises `InvalidRequest` for arguments that are no JSON object."""
    made: Json = {"name": name or call.name, "args": sent_arguments(call)}
    if call.id and not call.id.startswith(MADE):
        made["id"] = call.id
    return _signed({"functionCall": made}, call.signature)


def arguments_of(text: str) -> Json | None:
    """The object in a call's arguments; `None` if there is none."""
    try:
        found = msgspec.json.decode(text or "{}")
    except (msgspec.DecodeError, RecursionError):
        return None
    return found if type(found) is dict else None


def write_thought(part: Thinking) -> Json:
    """A thought, for Gemini or for a client of its format, which gets other providers' signatures packed."""
    signature = part.signature
    if signature and (part.origin != NAME or part.redacted):
        signature = seal(part.origin, signature, redacted=part.redacted)
    return _signed({"text": part.text, "thought": True}, signature)


def write_media(part: MediaPart) -> Json | None:
    """Media, inline or by URI; `None` for a file that only another provider has."""
    source = part.source
    kind = source.media_type or _guessed(part)
    name = {"displayName": source.name or part.title} if source.name or part.title else {}
    match source.kind:
        case "base64":
            return {"inlineData": {"mimeType": kind, "data": source.data, **name}}
        case "text":
            data = base64.b64encode(source.data.encode()).decode()
            return {"inlineData": {"mimeType": source.media_type or "text/plain", "data": data, **name}}
        case "url":
            return {"fileData": {"mimeType": kind, "fileUri": source.data, **name}}
    if source.data.startswith(_FILES):
        return {"fileData": {"mimeType": kind, "fileUri": source.data, **name}}
    return None


def is_fetched_by_google(url: str) -> bool:
    """Whether a URL means something to Gemini itself, so that no one else could fetch it in its place."""
    return not url.startswith(("http://", "https://")) or url.startswith((
        *_FILES, "https://www.youtube.com/", "https://youtube.com/", "https://youtu.be/",
        "https://storage.googleapis.com/",
    ))  # fmt: skip


def _signed(part: Json, signature: str) -> Json:
    if signature:
        part["thoughtSignature"] = signature
    return part


def _media(kind: str) -> Media:
    match kind.partition("/")[0]:
        case "image":
            return "image"
        case "audio":
            return "audio"
        case "video":
            return "video"
    return "document"


def _guessed(part: MediaPart) -> str:
    """The usual type where the caller named none: by the ending of the URL or the name, else by what it is."""
    source = part.source
    path = source.data.partition("?")[0].partition("#")[0] if source.kind == "url" else source.name
    return _EXTENSIONS.get(path.rpartition(".")[2].lower(), _USUAL[part.media])


def _string(value: object) -> str:
    return value if type(value) is str else ""
