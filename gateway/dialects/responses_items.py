"""Items of OpenAI Responses <-> parts of the common form: what requests and replies have in common."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from gateway.conversation import Cache, Foreign, MediaPart, Part, Refusal, Source, TextPart, Thinking, ToolCall
from gateway.dialects import fields
from gateway.dialects.media import inline_of, media_of, source_of
from gateway.dialects.seals import seal, unseal
from gateway.errors import InvalidRequest
from gateway.jsonbody import read_lenient

DIALECT = "openai.responses"
CALLS = ("function_call", "custom_tool_call")
RESULTS = ("function_call_output", "custom_tool_call_output")
_CALL_SEAL = "call/"  # a signature that belongs to the call behind it, packed as encrypted reasoning
_CITED = ("url", "title", "start_index", "end_index")
_AUDIO = {"wav": "audio/wav", "mp3": "audio/mpeg"}


def part_of(part: dict[str, Any]) -> Part:
    """A content part of a message, of a request or a reply."""
    kind = part.get("type")
    if kind in ("input_text", "output_text", "text", "summary_text"):
        notes = part.get("annotations")
        cited = tuple(neutral(note) for note in fields.objects(notes, "input")) if notes else ()
        return TextPart(fields.text(part, "text", "input"), cache_of(part), cited)
    if kind == "refusal":
        return Refusal(fields.text(part, "refusal", "input"))
    if kind == "input_image":
        detail = fields.text(part, "detail", "input")
        if known := fields.text(part, "file_id", "input"):
            return MediaPart("image", Source("file", known), detail=detail, cache=cache_of(part))
        link = fields.needed(part, "image_url", "input")
        return MediaPart("image", source_of(link, "input", image=True), detail=detail, cache=cache_of(part))
    if kind == "input_file":
        return _file(part)
    if kind == "input_audio":
        audio = fields.mapping(part, kind, "input")
        format_ = fields.text(audio, "format", "input", "wav")
        data = fields.needed(audio, "data", "input")
        return MediaPart("audio", inline_of(data, _AUDIO.get(format_, f"audio/{format_[:32]}"), "input"))
    if type(kind) is not str or not kind:
        raise InvalidRequest("Each part of `content` must have a `type`.", param="input")
    return Foreign(DIALECT, part)


def _file(part: dict[str, Any]) -> Part:
    name = fields.text(part, "filename", "input")
    if known := fields.text(part, "file_id", "input"):
        return MediaPart("document", Source("file", known, name=name), title=name, cache=cache_of(part))
    if link := fields.text(part, "file_url", "input"):
        return MediaPart("document", source_of(link, "input"), title=name, cache=cache_of(part))
    data = fields.needed(part, "file_data", "input")
    if data[:5] != "data:":
        data = f"data:application/pdf;base64,{data}"
    source = msgspec.structs.replace(source_of(data, "input"), name=name)
    return MediaPart(media_of(source.media_type), source, title=name, cache=cache_of(part))


def cache_of(part: dict[str, Any]) -> Cache | None:
    """The breakpoint behind a part; lives of other lengths than the common ones are the default's."""
    told = part.get("prompt_cache_breakpoint")
    if type(told) is not dict:
        return None
    ttl = told.get("ttl")
    return Cache(ttl if ttl in ("5m", "1h") else "")


def call_of(item: dict[str, Any]) -> ToolCall:
    """A call of a function, or of a custom tool, whose text becomes the argument `input`."""
    name, id_ = fields.needed(item, "name", "input"), fields.needed(item, "call_id", "input")
    if item.get("type") == "custom_tool_call":
        return ToolCall(id_, name, custom_arguments(fields.text(item, "input", "input")))
    arguments = item.get("arguments")
    if arguments is not None and type(arguments) is not str:
        arguments = msgspec.json.encode(arguments).decode()  # some servers send the object itself
    return ToolCall(id_, name, arguments or "{}")


def custom_arguments(text: str) -> str:
    """The text for a custom tool as arguments of the function that stands for it."""
    return msgspec.json.encode({"input": text}).decode()


def custom_input(arguments: str) -> str:
    """The other way; what is not of that form is the text itself."""
    tree = read_lenient(arguments.encode("utf-8", "replace"))
    text = tree.get("input") if type(tree) is dict else None
    return text if type(text) is str else arguments


def thinking_of(item: dict[str, Any]) -> Thinking:
    """A reasoning item. Its encrypted content is the provider's, or a packed signature of another's."""
    summary = _joined(item.get("summary"))
    text = summary or _joined(item.get("content"))
    known = unseal(held if type(held := item.get("encrypted_content")) is str else "", DIALECT)
    redacted = not text and bool(known.signature) if known.origin == DIALECT else known.redacted
    id_ = item.get("id")
    return Thinking(
        text, known.signature, redacted=redacted, origin=known.origin, summary=bool(summary),
        id=id_ if type(id_) is str else "",
    )


def _joined(entries: Any) -> str:  # noqa: ANN401 - whatever stands for the list of texts
    if type(entries) is not list:
        return ""
    texts = [entry.get("text") for entry in entries if type(entry) is dict]
    return "\n\n".join([text for text in texts if type(text) is str and text])


def signed(parts: Iterable[Part]) -> Iterator[Part]:
    """The parts; a call gets the signature that stands packed before it."""
    parts = tuple(parts)
    if len(parts) == 1:
        yield from parts if not isinstance(parts[0], Thinking) or not parts[0].origin.startswith(_CALL_SEAL) else ()
        return
    signature = ""
    for part in parts:
        if isinstance(part, Thinking) and part.origin.startswith(_CALL_SEAL):
            signature = part.signature
            continue
        if isinstance(part, ToolCall) and signature:
            yield msgspec.structs.replace(part, signature=signature)
            signature = ""
            continue
        yield part


def encrypted(signature: str, origin: str, *, redacted: bool) -> str:
    """A signature for `encrypted_content`: one of another origin is packed with its name, so that it finds back."""
    if not signature or not origin or origin == DIALECT:
        return signature
    return seal(origin, signature, redacted=redacted)


def sealed_call(signature: str, id_: str) -> dict[str, Any]:
    """What stands before a call to keep its signature: clients send reasoning items back unchanged."""
    return {
        "id": id_, "type": "reasoning", "summary": [],
        "encrypted_content": seal(_CALL_SEAL, signature, redacted=True),
    }


def neutral(note: dict[str, Any]) -> dict[str, Any]:
    """An annotation with the keys that other formats know."""
    return {name: note[name] for name in _CITED if name in note} if note.get("type") == "url_citation" else note


def annotation(cited: Mapping[str, Any], start: int, end: int) -> dict[str, Any] | None:
    """A citation as OpenAI has it: of a page, or of a file; `None` where it has neither."""
    if type(cited.get("url")) is str:
        return {
            "type": "url_citation", "start_index": cited.get("start_index", start),
            "end_index": cited.get("end_index", end), "url": cited["url"], "title": cited.get("title") or cited["url"],
        }
    if str(cited.get("type", "")).startswith(("file_", "container_file_")):
        return dict(cited)
    if title := cited.get("title") or cited.get("document_title"):
        return {"type": "file_citation", "file_id": "", "filename": str(title), "index": start}
    return None
