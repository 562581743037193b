"""Which connection carries a request: kept, fresh, waited for; never one with a byte too many."""

import asyncio
import socket
import threading
import time

from faults import CHUNKED, answer, client, collect, echo, failing, once, peer, post, request, serving
from waiting import PATIENCE, measured, until
from wire import on_both_loops

from gateway.errors import UpstreamCut, UpstreamUnreachable
from gateway.hookspecs import HttpRequest
from gateway.upstream import Connections


@on_both_loops
async def test_connections_are_kept_and_the_last_used_is_used_first() -> None:
    async with serving(echo) as server, client() as upstream:
        for _ in range(20):
            reply = await upstream.send(peer(), post(server.port, b"x"))
            assert await reply.body(1) == b"x"
        assert server.connections == 1
        assert upstream.stats() == {"acme": Connections(open=1, idle=1, waiting=0)}


@on_both_loops
async def test_a_connection_is_never_shared_between_credentials_or_providers() -> None:
    async with serving(echo) as server, client() as upstream:
        requests = [
            (peer(), post(server.port, key="a" * 20)), (peer(), post(server.port, key="b" * 20)),
            (peer("other"), post(server.port, key="a" * 20)),
            (peer(), HttpRequest("POST", f"http://127.0.0.1:{server.port}/", (("Api-Key", "a"),))),
            (peer(), HttpRequest("POST", f"http://127.0.0.1:{server.port}/", (("x-api-key", "a"),))),
        ]
        for expected, (who, what) in enumerate(requests, start=1):
            for _ in range(2):
                await (await upstream.send(who, what)).body(1)
            assert server.connections == expected
        assert upstream.stats() == {"acme": Connections(4, 4, 0), "other": Connections(1, 1, 0)}


@on_both_loops
async def test_signatures_that_change_do_not_change_the_pool() -> None:
    async with serving(echo) as server, client() as upstream:
        for signature in "abc":
            value = f"AWS4-HMAC-SHA256 Credential=AKIA/20260101/x, SignedHeaders=host, Signature={signature}"
            what = HttpRequest("POST", f"http://127.0.0.1:{server.port}/", (("Authorization", value),))
            await (await upstream.send(peer(), what)).body(1)
        assert server.connections == 1


@on_both_loops
@measured
async def test_an_idle_connection_expires() -> None:
    async with serving(echo) as server, client() as upstream:
        for _ in range(2):  # the timer of the first reply must not close the second connection early
            await (await upstream.send(peer(keepalive=0.1), post(server.port, b"x"))).body(1)
            await asyncio.sleep(0.06)
        assert upstream.stats()["acme"].idle == 1
        assert await until(lambda: upstream.stats() == {}) < 1
        await until(lambda: server.left == 1)


@on_both_loops
async def test_an_unasked_second_answer_never_answers_the_next_request() -> None:
    """F8: an upstream sends another answer a moment after the first."""
    served = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        while True:
            await request(reader)
            served += 1
            writer.write(answer(b"real"))
            if served == 1:
                await asyncio.sleep(0.02)
                writer.write(answer(b"POISON"))

    async with serving(handler) as server, client() as upstream:
        first = await (await upstream.send(peer(), post(server.port))).body(10)
        await until(lambda: upstream.stats() == {})
        rest = [await (await upstream.send(peer(), post(server.port))).body(10) for _ in range(3)]
        assert [first, *rest] == [b"real"] * 4
        assert server.connections == 2


@on_both_loops
async def test_an_unasked_answer_that_waits_in_the_socket_is_found_before_reuse() -> None:
    """The loop is busy when the poison arrives, and sends the next request before it reads."""
    loop = asyncio.get_running_loop()
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    sent = threading.Event()

    def serve() -> None:
        for poison in (True, False):
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer(b"real"))
                if poison:
                    time.sleep(0.03)
                    connection.sendall(answer(b"POISON"))
                    sent.set()
                else:
                    time.sleep(0.05)

    thread = loop.run_in_executor(None, serve)
    async with client() as upstream:
        assert await (await upstream.send(peer(), post(port))).body(10) == b"real"
        assert sent.wait(PATIENCE)  # the loop stands still on purpose
        assert await (await upstream.send(peer(), post(port))).body(10) == b"real"
    await thread
    listener.close()


@on_both_loops
async def test_extra_bytes_with_the_answer_cost_the_connection() -> None:
    async with serving(once(answer(b"real") + answer(b"POISON"), then_close=False)) as server, client() as upstream:
        for _ in range(3):
            assert await (await upstream.send(peer(), post(server.port))).body(10) == b"real"
        assert server.connections == 3


@on_both_loops
async def test_a_kept_connection_that_died_is_replaced_without_a_word() -> None:
    """The upstream closes when the second request comes: sent again, once, on a new connection."""
    bodies = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bodies.append((await request(reader))[1])
        writer.write(answer(b"ok"))
        bodies.append((await request(reader))[1])
        writer.transport.abort()

    async with serving(handler) as server, client() as upstream:
        for body in (b"1", b"2"):
            assert await (await upstream.send(peer(), post(server.port, body))).body(10) == b"ok"
        assert bodies == [b"1", b"2", b"2"]
        assert server.connections == 2


@on_both_loops
async def test_a_new_connection_that_dies_is_not_tried_again() -> None:
    async with serving(once()) as server, client() as upstream:
        text = await failing(UpstreamCut, upstream.send(peer(), post(server.port)))
        assert "without an answer" in text
        assert server.connections == 1


@on_both_loops
async def test_a_kept_connection_that_dies_after_its_first_byte_is_not_tried_again() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(answer(b"ok"))
        await request(reader)
        writer.write(b"H")
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.close()

    async with serving(handler) as server, client() as upstream:
        await (await upstream.send(peer(), post(server.port))).body(10)
        await failing(UpstreamCut, upstream.send(peer(), post(server.port)))
        assert server.connections == 1


@on_both_loops
async def test_a_full_pool_makes_requests_wait_and_then_says_so() -> None:
    release = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            _, body = await request(reader)
            await release.wait()
            writer.write(answer(body))

    async with serving(handler) as server, client() as upstream:
        patient, small = peer(max_connections=2), peer(max_connections=2, connect=0.1)
        running = [asyncio.ensure_future(upstream.send(patient, post(server.port))) for _ in range(2)]
        await until(lambda: server.connections == 2)
        text = await failing(UpstreamUnreachable, upstream.send(small, post(server.port)))
        assert "All 2 connections" in text
        waiting = [asyncio.ensure_future(upstream.send(patient, post(server.port, b"%d" % i))) for i in range(10)]
        gone = asyncio.ensure_future(upstream.send(patient, post(server.port)))
        await until(lambda: upstream.stats() == {"acme": Connections(open=2, idle=0, waiting=11)})
        gone.cancel()
        release.set()
        for task in running:
            await (await task).body(10)
        assert [await (await task).body(10) for task in waiting] == [b"%d" % i for i in range(10)]
        assert server.connections == 2
        assert upstream.stats() == {"acme": Connections(open=2, idle=2, waiting=0)}


@on_both_loops
async def test_a_thousand_streams_run_side_by_side() -> None:
    """R-82."""
    gate = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, body = await request(reader)
        writer.write(CHUNKED + b"1\r\nx\r\n")
        await gate.wait()
        writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
        await reader.read(1)

    async with serving(handler) as server, client() as upstream:
        who = peer()
        replies = await asyncio.gather(*(upstream.send(who, post(server.port, b"%d" % i)) for i in range(1000)))
        assert [await reply.read() for reply in replies] == [b"x"] * 1000
        assert upstream.stats() == {"acme": Connections(open=1000, idle=0, waiting=0)}
        gate.set()
        assert [await collect(reply) for reply in replies] == [b"%d" % i for i in range(1000)]
        assert upstream.stats()["acme"].idle == 1000
