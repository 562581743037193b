"""One connection against a transport made of lists: every reply, split everywhere, friendly and hostile."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import Timeouts
from gateway.errors import UpstreamCut, UpstreamTimeout
from gateway.httpclient import MAX_HEAD, PAUSE_ABOVE, Connection
from gateway.reply import UpstreamReply

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


class Transport:
    """Takes what is written, remembers what is asked of it."""

    def __init__(self) -> None:
        self.here, self.there = socket.socketpair()
        self.written: list[bytes] = []
        self.calls: list[str] = []
        self.buffered = 0
        self.slow: Connection | None = None      # is told to pause after each write

    def get_extra_info(self, _: str) -> socket.socket:
        return self.here

    def write(self, data: bytes) -> None:
        self.written.append(bytes(data))
        if self.slow is not None:
            self.slow.pause_writing()

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def is_closing(self) -> bool:
        return "abort" in self.calls

    def abort(self) -> None:
        self.calls.append("abort")

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")

    def close(self) -> None:
        self.here.close()
        self.there.close()


class Pool:
    """Remembers what became of a connection."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def freed(self, _: Connection) -> None:
        self.told.append("freed")

    def gone(self, _: Connection) -> None:
        self.told.append("gone")

    def lost(self, _: Connection) -> None:
        self.told.append("lost")


class Line:
    """A connection, its transport and its pool."""

    def __init__(self) -> None:
        self.transport = Transport()
        self.pool = Pool()
        self.connection = Connection(self.pool, asyncio.get_running_loop())
        self.connection.connection_made(self.transport)  # type: ignore[arg-type]

    async def ask(self, *pieces: bytes, eof: bool = False, method: str = "POST", **times: Any) -> UpstreamReply:
        """Send a request; the reply's pieces come while it waits."""
        asked = asyncio.ensure_future(self.connection.send(
            "p", Timeouts(**times), float("inf"), b"head", b"", bodiless=method == "HEAD"
        ))
        await asyncio.sleep(0)
        self.feed(*pieces, eof=eof)
        return await asked

    def feed(self, *pieces: bytes, eof: bool = False) -> None:
        for piece in pieces:
            if "abort" not in self.transport.calls:
                self.connection.data_received(piece)
        if eof and "abort" not in self.transport.calls:
            self.connection.eof_received()


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    made = Line()
    yield made
    made.connection.abort()
    made.transport.close()


async def collect(reply: UpstreamReply) -> bytes:
    parts = []
    while piece := await reply.read():
        parts.append(piece)
    return b"".join(parts)


# name, bytes, ends with the connection, status, body, kept afterwards
REPLIES = [
    ("sized", OK + b"Content-Length: 5\r\n\r\nhello", False, 200, b"hello", True),
    ("chunked", CHUNKED + b"2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nX-Trailer: 1\r\n\r\n", False, 200, b"hello", True),
    ("until close", OK + b"\r\nhello", True, 200, b"hello", False),
    ("1.0", b"HTTP/1.0 200 OK\r\n\r\nhello", True, 200, b"hello", False),
    ("1.0 kept", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx", False, 200, b"x", True),
    ("close", OK + b"Connection: close\r\nContent-Length: 1\r\n\r\nx", False, 200, b"x", False),
    ("empty", OK + b"Content-Length: 0\r\n\r\n", False, 200, b"", True),
    ("204", b"HTTP/1.1 204 No Content\r\n\r\n", False, 204, b"", True),
    ("304", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", False, 304, b"", True),
    ("1xx", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK
     + b"Content-Length: 1\r\n\r\nx", False, 200, b"x", True),
    ("error", b"HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\nno", False, 500, b"no", True),
    ("no reason", b"HTTP/1.1 429\r\nContent-Length: 0\r\n\r\n", False, 429, b"", True),
    ("identity", OK + b"Content-Encoding: identity\r\nContent-Length: 1\r\n\r\nx", False, 200, b"x", True),
    ("latin-1", OK + b"X-A: \xe9\r\nContent-Length: 1\r\n\r\nx", False, 200, b"x", True),
]

HOSTILE = [
    b"HTTP/1.1 20 OK\r\n\r\n", b"HTTP/1.1 2000 OK\r\n\r\n", b"HTTP/1.1 099 X\r\n\r\n", b"HTTP/1.1 600 X\r\n\r\n",
    b"HTTP/1.1 999 X\r\n\r\n", b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", b"HTTP/0.9 200 OK\r\n\r\n",
    b"HTTP/2 200 OK\r\n\r\n", b"<html>hello</html>", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0\0\x12\x04\0\0\0\0\0",
    b"\x15\x03\x03\0\x02\x02F", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nx",
    b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi", OK + b"Content-Length: 2, 2\r\n\r\nhi",
    OK + b"Content-Length: +2\r\n\r\nhi", OK + b"Content-Length: -2\r\n\r\nhi", OK + b"Content-Length: 0x2\r\n\r\nhi",
    OK + b"Content-Length: 99999999999999999999999\r\n\r\nhi", OK + b"Content-Length:\r\n\r\nhi",
    OK + b"Transfer-Encoding: gzip\r\n\r\nhi", OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: chunked, gzip\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    OK + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\nhi",
    OK + b"X: a\r\n b\r\nContent-Length: 2\r\n\r\nhi", OK + b"X : a\r\n\r\n", OK + b": a\r\n\r\n", OK + b"X\r\n\r\n",
    OK + b"X: a\0b\r\n\r\n", OK + b"X: a\x01b\r\n\r\n", OK + b"X: a\rb\r\n\r\n", OK + b"X: a\nY: b\r\n\r\n",
    b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi",
    CHUNKED + b"zz\r\nhi\r\n", CHUNKED + b"-1\r\nhi\r\n", CHUNKED + b"fffffffffffffffff\r\nhi\r\n",
    CHUNKED + b"2\nhi\n0\n\n", CHUNKED + b"2\r\nhiXX0\r\n\r\n",
    OK + b"X-Long: " + b"a" * MAX_HEAD + b"\r\n\r\n", OK + b"X: 1\r\n" * 257 + b"\r\n", b"a" * (MAX_HEAD + 1),
    OK + b"X-Long: " + b"a" * MAX_HEAD + b"\r\nContent-Length: 1\r\n\r\nx",
    b"HTTP/1.1 100 Continue\r\n\r\n" * 3000,
    CHUNKED + b"1\r\nx\r\n0\r\n" + b"X-Trailer: " + b"a" * MAX_HEAD * 2,
]


@pytest.mark.parametrize(("raw", "eof", "status", "body", "kept"), [case[1:] for case in REPLIES],
                         ids=[case[0] for case in REPLIES])
async def test_a_reply_reads_the_same_however_its_bytes_are_cut(
    raw: bytes, eof: bool, status: int, body: bytes, kept: bool
) -> None:
    """Cut in two at every place, and byte by byte; twice on the same connection where it is kept."""
    cuts = [[raw[:at], raw[at:]] for at in range(1, len(raw))] + [[bytes([byte]) for byte in raw], [raw]]
    for pieces in cuts:
        line = Line()
        for _ in range(2 if kept else 1):
            reply = await line.ask(*pieces, eof=eof)
            assert (reply.status, reply.failure) == (status, None)
            assert await collect(reply) == body
            assert await reply.read() == b""
        assert line.pool.told == (["freed", "freed"] if kept else ["gone"])
        line.connection.abort()
        line.transport.close()


@pytest.mark.parametrize("raw", HOSTILE, ids=lambda raw: repr(raw[:60]))
async def test_what_is_no_plain_http_is_a_cut_answer(raw: bytes) -> None:
    """Whole, in 4 KiB pieces, and byte by byte; the text repeats nothing of it."""
    for size in (len(raw), 4096, 1):
        line = Line()
        reply = await line.ask(*(raw[at:at + size] for at in range(0, len(raw), size)), eof=True)
        with pytest.raises(UpstreamCut) as caught:
            await collect(reply)
        assert "provider p" in caught.value.message.lower()
        assert raw[-9:].decode("latin-1") not in caught.value.message
        assert line.pool.told == ["gone"]
        line.transport.close()


@pytest.mark.parametrize("case", [case for case in REPLIES if not case[2]], ids=lambda case: case[0])
async def test_an_answer_that_ends_early_is_cut_at_every_place(case: Any) -> None:
    raw = case[1].replace(b"X-Trailer: 1\r\n", b"")
    for at in range(len(raw)):
        line = Line()
        reply = await line.ask(raw[:at], eof=True) if at else await line.ask(eof=True)
        with pytest.raises(UpstreamCut):
            await collect(reply)
        assert reply.unanswered == (at == 0)
        line.transport.close()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_bytes_make_anything_but_an_upstream_error(data: st.DataObject) -> None:
    """Known replies with bytes changed, dropped and doubled, in random pieces."""
    raw = bytearray(data.draw(st.sampled_from([case[1] for case in REPLIES] + HOSTILE[:40])))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw)))
        edit = data.draw(st.sampled_from([b"", b"\r\n", b"\0", b"\xff", b":", b"9"]))
        raw[at:at + data.draw(st.integers(0, 3))] = edit
    cut = data.draw(st.integers(0, len(raw)))

    async def play() -> None:
        line = Line()
        reply = await line.ask(bytes(raw[:cut]), bytes(raw[cut:]), eof=True)
        try:
            await collect(reply)
        except UpstreamCut:
            assert "gone" in line.pool.told
        line.connection.abort()
        line.transport.close()

    asyncio.run(play())


@pytest.mark.parametrize("extra", [b"x", OK, OK + b"Content-Length: 6\r\n\r\nPOISON", b"\0"])
@pytest.mark.parametrize("together", [True, False])
async def test_bytes_after_a_reply_never_reach_another_request(line: Line, extra: bytes, together: bool) -> None:
    real = OK + b"Content-Length: 4\r\n\r\nreal"
    reply = await line.ask(real + extra if together else real)
    assert await collect(reply) == b"real"
    if not together:
        assert line.pool.told == ["freed"]
        line.connection.data_received(extra)
    assert line.pool.told[-1] == "gone"
    assert line.transport.calls == ["abort"]


async def test_bytes_that_wait_in_the_socket_make_an_idle_connection_unusable(line: Line) -> None:
    await line.ask(OK + b"Content-Length: 0\r\n\r\n")
    assert line.connection.usable()
    line.transport.there.send(b"x")
    assert not line.connection.usable()


async def test_an_end_of_file_in_the_socket_makes_an_idle_connection_unusable(line: Line) -> None:
    await line.ask(OK + b"Content-Length: 0\r\n\r\n")
    line.transport.there.shutdown(socket.SHUT_WR)
    assert not line.connection.usable()
    line.connection.eof_received()
    assert line.pool.told == ["freed", "gone"]


async def test_a_head_request_has_no_body_whatever_its_length_says(line: Line) -> None:
    reply = await line.ask(OK + b"Content-Length: 5\r\n\r\n", method="HEAD")
    assert reply.headers == {"content-length": "5"}
    assert await reply.read() == b""
    assert line.pool.told == ["gone"]


async def test_reading_pauses_above_the_limit_and_goes_on_after_a_read(line: Line) -> None:
    reply = await line.ask(CHUNKED)
    piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    line.feed(*[piece] * 3)
    assert line.transport.calls == []
    line.feed(*[piece] * 3)
    assert line.transport.calls == ["pause"]
    assert len(await reply.read() or b"") == 6 * 0x10000 > PAUSE_ABOVE
    assert line.transport.calls == ["pause", "resume"]


async def test_a_connection_that_was_paused_reads_again_in_the_pool(line: Line) -> None:
    """Else it would not see the upstream's end of file."""
    reply = await line.ask(CHUNKED)
    line.feed(b"50000\r\n" + b"x" * 0x50000)
    line.feed(b"\r\n0\r\n\r\n")
    assert line.transport.calls == ["pause", "resume"]
    assert line.pool.told == ["freed"]
    assert len(await reply.body(1 << 20)) == 0x50000


async def test_a_reply_before_the_request_was_sent_costs_the_connection(line: Line) -> None:
    line.transport.buffered = 1
    reply = await line.ask(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
    assert reply.status == 413
    assert line.pool.told == ["gone"]


@pytest.mark.parametrize(("early", "sent"), [(b"HTTP/1.1 413 X\r\n", 0x80000), (OK, 0x300000)])
async def test_a_long_body_waits_for_the_upstream_and_stops_when_it_is_refused(
    line: Line, early: bytes, sent: int
) -> None:
    body = b"x" * 0x300000
    line.transport.slow = line.connection
    asked = asyncio.ensure_future(
        line.connection.send("p", Timeouts(), float("inf"), b"head", body, bodiless=False)
    )
    await asyncio.sleep(0)
    assert sum(map(len, line.transport.written)) == 4 + 0x40000
    line.connection.resume_writing()
    for _ in range(2):
        await asyncio.sleep(0)
    assert sum(map(len, line.transport.written)) == 4 + 0x80000
    line.feed(early + b"Content-Length: 2\r\n\r\n")
    reply = await asked
    assert sum(map(len, line.transport.written)) == 4 + sent
    line.feed(b"no")
    assert await collect(reply) == b"no"
    assert line.pool.told == (["gone"] if sent < 0x300000 else ["freed"])


async def test_silence_before_the_head_and_inside_the_body_are_told_apart() -> None:
    line = Line()
    reply = await line.ask(first_byte=0.02)
    assert isinstance(reply.failure, UpstreamTimeout)
    assert "timeouts.first_byte" in reply.failure.message
    line.transport.close()
    line = Line()
    reply = await line.ask(CHUNKED + b"1\r\nx\r\n", idle=0.02)
    assert await reply.read() == b"x"
    with pytest.raises(UpstreamTimeout, match=r"silent for 0\.02 s"):
        await reply.read()
    assert line.pool.told == ["gone"]
    line.transport.close()


async def test_quiet_reads_do_not_prolong_the_idle_deadline(line: Line) -> None:
    reply = await line.ask(CHUNKED, idle=0.2)
    loop = asyncio.get_running_loop()
    quiet = 0

    async def wait() -> None:
        nonlocal quiet
        while await reply.read(0.05) is None:
            quiet += 1

    begin = loop.time()
    with pytest.raises(UpstreamTimeout):
        await wait()
    assert 2 <= quiet <= 4
    assert 0.19 <= loop.time() - begin < 0.6


async def test_each_piece_renews_the_idle_deadline_and_the_quiet_time(line: Line) -> None:
    reply = await line.ask(CHUNKED, idle=0.4)
    for _ in range(5):
        assert await reply.read(0.1) is None
        line.feed(b"1\r\nx\r\n")
        assert await reply.read(0.1) == b"x"
    line.feed(b"0\r\n\r\n")
    assert await reply.read(0.1) == b""


async def test_what_came_before_a_cut_is_read_first(line: Line) -> None:
    reply = await line.ask(CHUNKED + b"2\r\nhi\r\n", b"garbage")
    assert await reply.read() == b"hi"
    for _ in range(2):
        with pytest.raises(UpstreamCut):
            await reply.read()


async def test_repeated_headers_keep_the_first_and_list_all(line: Line) -> None:
    reply = await line.ask(OK + b"Set-Cookie: a\r\nset-cookie: b\r\nX-Empty:\r\nContent-Length: 0\r\n\r\n")
    assert reply.headers["set-cookie"] == "a"
    assert reply.headers["x-empty"] == ""
    assert reply.all_headers("set-cookie") == ["a", "b"]


async def test_one_byte_chunks_are_cheap(line: Line) -> None:
    """R-96: a quarter of a megabyte in one-byte chunks, well below a second."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    reply = await line.ask(CHUNKED)
    for _ in range(16):
        line.feed(b"1\r\nx\r\n" * 16_384)
        assert len(await reply.read() or b"") == 16_384
    assert loop.time() - begin < 1.0
