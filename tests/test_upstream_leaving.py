"""Who leaves early, when and how: the upstream sees it at once, nothing leaks, no answer goes astray."""

import asyncio
import random
from collections.abc import Awaitable
from typing import Any

import pytest
from faults import CHUNKED, authority, client, collect, failing, once, peer, post, request, serving, tls_for
from waiting import measured, until
from wire import on_both_loops

from gateway.errors import UpstreamCut, UpstreamUnreachable
from gateway.upstream import Upstream


@on_both_loops
@measured
async def test_leaving_is_seen_by_the_upstream_in_every_phase() -> None:
    """R-72: while the body is sent, before the head, in the middle; by cancel and by close."""
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/head" in head:
            writer.write(CHUNKED + b"1\r\nx\r\n")
        while await reader.read(65536):
            await asyncio.sleep(0.005)

    async with serving(handler) as server, client() as upstream:
        for count, (path, body) in enumerate(
            (("/silent", b""), ("/slow", b"x" * 20_000_000), ("/head", b"")), start=1
        ):
            async def whole(path: str = path, body: bytes = body) -> bytes:
                return await collect(await upstream.send(peer(), post(server.port, body, path=path)))

            running = asyncio.ensure_future(whole())
            await until(lambda count=count: server.connections == count)
            await asyncio.sleep(0.05)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert upstream.stats() == {}
            assert await until(lambda count=count: server.left == count) < 1
        reply = await upstream.send(peer(), post(server.port, path="/head"))
        reply.close()
        assert upstream.stats() == {}
        assert await until(lambda: server.left == 4) < 1


@on_both_loops
async def test_leaving_while_the_connection_is_made_leaves_nothing() -> None:
    async with serving(once(then_close=False), tls_for("127.0.0.1")) as server, client() as upstream:
        who = peer(ca_file=authority()[1])
        for turns in range(60):
            sending = asyncio.ensure_future(upstream.send(who, post(server.port, b"x", scheme="https")))
            for _ in range(turns % 20):
                await asyncio.sleep(0)
            if turns >= 20:
                await asyncio.sleep(turns / 10_000)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            assert upstream.stats() == {}
        await until(lambda: server.left == server.connections)


@on_both_loops
async def test_random_cancels_leak_nothing_and_no_answer_goes_astray() -> None:
    """R-38, R-82: a thousand requests over few connections, most of them cancelled at any moment."""
    chance = random.Random(7)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            _, body = await request(reader)
            await asyncio.sleep(chance.random() * 0.004)
            writer.write(CHUNKED)
            for byte in body:
                writer.write(b"1\r\n%c\r\n" % byte)
                if chance.random() < 0.3:
                    await asyncio.sleep(0)
            writer.write(b"0\r\n\r\n")

    async with serving(handler) as server, client() as upstream:
        who = peer(max_connections=8, connect=20)
        answered = 0

        async def one(number: int) -> None:
            nonlocal answered
            mine = b"request-%06d" % number
            reply = await upstream.send(who, post(server.port, mine))
            assert await collect(reply) == mine
            answered += 1

        async def cancelled(number: int) -> None:
            task = asyncio.ensure_future(one(number))
            await asyncio.wait((task,), timeout=chance.random() * 0.02 if number % 5 else None)
            task.cancel()
            await asyncio.wait((task,))
            if not task.cancelled():
                task.result()

        for start in range(0, 1000, 50):
            await asyncio.gather(*(cancelled(number) for number in range(start, start + 50)))
        await asyncio.gather(*(one(number) for number in range(1000, 1020)))
        assert answered >= 220
        stats = upstream.stats()["acme"]
        assert stats.open == stats.idle <= 8
        assert stats.waiting == 0
        await until(lambda: server.connections - server.left == stats.open)


@on_both_loops
async def test_closing_the_client_ends_running_requests_with_an_error() -> None:
    async with serving(once(CHUNKED, then_close=False)) as server:
        upstream = Upstream()
        reply = await upstream.send(peer(), post(server.port))
        reading = asyncio.ensure_future(reply.read())
        await asyncio.sleep(0)
        await upstream.close()
        await failing(UpstreamCut, reading)
        assert upstream.stats() == {}
        await failing_quietly(upstream.send(peer(), post(server.port)))


async def failing_quietly(send: Awaitable[Any]) -> None:
    with pytest.raises(UpstreamUnreachable, match="shutting down"):
        await send
