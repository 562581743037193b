"""Whole replies in OpenAI's chat format <-> the common form. Streams are in `openai_chat_stream.py`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from gateway.clock import now_ms
from gateway.codec import Translation
from gateway.conversation import Answer, Choice, Foreign, Part, Reason, Refusal, TextPart, Thinking, ToolCall
from gateway.dialects.openai_chat_read import DIALECT, calls_of, thinking_of
from gateway.dialects.openai_chat_write import detail_of
from gateway.dialects.openai_texts import numbered
from gateway.dialects.openai_usage import usage_of, wire_from
from gateway.dialects.written import foreign_name
from gateway.errors import InvalidRequest, UpstreamCut
from gateway.events import Usage
from gateway.jsonbody import UNREADABLE, read_lenient

REASONS: Mapping[str, Reason] = {
    "stop": "stop", "eos": "stop", "length": "length", "tool_calls": "tool_calls", "function_call": "tool_calls",
    "content_filter": "content_filter", "model_length": "length", "max_tokens": "length", "error": "error",
}
_WORDS: Mapping[Reason, str] = {
    "stop": "stop", "stop_sequence": "stop", "length": "length", "tool_calls": "tool_calls",
    "content_filter": "content_filter", "refusal": "content_filter", "pause": "stop", "error": "stop",
}
_THINK, _END = "<think>", "</think>"


def read(body: bytes, translation: Translation) -> Answer:
    """A whole reply. Raises `UpstreamCut` for what is none."""
    tree = read_lenient(body)
    choices = tree.get("choices") if type(tree) is dict else None
    if tree is UNREADABLE or type(choices) is not list or not all(type(choice) is dict for choice in choices):
        raise UpstreamCut("The upstream answered with something that is not a chat completion.")
    choices = [choice for _, choice in sorted(numbered(choices), key=lambda entry: entry[0])]
    wire = wire_from(tree.get("usage"))
    tier = tree.get("service_tier")
    return Answer(
        dialect=DIALECT,
        id=_text(tree.get("id")),
        model=_text(tree.get("model")),
        choices=tuple(_choice(choice, translation) for choice in choices),
        usage=usage_of(wire, msgspec.json.encode(tier)) if wire is not None else None,
        created=created if type(created := tree.get("created")) is int else 0,
        service_tier=_text(tier),
        fingerprint=_text(tree.get("system_fingerprint")),
    )


def _text(value: Any) -> str:  # noqa: ANN401 - whatever stands in a text's place
    return value if type(value) is str else ""


def _choice(choice: dict[str, Any], translation: Translation) -> Choice:
    message = choice.get("message")
    if type(message) is not dict:
        raise UpstreamCut("The upstream's reply has a choice without a message.")
    try:
        parts: list[Part] = [*thinking_of(message), *_said(message, translation)]
        parts += [
            msgspec.structs.replace(call, name=translation.called(call.name)) if isinstance(call, ToolCall) else call
            for call in calls_of(message)
        ]
    except InvalidRequest as error:
        raise UpstreamCut(f"The upstream's reply cannot be read: {error.message}") from None
    raw = _text(choice.get("finish_reason"))
    stopped = choice.get("stop_reason")  # vLLM: the stop string that was met
    logprobs = choice.get("logprobs")
    return Choice(
        tuple(parts), reason_of(raw, parts, stopped), raw, stopped if type(stopped) is str else None,
        logprobs if type(logprobs) is dict else None,
    )


def reason_of(raw: str, parts: Iterable[Part], stopped: Any) -> Reason:  # noqa: ANN401 - a text, a number or null
    """The reason in the common form: forced calls end with `stop`, and so do refusals."""
    reason = REASONS.get(raw, "stop")
    if reason == "stop":
        kinds = {type(part) for part in parts}
        if ToolCall in kinds:
            return "tool_calls"
        if Refusal in kinds:
            return "refusal"
        if type(stopped) is str:
            return "stop_sequence"
    return reason


def _said(message: dict[str, Any], translation: Translation) -> Iterable[Part]:
    content = message.get("content")
    if type(content) is list:
        yield from _listed(content)
    elif type(content) is str and content:
        if translation.think_tags and content.lstrip().startswith(_THINK):
            thought, _, content = content.lstrip()[len(_THINK) :].partition(_END)
            yield Thinking(thought.strip("\n"), origin=DIALECT)
            content = content.lstrip("\n")
        if content:
            yield TextPart(content, citations=tuple(_citations(message.get("annotations"))))
    if type(refusal := message.get("refusal")) is str and refusal:
        yield Refusal(refusal)


def _listed(content: Sequence[Any]) -> Iterable[Part]:
    """Mistral: a list of texts and thoughts."""
    for part in content:
        if type(part) is not dict:
            continue
        if part.get("type") == "thinking":
            thoughts = part.get("thinking")
            entries = thoughts if type(thoughts) is list else [{"text": thoughts}]
            texts = [_text(entry.get("text")) for entry in entries if type(entry) is dict]
            yield Thinking("".join(texts), origin=DIALECT)
        elif text := _text(part.get("text")):
            yield TextPart(text)


def _citations(annotations: Any) -> Iterable[dict[str, Any]]:  # noqa: ANN401
    for entry in annotations if type(annotations) is list else ():
        cited = entry.get("url_citation") if type(entry) is dict else None
        if type(cited) is dict:
            yield {name: cited[name] for name in ("url", "title", "start_index", "end_index") if name in cited}


def write(answer: Answer, translation: Translation) -> bytes:
    """A whole reply for a client. Blocks that only the provider's dialect knows are named as dropped."""
    for choice in answer.choices:
        for part in choice.parts:
            if isinstance(part, Foreign) and part.dialect != DIALECT:
                translation.drop(foreign_name(part))
    reply: dict[str, Any] = {
        "id": answer.id or f"chatcmpl-{translation.request_id}",
        "object": "chat.completion",
        "created": answer.created or now_ms() // 1000,
        "model": answer.model,
        "choices": [_written(number, choice) for number, choice in enumerate(answer.choices)],
    }
    if answer.usage is not None:
        reply["usage"] = usage_written(answer.usage)
    if answer.service_tier:
        reply["service_tier"] = answer.service_tier
    if answer.fingerprint:
        reply["system_fingerprint"] = answer.fingerprint
    return msgspec.json.encode(reply)


def _written(number: int, choice: Choice) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    texts = [part for part in choice.parts if isinstance(part, TextPart)]
    calls = [call_written(part) for part in choice.parts if isinstance(part, ToolCall)]
    calls += [part.value for part in choice.parts if isinstance(part, Foreign) and part.dialect == DIALECT]
    thought = [part for part in choice.parts if isinstance(part, Thinking)]
    refusals = [part.text for part in choice.parts if isinstance(part, Refusal)]
    if texts or not (calls or refusals):
        message["content"] = "".join(part.text for part in texts)
    if refusals:
        message["refusal"] = "".join(refusals)
    if notes := annotations_of(texts):
        message["annotations"] = notes
    if plain := "\n\n".join(part.text for part in thought if part.text):
        message["reasoning_content"] = plain
    if any(part.signature for part in thought):
        message["reasoning_details"] = [detail_of(part, at) for at, part in enumerate(thought)]
    if calls:
        message["tool_calls"] = calls
    return {
        "index": number, "message": message, "logprobs": choice.logprobs,
        "finish_reason": word_for(choice.reason, refused=bool(refusals)),
    }


def word_for(reason: Reason, *, refused: bool = False) -> str:
    """OpenAI's finish reason. A refusal in the model's own words ends with `stop`, one without any is a filter's."""
    return "stop" if reason == "refusal" and refused else _WORDS[reason]


def call_written(call: ToolCall) -> dict[str, Any]:
    """A call in a message."""
    written: dict[str, Any] = {
        "id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments or "{}"},
    }
    if call.signature:
        written["extra_content"] = {"google": {"thought_signature": call.signature}}
    return written


def annotations_of(texts: Iterable[TextPart]) -> list[dict[str, Any]]:
    """Citations as annotations: of pages as OpenAI has them, of documents as a file's."""
    notes, at = [], 0
    for part in texts:
        notes += [annotation(cited, at, at + len(part.text)) for cited in part.citations]
        at += len(part.text)
    return notes


def annotation(cited: Mapping[str, Any], start: int, end: int) -> dict[str, Any]:
    """One citation of the text between two places."""
    if type(cited.get("url")) is str:
        told = {
            "start_index": cited.get("start_index", start), "end_index": cited.get("end_index", end),
            "url": cited["url"], "title": cited.get("title") or cited["url"],
        }
        return {"type": "url_citation", "url_citation": told}
    return {"type": "file_citation", "file_citation": {**cited, "start_index": start, "end_index": end}}


def usage_written(usage: Usage) -> dict[str, Any]:
    """Usage in OpenAI's fields."""
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached,
            **({"cache_write_tokens": usage.cache_write} if usage.cache_write else {}),
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }
