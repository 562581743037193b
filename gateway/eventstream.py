"""AWS event-stream frames on bytes: where they end, what they hold, and how ours are written. The only parser of them.

A frame is: its length and its headers' length (4 bytes each), a CRC of these, headers, payload, a CRC of it all.
Source: docs.aws.amazon.com/transcribe/latest/dg/streaming-setting-up.html (the format is the same for all services),
and botocore's reader.
"""

import binascii
import struct
from collections.abc import Mapping
from typing import Final

import msgspec

from gateway.errors import UpstreamCut

CONTENT_TYPE: Final = "application/vnd.amazon.eventstream"
MAX_FRAME: Final = 24 * 1024 * 1024  # of the format: 16 MiB of payload and 128 KiB of headers fit

_PRELUDE = struct.Struct("!III")
_CRC = struct.Struct("!I")
_SHORT = struct.Struct("!H")
_STRING = 7
# Header types with a value of fixed size: true, false, byte, short, integer, long, timestamp, UUID.
_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}


class Frame(msgspec.Struct, frozen=True):
    """One frame: its headers that are strings (`:event-type`, `:message-type`, …), its payload, and its own bytes."""

    headers: Mapping[str, str]
    payload: bytes
    raw: bytes


class Splitter:
    """Cuts bytes that arrive in any pieces into frames, and checks them."""

    def __init__(self) -> None:
        self._tail = b""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes. Raises `UpstreamCut` for what is none: nothing behind it can be read."""
        buffer = self._tail + data if self._tail else data
        frames, start = [], 0
        while (size := _size(buffer, start)) is not None and len(buffer) - start >= size:
            frames.append(_frame(buffer[start : start + size]))
            start += size
        self._tail = buffer[start:]
        return frames

    def rest(self) -> bytes:
        """The bytes of a frame that never ended."""
        tail, self._tail = self._tail, b""
        return tail


def last_boundary(buffer: bytes) -> int:
    """The offset behind the last whole frame in `buffer`, which begins with one; 0 if there is none."""
    start = 0
    while (size := _size(buffer, start)) is not None and len(buffer) - start >= size:
        start += size
    return start


def split(whole: bytes) -> list[bytes]:
    """Whole frames, as they are, of bytes that end where one ends."""
    records, start = [], 0
    while (size := _size(whole, start)) is not None:
        records.append(whole[start : start + size])
        start += size
    return records


def read(raw: bytes) -> Frame:
    """One whole frame."""
    return _frame(raw)


def write(payload: bytes, headers: Mapping[str, str]) -> bytes:
    """A frame with these headers."""
    packed = b"".join(
        bytes((len(name),)) + name.encode() + bytes((_STRING,)) + _SHORT.pack(len(value.encode())) + value.encode()
        for name, value in headers.items()
    )
    lengths = struct.pack("!II", 16 + len(packed) + len(payload), len(packed))
    message = lengths + _CRC.pack(binascii.crc32(lengths)) + packed + payload
    return message + _CRC.pack(binascii.crc32(message))


def event(kind: str, payload: bytes) -> bytes:
    """A frame with an event, as Bedrock's streams have them."""
    return write(payload, {":event-type": kind, ":content-type": "application/json", ":message-type": "event"})


def exception(kind: str, payload: bytes) -> bytes:
    """A frame with an error that ends the stream."""
    return write(payload, {":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"})


def _size(buffer: bytes, start: int) -> int | None:
    """How long the frame is that begins at `start`, if so much of it is here."""
    if len(buffer) - start < _PRELUDE.size:
        return None
    size, headers, crc = _PRELUDE.unpack_from(buffer, start)
    if binascii.crc32(buffer[start : start + 8]) != crc or size > MAX_FRAME or headers + 16 > size:
        raise UpstreamCut("The upstream sent a damaged frame: its head does not match its checksum.")
    return int(size)


def _frame(raw: bytes) -> Frame:
    if len(raw) < 16 or binascii.crc32(raw[:-4]) != _CRC.unpack_from(raw, len(raw) - 4)[0]:
        raise UpstreamCut("The upstream sent a damaged frame: it does not match its checksum.")
    _, length, _ = _PRELUDE.unpack_from(raw)
    try:
        return Frame(_headers(raw[12 : 12 + length]), raw[12 + length : -4], raw)
    except (struct.error, IndexError, KeyError, UnicodeDecodeError):
        raise UpstreamCut("The upstream sent a frame with headers that cannot be read.") from None


def _headers(data: bytes) -> dict[str, str]:
    found, at = {}, 0
    while at < len(data):
        end = at + 1 + data[at]
        name, kind = data[at + 1 : end].decode(), data[end]
        at = end + 1
        if kind in (6, _STRING):  # bytes, or text
            size = _SHORT.unpack_from(data, at)[0]
            value = data[at + 2 : at + 2 + size]
            if len(value) != size:
                raise IndexError
            if kind == _STRING:
                found[name] = value.decode()
            at += 2 + size
        else:
            at += _SIZES[kind]
    if at != len(data):
        raise IndexError
    return found
