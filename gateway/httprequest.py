"""One HTTP request as the pipeline sees it, and the proof of its answer. No routes and no sockets here.

The connection under it is in `httpguard.py`, the server in `httpserver.py`.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote
from uuid import uuid4

from aiohttp import HttpVersion10, HttpVersion11, StreamReader
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import RawRequestMessage

from gateway.errors import GatewayError, InvalidRequest, TooLarge, UnsupportedMedia

if TYPE_CHECKING:
    from gateway.httpguard import Connection

CREDENTIALS = frozenset(
    {"authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie"}
)

# The server alone says how a message is framed and when its connection ends.
_FRAMING = frozenset(
    {"connection", "content-length", "date", "keep-alive", "server", "trailer", "transfer-encoding", "upgrade"}
)
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
_BODILESS = frozenset({204, 304})
_LINE = ": ".join
_MAX_QUERY_FIELDS = 100
_STRETCH = 256 * 1024


class RequestTimeout(InvalidRequest):
    """The client did not send the head or the body of its request in time."""

    status = 408
    code = "request_timeout"


class Answer:
    """What serving a request ends with; made by `Incoming.reply` and `Incoming.finish` only."""

    __slots__ = ("_connection", "_data", "keep_alive")

    def __init__(self, connection: "Connection", data: bytes, keep_alive: bool) -> None:
        self._connection = connection
        self._data = data
        self.keep_alive = keep_alive

    async def send(self) -> None:
        """Put the bytes on the wire, at the client's pace. Raises `ConnectionError` when it is gone."""
        if self._data:
            self._connection.put(self._data)
            if self._connection.writing_paused:
                await self._connection.drained()
        if self._connection.broken:
            await self._connection.linger()


class SafeHeaders(Mapping[str, str]):
    """A view of a request's headers that has no credential in it; names come in lower case."""

    __slots__ = ("_headers",)

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    def __getitem__(self, name: str) -> str:
        if name.lower() in CREDENTIALS:
            raise KeyError(name)
        return self._headers[name]

    def get(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - as in Mapping
        """The value, or `default`; the hot path's way in."""
        return default if name.lower() in CREDENTIALS else self._headers.get(name, default)

    def __iter__(self) -> Iterator[str]:
        names = dict.fromkeys(name.lower() for name in self._headers)
        return (name for name in names if name not in CREDENTIALS)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Incoming:
    """One request. `path` is decoded once, save for `%2F` and `%25`, which only a route's parameter may hold.

    `request_id` is made here; who serves may set its own, so that the last-resort error page names it.
    """

    __slots__ = (
        "_chunked", "_connection", "_message", "_payload", "_query", "_request_id", "headers", "method", "path", "peer",
        "started",
    )

    def __init__(self, message: RawRequestMessage, payload: StreamReader, connection: "Connection") -> None:
        self._message = message
        self._payload = payload
        self._connection = connection
        self._query: dict[str, str] | None = None
        self._request_id = ""
        self._chunked = False
        self.method: str = message.method
        self.headers: Mapping[str, str] = message.headers
        self.peer = connection.peer
        self.started = False
        path: str = message.path.partition("?")[0]
        self.path = path if "%" not in path else _decoded(path)

    @property
    def request_id(self) -> str:
        """The id under which the log knows this request."""
        if not self._request_id:
            self._request_id = f"req_{uuid4().hex}"
        return self._request_id

    @request_id.setter
    def request_id(self, value: str) -> None:
        self._request_id = value

    @property
    def task(self) -> "asyncio.Task[None] | None":
        """The task that serves this request, and the others of its connection."""
        return self._connection.task

    @property
    def too_slow(self) -> bool:
        """Whether the client was cut because it took no byte of its answer for too long."""
        return self._connection.too_slow

    @property
    def safe_headers(self) -> Mapping[str, str]:
        """The headers without credentials, as a view."""
        return SafeHeaders(self.headers)

    @property
    def query(self) -> Mapping[str, str]:
        """The query's fields, decoded; of a repeated one the last."""
        if self._query is None:
            text = self._message.path.partition("?")[2]
            try:
                self._query = dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_QUERY_FIELDS))
            except ValueError:
                raise InvalidRequest(f"The query has more than {_MAX_QUERY_FIELDS} fields.") from None
        return self._query

    @property
    def query_text(self) -> str:
        """The query as it came."""
        text: str = self._message.path.partition("?")[2]
        return text

    def fault(self) -> str | None:
        """Why this request must not be served, though its head could be read; `None` is the rule."""
        message = self._message
        if message.version is not HttpVersion11 and message.version is not HttpVersion10:
            return "Only HTTP/1.0 and HTTP/1.1 are spoken here."
        if not message.path.startswith("/") or not message.path.isascii():
            return "The request target must be a path in ASCII."
        if not self.path.isprintable() or "\ufffd" in self.path:
            return "The path has characters that cannot be shown, or is not UTF-8."
        if message.chunked and (
            message.version is HttpVersion10 or self.headers.get("transfer-encoding", "").lower() != "chunked"
        ):
            return "The only transfer coding is chunked, in HTTP/1.1."
        if not all(map(str.isascii, self.headers.values())):
            self.headers = _readable(message)
            if not _is_utf8(self.headers):
                return "A header is not UTF-8."
        return None

    async def body(self, limit: int) -> bytes:
        """The whole body, at most `limit` bytes, read before `body_timeout`."""
        self._check_body(limit)
        payload = self._payload
        if payload.is_eof() and payload.exception() is None:
            data = payload.read_nowait(-1) if payload.total_bytes else b""
            if len(data) > limit:
                raise _too_large(limit)
            return data
        return await self._read(limit)

    async def pieces(self, limit: int) -> AsyncIterator[bytes]:
        """The body as it comes, at most `limit` bytes; `body_timeout` is the most to wait for each next 256 KiB."""
        self._check_body(limit)
        payload, connection = self._payload, self._connection
        if not payload.total_bytes and self._expects_continue():
            connection.put(b"HTTP/1.1 100 Continue\r\n\r\n")
        size, waited, loop = 0, 0.0, asyncio.get_running_loop()
        while True:
            began = loop.time()
            connection.expect_body(payload, waited)
            try:
                part = await payload.readany()
            except (GatewayError, ConnectionError):
                raise
            except Exception:  # what aiohttp makes of a broken chunk; its text quotes the client's bytes
                raise InvalidRequest("The body's chunks are malformed.") from None
            finally:
                connection.expect_body(None)
            if not part:
                return
            waited = 0.0 if (size + len(part)) // _STRETCH > size // _STRETCH else waited + loop.time() - began
            size += len(part)
            if size > limit:
                raise _too_large(limit)
            yield part

    def check_json(self) -> None:
        """Refuse (415) a body that does not say that it is JSON.

        curl's default form type passes when a header authenticates: no browser form can send such a header.
        """
        content_type = self.headers.get("content-type")
        if not content_type or content_type == "application/json":
            return
        media, _, parameters = content_type.lower().partition(";")
        media = media.strip()
        if media == "application/json" or (media.startswith("application/") and media.endswith("+json")):
            charset = parameters.partition("charset=")[2].partition(";")[0].strip().strip('"')
            if charset in ("", "utf-8", "utf8", "us-ascii"):
                return
            raise UnsupportedMedia("Send the JSON body as UTF-8.")
        if media == "application/x-www-form-urlencoded" and any(
            name in self.headers for name in ("authorization", "x-api-key", "api-key")
        ):
            return
        raise UnsupportedMedia("Send the body as JSON, with the header Content-Type: application/json.")

    def reply(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        """A whole answer; its head and body leave in one write."""
        keep = self._keeps_alive()
        framing = "" if status in _BODILESS else f"Content-Length: {len(body)}\r\n"
        if "x-request-id" not in headers:
            framing = f"x-request-id: {self.request_id}\r\n{framing}"
        data = response_head(status, headers, framing + self._connection_line(keep))
        if status not in _BODILESS and self.method != "HEAD":
            data += body
        return Answer(self._connection, data, keep)

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        """Begin a streamed answer: chunked, or up to the end of the connection for HTTP/1.0."""
        self._chunked = self._message.version is HttpVersion11
        keep = self._keeps_alive() and self._chunked
        framing = "Transfer-Encoding: chunked\r\n" if self._chunked else ""
        head = response_head(status, headers, framing + self._connection_line(keep))
        self.started = True
        self._connection.put(head)

    async def write(self, data: bytes) -> None:
        """Send a piece of the stream and wait for the client's pace. Raises `ConnectionError` when it is gone."""
        if data and self.method != "HEAD":
            self._connection.put(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
        if self._connection.writing_paused:
            await self._connection.drained()

    async def finish(self, last: bytes = b"", *, whole: bool = True) -> Answer:  # noqa: ARG002
        """Send the last piece and the end of the stream in one write. `whole` is for who keeps answers."""
        data = last
        if self.method == "HEAD":
            data = b""
        elif self._chunked:
            data = b"%x\r\n%b\r\n0\r\n\r\n" % (len(last), last) if last else b"0\r\n\r\n"
        if data:
            self._connection.put(data)
        if self._connection.writing_paused:
            await self._connection.drained()
        return Answer(self._connection, b"", self._keeps_alive() and self._chunked)

    def aborted(self) -> Answer:
        """Cut the connection: the client must see that the answer is not whole."""
        self._connection.abort()
        return Answer(self._connection, b"", keep_alive=False)

    def distrust(self) -> None:
        """Read no further bytes from this connection, and let the answer be its last."""
        self._connection.distrust(InvalidRequest("The request is not valid HTTP."))

    def _keeps_alive(self) -> bool:
        message = self._message
        return self._connection.keep_open and not message.should_close and not message.upgrade

    def _connection_line(self, keep: bool) -> str:
        if not keep:
            return "Connection: close\r\n"
        return "Connection: keep-alive\r\n" if self._message.version is HttpVersion10 else ""

    async def _read(self, limit: int) -> bytes:
        payload, connection = self._payload, self._connection
        if not payload.total_bytes and self._expects_continue():
            connection.put(b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.expect_body(payload)
        try:
            return await _all_of(payload, limit)
        except (GatewayError, ConnectionError):
            raise
        except Exception:  # what aiohttp makes of a broken chunk; its text quotes the client's bytes
            raise InvalidRequest("The body's chunks are malformed.") from None
        finally:
            connection.expect_body(None)

    def _check_body(self, limit: int) -> None:
        coding = self.headers.get("content-encoding", "")
        if coding and coding.strip().lower() != "identity":
            raise UnsupportedMedia("Send the body uncompressed: Content-Encoding is not supported.")
        declared = self.headers.get("content-length")
        if declared is not None and int(declared) > limit:
            self._forgo_body()
            raise _too_large(limit)

    def _forgo_body(self) -> None:
        # A client that waits for "100 Continue" will not send the body: nothing to wait for, nothing to keep open.
        if self._expects_continue() and not self._payload.total_bytes:
            self._connection.keep_open = False
            self._connection.drain_body_for = 0.0

    def _expects_continue(self) -> bool:
        expect: str = self.headers.get("expect", "")
        return expect.lower() == "100-continue" and self._message.version is HttpVersion11

    # What aiohttp's protocol asks of a request besides.

    def _cancel(self, error: BaseException) -> None:
        self._payload.set_exception(error)


def response_head(status: int, headers: Mapping[str, str], framing: str) -> bytes:
    """The bytes up to the body. Raises `ValueError` for a header that would break out of its line."""
    if not _FRAMING.isdisjoint(headers) or not "".join(headers).islower():
        headers = {name: value for name, value in headers.items() if name.lower() not in _FRAMING}
    text = "\r\n".join(map(_LINE, headers.items()))
    breaks = max(0, len(headers) - 1)
    if text.count("\n") != breaks or text.count("\r") != breaks or "\0" in text:
        raise ValueError("a response header has a line break or NUL in it")
    end = "\r\n" if text else ""
    first = _STATUS_LINES.get(status) or f"HTTP/1.1 {status:d} \r\n"
    return f"{first}{text}{end}Date: {rfc822_formatted_time()}\r\n{framing}\r\n".encode()


def header_safe(text: str) -> str:
    """`text` as a header value: printable ASCII, at most 1,000 characters."""
    if len(text) <= 1000 and text.isascii() and text.isprintable():
        return text
    return "".join(c if " " <= c <= "~" else "?" for c in text[:1000])


async def _all_of(payload: StreamReader, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while part := await payload.readany():
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
    return b"".join(parts)


def _decoded(path: str) -> str:
    parts = path.replace("%2f", "%2F").split("%2F")
    return "%2F".join(unquote(part).replace("%", "%25") for part in parts)


def _readable(message: RawRequestMessage) -> Mapping[str, str]:
    """With a mark for each byte of a credential that is no UTF-8: it is a wrong credential, whatever its bytes are."""
    made = message.headers.copy()
    for name in CREDENTIALS.intersection(map(str.lower, message.headers)):
        made[name] = made[name].encode("utf-8", "replace").decode()
    return made


def _is_utf8(headers: Mapping[str, str]) -> bool:
    try:
        "".join(headers.values()).encode()
    except UnicodeEncodeError:  # bytes that were no UTF-8 arrive as lone surrogates
        return False
    return True


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The request body is larger than {limit} bytes.")
