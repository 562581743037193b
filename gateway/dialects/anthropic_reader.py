"""Reads a stream of Anthropic Messages by the `type` in each event's data; pings and unknown events are passed over."""

from typing import Any

import msgspec

from gateway import sse
from gateway.codec import Translation
from gateway.conversation import Foreign
from gateway.dialects.anthropic_failure import in_stream
from gateway.dialects.anthropic_read import DIALECT
from gateway.dialects.anthropic_reply import neutral, reason_of
from gateway.dialects.anthropic_usage import WireUsage, merged, usage_of, wire_from
from gateway.errors import UpstreamCut
from gateway.jsonbody import read_lenient
from gateway.pieces import Begin, ChoiceEnd, Delta, Fail, Over, PartBegin, PartEnd, Piece, Tokens

_decode = msgspec.json.Decoder().decode


class MessagesReader:
    """One stream."""

    def __init__(self, translation: Translation) -> None:
        self._translation = translation
        self._splitter = sse.Splitter()
        self._parts = 0
        self._open: dict[int, _Open] = {}
        self._wire: WireUsage | None = None
        self._answered = False
        self._over = False

    def feed(self, data: bytes) -> list[Piece]:
        """The pieces that `data` completes."""
        out: list[Piece] = []
        for record in self._splitter.feed(data):
            if self._over:
                break
            self._record(record, out)
        return out

    def end(self) -> list[Piece]:
        """The rest. Raises `UpstreamCut` unless `message_stop` came."""
        out: list[Piece] = []
        if not self._over and (rest := self._splitter.rest()).strip():
            self._record(rest + b"\n\n", out)
        if not self._over:
            raise UpstreamCut("The upstream ended the stream before it was complete.")
        return out

    def _record(self, record: bytes, out: list[Piece]) -> None:
        payload = sse.data(record)
        if payload is None or not payload.strip():
            return
        try:
            event = _decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            event = read_lenient(payload)
        if type(event) is not dict:
            raise UpstreamCut("The upstream sent a stream record that is not a JSON object.")
        self._event(event, out)

    def _event(self, event: dict[str, Any], out: list[Piece]) -> None:
        kind = event.get("type")
        if kind == "content_block_delta":
            part = self._open.get(event.get("index", 0))
            delta = event.get("delta")
            if part is not None and type(delta) is dict:
                self._delta(part, delta, out)
        elif kind == "content_block_start":
            block = event.get("content_block")
            if type(block) is dict:
                self._start(event.get("index", 0), block, out)
        elif kind == "content_block_stop":
            if (part := self._open.pop(event.get("index", 0), None)) is not None:
                self._stop(part, out)
        elif kind == "message_start":
            self._begin(event.get("message"), out)
        elif kind == "message_delta":
            self._ending(event, out)
        elif kind == "message_stop":
            self._over = True
            out.append(Over())
        elif kind == "error":
            self._over = True
            out.append(Fail(in_stream(event.get("error"))))

    def _begin(self, message: Any, out: list[Piece]) -> None:  # noqa: ANN401 - whatever stands for the message
        message = message if type(message) is dict else {}
        self._wire = wire_from(message.get("usage"))
        id_, model = message.get("id"), message.get("model")
        out.append(
            Begin(
                id_ if type(id_) is str else "", model if type(model) is str else "",
                usage=usage_of(self._wire) if self._wire is not None else None,
            )
        )

    def _start(self, index: int, block: dict[str, Any], out: list[Piece]) -> None:
        for other in list(self._open):  # a server that forgot to end its block
            self._stop(self._open.pop(other), out)
        kind = block.get("type")
        part = self._open[index] = _Open(self._parts, str(kind))
        if kind == "tool_use" and type(name := block.get("name")) is str:
            self._called(part, name, block, out)
        elif kind in ("text", "thinking"):
            out.append(PartBegin(kind, self._parts))
            text, signature = block.get(kind), block.get("signature")
            if (type(text) is str and text) or (type(signature) is str and signature):
                said, signed = text if type(text) is str else "", signature if type(signature) is str else ""
                out.append(Delta(self._parts, said, signature=signed))
        elif kind == "redacted_thinking":
            data = block.get("data")
            signature = data if type(data) is str else ""
            out.append(PartBegin("thinking", self._parts, signature=signature, redacted=True))
        else:
            part.foreign = dict(block)
            return  # goes on as a whole, once it is whole
        self._parts += 1

    def _called(self, part: "_Open", name: str, block: dict[str, Any], out: list[Piece]) -> None:
        id_ = block.get("id")
        part.kind = "call"
        if name == self._translation.answer_tool:
            self._answered = True
            out.append(PartBegin("text", part.number))
        else:
            id_ = id_ if type(id_) is str and id_ else f"call_{self._translation.request_id}_{part.number}"
            out.append(PartBegin("call", part.number, id=id_, name=self._translation.called(name)))
        if given := block.get("input"):  # some servers send all of it at once
            part.said = True
            out.append(Delta(part.number, msgspec.json.encode(given).decode()))

    def _delta(self, part: "_Open", delta: dict[str, Any], out: list[Piece]) -> None:
        kind = delta.get("type")
        if part.foreign is not None:
            if kind == "input_json_delta" and type(text := delta.get("partial_json")) is str:
                part.pieces.append(text)
            return
        if kind in ("text_delta", "thinking_delta"):
            text = delta.get("text" if kind == "text_delta" else "thinking")
            if type(text) is str and text:
                out.append(Delta(part.number, text))
        elif kind == "input_json_delta":
            text = delta.get("partial_json")
            if type(text) is str and text:
                part.said = True
                out.append(Delta(part.number, text))
        elif kind == "signature_delta":
            signature = delta.get("signature")
            if type(signature) is str and signature:
                out.append(Delta(part.number, signature=signature))
        elif kind == "citations_delta" and type(cited := delta.get("citation")) is dict:
            out.append(Delta(part.number, citation=neutral(cited)))

    def _stop(self, part: "_Open", out: list[Piece]) -> None:
        if part.foreign is not None:
            if part.pieces:
                given = read_lenient("".join(part.pieces).encode("utf-8", "replace") or b"{}")
                part.foreign["input"] = given if type(given) is dict else {}
            out.append(PartBegin("foreign", self._parts, value=Foreign(DIALECT, part.foreign)))
            part.number = self._parts
            self._parts += 1
        elif part.kind == "call" and not part.said:
            out.append(Delta(part.number, "{}"))
        out.append(PartEnd(part.number))

    def _ending(self, event: dict[str, Any], out: list[Piece]) -> None:
        for index in list(self._open):
            self._stop(self._open.pop(index), out)
        later = wire_from(event.get("usage"))
        if later is not None:
            self._wire = merged(self._wire, later)
            if (usage := usage_of(self._wire)) is not None:
                out.append(Tokens(usage))
        delta = event.get("delta")
        if type(delta) is dict and type(raw := delta.get("stop_reason")) is str:
            stopped = delta.get("stop_sequence")
            reason = reason_of(raw, answered=self._answered)
            out.append(ChoiceEnd(reason, raw_reason=raw, stop_sequence=stopped if type(stopped) is str else None))


class _Open:
    """A block that is not at its end."""

    __slots__ = ("foreign", "kind", "number", "pieces", "said")

    def __init__(self, number: int, kind: str) -> None:
        self.number = number
        self.kind = kind
        self.said = False                              # a call that has arguments
        self.foreign: dict[str, Any] | None = None     # a block that only this dialect knows
        self.pieces: list[str] = []                    # of its input
