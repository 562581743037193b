"""The HTTP client over TLS, with an authority made for the test."""

import asyncio
import random

from faults import CHUNKED, authority, client, collect, echo, failing, peer, post, request, serving, tls_for
from waiting import measured, until
from wire import on_both_loops

from gateway.errors import UpstreamCut, UpstreamUnreachable


@on_both_loops
async def test_tls_with_an_own_authority_carries_requests_both_ways_and_keeps_connections() -> None:
    protocols = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        protocols.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await echo(reader, writer)

    body = random.Random(3).randbytes(3_000_000)
    async with serving(handler, tls_for("localhost", "127.0.0.1")) as server, client() as upstream:
        who = peer(ca_file=authority()[1])
        for host in ("localhost", "127.0.0.1"):
            for size in (1, 3_000_000, 1):
                reply = await upstream.send(who, post(server.port, body[:size], scheme="https", host=host))
                assert await reply.body(size) == body[:size]
        assert (server.connections, protocols) == (2, ["http/1.1"] * 2)


@on_both_loops
async def test_certificates_that_are_not_right_are_told_apart() -> None:
    async with serving(echo, tls_for("wrong.example")) as server, client() as upstream:
        what = post(server.port, scheme="https", host="localhost")
        assert "not trusted" in await failing(UpstreamUnreachable, upstream.send(peer(), what))
        who = peer(ca_file=authority()[1])
        assert "for another host" in await failing(UpstreamUnreachable, upstream.send(who, what))
        who = peer(ca_file="/nowhere/ca.pem")
        assert "ca_file" in await failing(UpstreamUnreachable, upstream.send(who, what))
    async with serving(echo) as server, client() as upstream:
        what = post(server.port, scheme="https", host="localhost")
        send = upstream.send(peer(connect=0.5), what)
        await failing(UpstreamUnreachable, send)


@on_both_loops
@measured
async def test_leaving_in_the_middle_of_a_tls_answer_is_seen_at_once() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(CHUNKED + b"1\r\nx\r\n")

    async with serving(handler, tls_for("127.0.0.1")) as server, client() as upstream:
        reply = await upstream.send(peer(ca_file=authority()[1]), post(server.port, scheme="https"))
        assert await reply.read() == b"x"
        reply.close()
        assert await until(lambda: server.left == 1) < 1


@on_both_loops
async def test_a_cut_tls_answer_is_cut() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(CHUNKED + b"1\r\nx\r\n")
        await writer.drain()
        writer.close()

    async with serving(handler, tls_for("127.0.0.1")) as server, client() as upstream:
        reply = await upstream.send(peer(ca_file=authority()[1]), post(server.port, scheme="https"))
        await failing(UpstreamCut, collect(reply))
