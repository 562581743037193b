"""Upstreams that are silent, cut, endless or slow: each ends in the right error, in time."""

import asyncio
import socket
import struct
import time

from faults import CHUNKED, OK, Server, answer, client, collect, failing, once, peer, post, request, serving
from waiting import measured, until
from wire import on_both_loops

from gateway.errors import UpstreamCut, UpstreamTimeout
from gateway.upstream import Upstream


@on_both_loops
async def test_an_upstream_that_accepts_and_is_silent_ends_at_the_first_byte_deadline() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)

    async with serving(handler) as server, client() as upstream:
        begin = time.monotonic()
        send = upstream.send(peer(first_byte=0.1), post(server.port))
        assert "timeouts.first_byte" in await failing(UpstreamTimeout, send)
        assert 0.09 < time.monotonic() - begin < 10
        await until(lambda: server.left == 1)
        assert upstream.stats() == {}


@on_both_loops
async def test_a_short_deadline_after_a_long_one_on_the_same_connection_holds() -> None:
    """The one timer of a connection moves forward when a deadline comes before it."""
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(answer(b"ok"))
        await request(reader)

    async with serving(handler) as server, client() as upstream:
        await (await upstream.send(peer(first_byte=50), post(server.port))).body(2)
        begin = time.monotonic()
        await failing(UpstreamTimeout, upstream.send(peer(first_byte=0.1), post(server.port)))
        assert time.monotonic() - begin < 10
        assert server.connections == 1


@on_both_loops
@measured
async def test_silence_after_the_head_ends_at_the_idle_deadline() -> None:
    async with serving(once(CHUNKED, b"1\r\nx\r\n", then_close=False)) as server, client() as upstream:
        reply = await upstream.send(peer(idle=0.1), post(server.port))
        assert await reply.read() == b"x"
        begin = time.monotonic()
        assert "silent for 0.1 s" in await failing(UpstreamTimeout, reply.read())
        assert time.monotonic() - begin < 10
        await until(lambda: server.left == 1)


@on_both_loops
@measured
async def test_the_total_deadline_ends_an_answer_that_never_stops() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(CHUNKED)
        while True:
            writer.write(b"1\r\nx\r\n")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with serving(handler) as server, client() as upstream:
        begin = time.monotonic()
        reply = await upstream.send(peer(total=0.15), post(server.port))
        assert "timeouts.total" in await failing(UpstreamTimeout, collect(reply))
        assert 0.1 < time.monotonic() - begin < 10
        await until(lambda: server.left == 1)


@on_both_loops
@measured
async def test_quiet_reads_return_without_losing_anything() -> None:
    async with serving(once(CHUNKED, b"1\r\na\r\n", b"1\r\nb\r\n0\r\n\r\n", pause=0.1)) as server, client() as upstream:
        reply = await upstream.send(peer(), post(server.port))
        seen = []
        while (piece := await reply.read(0.03)) != b"":
            seen.append(piece)
        assert [piece for piece in seen if piece] == [b"a", b"b"]
        assert seen.count(None) >= 4


@on_both_loops
async def test_cut_answers_are_cut_in_every_framing() -> None:
    for pieces in ((b"HTTP/1.1 2",), (OK,), (CHUNKED, b"5\r\nhel"), (CHUNKED, b"5\r\nhello\r\n"), (CHUNKED, b"0\r\n"),
                   (OK + b"content-length: 9\r\n\r\n", b"hello")):
        async with serving(once(*pieces)) as server, client() as upstream:
            async def whole(server: Server = server, upstream: Upstream = upstream) -> bytes:
                return await collect(await upstream.send(peer(), post(server.port)))

            await failing(UpstreamCut, whole())
            assert upstream.stats() == {}


@on_both_loops
@measured
async def test_a_reset_in_the_middle_is_a_cut_also_without_framing() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(OK + b"\r\nhello")
        await writer.drain()
        await asyncio.sleep(0.02)
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    async with serving(handler) as server, client() as upstream:
        reply = await upstream.send(peer(), post(server.port))
        assert await reply.read() == b"hello"
        await failing(UpstreamCut, reply.read())


@on_both_loops
async def test_an_answer_without_length_ends_with_its_connection() -> None:
    async with serving(once(OK + b"\r\nhel", b"lo", pause=0.01)) as server, client() as upstream:
        assert await collect(await upstream.send(peer(), post(server.port))) == b"hello"
        assert upstream.stats() == {}


@on_both_loops
async def test_an_answer_byte_by_byte_is_the_same_answer() -> None:
    raw = CHUNKED + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await request(reader)
            for byte in raw:
                writer.write(bytes([byte]))
                await asyncio.sleep(0)

    async with serving(handler) as server, client() as upstream:
        for _ in range(3):
            assert await collect(await upstream.send(peer(), post(server.port))) == b"hello"
        assert server.connections == 1


@on_both_loops
@measured
async def test_a_slow_reader_holds_the_upstream_back() -> None:
    sent = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        await request(reader)
        writer.write(OK + b"content-length: 100000000\r\n\r\n")
        while sent < 100_000_000:
            writer.write(b"x" * 100_000)
            await writer.drain()
            sent += 100_000

    async with serving(handler) as server, client() as upstream:
        reply = await upstream.send(peer(idle=0.1), post(server.port))
        await asyncio.sleep(0.25)  # longer than `idle`: a reader that is away is not an upstream that is silent
        assert sent < 30_000_000
        assert reply._size < 1_500_000
        got = 0
        for _ in range(20):
            got += len(await reply.read() or b"")
        assert got > 256 * 1024
        reply.close()


@on_both_loops
async def test_an_upstream_that_takes_nothing_of_a_long_body_ends_at_the_idle_deadline() -> None:
    async def handler(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await asyncio.sleep(10)

    async with serving(handler) as server, client() as upstream:
        send = upstream.send(peer(idle=0.1, first_byte=30), post(server.port, b"x" * 30_000_000))
        assert "took no more" in await failing(UpstreamTimeout, send)


@on_both_loops
async def test_a_redirect_is_an_answer_like_any_other() -> None:
    """R-47: nobody follows it."""
    async with serving(once(b"HTTP/1.1 307 X\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n")) as server:
        async with client() as upstream:
            reply = await upstream.send(peer(), post(server.port))
            assert (reply.status, await reply.body(1)) == (307, b"")
        assert server.connections == 1
