"""Requests that two servers could read differently: each is answered with 400 and the connection ends (R-100)."""

import re
from collections.abc import Awaitable, Callable

import msgspec
import pytest
import structlog
from wire import connected, head, on_both_loops, serving

from gateway.httpserver import Answer, Incoming

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
SECRET = "sk-gw-Zm9vYmFyYmF6cXV4MTIzNDU2"


def remembering(seen: list[tuple[str, bytes]]) -> Callable[[Incoming], Awaitable[Answer]]:
    """Reads each body and remembers what it saw."""

    async def serve(incoming: Incoming) -> Answer:
        body = await incoming.body(1 << 20)
        seen.append((incoming.path, body))
        return incoming.reply(200, {"content-type": "text/plain"}, body)

    return serve


async def exchange(port: int, *pieces: bytes) -> bytes:
    """All that comes back until the server closes."""
    async with connected(port) as client:
        await client.send(*pieces)
        return await client.rest()


def post(*lines: str, body: bytes = b"") -> bytes:
    return head("Host: x", *lines, start="POST / HTTP/1.1") + body


CHUNKED = "Transfer-Encoding: chunked"

CORPUS = {
    "content length and chunked": post("Content-Length: 5", CHUNKED, body=b"0\r\n\r\n"),
    "chunked and content length": post(CHUNKED, "Content-Length: 5", body=b"0\r\n\r\n"),
    "two content lengths": post("Content-Length: 0", "Content-Length: 5"),
    "the same content length twice": post("Content-Length: 0", "Content-Length: 0"),
    "content length list": post("Content-Length: 0, 5"),
    "content length with plus": post("Content-Length: +5", body=b"hello"),
    "content length negative": post("Content-Length: -1"),
    "content length hex": post("Content-Length: 0x5", body=b"hello"),
    "content length with underscore": post("Content-Length: 1_0", body=b"helloworld"),
    "content length empty": post("Content-Length: "),
    "content length with inner space": post("Content-Length: 5 5", body=b"hello"),
    "content length overflow": post("Content-Length: 18446744073709551621", body=b"hello"),
    "content length in other digits": post("Content-Length: \xb2"),
    "duplicate host": post("Host: y"),
    "missing host": head("Accept: */*"),
    "bare LF between lines": b"POST / HTTP/1.1\nHost: x\n\n",
    "bare LF after one header": b"POST / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n",
    "bare CR in a value": post("A: b\rc"),
    "bare CR instead of CRLF": b"POST / HTTP/1.1\rHost: x\r\r",
    "obsolete folding": post("A: b\r\n c"),
    "obsolete folding of the coding": post("Transfer-Encoding:\r\n chunked", body=b"0\r\n\r\n"),
    "NUL in a value": post("A: b\0c"),
    "NUL in a name": post("A\0: b"),
    "control character in a value": post(f"Authorization: Bearer {SECRET}\x01"),
    "space before the colon": post("Content-Length : 5", body=b"hello"),
    "tab before the colon": post("Transfer-Encoding\t: chunked", body=b"0\r\n\r\n"),
    "space at the start of the first header": b"POST / HTTP/1.1\r\n Host: x\r\n\r\n",
    "no colon": post("nonsense"),
    "empty name": post(": b"),
    "name with a bracket": post("A(b): c"),
    "coding identity": post("Transfer-Encoding: identity", body=b"0\r\n\r\n"),
    "coding unknown": post("Transfer-Encoding: xchunked", body=b"0\r\n\r\n"),
    "chunked not last": post("Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n"),
    "gzip and chunked": post("Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
    "chunked twice": post("Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"),
    "two codings": post(CHUNKED, "Transfer-Encoding: identity", body=b"0\r\n\r\n"),
    "coding with vertical tab": post("Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"),
    "coding in quotes": post('Transfer-Encoding: "chunked"', body=b"0\r\n\r\n"),
    "chunked in HTTP/1.0": head("Host: x", CHUNKED, start="POST / HTTP/1.0") + b"0\r\n\r\n",
    "chunk size overflow": post(CHUNKED, body=b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    "chunk size of 2**64": post(CHUNKED, body=b"10000000000000000\r\nhello\r\n0\r\n\r\n"),
    "chunk size with 0x": post(CHUNKED, body=b"0x5\r\nhello\r\n0\r\n\r\n"),
    "chunk size negative": post(CHUNKED, body=b"-5\r\nhello\r\n0\r\n\r\n"),
    "chunk size with plus": post(CHUNKED, body=b"+5\r\nhello\r\n0\r\n\r\n"),
    "chunk size with underscore": post(CHUNKED, body=b"0_5\r\nhello\r\n0\r\n\r\n"),
    "chunk size empty": post(CHUNKED, body=b"\r\nhello\r\n0\r\n\r\n"),
    "chunk size with space before": post(CHUNKED, body=b" 5\r\nhello\r\n0\r\n\r\n"),
    "chunk size with space after": post(CHUNKED, body=b"5 \r\nhello\r\n0\r\n\r\n"),
    "chunk line ends with LF": post(CHUNKED, body=b"5\nhello\r\n0\r\n\r\n"),
    "chunk extension with LF": post(CHUNKED, body=b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
    "chunk longer than its size": post(CHUNKED, body=b"4\r\nhello\r\n0\r\n\r\n"),
    "chunk without its CRLF": post(CHUNKED, body=b"5\r\nhello0\r\n\r\n"),
    "last chunk without CR": post(CHUNKED, body=b"0\n\n"),
    "broken trailer": post(CHUNKED, body=b"0\r\nA b\r\n\r\n"),
    "trailer with LF": post(CHUNKED, body=b"0\r\nA: b\n\r\n"),
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/0.9 by name": head("Host: x", start="GET / HTTP/0.9"),
    "HTTP/1.2": head("Host: x", start="GET / HTTP/1.2"),
    "HTTP/2.0": head("Host: x", start="GET / HTTP/2.0"),
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "lower case http": head("Host: x", start="GET / http/1.1"),
    "version with space": head("Host: x", start="GET / HTTP/ 1.1"),
    "version 11": head("Host: x", start="GET / HTTP/11"),
    "ICY": head("Host: x", start="GET / ICY/1.1"),
    "absolute form": head("Host: x", start="GET http://other/ HTTP/1.1"),
    "absolute form with userinfo": head("Host: x", start="GET http://a@b/ HTTP/1.1"),
    "authority form": head("Host: x:80", start="CONNECT x:80 HTTP/1.1"),
    "asterisk form": head("Host: x", start="OPTIONS * HTTP/1.1"),
    "relative target": head("Host: x", start="GET smuggled HTTP/1.1"),
    "target with a space": head("Host: x", start="GET /a b HTTP/1.1"),
    "target with a tab": head("Host: x", start="GET\t/ HTTP/1.1"),
    "target with NUL": head("Host: x", start="GET /\0 HTTP/1.1"),
    "target with an encoded NUL": head("Host: x", start="GET /%00 HTTP/1.1"),
    "target with an encoded line break": head("Host: x", start="GET /%0d%0a HTTP/1.1"),
    "target with encoded bytes that are no UTF-8": head("Host: x", start="GET /%ff%fe HTTP/1.1"),
    "target with raw UTF-8": head("Host: x", start="GET /\xc3\xa9 HTTP/1.1"),
    "method in lower case": head("Host: x", start="get / HTTP/1.1"),
    "method unknown": head("Host: x", start="SMUGGLE / HTTP/1.1"),
    "method with a bracket": head("Host: x", start="GE(T / HTTP/1.1"),
    "no target": head("Host: x", start="GET HTTP/1.1"),
    "TLS on a plain port": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64,
    "header that is no UTF-8": post("X-Other: \xff\xfe"),
    "field of 9 KiB": post("A: " + "b" * 9216),
    "name of 9 KiB": post("b" * 9216 + ": a"),
    "129 headers": post(*(f"A{number}: b" for number in range(129))),
    "head of 66 KiB": post(*(f"A{number}: " + "b" * 6000 for number in range(11))),
    "target of 9 KiB": head("Host: x", start="GET /" + "a" * 9216 + " HTTP/1.1"),
}


@pytest.mark.parametrize("name", CORPUS)
@on_both_loops
async def test_an_ambiguous_request_gets_400_and_a_close(name: str):
    """One answer, 400, JSON, then the end; the request behind it is never seen, and no byte of it comes back."""
    seen: list[tuple[str, bytes]] = []
    with structlog.testing.capture_logs() as logs:
        async with serving(remembering(seen)) as (_, port):
            answer = await exchange(port, CORPUS[name] + SMUGGLED)
    answer_head, _, body = answer.partition(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"connection: close" in answer_head.lower()
    assert msgspec.json.decode(body)["error"]["type"] == "invalid_request_error"
    assert seen == []
    assert SECRET.encode() not in answer
    assert SECRET not in str(logs)
    assert b"aiohttp" not in answer.lower()


@pytest.mark.parametrize("name", ["chunk size overflow", "chunk without its CRLF", "bare LF after one header"])
@on_both_loops
async def test_an_ambiguous_request_is_refused_also_byte_by_byte(name: str):
    """How the bytes are cut into segments changes nothing."""
    seen: list[tuple[str, bytes]] = []
    request = CORPUS[name] + SMUGGLED
    async with serving(remembering(seen)) as (_, port):
        answer = await exchange(port, *(request[at : at + 7] for at in range(0, len(request), 7)))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert seen == []


@on_both_loops
async def test_trailers_are_dropped():
    """A trailer never becomes a header of this or of the next request."""
    seen: list[tuple[str, bytes]] = []
    request = post(CHUNKED, "Trailer: X-Api-Key", body=b"5\r\nhello\r\n0\r\nX-Api-Key: a\r\nX-Sum: 9\r\n\r\n")
    async with serving(remembering(seen)) as (_, port):
        answer = await exchange(port, request + head("Host: x", "Connection: close", start="GET /next HTTP/1.1"))
    assert seen == [("/", b"hello"), ("/next", b"")]
    assert len(re.findall(rb"HTTP/1.1 200 OK", answer)) == 2


@pytest.mark.parametrize("protocol", ["websocket", "h2c", "WebSocket, h2c"])
@pytest.mark.parametrize("body", [b"", b"hello"])
@on_both_loops
async def test_an_upgrade_is_served_plainly_and_ends_the_connection(protocol: str, body: bytes):
    """What follows an upgrade might be another protocol: it is never read as a request."""
    seen: list[tuple[str, bytes]] = []
    lines = ("Connection: Upgrade, HTTP2-Settings", f"Upgrade: {protocol}", f"Content-Length: {len(body)}")
    async with serving(remembering(seen)) as (_, port):
        answer = await exchange(port, post(*lines, body=body) + SMUGGLED, SMUGGLED)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Connection: close" in answer
    assert answer.count(b"HTTP/1.1 ") == 1
    assert seen == [("/", body)]


@on_both_loops
async def test_a_body_of_a_get_is_part_of_it():
    """The body of a GET is read, so that it cannot be the next request."""
    seen: list[tuple[str, bytes]] = []
    inner = SMUGGLED
    request = head("Host: x", f"Content-Length: {len(inner)}", start="GET /outer HTTP/1.1") + inner
    async with serving(remembering(seen)) as (_, port):
        await exchange(port, request + head("Host: x", "Connection: close", start="GET /next HTTP/1.1"))
    assert seen == [("/outer", inner), ("/next", b"")]
