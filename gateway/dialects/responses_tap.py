"""Watches a Responses stream: usage, end, errors and how much was said, while its records go on as they came.

Only whole records leave; the one that ends the response is held back (`last`) until the books are closed.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from gateway import sse
from gateway.dialects.responses_events import ENDS
from gateway.dialects.responses_usage import WireUsage, searched, usage_in, usage_of
from gateway.errors import GatewayError, UpstreamCut
from gateway.events import Usage
from gateway.jsonbody import read_lenient

Failed = Callable[[GatewayError, int, dict[str, Any]], bytes]


class _Error(msgspec.Struct, gc=False):
    code: str | None = None
    type: str | None = None


class _Response(msgspec.Struct, gc=False):
    id: str = ""
    background: bool | None = None
    usage: WireUsage | None = None
    service_tier: msgspec.Raw = msgspec.Raw()
    error: _Error | None = None


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    sequence_number: int = -1
    delta: str = ""
    response: _Response | None = None
    error: _Error | None = None
    code: str | None = None


_decode = msgspec.json.Decoder(_Event).decode


class ResponsesTap:
    """The state of one stream. `failed` writes the records that end it with an error of the gateway's."""

    def __init__(self, scrub: Callable[[bytes], bytes], failed: Failed) -> None:
        self.usage: Usage | None = None
        self.error: str | None = None
        self.last = b""
        self.records = 0
        self.text_bytes = 0
        self.done = False
        self.between_records = True
        self._scrub = scrub
        self._failed = failed
        self._tail = b""
        self._sequence = -1
        self._id = ""
        self.background = False

    @property
    def response_id(self) -> str:
        """The response's id, once it is known."""
        return self._id

    @property
    def complete(self) -> bool:
        """Whether the response ended."""
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

    def fail(self, error: GatewayError) -> bytes:
        """The error and the failed response, with the numbers that follow."""
        return self._failed(error, self._sequence + 1, {"id": self._id} if self._id else {})

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
            event = self._tolerant(payload)
        if event.sequence_number >= 0:
            self._sequence = event.sequence_number
        if event.delta:
            self.records += 1
            self.text_bytes += len(event.delta.encode("utf-8", "replace"))
        elif event.type in ENDS:
            self.done = True
            self._end(event.response or _Response())
            self.usage = searched(self.usage, payload)
            if event.type == "response.failed" and self.error is None:
                self.error = "server_error"
        elif event.response is not None:
            self._id = event.response.id or self._id
            self.background = event.response.background is True
        elif event.type == "error" or event.error is not None:
            error = event.error or _Error()
            self.error = (error.code or error.type or event.code or "error")[:64]

    def _end(self, response: _Response) -> None:
        if response.usage is not None:
            self.usage = usage_of(response.usage, bytes(response.service_tier)) or self.usage
        if response.error is not None and self.error is None:
            self.error = (response.error.code or "error")[:64]

    def _tolerant(self, payload: bytes) -> _Event:
        """An event with fields of unexpected types: what can be read of it."""
        tree = read_lenient(payload)
        kind = tree.get("type") if type(tree) is dict else None
        if type(kind) is not str:
            return _Event(error=_Error() if type(tree) is dict and tree.get("error") else None)
        response, number, delta = tree.get("response"), tree.get("sequence_number"), tree.get("delta")
        if type(response) is dict:
            self.usage = usage_in(response) or self.usage
            if response.get("error"):
                self.error = self.error or "error"
        return _Event(
            kind, number if type(number) is int else -1, delta if type(delta) is str else "",
            _Response() if type(response) is dict else None,
        )
