"""The JSON array that Gemini streams where a request does not say `alt=sse`: `[{…}`, `,\\r\\n{…}`, …, `]`.

Each object with what stands before it is a record. Server-sent events are in `sse.py`.
"""

import re

from gateway.errors import UpstreamCut
from gateway.framing import Framing
from gateway.sse import MAX_RECORD

_OUTSIDE = re.compile(rb'["{}\[\]]')
_INSIDE = re.compile(rb'["\\]')


class ArraySplitter:
    """Cuts an array that arrives in any pieces into its objects, without the commas and brackets around them.

    An answer that is one object alone, as errors are, is its only record.
    """

    def __init__(self, limit: int = MAX_RECORD) -> None:
        self._buffer = b""
        self._at = 0          # what is before it was looked at
        self._start = -1      # of the object that is open
        self._depth = 0       # of braces and brackets, the array's own left out
        self._quoted = False
        self._limit = limit

    def feed(self, data: bytes) -> list[bytes]:
        """The objects that `data` completes. Raises `UpstreamCut` for one over the limit."""
        buffer = self._buffer + data if self._buffer else data
        found: list[bytes] = []
        end = len(buffer)
        while (match := (_INSIDE if self._quoted else _OUTSIDE).search(buffer, self._at)) is not None:
            at, sign = match.start(), match.group()
            self._at = at + 1
            if sign == b"\\":
                if at + 1 >= end:
                    self._at = at  # what it escapes is still to come
                    break
                self._at = at + 2
            elif sign == b'"':
                self._quoted = not self._quoted
            elif sign in b"{[":
                self._opened(at, sign)
            elif self._depth:
                self._depth -= 1
                if not self._depth:
                    found.append(buffer[self._start : at + 1])
                    self._start = -1
        else:
            self._at = end
        return self._keep(buffer, found)

    def rest(self) -> bytes:
        """The bytes of an object that never ended."""
        rest, self._buffer = self._buffer, b""
        return rest if self._start >= 0 else b""

    def _opened(self, at: int, sign: bytes) -> None:
        if self._depth or sign == b"{":
            if not self._depth:
                self._start = at
            self._depth += 1

    def _keep(self, buffer: bytes, found: list[bytes]) -> list[bytes]:
        cut = self._start if self._start >= 0 else self._at
        self._buffer = buffer[cut:]
        self._at -= cut
        if self._start >= 0:
            self._start = 0
        if len(self._buffer) > self._limit:
            raise UpstreamCut(f"The upstream sent a stream record of more than {self._limit} bytes.")
        return found


def split(whole: bytes) -> list[bytes]:
    """Records of an array's bytes that end behind an object or the array: each object with what is before it."""
    records: list[bytes] = []
    at = 0
    for found in ArraySplitter().feed(whole):
        end = whole.index(found, at) + len(found)
        records.append(whole[at:end])
        at = end
    if at < len(whole):
        records.append(whole[at:])
    return records


def payload(record: bytes) -> bytes:
    """The object in a record of an array; empty for the array's end."""
    start = record.find(b"{")
    return record[start:] if start >= 0 else b""


def lone(data: bytes) -> bytes | None:
    """The payload, if these bytes are one server-sent event on one line, as nearly every read of a stream is."""
    if data.startswith(b"data: ") and data.endswith(b"\r\n\r\n") and data.find(b"\n") == len(data) - 3:
        return data[6:-4]
    return None


ARRAY = Framing("application/json; charset=UTF-8", "json", split, None, b"")
