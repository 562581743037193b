"""Reads a stream of ConverseStream: frames with an event each. The usage comes behind the end, in `metadata`.

Blocks of text and reasoning begin with their first delta; only calls, results and images are announced.
"""

from typing import Any

import msgspec

from gateway.codec import Translation
from gateway.conversation import Foreign, MediaPart, Source
from gateway.dialects.bedrock_failure import in_stream
from gateway.dialects.bedrock_models import media_type
from gateway.dialects.bedrock_read import DIALECT
from gateway.dialects.bedrock_reply import neutral, reason_of, text
from gateway.dialects.bedrock_usage import usage_of
from gateway.errors import UpstreamCut
from gateway.eventstream import Frame, Splitter
from gateway.jsonbody import read_lenient
from gateway.pieces import Begin, ChoiceEnd, Delta, Fail, Over, PartBegin, PartEnd, Piece, Tokens

_decode = msgspec.json.Decoder().decode


class ConverseReader:
    """One stream."""

    def __init__(self, translation: Translation) -> None:
        self._translation = translation
        self._splitter = Splitter()
        self._parts = 0
        self._open: dict[Any, _Open] = {}
        self._begun = False
        self._answered = False
        self._stopped = False
        self._over = False

    def feed(self, data: bytes) -> list[Piece]:
        """The pieces that `data` completes."""
        out: list[Piece] = []
        for frame in self._splitter.feed(data):
            if self._over:
                break
            self._frame(frame, out)
        return out

    def end(self) -> list[Piece]:
        """The rest. Raises `UpstreamCut` unless `messageStop` came, or for half a frame."""
        if self._over:
            return []
        if not self._stopped or self._splitter.rest():
            raise UpstreamCut("The upstream ended the stream before it was complete.")
        self._over = True
        return [Over()]

    def _frame(self, frame: Frame, out: list[Piece]) -> None:
        if (error := in_stream(frame)) is not None:
            self._over = True
            out.append(Fail(error))
            return
        try:
            event = _decode(frame.payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            event = read_lenient(frame.payload)
        if type(event) is not dict:
            raise UpstreamCut("The upstream sent a frame that does not hold a JSON object.")
        if not self._begun:
            self._begun = True
            out.append(Begin(f"msg_{self._translation.request_id}", self._translation.model))
        self._event(frame.headers.get(":event-type", ""), event, out)

    def _event(self, kind: str, event: dict[str, Any], out: list[Piece]) -> None:
        if kind == "contentBlockDelta":
            delta = event.get("delta")
            if type(delta) is dict:
                self._delta(_index(event), delta, out)
        elif kind == "contentBlockStart":
            start = event.get("start")
            if type(start) is dict:
                self._start(_index(event), start, out)
        elif kind == "contentBlockStop":
            if (part := self._open.pop(_index(event), None)) is not None:
                self._stop(part, out)
        elif kind == "messageStop":
            self._close(out)
            self._stopped = True
            raw = text(event.get("stopReason"))
            out.append(ChoiceEnd(reason_of(raw, answered=self._answered), raw_reason=raw))
        elif kind == "metadata":
            if (usage := usage_of(event.get("usage"), event.get("serviceTier"))) is not None:
                out.append(Tokens(usage))
            if self._stopped:
                self._over = True
                out.append(Over())

    def _start(self, index: Any, start: dict[str, Any], out: list[Piece]) -> None:  # noqa: ANN401
        self._close(out)
        call = start.get("toolUse")
        if type(call) is dict and type(name := call.get("name")) is str and "type" not in call:
            part = self._begin(index, "call")
            if name == self._translation.answer_tool:
                self._answered = True
                out.append(PartBegin("text", part.number))
                return
            made = f"call_{self._translation.request_id}_{part.number}"
            id_ = text(call.get("toolUseId")) or made
            out.append(PartBegin("call", part.number, id=id_, name=self._translation.called(name)))
            return
        kind = next(iter(start), "")
        value = start.get(kind)
        part = _Open(-1, kind)  # goes on as a whole, once it is whole
        part.foreign = dict(value) if type(value) is dict else {}
        self._open[index] = part

    def _begin(self, index: Any, kind: str) -> "_Open":  # noqa: ANN401
        part = self._open[index] = _Open(self._parts, kind)
        self._parts += 1
        return part

    def _delta(self, index: Any, delta: dict[str, Any], out: list[Piece]) -> None:  # noqa: ANN401
        part = self._open.get(index)
        if part is not None and part.foreign is not None:
            _gather(part, delta)
            return
        said = delta.get("text")
        if type(said) is str:
            if said:  # an empty one may stand before a block of another kind
                out.append(Delta(self._part(index, "text", out).number, said))
        elif type(call := delta.get("toolUse")) is dict:
            if part is not None and part.kind == "call" and (given := text(call.get("input"))):
                part.said = True
                out.append(Delta(part.number, given))
        elif type(thought := delta.get("reasoningContent")) is dict:
            self._thought(index, thought, out)
        elif type(cited := delta.get("citation")) is dict:
            out.append(Delta(self._part(index, "text", out).number, citation=neutral(cited)))

    def _thought(self, index: Any, thought: dict[str, Any], out: list[Piece]) -> None:  # noqa: ANN401
        redacted = text(thought.get("redactedContent"))
        if redacted:
            self._close(out)
            part = self._begin(index, "thinking")
            out.append(PartBegin("thinking", part.number, signature=redacted, redacted=True))
            return
        part = self._part(index, "thinking", out)
        said, signature = text(thought.get("text")), text(thought.get("signature"))
        if said or signature:
            out.append(Delta(part.number, said, signature=signature))

    def _part(self, index: Any, kind: str, out: list[Piece]) -> "_Open":  # noqa: ANN401
        """The open part of this block; its first delta begins it."""
        part = self._open.get(index)
        if part is None or part.kind != kind:
            self._close(out)
            part = self._begin(index, kind)
            out.append(PartBegin(kind, part.number))  # type: ignore[arg-type]
        return part

    def _close(self, out: list[Piece]) -> None:
        for index in list(self._open):
            self._stop(self._open.pop(index), out)

    def _stop(self, part: "_Open", out: list[Piece]) -> None:
        if part.foreign is not None:
            part.number = self._parts
            self._parts += 1
            out.append(PartBegin("foreign", part.number, value=_whole(part)))
        elif part.kind == "call" and not part.said:
            out.append(Delta(part.number, "{}"))
        out.append(PartEnd(part.number))


class _Open:
    """A block that is not at its end."""

    __slots__ = ("foreign", "kind", "number", "pieces", "said")

    def __init__(self, number: int, kind: str) -> None:
        self.number = number
        self.kind = kind
        self.said = False                              # a call that has arguments
        self.foreign: dict[str, Any] | None = None     # a block that is kept until it is whole
        self.pieces: list[Any] = []                    # of its input or content


def _index(event: dict[str, Any]) -> Any:  # noqa: ANN401
    index = event.get("contentBlockIndex")
    return index if type(index) is int else 0


def _gather(part: _Open, delta: dict[str, Any]) -> None:
    """More of a block that goes on as a whole."""
    value = delta.get(part.kind)
    if part.kind == "toolResult" and type(value) is list:
        part.pieces += value
    elif type(value) is dict:
        source = value.get("source")
        part.pieces.append(source.get("bytes") if type(source) is dict else value.get("input"))


def _whole(part: _Open) -> Foreign | MediaPart:
    value = part.foreign or {}
    said = "".join(piece for piece in part.pieces if type(piece) is str)
    if part.kind == "image":
        return MediaPart("image", Source("base64", said, media_type("image", text(value.get("format")))))
    if part.kind == "toolResult":
        return Foreign(DIALECT, {"toolResult": {**value, "content": part.pieces}})
    if part.kind == "toolUse":
        given = read_lenient(said.encode("utf-8", "replace") or b"{}")
        return Foreign(DIALECT, {"toolUse": {**value, "input": given if type(given) is dict else {}}})
    return Foreign(DIALECT, {part.kind: value})
