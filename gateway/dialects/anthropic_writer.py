"""Writes a stream of Anthropic Messages for a client: `message_start`, blocks one after the other, `message_delta` with
the reason and the usage, `message_stop`."""

from typing import Any

import msgspec

from gateway import sse
from gateway.codec import Translation
from gateway.conversation import Conversation, Foreign
from gateway.dialects import anthropic_usage
from gateway.dialects.anthropic_failure import envelope
from gateway.dialects.anthropic_read import DIALECT
from gateway.dialects.anthropic_reply import citation, sealed_call, thinking_block, word_for
from gateway.errors import GatewayError
from gateway.events import Usage
from gateway.pieces import Begin, ChoiceEnd, Delta, Over, PartBegin, PartEnd, Piece, Tokens

_encode = msgspec.json.Encoder().encode
_HEAD = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"%b":%b}}\n\n'
_KINDS = {
    "text": b'text_delta","text', "refusal": b'text_delta","text', "call": b'input_json_delta","partial_json',
    "thinking": b'thinking_delta","thinking',
}
_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


class MessagesWriter:
    """One stream. Of several choices it has the first."""

    def __init__(self, asked: Conversation, translation: Translation) -> None:  # noqa: ARG002 - the contract
        self._translation = translation
        self._begun = False
        self._usage: Usage | None = None
        self._end: ChoiceEnd | None = None
        self._ended = False
        self._index = -1
        self._kind = ""           # of the open block; empty where it is not written
        self._signature = ""

    def feed(self, piece: Piece) -> bytes:
        """Records for the client."""
        kind = type(piece)
        if kind is Delta:
            return self._delta(piece) if not piece.choice else b""  # type: ignore[arg-type,union-attr]
        if kind is PartBegin:
            return self._start() + self._part(piece) if not piece.choice else b""  # type: ignore[arg-type,union-attr]
        if kind is PartEnd:
            return self._close() if not piece.choice else b""  # type: ignore[union-attr]
        if kind is Tokens:
            self._usage = piece.usage  # type: ignore[union-attr]
            return self._ending() if self._end is not None else b""
        if kind is Begin:
            return self._start(piece)  # type: ignore[arg-type]
        if kind is ChoiceEnd and not piece.choice:  # type: ignore[union-attr]
            self._end = piece  # type: ignore[assignment]
            return self._start()
        return self._ending() + _STOP if kind is Over else b""

    def fail(self, error: GatewayError) -> bytes:
        """The error, as Anthropic's clients raise on it."""
        return sse.write(envelope(error, self._translation.request_id), b"error")

    def _start(self, begin: Begin | None = None) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        begin = begin or Begin("", "")
        self._usage = begin.usage or self._usage
        usage = self._usage or Usage()
        message: dict[str, Any] = {
            "id": begin.id or f"msg_{self._translation.request_id}", "type": "message", "role": "assistant",
            "model": begin.model, "content": [], "stop_reason": None, "stop_sequence": None,
            "usage": anthropic_usage.written(usage),
        }
        return _event("message_start", {"message": message})

    def _part(self, begin: PartBegin) -> bytes:
        out = self._close()
        kind = begin.kind
        if kind == "foreign":
            value = begin.value
            if not (isinstance(value, Foreign) and value.dialect == DIALECT):
                return out
            return out + self._block(value.value)
        if kind == "call":
            if begin.signature:
                out += self._block(sealed_call(begin.signature, "")) + self._close()
            block: dict[str, Any] = {"type": "tool_use", "id": begin.id, "name": begin.name, "input": {}}
        elif kind == "thinking":
            block = thinking_block("", begin.signature, self._translation.origin, redacted=begin.redacted)
        else:
            block = {"type": "text", "text": ""}
        out += self._block(block)
        self._kind = kind
        return out

    def _block(self, block: dict[str, Any]) -> bytes:
        self._index += 1
        self._kind = "block"
        self._signature = ""
        return _event("content_block_start", {"index": self._index, "content_block": block})

    def _delta(self, delta: Delta) -> bytes:
        kind = _KINDS.get(self._kind)
        if kind is None:
            return b""
        out = _HEAD % (self._index, kind, _encode(delta.text)) if delta.text else b""
        if delta.signature:
            self._signature += delta.signature
        if delta.citation is not None and (cited := citation(delta.citation)) is not None:
            told = {"index": self._index, "delta": {"type": "citations_delta", "citation": cited}}
            out += _event("content_block_delta", told)
        return out

    def _close(self) -> bytes:
        if not self._kind:
            return b""
        out = b""
        if self._signature and self._kind == "thinking":
            origin = self._translation.origin
            signature = thinking_block("", self._signature, origin, redacted=False)["signature"]
            told = {"index": self._index, "delta": {"type": "signature_delta", "signature": signature}}
            out = _event("content_block_delta", told)
        self._kind = ""
        return out + _event("content_block_stop", {"index": self._index})

    def _ending(self) -> bytes:
        if self._ended:
            return b""
        self._ended = True
        out = self._start() + self._close()
        end = self._end or ChoiceEnd("stop")
        delta = {"stop_reason": word_for(end.reason), "stop_sequence": end.stop_sequence}
        usage = anthropic_usage.written(self._usage or Usage())
        return out + _event("message_delta", {"delta": delta, "usage": usage})


def _event(kind: str, told: dict[str, Any]) -> bytes:
    return sse.write(_encode({"type": kind, **told}), kind.encode())
