"""`openai.chat`: POST /chat/completions. Only what stages need is looked at; unknown fields travel."""

from typing import Any

import msgspec

from gateway import sse
from gateway.dialects.openai import Change, OpenAIDialect, common, expect, with_body
from gateway.dialects.openai_usage import WireUsage, usage_of
from gateway.errors import InvalidRequest
from gateway.events import End, Event, Finish, Opaque, Record, Text
from gateway.exchange import Request

_FIELDS = {"content": "content", "reasoning": "reasoning", "reasoning_content": "reasoning", "refusal": "refusal"}


class Chat(OpenAIDialect):
    """The chat dialect."""

    name = "openai.chat"

    def decode(self, raw: bytes, body: dict[str, Any]) -> Request:
        """Check `model`, `stream`, `stream_options`, `n`, the output cap, and the shape of `messages`."""
        for message in expect(body, "messages", list) or ():
            if type(message) is not dict:
                raise InvalidRequest("Each of `messages` must be an object.", param="messages")
            if "role" in message and type(message["role"]) is not str:
                raise InvalidRequest("`role` of a message must be a string.", param="messages")
        return common(raw, body, caps=("max_completion_tokens", "max_tokens"))

    def texts(self, request: Request) -> list[str]:
        """All text of messages, tool calls and tool descriptions."""
        found: list[str] = []

        def note(text: str, part: str) -> str:  # noqa: ARG001
            found.append(text)
            return text

        self.map_texts(request, note)
        return found

    def map_texts(self, request: Request, change: Change) -> Request:
        """The request with each text replaced by `change(text, part)`; `part` is content or arguments or tools."""
        body = request.body
        messages = [_message(message, change) for message in body.get("messages") or ()]
        if any(new is not old for new, old in zip(messages, body.get("messages") or (), strict=True)):
            body = {**body, "messages": messages}
        tools = body.get("tools")
        if isinstance(tools, list):
            new_tools = [_described(tool, change) for tool in tools]
            if any(new is not old for new, old in zip(new_tools, tools, strict=True)):
                body = {**body, "tools": new_tools}
        return with_body(request, body)

    def map_reply_texts(self, body: bytes, change: Change) -> bytes:
        """An unstreamed reply with each text replaced; the same bytes when nothing changed."""
        reply = msgspec.json.decode(body)
        changed = False
        for choice in reply.get("choices") or ():
            message = choice.get("message") or {}
            new = _reply_message(message, change)
            if new is not message:
                choice["message"], changed = new, True
        return msgspec.json.encode(reply) if changed else body

    def events(self, record: bytes) -> list[Event]:
        """What one record of a stream says."""
        payload = sse.data(record)
        if payload is None:
            return [Opaque(Record(record))]
        if payload.strip() == b"[DONE]":
            return [End(Record(record))]
        try:
            chunk = msgspec.json.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return [Opaque(Record(record))]
        return _events(chunk, record) if isinstance(chunk, dict) else [Opaque(Record(record))]

    def encode(self, event: Event) -> bytes:
        """A changed event as a record of its own, made from the record it came in."""
        assert event.record is not None
        if not isinstance(event, Text | Finish):
            return event.record.raw
        return sse.write(msgspec.json.encode(_rewritten(event, event.record.raw)))


def _events(chunk: dict[str, Any], raw: bytes) -> list[Event]:
    found: list[Event] = []
    for choice in chunk.get("choices") or ():
        delta = choice.get("delta") or {}
        index = choice.get("index") or 0
        for field, part in _FIELDS.items():
            if isinstance(text := delta.get(field), str) and text:
                found.append(Text(text, index, part))  # type: ignore[arg-type]
        for call in delta.get("tool_calls") or ():
            arguments = (call.get("function") or {}).get("arguments")
            if isinstance(arguments, str) and arguments:
                found.append(Text(arguments, index, "arguments", call.get("index") or 0))
        if choice.get("finish_reason"):
            found.append(Finish(str(choice["finish_reason"]), index))
    if isinstance(chunk.get("usage"), dict) and (usage := _usage(chunk["usage"])) is not None:
        found.append(usage)
    if not found:
        return [Opaque(Record(raw))]
    record = Record(raw, len(found))
    return [msgspec.structs.replace(event, record=record) for event in found]


def _usage(wire: dict[str, Any]) -> Any:
    try:
        return usage_of(msgspec.convert(wire, WireUsage))
    except msgspec.ValidationError:
        return None


def _rewritten(event: Text | Finish, raw: bytes) -> dict[str, Any]:
    """The event's chunk with this event alone in it: other texts are left out, they have records of their own."""
    chunk: dict[str, Any] = msgspec.json.decode(sse.data(raw) or b"{}")
    chunk.pop("usage", None)
    choices = [choice for choice in chunk.get("choices") or () if (choice.get("index") or 0) == event.choice]
    for choice in choices:
        choice["finish_reason"] = event.reason if isinstance(event, Finish) else None
        choice["delta"] = _delta(event, choice.get("delta") or {})
        choice.pop("logprobs", None)
    chunk["choices"] = choices[:1]
    return chunk


def _delta(event: Text | Finish, delta: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in delta.items() if name not in _FIELDS and name != "tool_calls"}
    if isinstance(event, Finish):
        return kept
    if event.part != "arguments":
        field = next((f for f, part in _FIELDS.items() if part == event.part and delta.get(f)), event.part)
        return {**kept, field: event.text}
    calls = [call for call in delta.get("tool_calls") or () if (call.get("index") or 0) == event.tool]
    call = dict(calls[0]) if calls else {"index": event.tool}
    call["function"] = {**(call.get("function") or {}), "arguments": event.text}
    return {**kept, "tool_calls": [call]}


def _message(message: dict[str, Any], change: Change) -> dict[str, Any]:
    new = dict(message)
    content = message.get("content")
    if isinstance(content, str):
        new["content"] = change(content, "content")
    elif isinstance(content, list):
        new["content"] = [_part(part, change) for part in content]
    new = _with_calls(new, change)
    return new if new != message else message


def _part(part: Any, change: Change) -> Any:
    if isinstance(part, dict) and isinstance(part.get("text"), str):
        return {**part, "text": change(part["text"], "content")}
    return part


def _reply_message(message: dict[str, Any], change: Change) -> dict[str, Any]:
    new = dict(message)
    for field, part in _FIELDS.items():
        if isinstance(text := message.get(field), str) and text:
            new[field] = change(text, part)
    new = _with_calls(new, change)
    return new if new != message else message


def _with_calls(message: dict[str, Any], change: Change) -> dict[str, Any]:
    calls = message.get("tool_calls")
    if not isinstance(calls, list):
        return message
    return {**message, "tool_calls": [_call(call, change) for call in calls]}


def _call(call: Any, change: Change) -> Any:
    function = call.get("function") if isinstance(call, dict) else None
    if isinstance(function, dict) and isinstance(function.get("arguments"), str):
        return {**call, "function": {**function, "arguments": change(function["arguments"], "arguments")}}
    return call


def _described(tool: Any, change: Change) -> Any:
    function = tool.get("function") if isinstance(tool, dict) else None
    if isinstance(function, dict) and isinstance(function.get("description"), str):
        text = change(function["description"], "tools")
        return tool if text == function["description"] else {**tool, "function": {**function, "description": text}}
    return tool
