"""The HTTP server: listens, bounds its connections and their deadlines, and turns what goes wrong into JSON errors.

What is served is one callable from `Incoming` to `Answer`; routes and the pipeline are elsewhere. The request is in
`httprequest.py`, the connection in `httpguard.py`, the log lines in `httplog.py`.
"""

import asyncio
import resource
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast
from uuid import uuid4

import msgspec
from aiohttp import web

from gateway.config import Server
from gateway.errors import GatewayError, InternalError, InvalidRequest, Unavailable
from gateway.httpguard import Connection, check_library, page_bytes
from gateway.httplog import HttpLog
from gateway.httprequest import Answer, Incoming, RequestTimeout, SafeHeaders

__all__ = ["Answer", "HttpServer", "Incoming", "RequestTimeout", "SafeHeaders", "render_openai"]

Serve = Callable[[Incoming], Awaitable[Answer]]
RenderError = Callable[[GatewayError, str, str], tuple[int, Mapping[str, str], bytes]]

# Files that the process needs beside its client connections and one upstream connection for each of them.
_RESERVED_FILES = 64
# asyncio tries this many accepts at a time (and logs each that fails); the kernel may queue more.
_ACCEPTS = 64
_BACKLOG = 1024


def render_openai(error: GatewayError, request_id: str, path: str) -> tuple[int, dict[str, str], bytes]:
    """An error as OpenAI's clients read it, whatever the path: status, headers, body."""
    del path
    fields = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    headers = {**error.headers, "content-type": "application/json"}
    if request_id:
        headers["x-request-id"] = request_id
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, -int(-error.retry_after // 1)))
    return error.status, headers, msgspec.json.encode({"error": fields})


class HttpServer:
    """Serves HTTP/1.1 and 1.0 on the sockets it is given. `refused` counts what never became a request, by reason."""

    def __init__(self, serve: Serve, settings: Server, render_error: RenderError = render_openai) -> None:
        check_library()
        self._serve = serve
        self._render = render_error
        self._log = HttpLog()
        self._connections: set[Connection] = set()
        self._listeners: list[asyncio.Server] = []
        self._library: _Library | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._empty: asyncio.Event = asyncio.Event()
        self._stopping = False
        self._max_connections = settings.max_connections
        self.settings = settings
        self.requests_in_flight = 0
        self.refused: Counter[str] = Counter()
        self.too_many = self.page(Unavailable("Too many connections.", retry_after=1))

    @property
    def open_connections(self) -> int:
        """Client connections that are open now."""
        return len(self._connections)

    async def listen(self, sock: socket.socket) -> None:
        """Accept connections on a bound socket until `stop`."""
        loop = asyncio.get_running_loop()
        if self._library is None:
            self._library = _Library(self, loop)
            self._max_connections = _affordable(self.settings.max_connections)
            if self._max_connections < self.settings.max_connections:
                self._log.few_files(self._max_connections, self.settings.max_connections)
        if loop.get_exception_handler() is None:
            loop.set_exception_handler(self._log.loop_failure)
        self._listeners.append(await loop.create_server(self._library, sock=sock, backlog=_ACCEPTS))
        sock.listen(_BACKLOG)

    async def stop(self) -> None:
        """Accept no more. Only whole requests still get their answer, which says that the connection ends."""
        self._stopping = True
        for listener in self._listeners:
            listener.close()
        for connection in list(self._connections):
            connection.retire()
        await asyncio.sleep(0)

    async def wait_idle(self, timeout: float) -> bool:
        """After `stop`: wait until every answer has left and its connection is closed; false when time is up."""
        if not self._connections:
            return True
        self._empty.clear()
        try:
            await asyncio.wait_for(self._empty.wait(), timeout)
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Abort what is left, and wait until its tasks are gone."""
        await self.stop()
        tasks = [connection.task for connection in self._connections if connection.task is not None]
        for connection in list(self._connections):
            connection.abort()
        if tasks:
            await asyncio.wait(tasks)
        if self._connections:
            await self.wait_idle(1.0)
        if self._sweep is not None:
            self._sweep.cancel()

    def page(self, error: GatewayError) -> bytes:
        """A whole HTTP answer for a connection that has no request."""
        request_id = f"req_{uuid4().hex}"
        status, headers, body = self._render(error, request_id, "")
        return page_bytes(status, {**headers, "x-request-id": request_id}, body)

    # What connections call.

    def admit(self, connection: Connection) -> bool:
        """Take a new connection, unless there are too many or the server stops."""
        if self._stopping or len(self._connections) >= self._max_connections:
            self.count_refused("stopping" if self._stopping else "too_many_connections")
            return False
        if self._sweep is None:
            self._check_soon()
        self._connections.add(connection)
        return True

    def forget(self, connection: Connection) -> None:
        """A connection is gone."""
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    def count_refused(self, reason: str, peer: str = "", **fields: str) -> None:
        """Count what was turned away before it was a request; the log gets a few lines of it."""
        self.refused[reason] += 1
        self._log.refused(reason, peer, **fields)

    def refuse_unparsed(self, incoming: Incoming, kind: str) -> Answer:
        """The answer to bytes that are not HTTP as we speak it. `kind` is the parser's error class: no client bytes."""
        text = "The request is not valid HTTP/1.1, or its headers are too large."
        return self._refuse(incoming, text, kind)

    def defect(self, incoming: Incoming | None, error: BaseException | None) -> None:
        """Log a defect of ours, without any credential of the request."""
        self._log.defect(incoming, error)

    async def handle(self, incoming: Incoming) -> Answer:
        """Serve one request, whatever happens: aiohttp never gets to see an exception."""
        fault = incoming.fault()
        if fault is not None:
            return self._refuse(incoming, fault, "fault")
        self.requests_in_flight += 1
        try:
            return _checked(await self._serve(incoming))
        except GatewayError as error:
            return self._failed(incoming, error)
        except ConnectionError:
            return incoming.aborted()
        except Exception as error:
            self.defect(incoming, error)
            return self._failed(incoming, InternalError("The gateway failed; its log has the reason."))
        finally:
            self.requests_in_flight -= 1

    def _failed(self, incoming: Incoming, error: GatewayError) -> Answer:
        """An error page, or a cut where a stream has begun."""
        if incoming.started:
            return incoming.aborted()
        status, headers, body = self._render(error, incoming.request_id, incoming.path)
        return incoming.reply(status, headers, body)

    def _refuse(self, incoming: Incoming, text: str, kind: str) -> Answer:
        self.count_refused("bad_request", incoming.peer, kind=kind)
        incoming.distrust()
        return self._failed(incoming, InvalidRequest(text, code="bad_request"))

    def _check_soon(self) -> None:
        settings = self.settings
        shortest = min(
            settings.header_timeout, settings.body_timeout, settings.keepalive_timeout, settings.write_timeout
        )
        self._sweep = asyncio.get_running_loop().call_later(max(0.02, min(1.0, shortest / 4)), self._check)

    def _check(self) -> None:
        self._sweep = None
        now = asyncio.get_running_loop().time()
        for connection in list(self._connections):
            connection.check(now)
        if self._connections:
            self._check_soon()


class _Library(web.Server):
    """aiohttp's server object: makes our connections, and cancels what is served when its client leaves."""

    def __init__(self, server: HttpServer, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(cast("Any", server.handle), handler_cancellation=True)
        self._http_server = server
        self._event_loop = loop

    def __call__(self) -> Connection:
        return Connection(self._http_server, self, self._event_loop)


def _checked(answer: object) -> Answer:
    if not isinstance(answer, Answer):
        raise TypeError(f"serving returned {type(answer).__name__}, not an Answer")
    return answer


def _affordable(wanted: int) -> int:
    """How many connections the limit on open files allows; raises the soft limit as far as the hard one permits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * wanted + _RESERVED_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return wanted
    reserved = min(_RESERVED_FILES, soft // 2)
    return max(1, min(wanted, (soft - reserved) // 2))
