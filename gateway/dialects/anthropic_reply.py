"""Whole replies of Anthropic Messages <-> the common form. Streams are in `anthropic_reader.py` and `_writer.py`."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from gateway.codec import Translation
from gateway.conversation import Answer, Choice, Foreign, Part, Reason, Refusal, TextPart, Thinking, ToolCall
from gateway.dialects import anthropic_usage
from gateway.dialects.anthropic_read import CALL_SEAL, DIALECT
from gateway.dialects.seals import seal
from gateway.dialects.written import foreign_name
from gateway.errors import UpstreamCut
from gateway.jsonbody import UNREADABLE, read_lenient

REASONS: Mapping[str, Reason] = {
    "end_turn": "stop", "stop_sequence": "stop_sequence", "max_tokens": "length", "tool_use": "tool_calls",
    "refusal": "refusal", "pause_turn": "pause", "model_context_window_exceeded": "length",
}
_WORDS: Mapping[Reason, str] = {
    "stop": "end_turn", "stop_sequence": "stop_sequence", "length": "max_tokens", "tool_calls": "tool_use",
    "content_filter": "refusal", "refusal": "refusal", "pause": "pause_turn", "error": "end_turn",
}


def read(body: bytes, translation: Translation) -> Answer:
    """A whole reply. Raises `UpstreamCut` for what is none."""
    tree = read_lenient(body)
    content = tree.get("content") if type(tree) is dict else None
    if tree is UNREADABLE or type(content) is not list or not all(type(block) is dict for block in content):
        raise UpstreamCut("The upstream answered with something that is not a message.")
    parts = tuple(_part(block, translation) for block in content)
    raw = _text(tree.get("stop_reason"))
    reason = reason_of(raw, answered=any(_is_answer(block, translation) for block in content))
    wire = anthropic_usage.wire_from(tree.get("usage"))
    stopped = tree.get("stop_sequence")
    return Answer(
        dialect=DIALECT, id=_text(tree.get("id")), model=_text(tree.get("model")),
        choices=(Choice(parts, reason, raw, stopped if type(stopped) is str else None),),
        usage=anthropic_usage.usage_of(wire) if wire is not None else None,
    )


def reason_of(raw: str, *, answered: bool) -> Reason:
    """The reason in the common form. A call of the forced tool is the answer, not a call."""
    reason = REASONS.get(raw, "stop")
    return "stop" if answered and reason == "tool_calls" else reason


def _text(value: Any) -> str:  # noqa: ANN401
    return value if type(value) is str else ""


def _is_answer(block: dict[str, Any], translation: Translation) -> bool:
    answer = translation.answer_tool
    return bool(answer) and block.get("type") == "tool_use" and block.get("name") == answer


def _part(block: dict[str, Any], translation: Translation) -> Part:
    kind = block.get("type")
    if kind == "text":
        citations = block.get("citations")
        cited = [entry for entry in citations if type(entry) is dict] if type(citations) is list else []
        return TextPart(_text(block.get("text")), citations=tuple(neutral(entry) for entry in cited))
    if kind == "thinking":
        return Thinking(_text(block.get("thinking")), _text(block.get("signature")), origin=DIALECT)
    if kind == "redacted_thinking":
        return Thinking(signature=_text(block.get("data")), redacted=True, origin=DIALECT)
    if kind == "tool_use" and type(name := block.get("name")) is str:
        arguments = msgspec.json.encode(block.get("input") or {}).decode()
        if _is_answer(block, translation):
            return TextPart(arguments)
        return ToolCall(_text(block.get("id")), translation.called(name), arguments)
    return Foreign(DIALECT, block)


def neutral(citation: dict[str, Any]) -> dict[str, Any]:
    """A citation with the keys that other formats know (`url`, `title`, `cited_text`) beside its own."""
    title = citation.get("title") or citation.get("document_title")
    return {**citation, "title": title} if title and "title" not in citation else citation


def write(answer: Answer, translation: Translation) -> bytes:
    """A whole reply for a client. Of several choices it has the first."""
    choice = answer.choices[0] if answer.choices else Choice(())
    for part in choice.parts:
        if isinstance(part, Foreign) and part.dialect != DIALECT:
            translation.drop(foreign_name(part))
    reply = {
        "id": answer.id or f"msg_{translation.request_id}",
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": [block for part in choice.parts for block in blocks_of(part)],
        "stop_reason": word_for(choice.reason),
        "stop_sequence": choice.stop_sequence,
        "usage": anthropic_usage.written(answer.usage) if answer.usage is not None else _NO_USAGE,
    }
    return msgspec.json.encode(reply)


_NO_USAGE = {"input_tokens": 0, "output_tokens": 0}


def word_for(reason: Reason) -> str:
    """Anthropic's stop reason."""
    return _WORDS[reason]


def blocks_of(part: Part) -> Iterator[dict[str, Any]]:
    """A part of an answer as blocks: a signed call is two."""
    if isinstance(part, TextPart):
        block: dict[str, Any] = {"type": "text", "text": part.text}
        if part.citations:
            block["citations"] = [cited for entry in part.citations if (cited := citation(entry)) is not None]
        yield block
    elif isinstance(part, Refusal):
        yield {"type": "text", "text": part.text}
    elif isinstance(part, Thinking):
        yield thinking_block(part.text, part.signature, part.origin, redacted=part.redacted)
    elif isinstance(part, ToolCall):
        if part.signature:
            yield sealed_call(part.signature, "")
        yield {"type": "tool_use", "id": part.id, "name": part.name, "input": _arguments(part.arguments)}
    elif isinstance(part, Foreign) and part.dialect == DIALECT:
        yield part.value


def thinking_block(text: str, signature: str, origin: str, *, redacted: bool) -> dict[str, Any]:
    """Reasoning. A signature of another origin is packed with its name, so that it finds back."""
    if signature and origin and origin != DIALECT:
        signature = seal(origin, signature, redacted=redacted)
    if redacted:
        return {"type": "redacted_thinking", "data": signature}
    return {"type": "thinking", "thinking": text, "signature": signature}


def sealed_call(signature: str, origin: str) -> dict[str, Any]:
    """What stands before a call to keep its signature: clients send such blocks back unchanged."""
    return {"type": "redacted_thinking", "data": seal(CALL_SEAL + origin, signature, redacted=True)}


def citation(entry: Mapping[str, Any]) -> dict[str, Any] | None:
    """A citation in Anthropic's form; pages that other services cite become results of a search."""
    if "type" in entry:
        return dict(entry)
    if "url" not in entry:
        return None
    return {
        "type": "web_search_result_location", "url": entry["url"], "title": entry.get("title"),
        "cited_text": entry.get("cited_text") or "", "encrypted_index": "",
    }


def _arguments(text: str) -> Any:  # noqa: ANN401 - the object, or what the model made instead
    try:
        found = msgspec.json.decode(text or "{}")
    except (msgspec.DecodeError, RecursionError):
        raise UpstreamCut("The model called a tool with arguments that are not JSON.") from None
    if type(found) is not dict:
        raise UpstreamCut("The model called a tool with arguments that are not an object.")
    return found


