"""For tests of the HTTP server: both event loops, a server on a free port, and clients that write bytes."""

import asyncio
import functools
import inspect
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import msgspec
import pytest
import uvloop
from waiting import PATIENCE

from gateway.config import Server
from gateway.httpserver import Answer, HttpServer, Incoming

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def on_both_loops(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test once on asyncio's loop and once on uvloop."""

    @pytest.mark.parametrize("loop_name", LOOPS)
    @functools.wraps(test)
    def run(loop_name: str, **arguments: object) -> None:
        with asyncio.Runner(loop_factory=LOOPS[loop_name]) as runner:
            runner.run(asyncio.wait_for(test(**arguments), 4 * PATIENCE))  # type: ignore[arg-type]

    signature = inspect.signature(test)
    name = inspect.Parameter("loop_name", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run.__signature__ = signature.replace(parameters=[name, *signature.parameters.values()])  # type: ignore[attr-defined]
    return run


@asynccontextmanager
async def serving(
    serve: Callable[[Incoming], Awaitable[Answer]], **settings: object
) -> AsyncIterator[tuple[HttpServer, int]]:
    """A running server and its port."""
    server = HttpServer(serve, msgspec.convert(settings, Server))
    sock = socket.create_server(("127.0.0.1", 0))
    await server.listen(sock)
    try:
        yield server, sock.getsockname()[1]
    finally:
        await server.close()
        assert server.open_connections == 0
        assert server.requests_in_flight == 0


def head(*lines: str, start: str = "GET / HTTP/1.1") -> bytes:
    """A request's head; the lines after the first need a Host among them."""
    return "\r\n".join((start, *lines, "", "")).encode("latin-1")


class Client:
    """One raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *pieces: bytes, pause: float = 0.02) -> None:
        """Write bytes; several pieces leave as several segments. A server that hung up is no error here."""
        try:
            for piece in pieces:
                self.writer.write(piece)
                await self.writer.drain()
                if len(pieces) > 1:
                    await asyncio.sleep(pause)
        except ConnectionError:
            pass

    async def rest(self) -> bytes:
        """All bytes until the server closes; a reset counts as a close."""
        data = b""
        try:
            while piece := await asyncio.wait_for(self.reader.read(65_536), PATIENCE):
                data += piece
        except ConnectionError:
            pass
        return data

    async def reply(self) -> tuple[int, dict[str, str], bytes]:
        """One answer: status, headers in lower case, body."""
        raw = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE)
        first, *lines = raw[:-4].decode().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = b""
        if headers.get("transfer-encoding") == "chunked":
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                body += (await self.reader.readexactly(size + 2))[:-2]
            await self.reader.readexactly(2)
        elif "content-length" in headers:
            body = await self.reader.readexactly(int(headers["content-length"]))
        return int(first.split()[1]), headers, body


class Endless:
    """Serves without an end, and remembers how it was ended."""

    def __init__(self, *, stream: bool = False, read: bool = False) -> None:
        self.running = asyncio.Event()
        self.cancelled: float | None = None
        self._stream = stream
        self._read = read

    async def __call__(self, incoming: Incoming) -> Answer:
        try:
            if self._stream:
                await incoming.start(200, {"content-type": "text/event-stream"})
                await incoming.write(b"data: 1\n\n")
            self.running.set()
            if self._read:
                await incoming.body(1 << 20)
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = time.monotonic()
            raise
        return incoming.reply(200, {}, b"")


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Client]:
    """A client connection that is closed at the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

