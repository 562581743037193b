"""Server-sent events on bytes: where records end, what they say, and how ours are written. The only parser of them.

Records keep their bytes, blank line included, so that what is not changed leaves as it came. Line ends may be LF,
CRLF or CR (WHATWG HTML, section 9.2.6).
"""

import re

from gateway.errors import UpstreamCut

MAX_RECORD = 8 * 1024 * 1024

# Two line ends in a row. A lone CR at the very end may be half of a CRLF: it ends nothing yet.
_BLANK = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r(?=[\s\S]))")
_END_OF_LINE = re.compile(rb"\r\n|\n|\r")


def last_boundary(buffer: bytes) -> int:
    """The offset behind the last complete record in `buffer`, 0 if there is none."""
    if b"\r" not in buffer:
        return buffer.rfind(b"\n\n") + 2 if b"\n\n" in buffer else 0
    end = 0
    for match in _BLANK.finditer(buffer):
        end = match.end()
    return end


def first_boundary(buffer: bytes, start: int) -> int:
    """The offset behind the record that begins at `start`; the buffer's end if it does not end."""
    match = _BLANK.search(buffer, start)
    return match.end() if match else len(buffer)


def split(whole: bytes) -> list[bytes]:
    """Complete records, as they are, of bytes that end at a record boundary."""
    if b"\r" not in whole:
        *parts, rest = whole.split(b"\n\n")
        records = [part + b"\n\n" for part in parts]
        return [*records, rest] if rest else records
    records, start = [], 0
    for match in _BLANK.finditer(whole):
        records.append(whole[start : match.end()])
        start = match.end()
    if start < len(whole):
        records.append(whole[start:])
    return records


class Splitter:
    """Cuts bytes that arrive in any pieces into whole records."""

    def __init__(self, limit: int = MAX_RECORD) -> None:
        self._tail = b""
        self._limit = limit

    @property
    def empty(self) -> bool:
        """Whether nothing waits for its end."""
        return not self._tail

    def feed(self, data: bytes) -> list[bytes]:
        """The records that `data` completes. Raises `UpstreamCut` for a record over the limit."""
        buffer = self._tail + data if self._tail else data
        end = last_boundary(buffer)
        self._tail = buffer[end:]
        if len(self._tail) > self._limit:
            raise UpstreamCut(f"The upstream sent a stream record of more than {self._limit} bytes.")
        return split(buffer[:end]) if end else []

    def rest(self) -> bytes:
        """The bytes of a record that never ended."""
        tail, self._tail = self._tail, b""
        return tail


def data(record: bytes) -> bytes | None:
    """The record's data, its lines joined; `None` for a comment or a record without data."""
    if record.startswith(b"data: ") and record.find(b"\n") == len(record) - 2 and b"\r" not in record:
        return record[6:-2]
    lines = []
    for line in _END_OF_LINE.split(record):
        name, _, value = line.partition(b":")
        if name == b"data":
            lines.append(value.removeprefix(b" "))
    return b"\n".join(lines) if lines else None


def write(payload: bytes, event: bytes = b"") -> bytes:
    """A record with one line of data, and an event name if given."""
    head = b"event: " + event + b"\n" if event else b""
    return head + b"data: " + payload + b"\n\n"


KEEP_ALIVE = b": keep-alive\n\n"
DONE = b"data: [DONE]\n\n"
