"""Upstreams that misbehave: loopback servers for the tests of the HTTP client, and what those tests share."""

import asyncio
import atexit
import functools
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from gateway.config import Timeouts
from gateway.errors import UpstreamError
from gateway.hookspecs import HttpRequest
from gateway.upstream import Peer, Upstream, UpstreamReply

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
KEY = "sk-canary-000000000000"


class Server:
    """A loopback server; counts its connections and how many of them the other side has left."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.port = 0
        self.connections = 0
        self.left = 0
        self.closed = False
        self.tasks: set[asyncio.Task[None]] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self.serve(reader, writer))
        task.add_done_callback(lambda _: writer.transport.abort())  # also if it is cancelled before it began
        self.tasks.add(task)
        if self.closed:
            task.cancel()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self.handler(reader, writer)
            if not await reader.read(1):
                self.left += 1
        except (ConnectionError, asyncio.IncompleteReadError):
            self.left += 1
        except RuntimeError:  # uvloop's word for a write to a closed connection
            self.left += 1
        finally:
            writer.transport.abort()


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(handler)
    listener = await asyncio.start_server(server.accept, "127.0.0.1", 0, ssl=tls, backlog=2000)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        server.closed = True
        for task in server.tasks:
            task.cancel()
        await asyncio.gather(*server.tasks, return_exceptions=True)
        await asyncio.sleep(0.01)


@asynccontextmanager
async def client() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    try:
        yield upstream
    finally:
        await upstream.close()
        assert upstream.stats() == {}


def peer(name: str = "acme", *, connect: float = 20, first_byte: float = 40, idle: float = 40, total: float | None = None,
         **others: Any) -> Peer:
    return Peer(name, Timeouts(connect=connect, first_byte=first_byte, idle=idle, total=total), **others)


def post(port: int, body: bytes = b"", *, path: str = "/v1/x", host: str = "127.0.0.1", scheme: str = "http",
         key: str = KEY, headers: tuple[tuple[str, str], ...] = ()) -> HttpRequest:
    return HttpRequest("POST", f"{scheme}://{host}:{port}{path}", (("Authorization", f"Bearer {key}"), *headers), body)


async def request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
    return head, await reader.readexactly(length)


def answer(body: bytes) -> bytes:
    return OK + b"content-length: %d\r\n\r\n" % len(body) + body


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Every request gets its own body back, for as long as the client stays."""
    while True:
        _, body = await request(reader)
        writer.write(answer(body))
        await writer.drain()


def once(*pieces: bytes, pause: float = 0.0, then_close: bool = True) -> Handler:
    """Answer one request with these bytes."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(pause)
        if then_close:
            await writer.drain()
            writer.close()

    return handler


async def collect(reply: UpstreamReply) -> bytes:
    parts = []
    while piece := await reply.read():
        parts.append(piece)
    return b"".join(parts)


async def failing(kind: type[UpstreamError], send: Awaitable[Any]) -> str:
    """The text of the error that this ends in, after the checks that hold for every error."""
    with pytest.raises(kind) as caught:
        await send
    text = caught.value.message
    assert "acme" in text
    for secret in (KEY, "127.0.0.1", "http:/", "localhost", "example"):
        assert secret not in text
    return text


def know(upstream: Upstream, host: str, port: int, *addresses: str) -> None:
    """Let the client's name cache hold these addresses."""
    upstream._names._known[host, port] = (time.monotonic() + 60, addresses)


@functools.cache
def authority() -> tuple[trustme.CA, str]:
    ca = trustme.CA()
    with tempfile.NamedTemporaryFile(suffix=".pem", delete=False) as file:
        file.write(ca.cert_pem.bytes())
    atexit.register(Path(file.name).unlink)
    return ca, file.name


def tls_for(*names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority()[0].issue_cert(*names).configure_cert(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context
