"""`openai.completions`: POST /completions, the older text endpoint, which vLLM and llama.cpp still serve."""

from typing import Any

import msgspec

from gateway import sse
from gateway.dialects.openai import Change, OpenAIDialect, common, with_body
from gateway.errors import InvalidRequest
from gateway.events import End, Event, Finish, Opaque, Record, Text
from gateway.exchange import Request


class Completions(OpenAIDialect):
    """The text-completion dialect."""

    name = "openai.completions"

    def decode(self, raw: bytes, body: dict[str, Any]) -> Request:
        """Check `model`, `stream`, `n`, the output cap, and that `prompt` is text, tokens, or a list of either."""
        prompt = body.get("prompt")
        if prompt is not None and not isinstance(prompt, str | list):
            raise InvalidRequest("`prompt` must be a string or an array.", param="prompt")
        return common(raw, body, caps=("max_tokens",))

    def texts(self, request: Request) -> list[str]:
        """The prompts that are text."""
        prompt = request.body.get("prompt")
        prompts = prompt if isinstance(prompt, list) else [prompt]
        return [text for text in prompts if isinstance(text, str)]

    def map_texts(self, request: Request, change: Change) -> Request:
        """The request with each prompt replaced by `change(text, "content")`."""
        return map_field(request, "prompt", change)

    def map_reply_texts(self, body: bytes, change: Change) -> bytes:
        """An unstreamed reply with each text replaced; the same bytes when nothing changed."""
        reply = msgspec.json.decode(body)
        changed = False
        for choice in reply.get("choices") or ():
            if isinstance(text := choice.get("text"), str) and (new := change(text, "content")) != text:
                choice["text"], changed = new, True
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
        found: list[Event] = []
        for choice in (chunk.get("choices") if isinstance(chunk, dict) else None) or ():
            index = choice.get("index") or 0
            if choice.get("text"):
                found.append(Text(choice["text"], index))
            if choice.get("finish_reason"):
                found.append(Finish(str(choice["finish_reason"]), index))
        kept = Record(record, len(found) or 1)
        return [msgspec.structs.replace(event, record=kept) for event in found] or [Opaque(kept)]

    def encode(self, event: Event) -> bytes:
        """A changed event as a record of its own, made from the record it came in."""
        assert event.record is not None
        if not isinstance(event, Text | Finish):
            return event.record.raw
        chunk = msgspec.json.decode(sse.data(event.record.raw) or b"{}")
        for choice in chunk["choices"]:
            choice["text"] = event.text if isinstance(event, Text) else ""
            choice["finish_reason"] = event.reason if isinstance(event, Finish) else None
            choice["logprobs"] = None
        chunk["choices"] = [c for c in chunk["choices"] if (c.get("index") or 0) == event.choice][:1]
        return sse.write(msgspec.json.encode(chunk))


def map_field(request: Request, field: str, change: Change) -> Request:
    """The request with the text, or the texts in the array, of one field replaced."""
    value = request.body.get(field)
    if isinstance(value, str):
        new: Any = change(value, "content")
    elif isinstance(value, list):
        new = [change(item, "content") if isinstance(item, str) else item for item in value]
    else:
        return request
    return request if new == value else with_body(request, {**request.body, field: new})
