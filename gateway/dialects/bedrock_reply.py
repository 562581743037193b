"""Whole replies of Bedrock Converse <-> the common form. Streams are in `bedrock_reader.py` and `bedrock_writer.py`."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from gateway.codec import Translation
from gateway.conversation import (
    Answer,
    Choice,
    Foreign,
    MediaPart,
    Part,
    Reason,
    Refusal,
    Source,
    TextPart,
    Thinking,
    ToolCall,
)
from gateway.dialects import bedrock_usage
from gateway.dialects.anthropic_read import CALL_SEAL
from gateway.dialects.bedrock_models import format_of, media_type
from gateway.dialects.bedrock_read import DIALECT
from gateway.dialects.seals import seal
from gateway.errors import UpstreamCut
from gateway.events import Usage
from gateway.jsonbody import read_lenient

_REASONS: Mapping[str, Reason] = MappingProxyType({
    "end_turn": "stop", "tool_use": "tool_calls", "max_tokens": "length", "stop_sequence": "stop_sequence",
    "guardrail_intervened": "content_filter", "content_filtered": "content_filter",
    "malformed_model_output": "error", "malformed_tool_use": "error", "model_context_window_exceeded": "length",
})
_WORDS: Mapping[Reason, str] = MappingProxyType({
    "stop": "end_turn", "stop_sequence": "stop_sequence", "length": "max_tokens", "tool_calls": "tool_use",
    "content_filter": "content_filtered", "refusal": "content_filtered", "pause": "end_turn",
    "error": "malformed_model_output",
})
_LOCATIONS = ("documentChar", "documentPage", "documentChunk", "searchResultLocation", "web")


def read(body: bytes, translation: Translation) -> Answer:
    """A whole reply. Raises `UpstreamCut` for what is none."""
    tree = read_lenient(body)
    output = tree.get("output") if type(tree) is dict else None
    message = output.get("message") if type(output) is dict else None
    content = message.get("content") if type(message) is dict else None
    if type(content) is not list or not all(type(block) is dict for block in content):
        raise UpstreamCut("The upstream answered with something that is not a message.")
    parts = tuple(part for block in content for part in _parts(block, translation))
    raw = text(tree.get("stopReason"))
    answered = any(_is_answer(block.get("toolUse"), translation) for block in content)
    tier = tree.get("serviceTier")
    return Answer(
        dialect=DIALECT, id=f"msg_{translation.request_id}", model=translation.model,
        choices=(Choice(parts, reason_of(raw, answered=answered), raw),),
        usage=bedrock_usage.usage_of(tree.get("usage"), tier),
        service_tier=text(tier.get("type")) if type(tier) is dict else "",
    )


def reason_of(raw: str, *, answered: bool) -> Reason:
    """The reason in the common form. A call of the forced tool is the answer, not a call."""
    reason = _REASONS.get(raw, "stop")
    return "stop" if answered and reason == "tool_calls" else reason


def text(value: Any) -> str:  # noqa: ANN401
    """A string, or none."""
    return value if type(value) is str else ""


def _is_answer(call: Any, translation: Translation) -> bool:  # noqa: ANN401 - whatever stands for the call
    return bool(translation.answer_tool) and type(call) is dict and call.get("name") == translation.answer_tool


def _parts(block: dict[str, Any], translation: Translation) -> Iterator[Part]:
    call = block.get("toolUse")
    thought = block.get("reasoningContent")
    cited = block.get("citationsContent")
    image = block.get("image")
    if type(block.get("text")) is str:
        yield TextPart(block["text"])
    elif type(call) is dict and type(call.get("name")) is str and "type" not in call:
        arguments = msgspec.json.encode(call.get("input") or {}).decode()
        if _is_answer(call, translation):
            yield TextPart(arguments)
        else:
            yield ToolCall(text(call.get("toolUseId")), translation.called(call["name"]), arguments)
    elif type(thought) is dict:
        yield _thinking(thought)
    elif type(cited) is dict:
        yield _cited(cited)
    elif type(image) is dict and type(image.get("source")) is dict and type(image["source"].get("bytes")) is str:
        kind = media_type("image", text(image.get("format")))
        yield MediaPart("image", Source("base64", image["source"]["bytes"], kind))
    else:
        yield Foreign(DIALECT, block)


def _thinking(thought: dict[str, Any]) -> Thinking:
    if type(thought.get("redactedContent")) is str:
        return Thinking(signature=thought["redactedContent"], redacted=True, origin=DIALECT)
    said = thought.get("reasoningText")
    said = said if type(said) is dict else {}
    return Thinking(text(said.get("text")), text(said.get("signature")), origin=DIALECT)


def _cited(cited: dict[str, Any]) -> TextPart:
    content, citations = cited.get("content"), cited.get("citations")
    content = content if type(content) is list else []
    citations = citations if type(citations) is list else []
    said = "".join(text(entry.get("text")) for entry in content if type(entry) is dict)
    return TextPart(said, citations=tuple(neutral(entry) for entry in citations if type(entry) is dict))


def neutral(citation: dict[str, Any]) -> dict[str, Any]:
    """A citation with the keys that other formats know (`url`, `title`, `cited_text`) beside its own."""
    made = dict(citation)
    location, source = citation.get("location"), citation.get("sourceContent")
    web = location.get("web") if type(location) is dict else None
    if type(web) is dict and type(web.get("url")) is str:
        made["url"] = web["url"]
        made.setdefault("title", text(web.get("domain")))
    quoted = "".join(text(entry.get("text")) for entry in source if type(entry) is dict) if type(source) is list else ""
    if quoted:
        made["cited_text"] = quoted
    return made


def write(answer: Answer) -> bytes:
    """A whole reply for a client. Of several choices it has the first."""
    choice = answer.choices[0] if answer.choices else Choice(())
    content = [block for part in choice.parts for block in _blocks(part)]
    reply: dict[str, Any] = {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": word_for(choice.reason),
        "usage": bedrock_usage.written(answer.usage or Usage()),
        "metrics": {"latencyMs": 0},
    }
    return msgspec.json.encode(reply)


def word_for(reason: Reason) -> str:
    """Bedrock's stop reason."""
    return _WORDS[reason]


def _blocks(part: Part) -> Iterator[dict[str, Any]]:
    """A part of an answer as blocks: a signed call is two."""
    if isinstance(part, TextPart):
        cited = [made for entry in part.citations if (made := citation(entry)) is not None]
        if cited:
            yield {"citationsContent": {"content": [{"text": part.text}], "citations": cited}}
        else:
            yield {"text": part.text}
    elif isinstance(part, Refusal):
        yield {"text": part.text}
    elif isinstance(part, Thinking):
        yield {"reasoningContent": thought(part.text, part.signature, part.origin, redacted=part.redacted)}
    elif isinstance(part, ToolCall):
        if part.signature:
            yield {"reasoningContent": sealed_call(part.signature, "")}
        call = {"toolUseId": part.id, "name": part.name, "input": _arguments(part.arguments)}
        yield {"toolUse": call}
    elif isinstance(part, MediaPart):
        if (made := image(part)) is not None:
            yield {"image": made}
    elif isinstance(part, Foreign) and part.dialect == DIALECT:
        yield part.value


def image(part: MediaPart) -> dict[str, Any] | None:
    """An image that the model made."""
    name = format_of("image", part.source.media_type) if part.media == "image" else None
    return {"format": name, "source": {"bytes": part.source.data}} if name and part.source.kind == "base64" else None


def thought(said: str, signature: str, origin: str, *, redacted: bool) -> dict[str, Any]:
    """Reasoning. A signature of another origin is packed with its name, so that it finds back."""
    if signature and origin and origin != DIALECT:
        signature = seal(origin, signature, redacted=redacted)
    if redacted:
        return {"redactedContent": signature}
    return {"reasoningText": {"text": said, **({"signature": signature} if signature else {})}}


def sealed_call(signature: str, origin: str) -> dict[str, Any]:
    """What stands before a call to keep its signature: clients send such blocks back unchanged."""
    return {"redactedContent": seal(f"{CALL_SEAL}{origin}", signature, redacted=True)}


def citation(entry: Mapping[str, Any]) -> dict[str, Any] | None:
    """A citation in Bedrock's form; `None` for what it has no place for."""
    location = entry.get("location")
    own = {name: entry[name] for name in ("title", "source", "sourceContent") if entry.get(name)}
    if type(location) is dict and any(name in location for name in _LOCATIONS):
        return {**own, "location": location}
    url, quoted = entry.get("url"), entry.get("cited_text")
    made: dict[str, Any] = {"title": entry["title"]} if entry.get("title") else {}
    if quoted:
        made["sourceContent"] = [{"text": quoted}]
    if url:
        made["location"] = {"web": {"url": url}}
    return made or None


def _arguments(given: str) -> Any:  # noqa: ANN401 - the object, or what the model made instead
    try:
        found = msgspec.json.decode(given or "{}")
    except (msgspec.DecodeError, RecursionError):
        raise UpstreamCut("The model called a tool with arguments that are not JSON.") from None
    if type(found) is not dict:
        raise UpstreamCut("The model called a tool with arguments that are not an object.")
    return found
