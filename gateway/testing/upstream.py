"""A fake upstream on the loopback: an OpenAI-compatible server whose model is `model.py`, and which fails on demand.

    async with FakeUpstream() as upstream:
        upstream.script(b'{"choices": []}')        # the next answer, as it is; without one, the demo model answers
        ... use upstream.url ...
        assert upstream.requests[-1].json["model"] == "demo-small"

HTTP/1.1 with keep-alive, by hand on asyncio streams, so that it can break the rules. For tests and demonstrations: it
trusts its clients and is not fast.
"""

import asyncio
import hmac
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from types import TracebackType
from typing import Any, Literal, Self

import msgspec

from gateway.clock import now_ms
from gateway.sse import DONE, write
from gateway.testing import model
from gateway.testing.behaviour import Behaviour, DemoError

_MAX_BODY = 64 * 1024 * 1024
_MAX_COUNTED = 1024
_BROKEN = b'data: {"id":"chatcmpl-demo","choices":[{"ind\n\n'
_CALM = Behaviour()


class Received(msgspec.Struct, frozen=True):
    """A request as it came in; header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401
        """The body, decoded."""
        return msgspec.json.decode(self.body)


class Scripted(msgspec.Struct, frozen=True):
    """An answer told in advance: `pieces` are written one by one, `pause` seconds apart.

    `ending`: `clean` says that the body is complete, `cut` closes in its middle, `hang` goes silent.
    """

    pieces: tuple[bytes, ...]
    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),)
    pause: float = 0.0
    ending: Literal["clean", "cut", "hang"] = "clean"


class FakeUpstream:
    """An OpenAI-compatible server on 127.0.0.1; `url` is its base URL, `/v1` included.

    `how` is the behaviour of all answers, which a request's `demo` field overlays. With a `key`, only requests that
    carry it as a bearer token are served. With `models`, other names are 404. `requests` are kept unless `record` is
    false, but for GETs that `pages` answers, by path, with a status and a body. `gone` counts clients that hung up
    before their answer was complete, `open` the answers under way.
    """

    def __init__(
        self, how: Behaviour = _CALM, *, key: str = "", models: Sequence[str] = (), record: bool = True
    ) -> None:
        self.how = how
        self.key = key
        self.requests: list[Received] = []
        self.pages: dict[str, tuple[int, bytes]] = {}
        self.gone = 0
        self.open = 0
        self._models = tuple(models)
        self._record = record
        self._script: deque[Scripted] = deque()
        self._failures: dict[str, int] = {}
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where it listens."""
        if self._server is None:
            raise RuntimeError("the fake upstream is not started")
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    def script(
        self, *pieces: bytes, status: int = 200, content_type: str = "application/json", pause: float = 0.0,
        headers: Mapping[str, str] | None = None, ending: Literal["clean", "cut", "hang"] = "clean",
    ) -> None:
        """Say what the next request without a scripted answer gets."""
        fields = (("content-type", content_type), *(headers or {}).items())
        self._script.append(Scripted(pieces, status, fields, pause, ending))

    async def start(self) -> None:
        """Listen on a free port."""
        loop = asyncio.get_running_loop()

        def connect() -> _Line:
            return _Line(asyncio.StreamReader(_MAX_BODY, loop), self._connected, loop)

        self._server = await loop.create_server(connect, "127.0.0.1", 0)

    async def close(self) -> None:
        """Stop, and drop what is under way."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        connections = list(self._connections)
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._connections.add(task)  # kept until it is done; `close` cancels it
        task.add_done_callback(self._connections.discard)
        task.add_done_callback(lambda _: writer.close())  # also if it is cancelled before it began
        if self._server is None:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await _read(reader)) is not None:
                if request.method == "GET" and (page := self._page(request)) is not None:
                    await _Answer(writer).whole(*page)
                    continue
                if self._record:
                    self.requests.append(request)
                await self._answer(request, _Answer(writer))
        except _ClientGoneError:
            self.gone += 1
        except (_CutError, ConnectionError, asyncio.IncompleteReadError):
            pass

    def _page(self, request: Received) -> tuple[int, bytes] | None:
        """What looks after a server asks for, beside its work: no script is used up by it."""
        path = request.path.partition("?")[0]
        known = self.pages.get(path)
        return (404, b"") if known is None and path in ("/health", "/metrics") else known

    async def _answer(self, request: Received, answer: "_Answer") -> None:
        self.open += 1
        try:
            if self._script:
                await _play(self._script.popleft(), answer)
            else:
                await self._improvise(request, answer)
        except DemoError as error:
            headers = {"retry-after": f"{error.retry_after:g}"} if error.retry_after is not None else {}
            await answer.whole(error.status, msgspec.json.encode(error.body), headers)
        finally:
            self.open -= 1

    async def _improvise(self, request: Received, answer: "_Answer") -> None:
        if self.key and not hmac.compare_digest(request.headers.get("authorization", ""), f"Bearer {self.key}"):
            raise DemoError(401, "Incorrect API key provided.", code="invalid_api_key")
        endpoint = request.path.partition("?")[0].removeprefix("/v1")
        if request.method == "GET" and endpoint == "/models":
            data = [{"id": name, "object": "model", "created": 0, "owned_by": "demo"} for name in self._models]
            return await answer.whole(200, msgspec.json.encode({"object": "list", "data": data}))
        body = self._checked(request)
        how = self.how.overlaid(body.get("demo"))
        if how.delay_ms:
            await answer.pause(how.delay_ms / 1000)
        if how.hang == "before_headers":
            await answer.pause(None)
        self._fail(body, how)
        created = now_ms() // 1000
        if endpoint == "/chat/completions":
            whole, chunks = model.chat, model.chat_stream
        elif endpoint == "/completions":
            whole, chunks = model.completion, model.completion_stream
        elif endpoint == "/embeddings":
            return await _send_whole(answer, model.embeddings(body, how), how)
        else:
            raise DemoError(404, f"Invalid URL ({request.method} {request.path})", code="unknown_url")
        if body.get("stream") is True:
            return await _send_stream(answer, chunks(body, how, created), how)
        return await _send_whole(answer, whole(body, how, created), how)

    def _checked(self, request: Received) -> dict[str, Any]:
        try:
            body = msgspec.json.decode(request.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            body = None
        if not isinstance(body, dict) or not isinstance(body.get("model"), str):
            raise DemoError(400, "The body must be a JSON object with a `model`.", param="model")
        if self._models and body["model"] not in self._models:
            message = f"The model `{body['model']}` does not exist or you do not have access to it."
            raise DemoError(404, message, code="model_not_found", param="model")
        return body

    def _fail(self, body: Mapping[str, Any], how: Behaviour) -> None:
        if how.fail is None:
            return
        if how.fail_times is not None:
            mark = str(body.get("user") or body.get("seed") or "")
            count = self._failures.pop(mark, 0)
            self._failures[mark] = count + 1
            if len(self._failures) > _MAX_COUNTED:
                del self._failures[next(iter(self._failures))]
            if count >= how.fail_times:
                return
        code = "rate_limit_exceeded" if how.fail == 429 else None
        message = f"The demo upstream was told to fail with {how.fail}."
        raise DemoError(how.fail, message, code=code, retry_after=how.retry_after)


class _ClientGoneError(Exception):
    """The client hung up before its answer was complete."""


class _CutError(Exception):
    """The answer was told to end here."""


class _Line(asyncio.StreamReaderProtocol):
    """A connection that knows at once when its client hangs up."""

    def __init__(self, reader: asyncio.StreamReader, connected: Any, loop: asyncio.AbstractEventLoop) -> None:  # noqa: ANN401
        super().__init__(reader, connected, loop)
        self.gone = asyncio.Event()

    def eof_received(self) -> bool | None:
        self.gone.set()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()
        super().connection_lost(exc)


class _Answer:
    """Writes one answer, and stops as soon as nobody reads it."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        line = writer.transport.get_protocol()
        assert isinstance(line, _Line)
        self._gone = line.gone

    async def whole(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """A complete JSON answer."""
        fields = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
        await self.write(_head(status, fields.items()) + body)

    async def begin(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """The head of an answer that comes in chunks."""
        await self.write(_head(status, [*headers, ("transfer-encoding", "chunked")]))

    async def chunk(self, data: bytes) -> None:
        """One piece of it."""
        if data:
            await self.write(b"%x\r\n%b\r\n" % (len(data), data))

    async def end(self) -> None:
        """It is complete."""
        await self.write(b"0\r\n\r\n")

    async def write(self, data: bytes) -> None:
        """Bytes as they are."""
        if self._gone.is_set():
            raise _ClientGoneError
        self._writer.write(data)
        await self._writer.drain()

    async def pause(self, seconds: float | None) -> None:
        """Wait, for ever if `None`, unless the client hangs up."""
        try:
            await asyncio.wait_for(self._gone.wait(), seconds)
        except TimeoutError:
            return
        raise _ClientGoneError


async def _read(reader: asyncio.StreamReader) -> Received | None:
    """The next request; `None` at the end of the connection, or for what is no HTTP."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        start, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = start.split(" ")
        pairs = (line.partition(":") for line in lines if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        return Received(method, path, headers, await reader.readexactly(int(headers.get("content-length", "0"))))
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
        return None


async def _play(scripted: Scripted, answer: _Answer) -> None:
    if scripted.ending == "clean" and len(scripted.pieces) == 1:
        return await answer.whole(scripted.status, scripted.pieces[0], dict(scripted.headers))
    await answer.begin(scripted.status, scripted.headers)
    for number, piece in enumerate(scripted.pieces):
        if number and scripted.pause:
            await answer.pause(scripted.pause)
        await answer.chunk(piece)
    await _finish(answer, scripted.ending)
    return None


async def _finish(answer: _Answer, ending: str) -> None:
    if ending == "hang":
        await answer.pause(None)
    if ending == "cut":
        raise _CutError
    await answer.end()


async def _send_whole(answer: _Answer, reply: Mapping[str, Any], how: Behaviour) -> None:
    body = msgspec.json.encode(reply)
    if how.malformed:
        body = body[:-1]
    if how.hang is None and how.cut_after is None:
        return await answer.whole(200, body)
    await answer.begin(200, [("content-type", "application/json")])
    if how.hang != "before_first":
        await answer.chunk(body[: len(body) // 2])
    await _finish(answer, "cut" if how.hang is None else "hang")
    return None


async def _send_stream(answer: _Answer, chunks: Iterable[Mapping[str, Any]], how: Behaviour) -> None:
    chunks = iter(chunks)
    chunks = chain([next(chunks)], chunks)  # a wrong request shows here, before the head
    await answer.begin(200, [("content-type", "text/event-stream; charset=utf-8")])
    if how.hang == "before_first":
        await answer.pause(None)
    for number, record in enumerate(_records(chunks, how)):
        if how.cut_after == number:
            await _finish(answer, "cut")
        if how.error_mid == number:
            error = DemoError(500, "The demo upstream was told to fail here.", code="demo_error")
            await answer.chunk(write(msgspec.json.encode(error.body)))
            break
        if number == 2 and how.hang == "mid":
            await answer.pause(None)
        if number and how.chunk_delay_ms:
            await answer.pause(how.chunk_delay_ms / 1000)
        await answer.chunk(record)
    await answer.end()


def _records(chunks: Iterable[Mapping[str, Any]], how: Behaviour) -> Iterable[bytes]:
    for number, chunk in enumerate(chunks):
        if number == 1 and how.malformed:
            yield _BROKEN
        yield write(msgspec.json.encode(chunk))
    if not how.no_done:
        yield DONE


def _head(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"HTTP/1.1 {status} Demo\r\n{fields}\r\n".encode("latin-1")
