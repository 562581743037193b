"""What the supervisor and a worker say to each other: frames of a length and a msgpack message over a socket pair.

The end of the connection is a message too: the other side is gone.
"""

import asyncio
import socket
from typing import Final

import msgspec

MAX_FRAME: Final = 64 << 20
_HEAD: Final = 4


class Start(msgspec.Struct, frozen=True, tag="start"):
    """The first message to a worker: all that it needs. `owner` names it in the shared state."""

    slot: int
    workers: int
    owner: str
    config: "Source"
    data_dir: str
    state: str
    secret: bytes

    def __repr__(self) -> str:
        return f"Start(slot={self.slot}, owner={self.owner!r})"


class Source(msgspec.Struct, frozen=True, tag="source"):
    """A configuration as it was read: every worker gets the same bytes, and the same secrets from sources. `number`
    counts them."""

    number: int
    source: bytes
    origin: str
    secrets: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"Source(number={self.number}, origin={self.origin!r})"


class Drain(msgspec.Struct, frozen=True, tag="drain"):
    """To a worker: end within so many seconds."""

    timeout: float


class Hurry(msgspec.Struct, frozen=True, tag="hurry"):
    """To a worker: end the drain now."""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """From a worker: it serves."""


class Reloaded(msgspec.Struct, frozen=True, tag="reloaded"):
    """From a worker: the answer to a `Source`; `error` says why the old configuration was kept."""

    number: int
    error: str | None = None


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """From a worker: why it cannot start."""

    error: str


Message = Start | Source | Drain | Hurry | Ready | Reloaded | Failed
_decoder: Final[msgspec.msgpack.Decoder[Message]] = msgspec.msgpack.Decoder(Message)
_encoder: Final = msgspec.msgpack.Encoder()


class Channel:
    """One end of the connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, sock: socket.socket) -> "Channel":
        """The end that `sock` is."""
        sock.setblocking(False)
        return cls(*await asyncio.open_connection(sock=sock))

    async def send(self, message: Message) -> bool:
        """Send; false if the other side is gone."""
        payload = _encoder.encode(message)
        try:
            self._writer.write(len(payload).to_bytes(_HEAD, "big") + payload)
            await self._writer.drain()
        except (ConnectionError, RuntimeError):  # uvloop raises the latter for a closed transport
            return False
        return True

    async def receive(self) -> Message | None:
        """The next message; `None` when the other side is gone."""
        try:
            size = _size(await self._reader.readexactly(_HEAD))
            return _decoder.decode(await self._reader.readexactly(size))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


def receive_blocking(sock: socket.socket) -> Message | None:
    """As `Channel.receive`, before there is an event loop."""
    head = _exactly(sock, _HEAD)
    payload = _exactly(sock, _size(head)) if head else b""
    return _decoder.decode(payload) if payload else None


def _exactly(sock: socket.socket, size: int) -> bytes:
    """`size` bytes, or none at all when the connection ends before."""
    data = bytearray()
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            return b""
        data += piece
    return bytes(data)


def _size(head: bytes) -> int:
    size = int.from_bytes(head, "big")
    if size > MAX_FRAME:
        raise ValueError(f"a control frame of {size} bytes")
    return size
