"""Whole replies of OpenAI Responses <-> the common form. Streams are in `responses_reader.py` and `_writer.py`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from gateway.clock import now_ms
from gateway.codec import Translation
from gateway.conversation import (
    Answer,
    Choice,
    Conversation,
    Foreign,
    Part,
    Reason,
    Refusal,
    TextPart,
    Thinking,
    Tool,
    ToolCall,
)
from gateway.dialects import responses_usage
from gateway.dialects.openai_failure import in_stream
from gateway.dialects.responses_items import (
    CALLS,
    DIALECT,
    annotation,
    call_of,
    custom_input,
    encrypted,
    part_of,
    sealed_call,
    thinking_of,
)
from gateway.dialects.written import foreign_name
from gateway.errors import GatewayError, InvalidRequest, UpstreamCut
from gateway.jsonbody import UNREADABLE, read_lenient

# What a response has where its request says nothing.
_DEFAULTS: Mapping[str, Any] = {
    "instructions": None, "max_output_tokens": None, "max_tool_calls": None, "metadata": {},
    "parallel_tool_calls": True, "previous_response_id": None, "reasoning": {"effort": None, "summary": None},
    "service_tier": "default", "store": False, "temperature": 1.0, "text": {"format": {"type": "text"}},
    "tool_choice": "auto", "tools": [], "top_logprobs": 0, "top_p": 1.0, "truncation": "disabled", "user": None,
}
_INCOMPLETE: Mapping[Reason, str] = {
    "length": "max_output_tokens", "content_filter": "content_filter", "refusal": "content_filter",
}


def read(body: bytes, translation: Translation) -> Answer:
    """A whole reply. Raises `UpstreamCut` for what is none, and the provider's error for one that failed."""
    tree = read_lenient(body)
    output = tree.get("output") if type(tree) is dict else None
    if tree is UNREADABLE or type(output) is not list or not all(type(item) is dict for item in output):
        raise UpstreamCut("The upstream answered with something that is not a response.")
    status = tree.get("status")
    if status == "failed":
        raise in_stream(tree.get("error"))
    if status in ("queued", "in_progress", "cancelled"):
        raise UpstreamCut(f"The upstream answered with a response that is {status}.")
    try:
        parts = tuple(part for item in output for part in _parts(item, translation))
    except InvalidRequest as error:
        raise UpstreamCut(f"The upstream's reply cannot be read: {error.message}") from None
    created, raw = tree.get("created_at"), _why(tree)
    return Answer(
        dialect=DIALECT, id=_text(tree.get("id")), model=_text(tree.get("model")),
        choices=(Choice(parts, reason_of(raw, [type(part) for part in parts]), raw, logprobs=_logprobs(output)),),
        usage=responses_usage.usage_in(tree), created=int(created) if type(created) in (int, float) else 0,
        service_tier=_text(tree.get("service_tier")),
    )


def _why(tree: dict[str, Any]) -> str:
    details = tree.get("incomplete_details")
    return _text(details.get("reason")) or "incomplete" if type(details) is dict else ""


def reason_of(raw: str, kinds: Iterable[type]) -> Reason:
    """The reason in the common form; `raw` is why a response is incomplete, empty if it is complete."""
    if raw:
        return "content_filter" if raw == "content_filter" else "length"
    kinds = set(kinds)
    if ToolCall in kinds:
        return "tool_calls"
    return "refusal" if Refusal in kinds else "stop"


def _text(value: Any) -> str:  # noqa: ANN401
    return value if type(value) is str else ""


def _parts(item: dict[str, Any], translation: Translation) -> Iterator[Part]:
    kind = item.get("type")
    if kind == "message":
        content = item.get("content")
        for part in content if type(content) is list else ():
            if type(part) is dict:
                yield part_of(part)
    elif kind == "reasoning":
        yield thinking_of(item)
    elif kind in CALLS:
        call = call_of(item)
        yield msgspec.structs.replace(call, name=translation.called(call.name))
    else:
        yield Foreign(DIALECT, item)


def _logprobs(output: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    found = []
    for item in output:
        content = item.get("content")
        for part in content if type(content) is list and item.get("type") == "message" else ():
            entries = part.get("logprobs") if type(part) is dict else None
            found += entries if type(entries) is list else []
    return {"content": found, "refusal": None} if found else None


def write(answer: Answer, asked: Conversation, translation: Translation) -> bytes:
    """A whole reply for a client. Blocks that only the provider's dialect knows are named as dropped."""
    choice = answer.choices[0] if answer.choices else Choice(())
    for part in choice.parts:
        if isinstance(part, Foreign) and part.dialect != DIALECT:
            translation.drop(foreign_name(part))
    reply = response(answer.id, answer.model, answer.created, asked, translation)
    reply["output"] = items_of(choice, customs(asked), id_stem(translation))
    if answer.usage is not None:
        reply["usage"] = responses_usage.written(answer.usage)
    if answer.service_tier:
        reply["service_tier"] = answer.service_tier
    end(reply, choice.reason, choice.raw_reason, refused=any(isinstance(part, Refusal) for part in choice.parts))
    return msgspec.json.encode(reply)


def response(
    id_: str, model: str, created: int, asked: Conversation, translation: Translation
) -> dict[str, Any]:
    """A response without output yet; what the request said of it is repeated in it."""
    if not id_ or (translation.origin != DIALECT and not id_.startswith("resp_")):
        id_ = f"resp_{id_ or id_stem(translation)}"
    echo = {name: value for name, value in getattr(asked, "echo", {}).items() if value is not None}
    reasoning = {**_DEFAULTS["reasoning"], **echo["reasoning"]} if "reasoning" in echo else _DEFAULTS["reasoning"]
    text = {**_DEFAULTS["text"], **echo["text"]} if "text" in echo else _DEFAULTS["text"]
    return {
        "id": id_, "object": "response", "created_at": created or now_ms() // 1000, "status": "in_progress",
        "background": False, "error": None, "incomplete_details": None, "model": model, "output": [], **_DEFAULTS,
        **echo, "reasoning": reasoning, "text": text, "store": False, "usage": None,
    }


def end(reply: dict[str, Any], reason: Reason, raw: str, *, refused: bool) -> str:
    """Set how a response ended; returns its status. A refusal in the model's own words is a complete answer."""
    why = None if reason == "refusal" and refused else _INCOMPLETE.get(reason)
    reply["status"] = "completed"
    if why is not None:
        reply["status"] = "incomplete"
        reply["incomplete_details"] = {"reason": why}
    elif reason == "error":
        reply["status"] = "failed"
        reply["error"] = {"code": "server_error", "message": f"The provider ended the answer with `{raw or 'error'}`."}
    return str(reply["status"])


def id_stem(translation: Translation) -> str:
    """What the ids of a reply's items are made from."""
    return translation.request_id.removeprefix("req_")


def customs(asked: Conversation) -> frozenset[str]:
    """The names of the tools that take text."""
    return frozenset(tool.name for tool in getattr(asked, "tools", ()) if isinstance(tool, Tool) and tool.custom)


def items_of(choice: Choice, custom: frozenset[str], stem: str) -> list[dict[str, Any]]:
    """An answer as items: texts that follow one another are one message."""
    items: list[dict[str, Any]] = []
    logprobs = choice.logprobs.get("content") if choice.logprobs else None
    for part in choice.parts:
        if isinstance(part, TextPart | Refusal):
            if not items or items[-1]["type"] != "message":
                items.append(message_item(f"msg_{stem}_{len(items)}"))
            items[-1]["content"].append(_content(part, logprobs if type(logprobs) is list else []))
            logprobs = None
        elif isinstance(part, Thinking):
            items.append(reasoning_item(f"rs_{stem}_{len(items)}", part))
        elif isinstance(part, ToolCall):
            if part.signature:
                items.append(sealed_call(part.signature, f"rs_{stem}_{len(items)}"))
            items.append(call_item(f"fc_{stem}_{len(items)}", part, custom=part.name in custom))
        elif isinstance(part, Foreign) and part.dialect == DIALECT:
            items.append(part.value)
    return items


def message_item(id_: str, status: str = "completed") -> dict[str, Any]:
    """A message without content."""
    return {"id": id_, "type": "message", "status": status, "role": "assistant", "content": []}


def _content(part: TextPart | Refusal, logprobs: list[Any]) -> dict[str, Any]:
    if isinstance(part, Refusal):
        return {"type": "refusal", "refusal": part.text}
    notes = [note for cited in part.citations if (note := annotation(cited, 0, len(part.text))) is not None]
    return {"type": "output_text", "text": part.text, "annotations": notes, "logprobs": logprobs}


def reasoning_item(id_: str, part: Thinking) -> dict[str, Any]:
    """Reasoning: its text as a summary, which clients show, and its signature as encrypted content, which they keep."""
    summary = [{"type": "summary_text", "text": part.text}] if part.text else []
    item: dict[str, Any] = {"id": part.id or id_, "type": "reasoning", "summary": summary}
    if part.signature:
        item["encrypted_content"] = encrypted(part.signature, part.origin, redacted=part.redacted)
    return item


def call_item(id_: str, call: ToolCall, *, custom: bool, status: str = "completed") -> dict[str, Any]:
    """A call of a function, or of a custom tool with its text. The item's id is not the call's."""
    if custom:
        return {
            "id": "ctc" + id_[2:], "type": "custom_tool_call", "status": status, "call_id": call.id,
            "name": call.name, "input": custom_input(call.arguments) if call.arguments else "",
        }
    return {
        "id": id_, "type": "function_call", "status": status, "arguments": call.arguments, "call_id": call.id,
        "name": call.name,
    }


def told(error: GatewayError) -> dict[str, Any]:
    """An error in a stream, as OpenAI's own read there."""
    from gateway.dialects.openai import envelope

    return envelope(error, "")["error"]  # type: ignore[no-any-return]
