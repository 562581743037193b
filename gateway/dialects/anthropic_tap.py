"""Watches an Anthropic stream: usage, end, errors and how much was said, while its records go on as they came.

Only whole records leave; `message_stop` is held back (`last`) until the books are closed.
"""

from collections.abc import Callable

import msgspec

from gateway import sse
from gateway.dialects.anthropic_usage import WireUsage, merged, usage_of, wire_from
from gateway.errors import GatewayError, UpstreamCut
from gateway.events import Usage
from gateway.jsonbody import read_lenient


class _Delta(msgspec.Struct, gc=False):
    text: str = ""
    thinking: str = ""
    partial_json: str = ""


class _Message(msgspec.Struct, gc=False):
    usage: WireUsage | None = None


class _Error(msgspec.Struct, gc=False):
    type: str = "error"


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    delta: _Delta | None = None
    message: _Message | None = None
    usage: WireUsage | None = None
    error: _Error | None = None


_decode = msgspec.json.Decoder(_Event).decode


class MessagesTap:
    """The state of one stream."""

    def __init__(self, scrub: Callable[[bytes], bytes] = bytes) -> None:
        self.usage: Usage | None = None
        self.error: str | None = None
        self.last = b""
        self.records = 0
        self.text_bytes = 0
        self.done = False
        self.between_records = True
        self._scrub = scrub
        self._tail = b""
        self._wire: WireUsage | None = None

    @property
    def complete(self) -> bool:
        """Whether `message_stop` came."""
        return self.done

    def feed(self, data: bytes) -> bytes:
        """Take bytes as read; returns the records to send now."""
        if self.done:
            self.last += data
            return b""
        buffer = self._tail + data if self._tail else data
        end = sse.last_boundary(buffer)
        if end != len(buffer):
            self._tail = buffer[end:]
            if len(self._tail) > sse.MAX_RECORD:
                raise UpstreamCut(f"The upstream sent a stream record of more than {sse.MAX_RECORD} bytes.")
            buffer = buffer[:end]
        else:
            self._tail = b""
        return self._watched(buffer)

    def rest(self) -> bytes:
        """At the upstream's end: a last record without its blank line, if that completes the stream."""
        tail, self._tail = self._tail, b""
        if not tail or self.done:
            return b""
        self._watched(tail + b"\n\n")
        self.last = tail if self.done else b""
        return b""

    def fail(self, error: GatewayError) -> bytes:  # noqa: ARG002
        """Nothing of its own: the dialect's record."""
        return b""

    def _watched(self, whole: bytes) -> bytes:
        records = sse.split(whole)
        for number, record in enumerate(records):
            payload = sse.data(record)
            if payload is None:
                continue
            self._see(payload)
            if self.error is not None:
                records[number] = self._scrub(record)
            if self.done:
                self.last = b"".join(records[number:]) + self._tail
                self._tail = b""
                return b"".join(records[:number])
        return whole if self.error is None else b"".join(records)

    def _see(self, payload: bytes) -> None:
        try:
            event = _decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            event = _tolerant(payload)
        delta = event.delta
        if delta is not None and event.type == "content_block_delta":
            self.records += 1
            self.text_bytes += len((delta.text or delta.partial_json or delta.thinking).encode("utf-8", "replace"))
        elif event.type == "message_stop":
            self.done = True
        elif event.type == "message_start" and event.message is not None:
            self._count(event.message.usage)
        elif event.type == "message_delta":
            self._count(event.usage)
        elif event.type == "error":
            self.error = (event.error or _Error()).type[:64]

    def _count(self, wire: WireUsage | None) -> None:
        if wire is not None:
            self._wire = merged(self._wire, wire)
            self.usage = usage_of(self._wire) or self.usage


def _tolerant(payload: bytes) -> _Event:
    """An event with fields of unexpected types: what can be read of it."""
    tree = read_lenient(payload)
    kind = tree.get("type") if type(tree) is dict else None
    if type(kind) is not str:
        return _Event()
    message = tree.get("message")
    usage = wire_from(message.get("usage") if type(message) is dict else tree.get("usage"))
    return _Event(kind, message=_Message(usage), usage=usage)
