"""Writes a stream of OpenAI Responses for a client: numbered events without gaps, items one after the other, each with
its parts, their deltas and their ends; last the whole response, with what it used."""

from typing import Any

import msgspec

from gateway import sse
from gateway.codec import Translation
from gateway.conversation import Conversation, Foreign, Reason, Thinking, ToolCall
from gateway.dialects import responses_usage
from gateway.dialects.responses_items import DIALECT, annotation, custom_input, encrypted, sealed_call
from gateway.dialects.responses_reply import (
    call_item,
    customs,
    end,
    id_stem,
    message_item,
    reasoning_item,
    response,
    told,
)
from gateway.errors import GatewayError
from gateway.events import Usage
from gateway.pieces import Begin, ChoiceEnd, Delta, Over, PartBegin, PartEnd, Piece, Tokens

_encode = msgspec.json.Encoder().encode
_EVENTS = {
    "text": b"response.output_text.delta", "refusal": b"response.refusal.delta",
    "thinking": b"response.reasoning_summary_text.delta", "call": b"response.function_call_arguments.delta",
}


class ResponsesWriter:
    """One stream. Of several choices it has the first."""

    def __init__(self, asked: Conversation, translation: Translation) -> None:
        self._asked = asked
        self._translation = translation
        self._custom = customs(asked)
        self._stem = id_stem(translation)
        self._sequence = 0
        self._response: dict[str, Any] = {}
        self._usage: Usage | None = None
        self._reason: Reason = "stop"
        self._raw = ""
        self._refused = False
        self._item: dict[str, Any] | None = None   # the open one; a message stays open from part to part
        self._kind = ""                            # of the open part
        self._head = self._tail = b""              # of the open part's deltas, before and behind the text
        self._texts: list[str] = []                # of the open part
        self._notes: list[dict[str, Any]] = []
        self._logprobs: list[Any] = []
        self._signature = ""
        self._redacted = False

    def feed(self, piece: Piece) -> bytes:
        """Records for the client."""
        kind = type(piece)
        if kind is Delta:
            return self._delta(piece) if not piece.choice else b""  # type: ignore[arg-type,union-attr]
        if kind is PartBegin:
            return self._start() + self._part(piece) if not piece.choice else b""  # type: ignore[arg-type,union-attr]
        if kind is PartEnd:
            return self._end_part() if not piece.choice else b""  # type: ignore[union-attr]
        if kind is Tokens:
            self._usage = piece.usage  # type: ignore[union-attr]
        elif kind is Begin:
            return self._start(piece)  # type: ignore[arg-type]
        elif kind is ChoiceEnd and not piece.choice:  # type: ignore[union-attr]
            self._reason, self._raw = piece.reason, piece.raw_reason  # type: ignore[union-attr]
            return self._start() + self._close()
        elif kind is Over:
            return self._over()
        return b""

    def fail(self, error: GatewayError) -> bytes:
        """The error, as OpenAI's clients raise on it, and the response as one that failed."""
        begun = self._start() if not self._response else b""
        said = told(error)
        flat = {"code": said["code"], "message": error.message, "param": error.param}
        out = self._event("error", {"error": said, **flat})
        self._response["status"] = "failed"
        self._response["output"] = []  # a filter may have stopped it
        self._response["error"] = {"code": said["code"] or "server_error", "message": error.message}
        self._response["usage"] = responses_usage.written(self._usage)
        return begun + out + self._event("response.failed", {"response": self._response})

    def _start(self, begin: Begin | None = None) -> bytes:
        if self._response:
            return b""
        begin = begin or Begin("", "")
        self._usage = begin.usage or self._usage
        self._response = response(begin.id, begin.model, begin.created, self._asked, self._translation)
        if begin.service_tier:
            self._response["service_tier"] = begin.service_tier
        return b"".join(
            self._event(name, {"response": self._response}) for name in ("response.created", "response.in_progress")
        )

    def _event(self, kind: str, told: dict[str, Any]) -> bytes:
        number, self._sequence = self._sequence, self._sequence + 1
        return sse.write(_encode({"type": kind, "sequence_number": number, **told}), kind.encode())

    @property
    def _index(self) -> int:
        """Of the open item."""
        return len(self._response["output"])

    def _place(self) -> dict[str, Any]:
        """Where the open part is."""
        assert self._item is not None
        place: dict[str, Any] = {"item_id": self._item["id"], "output_index": self._index}
        if self._kind == "thinking":
            place["summary_index"] = len(self._item["summary"])
        elif self._kind != "call":
            place["content_index"] = len(self._item["content"])
        return place

    def _part(self, begin: PartBegin) -> bytes:
        out = self._end_part()
        if begin.kind in ("text", "refusal"):
            return out + self._content(begin.kind)
        out += self._close()
        if begin.kind == "call":
            return out + self._call(begin)
        if begin.kind == "thinking":
            self._open(reasoning_item(f"rs_{self._stem}_{self._index}", Thinking()), begin.kind)
            self._signature, self._redacted = begin.signature, begin.redacted
            return out + self._added()
        value = begin.value
        if isinstance(value, Foreign) and value.dialect == DIALECT:
            out += self._whole(value.value)
        return out

    def _content(self, kind: str) -> bytes:
        out = b""
        if self._item is None:
            self._open(message_item(f"msg_{self._stem}_{self._index}", "in_progress"), kind)
            out = self._added()
        else:
            self._open(self._item, kind)
        empty = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
        if kind == "refusal":
            self._refused = True
            empty = {"type": "refusal", "refusal": ""}
        self._write_deltas()
        return out + self._event("response.content_part.added", {**self._place(), "part": empty})

    def _call(self, begin: PartBegin) -> bytes:
        out = self._whole(sealed_call(begin.signature, f"rs_{self._stem}_{self._index}")) if begin.signature else b""
        call = ToolCall(begin.id, begin.name, "")
        custom = begin.name in self._custom
        item = call_item(f"fc_{self._stem}_{self._index}", call, custom=custom, status="in_progress")
        self._open(item, "call")
        if not custom:
            self._write_deltas()
        return out + self._added()

    def _open(self, item: dict[str, Any], kind: str) -> None:
        self._item, self._kind, self._signature, self._head = item, kind, "", b""
        self._texts, self._notes, self._logprobs = [], [], []

    def _added(self) -> bytes:
        return self._event("response.output_item.added", {"output_index": self._index, "item": self._item})

    def _whole(self, item: dict[str, Any]) -> bytes:
        """An item that has no parts to follow."""
        self._item = item
        return self._added() + self._done()

    def _done(self) -> bytes:
        item, index = self._item, self._index
        self._item = None
        self._response["output"].append(item)
        return self._event("response.output_item.done", {"output_index": index, "item": item})

    def _write_deltas(self) -> None:
        """Only the number and the text differ from delta to delta."""
        place = _encode(self._place())[1:-1]
        name = _EVENTS[self._kind]
        self._head = b'event: %b\ndata: {"type":"%b",%b,"sequence_number":' % (name, name, place)
        self._tail = b',"logprobs":[]}\n\n' if self._kind == "text" else b"}\n\n"

    def _delta(self, delta: Delta) -> bytes:
        out = b""
        if delta.text:
            if self._kind == "thinking" and not self._head:
                out = self._summary()
            self._texts.append(delta.text)
            if self._head:
                number, self._sequence = self._sequence, self._sequence + 1
                if delta.logprobs is None:
                    out += b'%b%d,"delta":%b%b' % (self._head, number, _encode(delta.text), self._tail)
                else:
                    entries = delta.logprobs.get("content") or []
                    self._logprobs += entries
                    tail = b',"logprobs":%b}\n\n' % _encode(entries) if self._kind == "text" else self._tail
                    out += b'%b%d,"delta":%b%b' % (self._head, number, _encode(delta.text), tail)
        if delta.signature:
            self._signature += delta.signature
        if delta.citation is not None and self._kind == "text":
            out += self._note(delta)
        return out

    def _summary(self) -> bytes:
        self._write_deltas()
        return self._event(
            "response.reasoning_summary_part.added", {**self._place(), "part": {"type": "summary_text", "text": ""}}
        )

    def _note(self, delta: Delta) -> bytes:
        at = sum(map(len, self._texts))
        note = annotation(delta.citation or {}, 0, at)
        if note is None:
            return b""
        self._notes.append(note)
        placed = {**self._place(), "annotation_index": len(self._notes) - 1, "annotation": note}
        return self._event("response.output_text.annotation.added", placed)

    def _end_part(self) -> bytes:
        kind, text = self._kind, "".join(self._texts)
        if not kind or self._item is None:
            return b""
        item, place = self._item, self._place()
        self._kind = ""
        if kind == "call":
            return self._end_call(item, place, text)
        if kind == "thinking":
            return self._end_thinking(item, place, text)
        if kind == "refusal":
            part: dict[str, Any] = {"type": "refusal", "refusal": text}
            out = self._event("response.refusal.done", {**place, "refusal": text})
        else:
            part = {"type": "output_text", "annotations": self._notes, "logprobs": self._logprobs, "text": text}
            out = self._event("response.output_text.done", {**place, "text": text, "logprobs": self._logprobs})
        out += self._event("response.content_part.done", {**place, "part": part})
        item["content"].append(part)
        return out

    def _end_call(self, item: dict[str, Any], place: dict[str, Any], text: str) -> bytes:
        item["status"] = "completed"
        if item["type"] == "custom_tool_call":
            item["input"] = said = custom_input(text)
            out = self._event("response.custom_tool_call_input.delta", {**place, "delta": said}) if said else b""
            out += self._event("response.custom_tool_call_input.done", {**place, "input": said})
            return out + self._done()
        item["arguments"] = text
        ended = {**place, "name": item["name"], "arguments": text}
        return self._event("response.function_call_arguments.done", ended) + self._done()

    def _end_thinking(self, item: dict[str, Any], place: dict[str, Any], text: str) -> bytes:
        out = b""
        if text:
            part = {"type": "summary_text", "text": text}
            out = self._event("response.reasoning_summary_text.done", {**place, "text": text})
            out += self._event("response.reasoning_summary_part.done", {**place, "part": part})
            item["summary"].append(part)
        if self._signature:
            origin = self._translation.origin
            item["encrypted_content"] = encrypted(self._signature, origin, redacted=self._redacted)
        return out + self._done()

    def _close(self) -> bytes:
        """The end of the open part, and of the message that it is in."""
        out = self._end_part()
        if self._item is not None:
            self._item["status"] = "completed"
            out += self._done()
        return out

    def _over(self) -> bytes:
        out = self._start() + self._close()
        self._response["usage"] = responses_usage.written(self._usage)
        status = end(self._response, self._reason, self._raw, refused=self._refused)
        if status == "incomplete" and self._response["output"] and "status" in self._response["output"][-1]:
            self._response["output"][-1]["status"] = "incomplete"
        return out + self._event(f"response.{status}", {"response": self._response})
