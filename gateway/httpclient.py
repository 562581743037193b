"""One HTTP/1.1 connection to an upstream, on `asyncio.Protocol` and httptools.

Here: bytes to a reply (`reply.py`), back-pressure, deadlines while waiting. Not here: which connection to take,
how one is opened and what may be connected to (`upstream.py`). An upstream is not trusted: whatever it sends that
is not plain HTTP/1.x ends in `UpstreamCut`, and a byte that nobody asked for closes the connection.
"""

import asyncio
import select
from collections.abc import AsyncIterator
from math import inf
from typing import Any, NoReturn, Protocol, cast

import httptools

from gateway.config import Timeouts
from gateway.errors import UpstreamCut, UpstreamError, UpstreamTimeout
from gateway.reply import UpstreamReply

MAX_HEAD = 64 * 1024
MAX_HEADERS = 256
PAUSE_ABOVE = 256 * 1024
SLICE = 256 * 1024
_EARLY = 0.002  # uvloop counts in milliseconds: a timer that fires this much early is on time


class Owner(Protocol):
    """Who is told what becomes of a connection: its pool."""

    def freed(self, connection: "Connection") -> None:
        """Its reply is complete, it can carry another request."""

    def gone(self, connection: "Connection") -> None:
        """It carries nothing more. Called once."""

    def lost(self, connection: "Connection") -> None:
        """Its socket is closed. Called once, after `gone`."""


class Connection(asyncio.Protocol):
    """One connection, with at most one reply at a time. Between replies it waits in its pool."""

    __slots__ = (
        "_barren", "_complete", "_fields", "_gone", "_informational", "_keep_alive", "_loop", "_owner", "_parser",
        "_paused", "_pieces", "_poll", "_quiet_at", "_silence_goes_on", "_silent_at", "_timeouts", "_timer",
        "_timer_at", "_total_at", "_transport", "_unsent", "_until_close", "_why", "_write_paused", "expires_at",
        "reply", "reused",
    )

    def __init__(self, owner: Owner, loop: asyncio.AbstractEventLoop) -> None:
        self.reply: UpstreamReply | None = None
        self.reused = False                  # it has carried a reply before
        self.expires_at = inf                # while idle
        self._owner = owner
        self._loop = loop
        self._transport = cast("asyncio.Transport", None)
        self._parser: Any = httptools.HttpResponseParser(self)
        self._poll = select.poll()
        self._gone = False
        self._paused = False
        self._write_paused = False
        self._unsent = False                 # part of the request's body
        self._fields: list[tuple[bytes, bytes]] = []
        self._pieces: list[bytes] = []       # the reply's own list
        self._barren = 0                     # bytes since the last piece of body: head, trailers, framing
        self._informational = False          # in a 1xx reply
        self._complete = False
        self._keep_alive = False
        self._until_close = False            # the end of the connection is the end of the body
        self._why = ""
        self._silence_goes_on = False        # the reader came back after a `None`
        self._timeouts = cast("Timeouts", None)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf                 # it may fire before anything is due, never after
        self._total_at = inf
        self._silent_at = inf
        self._quiet_at = inf

    async def send(
        self, name: str, timeouts: Timeouts, total_at: float, head: bytes, body: bytes, *, bodiless: bool,
        parts: AsyncIterator[bytes] | None = None, chunked: bool = False,
    ) -> UpstreamReply:
        """Send one request, whose body may come in `parts`, and wait for the head of its reply, or for its `failure`.

        Cancelled, it closes the connection.
        """
        reply = UpstreamReply(name, self, bodiless=bodiless)
        self._begin(reply, timeouts, total_at)
        try:
            if self._gone or self._transport.is_closing():
                self._closed(clean=True)
            elif parts is not None:
                await self._relay(reply, head, parts, chunked)
            elif len(body) <= SLICE:
                self._transport.write(head + body)
            else:
                await self._upload(reply, head, memoryview(body))
            if reply.status == 0 and reply.failure is None:
                self._silent_at = self._loop.time() + timeouts.first_byte
                await self._wait(reply)
        except BaseException:
            reply.close()
            raise
        return reply

    def next_piece(self, reply: UpstreamReply, quiet: float | None) -> "asyncio.Future[None]":
        """Wait for the next piece, end or failure, for at most `quiet` seconds."""
        now = self._loop.time()
        if not self._silence_goes_on:  # it began at an earlier read that ended with `None`
            self._silent_at = now + self._timeouts.idle
        self._quiet_at = inf if quiet is None else now + quiet
        return self._wait(reply)

    @property
    def closed(self) -> bool:
        """Whether it carries nothing more."""
        return self._gone

    def usable(self) -> bool:
        """Whether nothing is on the wire of this idle connection: no end of file, no byte that nobody asked for."""
        return not self._gone and not self._poll.poll(0)

    def expire_at(self, when: float) -> None:
        """Close the connection at this time, if it is still idle then."""
        self.expires_at = when
        self._arm(when)

    def resume(self) -> None:
        """All that was buffered is read."""
        if self._paused:
            self._paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()

    def abort(self) -> None:
        """Close at once, without sending what is buffered."""
        if self._gone:
            return
        self._gone = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._transport.abort()
        self._owner.gone(self)

    def _begin(self, reply: UpstreamReply, timeouts: Timeouts, total_at: float) -> None:
        self.reply = reply
        self._pieces = reply._pieces
        self._timeouts = timeouts
        self._total_at = total_at
        self._quiet_at = inf
        self._silence_goes_on = False
        self._complete = False
        self._until_close = False
        self._unsent = False
        self._barren = 0

    async def _upload(self, reply: UpstreamReply, head: bytes, body: memoryview) -> None:
        """Send a long body no faster than the upstream takes it."""
        self._unsent = True
        self._transport.write(head)
        for start in range(0, len(body), SLICE):
            self._transport.write(body[start : start + SLICE])
            while self._write_paused and reply.status == 0 and reply.failure is None:
                self._silent_at = self._loop.time() + self._timeouts.idle
                await self._wait(reply)
            if reply.failure is not None or reply.status >= 400 or self._transport.is_closing():
                return                       # refused early: the rest is of no use, the connection neither
            if reply.status:                 # a reply that began early and waits for the rest
                self._transport.write(body[start + SLICE :])
                break
        self._unsent = False

    async def _relay(self, reply: UpstreamReply, head: bytes, parts: AsyncIterator[bytes], chunked: bool) -> None:
        """Send a body as it comes, no faster than the upstream takes it, and no further than it wants it."""
        self._unsent = True
        self._transport.write(head)
        async for part in parts:
            if reply.status or reply.failure is not None or self._transport.is_closing():
                return
            self._transport.write(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
            while self._write_paused and reply.status == 0 and reply.failure is None:
                self._silent_at = self._loop.time() + self._timeouts.idle
                await self._wait(reply)
        self._transport.write(b"0\r\n\r\n" if chunked else b"")
        self._unsent = False

    def _wait(self, reply: UpstreamReply) -> "asyncio.Future[None]":
        timer_at = self._timer_at
        if self._silent_at < timer_at or self._quiet_at < timer_at or self._total_at < timer_at:
            self._arm(min(self._silent_at, self._quiet_at, self._total_at))
        waiter = reply._waiter = self._loop.create_future()
        return waiter

    def _arm(self, due: float) -> None:
        """One timer for all deadlines: moved only when one comes before it, else it looks again when it fires."""
        if due < self._timer_at and not self._gone:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = due
            self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer, self._timer_at = None, inf
        now = self._loop.time() + _EARLY
        reply = self.reply
        if reply is None:
            if now >= self.expires_at:
                self.abort()
            else:
                self._arm(self.expires_at)
        elif now >= self._total_at:
            self._fail(UpstreamTimeout(
                f"The answer of provider {reply._name} took longer than timeouts.total, {self._timeouts.total:g} s."
            ))
        elif reply._waiter is None:
            self._arm(self._total_at)
        elif now >= self._silent_at:
            self._fail(UpstreamTimeout(self._silence(reply)))
        else:
            if now >= self._quiet_at:
                self._quiet_at = inf
                self._silence_goes_on = True
                reply.wake()
            self._arm(min(self._silent_at, self._quiet_at, self._total_at))

    def _silence(self, reply: UpstreamReply) -> str:
        if reply.status:
            return f"Provider {reply._name} was silent for {self._timeouts.idle:g} s in the middle of its answer."
        if self._unsent:
            return f"Provider {reply._name} took no more of the request for {self._timeouts.idle:g} s."
        return (
            f"Provider {reply._name} has not begun to answer within {self._timeouts.first_byte:g} s; "
            "timeouts.first_byte allows a slow model more."
        )

    def _fail(self, error: UpstreamError) -> None:
        if self.reply is not None:
            self.reply.fail(error)
        self.abort()

    def _end(self, reply: UpstreamReply) -> None:
        reply._ended = True
        if reply._bodiless:
            reply._pieces.clear()
        reply.leave()
        if self._keep_alive and not self._unsent and not self._transport.get_write_buffer_size():
            self.resume()
            self.reused = True
            self._owner.freed(self)
        else:
            self.abort()

    def _closed(self, *, clean: bool) -> None:
        """The upstream closed, or the connection broke."""
        reply = self.reply
        if reply is not None and clean and self._until_close:
            self._keep_alive = False
            self._end(reply)
        elif reply is not None:
            reply.unanswered = not reply.status and not self._barren
            self._fail(UpstreamCut(
                f"Provider {reply._name} closed the connection without an answer." if reply.unanswered
                else f"The answer of provider {reply._name} broke off before its end."
            ))
        self.abort()

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands, TLS included."""
        self._transport = cast("asyncio.Transport", transport)
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        """Parse what came, wake the reader once."""
        reply = self.reply
        if reply is None:
            self.abort()                     # a byte that nobody asked for: never let it answer the next request
            return
        size, answered, pieces = len(data), reply.status, len(self._pieces)
        self._barren += size
        try:
            self._parser.feed_data(data)
        except Exception:  # whatever a hostile upstream makes the parser raise, it is no HTTP
            if not self._complete:
                why = self._why or "is not valid HTTP/1.1"
                self._fail(UpstreamCut(f"The answer of provider {reply._name} {why}."))
                return
            self._keep_alive = False         # more than one answer to one request
        if self._complete:
            self._end(reply)
        elif len(self._pieces) > pieces:
            self._barren = 0
            self._silence_goes_on = False
            reply._size += size
            if reply._size > PAUSE_ABOVE and not self._paused and not self._transport.is_closing():
                self._paused = True
                self._transport.pause_reading()
            reply.wake()
        elif self._barren > MAX_HEAD:
            self._fail(UpstreamCut(f"The answer of provider {reply._name} has more than {MAX_HEAD} bytes of headers."))
        elif reply.status != answered:       # the head, for `send`
            reply.wake()

    def eof_received(self) -> None:
        """The upstream sends nothing more."""
        self._closed(clean=True)

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        self._closed(clean=exc is None)
        self._parser = None                  # it refers back to us
        self._owner.lost(self)

    def pause_writing(self) -> None:
        """The upstream takes the request more slowly than we send it."""
        self._write_paused = True

    def resume_writing(self) -> None:
        """The upstream caught up."""
        self._write_paused = False
        if self._unsent and self.reply is not None:
            self.reply.wake()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """A second answer to one request ends the parsing."""
        if self._complete:
            raise ValueError

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header line of the head, or a trailer, which is dropped."""
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Check the head; a 1xx one is skipped."""
        reply = cast("UpstreamReply", self.reply)
        fields, self._fields = self._fields, []
        status = self._parser.get_status_code()
        version = self._parser.get_http_version()
        if not 100 <= status <= 599 or status == 101 or version not in ("1.1", "1.0"):
            self._refuse(f"has status {status} in HTTP/{version}, which the gateway did not ask for")
        if status < 200:
            self._informational = True
            return
        if len(fields) > MAX_HEADERS or (self._barren > MAX_HEAD and _size(fields) > MAX_HEAD):
            self._refuse(f"has more than {MAX_HEAD} bytes or {MAX_HEADERS} lines of headers")
        self._until_close = not self._check_framing(fields, version)
        reply.status = status
        reply._fields = fields
        if reply._bodiless:
            self._complete = True            # the parser would wait for a body: never used again
            self._keep_alive = False

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        """The end of the reply, or of a 1xx one."""
        if self._informational:
            self._informational = False
        else:
            self._complete = True
            self._keep_alive = self._parser.should_keep_alive()  # asked later, it says no

    def _check_framing(self, fields: list[tuple[bytes, bytes]], version: str) -> bool:
        """Whether the head says where the body ends. Refuses what leaves room for two opinions."""
        sized = chunked = False
        for name, value in fields:
            if len(name) not in (14, 16, 17):
                continue
            field = name.lower()
            if field == b"content-length":
                sized = True
            elif field == b"transfer-encoding":
                if chunked or value.lower() != b"chunked" or version == "1.0":
                    self._refuse("has a transfer encoding other than chunked")
                chunked = True
            elif field == b"content-encoding" and value.lower() not in (b"", b"identity"):
                self._refuse("is compressed, although the gateway asked for it uncompressed")
        return sized or chunked

    def _refuse(self, why: str) -> NoReturn:
        self._why = why
        raise ValueError(why)


def _size(fields: list[tuple[bytes, bytes]]) -> int:
    return sum(len(name) + len(value) + 4 for name, value in fields)
