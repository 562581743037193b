"""A connection of the HTTP server: aiohttp's protocol with deadlines, limits and error pages of ours.

aiohttp has no deadline for a head, a body or a slow reader, quotes the client's bytes in its error pages and logs, and
serves whatever version or target it can parse. All private names of aiohttp that are relied on are listed in
`check_library`, which refuses to start on a version without them.
"""

import asyncio
import fcntl
import struct
import termios
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import aiohttp
from aiohttp import EMPTY_PAYLOAD, StreamReader, http_parser, web, web_protocol
from aiohttp.http import RawRequestMessage
from aiohttp.web_protocol import RequestHandler

from gateway.errors import GatewayError, InvalidRequest, Unavailable
from gateway.httprequest import RequestTimeout, response_head
from gateway.httpturns import Turns

if TYPE_CHECKING:
    from gateway.httpserver import HttpServer

MAX_FIELD = 8 * 1024
MAX_FIELDS = 128
MAX_HEAD = 64 * 1024
MAX_CHUNK_OVERHEAD = 64 * 1024
# How long after an answer the rest of its request is read and thrown away, so that the answer survives the close.
DRAIN_BODY = 5.0
LINGER = 1.0

_PRIVATE: dict[Any, tuple[str, ...]] = {
    RequestHandler: (
        "_buffer_paused", "_close", "_current_request", "_force_close", "_keepalive_handle", "_keepalive_timeout",
        "_lingering_time", "_loop", "_messages", "_msg_queue_resume_size", "_next_keepalive_close_time", "_parser",
        "_paused", "_process_keepalive", "_reading_paused", "_request_count", "_resume_reading_if_drained",
        "_task_handler", "_upgraded", "_waiter", "data_received", "resume_reading", "start",
    ),
    web_protocol: ("ERROR", "_ErrInfo"),
}


def check_library(names: dict[Any, tuple[str, ...]] | None = None) -> None:
    """Raise `RuntimeError` when the installed aiohttp lacks a private name or the strict parser this is built on."""
    wanted = names or _PRIVATE
    missing = [f"{owner.__name__}.{name}" for owner in wanted for name in wanted[owner] if not hasattr(owner, name)]
    if missing:
        raise RuntimeError(
            f"aiohttp {aiohttp.__version__} is not the library that the HTTP server was built on: it has no "
            f"{', '.join(missing)}. Install a version that pyproject.toml allows and the tests have passed with."
        )
    if http_parser.HttpRequestParser.__module__ != "aiohttp._http_parser":
        raise RuntimeError(
            f"aiohttp {aiohttp.__version__} runs without its compiled parser, whose strictness keeps requests apart. "
            "Unset AIOHTTP_NO_EXTENSIONS, or install a wheel for this platform."
        )


class Connection(Turns):
    """One client connection. The server calls `check` about once a second; nothing else here needs a timer."""

    __slots__ = (
        "_awaited_body", "_body_bytes", "_body_since", "_eof", "_head_bytes", "_head_since", "_payload", "_refused",
        "_retired", "_unsent", "_write_since", "broken", "keep_open", "peer", "too_slow",
    )

    def __init__(self, server: "HttpServer", library: web.Server, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            library, loop=loop, keepalive_timeout=server.settings.keepalive_timeout, lingering_time=DRAIN_BODY,
            max_line_size=MAX_FIELD, max_field_size=MAX_FIELD, max_headers=MAX_FIELDS, auto_decompress=False,
            access_log=None,  # type: ignore[arg-type]  # aiohttp's own way to have none
        )
        self._server = server
        self._payload: StreamReader = EMPTY_PAYLOAD      # of the last request whose head has come
        self._head_since: float | None = None            # the first byte of an unfinished head
        self._head_bytes = 0
        self._body_bytes = 0                             # as sent, after the segment with its head
        self._awaited_body: StreamReader | None = None   # that a request is waiting for
        self._body_since = 0.0
        self._write_since = 0.0
        self._unsent = 0
        self._refused = False
        self._retired = False
        self._eof: asyncio.Future[None] | None = None
        self.broken = False                              # what comes now is not read as HTTP any more
        self.keep_open = True                            # after the running request
        self.too_slow = False                            # it was cut, since the client took nothing of its answer
        self.peer = ""

    # What requests use.

    def put(self, data: bytes) -> None:
        """Hand bytes to the socket. Raises `ConnectionResetError` when the client is gone."""
        transport = self.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client is gone")
        transport.write(data)

    async def drained(self) -> None:
        """Wait until the client has taken enough of what was written. Raises `ConnectionError` when it is gone."""
        await self._drain_helper()
        if self.transport is None:
            raise ConnectionResetError("the client is gone")

    def expect_body(self, payload: StreamReader | None, waited: float = 0.0) -> None:
        """Start the deadline of a body that is waited for (since `waited` seconds in all), or stop it."""
        self._awaited_body = payload
        self._body_since = self._loop.time() - waited

    @property
    def drain_body_for(self) -> float:
        """Seconds for which the unread rest of a request's body is awaited after its answer."""
        return self._lingering_time

    @drain_body_for.setter
    def drain_body_for(self, seconds: float) -> None:
        self._lingering_time = seconds

    async def linger(self) -> None:
        """Half-close, and wait a moment for the client's own end: closing on unread bytes would destroy the answer."""
        if self.transport is None or not self.transport.can_write_eof():
            return
        self.transport.write_eof()
        self._eof = self._loop.create_future()
        await asyncio.wait([self._eof], timeout=LINGER)

    def distrust(self, error: GatewayError) -> None:
        """Read no further: what is waiting for a body gets `error`, and the connection ends with the next answer."""
        self.broken = True
        self.keep_open = False
        self._lingering_time = 0.0
        if not self._payload.is_eof():
            self._payload.set_exception(error)

    def abort(self) -> None:
        """Cut the connection at once; a running request is cancelled."""
        if self.transport is not None:
            self.transport.abort()

    # What the server uses.

    @property
    def idle(self) -> bool:
        """No request is being served, or waits to be."""
        return self._waiter is not None and not self._waiter.done() and not self._messages

    @property
    def task(self) -> "asyncio.Task[None] | None":
        """The task that serves this connection."""
        return self._task_handler

    def retire(self) -> None:
        """Close now unless a whole request has come; else after its answer, which says so.

        What waits in the socket is read first: `check` calls again. Whose request is not complete then, gets a 503.
        """
        self.keep_open = False
        self._retired = True
        if self._unread():
            return
        if self.idle:
            self._hang_up(_stopping())
        elif self._awaited_body is not None and not self._awaited_body.is_eof():
            self._server.count_refused("stopping")
            self.distrust(_stopping())

    def check(self, now: float) -> None:
        """Enforce the deadlines."""
        settings = self._server.settings
        if self._paused:
            self._check_reader(now, settings.write_timeout)
        if self._retired and not self.broken:
            self.retire()
        if self._awaited_body is not None:
            if now - self._body_since > settings.body_timeout:
                late = RequestTimeout(f"The body did not arrive within {settings.body_timeout:g} s.")
                self.distrust(late)
        elif self.idle:
            if self._head_since is not None:
                if now - self._head_since > settings.header_timeout:
                    self._server.count_refused("header_timeout")
                    self._hang_up(RequestTimeout(f"The headers did not arrive within {settings.header_timeout:g} s."))
            elif not self.keep_open or now > self._next_keepalive_close_time:
                self.retire()

    # What the event loop and aiohttp call.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or turn it away when there are too many."""
        if not self._server.admit(self):
            self._refused = self._force_close = True
            self._manager = None  # so that connection_lost knows that it was never taken
            cast("asyncio.Transport", transport).write(self._server.too_many)
            transport.close()
            return
        address = transport.get_extra_info("peername")
        self.peer = str(address[0]) if isinstance(address, tuple) else "local"
        self._head_since = self._loop.time()
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Cancel what is being served, and forget the connection."""
        if not self._refused:
            self._server.forget(self)
        super().connection_lost(exc)

    def eof_received(self) -> None:
        """The client has sent its end; the transport closes itself."""
        if self._eof is not None and not self._eof.done():
            self._eof.set_result(None)

    def pause_writing(self) -> None:
        """The client reads slower than we write: its deadline starts."""
        super().pause_writing()
        self._write_since = self._loop.time()
        self._unsent = 0

    def data_received(self, data: bytes) -> None:
        """Parse what came, and keep the books on heads: since when, how large, followed by what."""
        if self.broken:
            return
        requests, body, taken = self._request_count, not self._payload.is_eof(), self._payload.total_bytes
        super().data_received(data)
        if self._request_count != requests:
            self._arrived(len(data))
        elif body:
            self._in_body(len(data))
            if self._payload.is_eof() and self._payload.total_bytes - taken < len(data) and data[-2:] != b"\r\n":
                self._in_head(1)  # behind the body's end the next head has begun
        elif data:
            self._in_head(len(data))
        if self._upgraded:  # asked for another protocol: it gets an answer in this one, and nothing more is read
            self.broken = True
            self.keep_open = False

    def _unread(self) -> bool:
        return _queued(self.transport, termios.FIONREAD) > 0

    def _process_keepalive(self) -> None:
        self._keepalive_handle = None  # `check` closes idle connections: it knows of unfinished heads

    def _arrived(self, size: int) -> None:
        """At least one head is complete."""
        size += self._head_bytes
        self._head_since = None
        self._head_bytes = 0
        self._body_bytes = 0
        if size > MAX_HEAD and any(_head_size(message) > MAX_HEAD for message, _ in self._messages):
            self._break("HeadTooLarge")
        elif isinstance(self._messages[-1][0], web_protocol._ErrInfo):
            self.distrust(InvalidRequest("The request's body is not valid HTTP."))
        else:
            self._payload = self._messages[-1][1]

    def _in_head(self, size: int) -> None:
        """Bytes of an unfinished head."""
        if self._head_since is None:
            self._head_since = self._loop.time()
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD:
            self._break("HeadTooLarge")

    def _in_body(self, size: int) -> None:
        """More of a body: each tiny chunk costs as much as a large one, so a flood of them is cut."""
        self._body_bytes += size
        if self._body_bytes > MAX_CHUNK_OVERHEAD + 2 * self._payload.total_bytes:
            self.distrust(InvalidRequest("The body's chunks are too small."))

    def _break(self, reason: str) -> None:
        self._messages.clear()
        self._messages.append((web_protocol._ErrInfo(400, ValueError(reason), reason), EMPTY_PAYLOAD))
        self.distrust(InvalidRequest("The request's head is too large."))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _check_reader(self, now: float, timeout: float) -> None:
        assert self.transport is not None
        unsent = self.transport.get_write_buffer_size() + _queued(self.transport, termios.TIOCOUTQ)
        if unsent != self._unsent:
            self._unsent, self._write_since = unsent, now
        elif now - self._write_since > timeout:
            self.too_slow = True
            self._server.count_refused("write_timeout")
            self.abort()

    def _hang_up(self, error: GatewayError) -> None:
        """Answer outside of a request and close; a client that has sent nothing gets no answer."""
        if self._head_bytes and self.transport is not None:
            self.transport.write(self._server.page(error))
        self.force_close()


def page_bytes(status: int, headers: Mapping[str, str], body: bytes) -> bytes:
    """A whole answer for a connection that is closed after it."""
    return response_head(status, headers, f"Content-Length: {len(body)}\r\nConnection: close\r\n") + body


def _stopping() -> Unavailable:
    return Unavailable("The gateway is stopping.", retry_after=1)


def _head_size(message: "RawRequestMessage | web_protocol._ErrInfo") -> int:
    if isinstance(message, web_protocol._ErrInfo):
        return 0
    return len(message.path) + sum(len(name) + len(value) + 4 for name, value in message.raw_headers)


def _queued(transport: asyncio.Transport | None, direction: int) -> int:
    """Bytes in the kernel's queue: TIOCOUTQ is what the client has not confirmed, FIONREAD what we have not read."""
    if transport is None:
        return 0
    try:
        answer = fcntl.ioctl(transport.get_extra_info("socket").fileno(), direction, b"\0\0\0\0")
    except (AttributeError, OSError, ValueError):  # a transport without such a socket
        return 0
    return int(struct.unpack("i", answer)[0])
