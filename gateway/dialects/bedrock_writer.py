"""Writes a stream of ConverseStream for a client: frames with their checksums, the usage last."""

from typing import Any

import msgspec

from gateway import eventstream
from gateway.codec import Translation
from gateway.conversation import Conversation, Foreign, MediaPart
from gateway.dialects import bedrock_usage
from gateway.dialects.bedrock_failure import frame_of
from gateway.dialects.bedrock_read import DIALECT
from gateway.dialects.bedrock_reply import citation, image, sealed_call, thought, word_for
from gateway.errors import GatewayError
from gateway.events import Usage
from gateway.pieces import Begin, ChoiceEnd, Delta, Over, PartBegin, PartEnd, Piece, Tokens

_encode = msgspec.json.Encoder().encode
_DELTA = b'{"contentBlockIndex":%d,"delta":{"text":%b}}'
_CALL = b'{"contentBlockIndex":%d,"delta":{"toolUse":{"input":%b}}}'
_THOUGHT = b'{"contentBlockIndex":%d,"delta":{"reasoningContent":{"text":%b}}}'
_FORMS = {"text": _DELTA, "refusal": _DELTA, "call": _CALL, "thinking": _THOUGHT}


class ConverseWriter:
    """One stream. Of several choices it has the first."""

    def __init__(self, asked: Conversation, translation: Translation) -> None:  # noqa: ARG002 - the contract
        self._translation = translation
        self._begun = False
        self._usage: Usage | None = None
        self._ended = False
        self._index = -1
        self._kind = ""           # of the open block; empty where none is open
        self._signature = ""

    def feed(self, piece: Piece) -> bytes:
        """Frames for the client."""
        kind = type(piece)
        if kind is Delta:
            return self._delta(piece) if not piece.choice else b""  # type: ignore[arg-type,union-attr]
        if kind is PartBegin:
            return self._start() + self._part(piece) if not piece.choice else b""  # type: ignore[arg-type,union-attr]
        if kind is PartEnd:
            return self._close() if not piece.choice else b""  # type: ignore[union-attr]
        if kind is Tokens or kind is Begin:
            self._usage = piece.usage or self._usage  # type: ignore[union-attr]
            return self._start() if kind is Begin else b""
        if kind is ChoiceEnd and not piece.choice:  # type: ignore[union-attr]
            return self._ending(piece)  # type: ignore[arg-type]
        return self._over() if kind is Over else b""

    def fail(self, error: GatewayError) -> bytes:
        """The error, as botocore raises on it."""
        return frame_of(error)

    def _start(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        return _event("messageStart", {"role": "assistant"})

    def _part(self, begin: PartBegin) -> bytes:
        out = self._close()
        kind = begin.kind
        if kind == "foreign":
            return out + self._foreign(begin.value)
        if kind == "call" and begin.signature:
            self._index += 1
            out += self._told({"reasoningContent": sealed_call(begin.signature, "")})
            out += _event("contentBlockStop", {"contentBlockIndex": self._index})
        self._index += 1
        self._kind = kind
        self._signature = ""
        if kind == "call":
            start = {"toolUse": {"toolUseId": begin.id, "name": begin.name}}
            out += _event("contentBlockStart", {"contentBlockIndex": self._index, "start": start})
        elif kind == "thinking" and begin.redacted:
            sealed = thought("", begin.signature, self._translation.origin, redacted=True)
            out += self._told({"reasoningContent": sealed})
        elif kind == "thinking":
            self._signature = begin.signature
        return out

    def _foreign(self, value: Any) -> bytes:  # noqa: ANN401 - as in `PartBegin`
        """A block that came whole: an image, or a server tool's call or result."""
        made = image(value) if isinstance(value, MediaPart) else None
        if made is not None:
            return self._block({"image": {"format": made["format"]}}, {"image": {"source": made["source"]}})
        if not (isinstance(value, Foreign) and value.dialect == DIALECT):
            return b""
        block = value.value
        call, result = block.get("toolUse"), block.get("toolResult")
        if type(call) is dict:
            head = {name: told for name, told in call.items() if name != "input"}
            return self._block({"toolUse": head}, {"toolUse": {"input": _encode(call.get("input")).decode()}})
        if type(result) is dict:
            head = {name: told for name, told in result.items() if name != "content"}
            return self._block({"toolResult": head}, {"toolResult": result.get("content")})
        return b""

    def _block(self, start: dict[str, Any], delta: dict[str, Any]) -> bytes:
        self._index += 1
        self._kind = "block"
        begun = _event("contentBlockStart", {"contentBlockIndex": self._index, "start": start})
        return begun + self._told(delta)

    def _told(self, delta: dict[str, Any]) -> bytes:
        return _event("contentBlockDelta", {"contentBlockIndex": self._index, "delta": delta})

    def _delta(self, delta: Delta) -> bytes:
        form = _FORMS.get(self._kind)
        if form is None:
            return b""
        out = b""
        if delta.text:
            out = eventstream.event("contentBlockDelta", form % (self._index, _encode(delta.text)))
        if delta.signature:
            self._signature += delta.signature
        if delta.citation is not None and (cited := citation(delta.citation)) is not None:
            if "sourceContent" not in cited and "location" not in cited:
                return out
            out += self._told({"citation": cited})
        return out

    def _close(self) -> bytes:
        if not self._kind:
            return b""
        out = b""
        if self._signature and self._kind == "thinking":
            sealed = thought("", self._signature, self._translation.origin, redacted=False)
            out = self._told({"reasoningContent": {"signature": sealed["reasoningText"]["signature"]}})
        self._kind = ""
        return out + _event("contentBlockStop", {"contentBlockIndex": self._index})

    def _ending(self, end: ChoiceEnd) -> bytes:
        if self._ended:
            return b""
        self._ended = True
        return self._start() + self._close() + _event("messageStop", {"stopReason": word_for(end.reason)})

    def _over(self) -> bytes:
        told = {"usage": bedrock_usage.written(self._usage or Usage()), "metrics": {"latencyMs": 0}}
        return self._ending(ChoiceEnd("stop")) + _event("metadata", told)


def _event(kind: str, told: dict[str, Any]) -> bytes:
    return eventstream.event(kind, _encode(told))
