"""The turns of one client connection: a request, its answer, the next request. No deadlines and no limits here.

aiohttp makes a task and a writer for each request, which costs as much as a limit or a log line; a request is served
in its connection's task instead. What it leaves in the context variables is not there for the next one.
"""

import asyncio
import contextvars
import types
from collections.abc import Awaitable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, TypeVar, cast

from aiohttp import StreamReader
from aiohttp.http import RawRequestMessage
from aiohttp.web_protocol import ERROR, RequestHandler, _ErrInfo

from gateway.httprequest import Answer, Incoming

if TYPE_CHECKING:
    from gateway.httpguard import Connection
    from gateway.httpserver import HttpServer

T = TypeVar("T")


class Turns(RequestHandler):
    """aiohttp's protocol with another `start`, which it runs for each connection and cancels when the client leaves."""

    __slots__ = ("_fresh", "_server", "_touched")
    _server: "HttpServer"
    _fresh: contextvars.Context  # as it is before a request
    _touched: bool               # a request has left something in the task's own

    async def start(self) -> None:
        """Serve one request after another until the connection ends."""
        again = True
        self._fresh, self._touched = contextvars.copy_context(), False
        while again and not self._force_close:
            if not self._messages:
                self._waiter = self._loop.create_future()
                try:
                    await self._waiter
                finally:
                    self._waiter = None
            message, payload = self._messages.popleft()
            if self._parser is not None:
                self._parser.message_consumed()
            if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
                self._resume_reading_if_drained()
            try:
                again = await self._turn(message, payload)
            except asyncio.CancelledError:
                self.force_close()
                raise
        if not self._force_close:
            self._task_handler = None
            if self.transport is not None:
                self.transport.close()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """aiohttp parses and resumes after every body, also where nothing was paused."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    async def _turn(self, message: "RawRequestMessage | _ErrInfo", payload: StreamReader) -> bool:
        """One request and its answer; whether another may follow."""
        server, mine = self._server, cast("Connection", self)
        if isinstance(message, _ErrInfo):
            incoming = Incoming(ERROR, payload, mine)
            answer = server.refuse_unparsed(incoming, type(message.exc).__name__)
        else:
            incoming = Incoming(message, payload, mine)
            self._current_request = cast("Any", incoming)
            try:
                answer = await self._apart(server.handle(incoming))
            except Exception as error:  # the last resort: a defect in the server itself
                server.defect(incoming, error)
                answer = incoming.aborted()
            finally:
                self._current_request = None
        try:
            await answer.send()
        except ConnectionError:
            return False
        return await self._after(answer, payload)

    def _apart(self, work: Coroutine[Any, Any, T]) -> Awaitable[T]:
        """A context for each request costs as much as three limits, and mostly nothing is ever put into one: so the
        task's own serves until a request has left something there."""
        if not self._touched:
            self._touched = contextvars.copy_context() != self._fresh  # the same object, if nothing was set
        return _in_context(self._fresh.copy(), work) if self._touched else work

    async def _after(self, answer: Answer, payload: StreamReader) -> bool:
        """Read the rest of a body that was not awaited, within its time."""
        if not payload.is_eof() and not self._force_close and self._lingering_time:
            try:
                async with asyncio.timeout(self._lingering_time):
                    while not payload.is_eof():
                        await payload.readany()
            except TimeoutError:
                pass
            except Exception:  # what aiohttp makes of a broken chunk
                return False
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        return answer.keep_alive and payload.is_eof() and not self._close


@types.coroutine
def _in_context(context: contextvars.Context, work: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    """Run `work` so that the context variables it sets end with it."""
    run = context.run
    try:
        waiting = run(work.send, None)
        while True:
            try:
                sent = yield waiting
            except BaseException as error:
                waiting = run(work.throw, error)
            else:
                waiting = run(work.send, sent)
    except StopIteration as done:
        value: T = done.value
        return value
