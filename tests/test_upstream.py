"""The HTTP client over loopback sockets, on both loops: requests as sent, and no connection at all."""

import asyncio
import random
import socket
import time
from unittest.mock import patch

import pytest
from faults import KEY, OK, answer, client, collect, echo, failing, know, peer, post, request, serving
from waiting import measured
from wire import on_both_loops

from gateway.errors import InternalError, UpstreamUnreachable
from gateway.hookspecs import HttpRequest


@on_both_loops
async def test_a_request_arrives_as_described_and_with_our_own_framing() -> None:
    seen: list[tuple[bytes, bytes]] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await request(reader))
        writer.write(answer(b"{}"))

    headers = (
        ("Content-Type", "application/json"), ("Host", "evil"), ("content-length", "99"), ("X-Some", "b"),
        ("Transfer-Encoding", "chunked"), ("User-Agent", "x"), ("Accept-Encoding", "gzip"), ("Connection", "close"),
    )
    async with serving(handler) as server, client() as upstream:
        reply = await upstream.send(peer(), post(server.port, b'{"a":1}', path="/v1/x?y=z", headers=headers))
        assert (reply.status, await reply.body(100)) == (200, b"{}")
    assert seen == [(
        b"POST /v1/x?y=z HTTP/1.1\r\nhost: 127.0.0.1:%d\r\nuser-agent: ai-gateway\r\naccept-encoding: identity\r\n"
        b"Authorization: Bearer %b\r\nContent-Type: application/json\r\nX-Some: b\r\ncontent-length: 7\r\n\r\n"
        % (server.port, KEY.encode()), b'{"a":1}',
    )]


@pytest.mark.parametrize("bad", [
    post(1, headers=(("x", "a\r\nb: c"),)), post(1, headers=(("x", "a\nb"),)), post(1, headers=(("x", "a\0b"),)),
    post(1, headers=(("x\r\ny", "a"),)), post(1, headers=(("x y", "a"),)), post(1, headers=(("", "a"),)),
    post(1, headers=(("x", "\u20ac"),)), post(1, headers=(("x:", "a"),)), post(1, path="/a\r\nb"), post(1, path="/a b"),
    post(1, path="/\0"), post(1, path="/é"), post(1, path="/a#b"), post(1, host="evil#"), post(1, host="a@b"),
    post(1, host="①②⑦.0.0.1"), post(1, host=""), post(0), post(65536), post(1, scheme="ftp"), post(1, scheme="HTTP "),
    HttpRequest("GET /x", "http://a/", ()), HttpRequest("", "http://a/", ()),
], ids=str)
async def test_what_could_split_or_bend_a_request_is_never_sent(bad: HttpRequest) -> None:
    """Control characters and odd URLs are a defect of ours: no other target is tried, nothing is repeated."""
    async with client() as upstream:
        with pytest.raises(InternalError) as caught:
            await upstream.send(peer(), bad)
        assert KEY not in caught.value.message
        assert "acme" in caught.value.message


@on_both_loops
async def test_ten_megabytes_travel_both_ways() -> None:
    body = random.Random(1).randbytes(10_000_000)
    async with serving(echo) as server, client() as upstream:
        for _ in range(2):
            reply = await upstream.send(peer(), post(server.port, body))
            assert await reply.body(len(body)) == body
        assert server.connections == 1


@on_both_loops
async def test_a_long_body_answered_while_it_is_sent_still_arrives() -> None:
    """An upstream that streams its answer while it reads."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        left = 4_000_000
        writer.write(OK + b"content-length: 4000000\r\n\r\n")
        while left:
            data = await reader.read(65536)
            left -= len(data)
            writer.write(data)
            await writer.drain()

    async with serving(handler) as server, client() as upstream:
        body = random.Random(2).randbytes(4_000_000)
        reply = await upstream.send(peer(), post(server.port, body))
        assert await collect(reply) == body


@on_both_loops
async def test_an_early_refusal_of_a_long_body_is_read_and_costs_the_connection() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno")
        await asyncio.sleep(10)

    async with serving(handler) as server, client() as upstream:
        reply = await upstream.send(peer(), post(server.port, b"x" * 20_000_000))
        assert (reply.status, await reply.body(10)) == (413, b"no")
        assert upstream.stats() == {}


@on_both_loops
async def test_a_refused_connection_says_what_to_look_at() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with client() as upstream:
        assert "is it running" in await failing(UpstreamUnreachable, upstream.send(peer(), post(port)))


@on_both_loops
async def test_a_name_that_does_not_resolve_says_so() -> None:
    async with client() as upstream:
        error = socket.gaierror(-2, "Name or service not known: nowhere.example")
        with patch.object(upstream._names, "lookup", side_effect=error):
            text = await failing(UpstreamUnreachable, upstream.send(peer(), post(1, host="nowhere.example")))
        assert "cannot be resolved" in text
        await failing(UpstreamUnreachable, upstream.send(peer(), post(1, host="x" * 64 + ".example")))


@on_both_loops
async def test_a_name_server_that_is_silent_ends_at_the_connect_deadline() -> None:
    async with client() as upstream:
        with patch.object(upstream._names, "lookup", lambda *_: asyncio.sleep(30)):
            begin = time.monotonic()
            send = upstream.send(peer(connect=0.1), post(1, host="slow.example"))
            assert "could not be resolved within 0.1 s" in await failing(UpstreamUnreachable, send)
            assert time.monotonic() - begin < 10


@on_both_loops
@measured
async def test_a_silent_address_ends_at_the_connect_deadline() -> None:
    """A listener whose queue is full does not answer; the second address of the name does."""
    async with serving(echo) as server, client() as upstream:
        with socket.socket() as full:
            full.bind(("127.0.0.2", server.port))
            full.listen(0)
            fillers = [socket.socket() for _ in range(4)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.2", server.port))
            begin = time.monotonic()
            send = upstream.send(peer(connect=0.2), post(server.port, host="127.0.0.2"))
            assert "timeouts.connect" in await failing(UpstreamUnreachable, send)
            assert 0.15 < time.monotonic() - begin < 10
            know(upstream, "two.example", server.port, "127.0.0.2", "127.0.0.1")
            two = peer(connect=0.4, allow_private=True)
            for limit in (0.6, 0.15):  # the second time the address that answered comes first
                begin = time.monotonic()
                reply = await upstream.send(two, post(server.port, b"x", host="two.example", key=str(limit)))
                assert await reply.body(1) == b"x"
                assert time.monotonic() - begin < limit
            for filler in fillers:
                filler.close()


@on_both_loops
async def test_a_name_with_a_private_address_needs_the_owners_word() -> None:
    async with serving(echo) as server, client() as upstream:
        know(upstream, "in.example", server.port, "127.0.0.1")
        text = await failing(UpstreamUnreachable, upstream.send(peer(), post(server.port, host="in.example")))
        assert "set allow_private: true on provider acme" in text
        assert server.connections == 0
        know(upstream, "in.example", server.port, "127.0.0.1")
        reply = await upstream.send(peer(allow_private=True), post(server.port, b"x", host="in.example"))
        assert await reply.body(1) == b"x"
        # A connection made with the permission is not for those without it.
        await failing(UpstreamUnreachable, upstream.send(peer(), post(server.port, host="in.example")))
        assert server.connections == 1


@on_both_loops
async def test_a_host_written_as_address_or_localhost_is_permission_enough() -> None:
    async with serving(echo) as server, client() as upstream:
        for host in ("127.0.0.1", "localhost", "LOCALHOST"):
            assert await (await upstream.send(peer(), post(server.port, b"x", host=host))).body(1) == b"x"


@pytest.mark.parametrize("host", ["169.254.169.254", "0.0.0.0", "[fe80::1]", "[::ffff:169.254.169.254]", "224.0.0.1",
                                  "[64:ff9b::a9fe:a9fe]", "[2002:a9fe:a9fe::1]"])
async def test_metadata_and_link_local_addresses_are_refused_with_every_setting(host: str) -> None:
    async with client() as upstream:
        send = upstream.send(peer(allow_private=True), post(80, host=host))
        assert "no setting allows" in await failing(UpstreamUnreachable, send)


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "127.1", "0177.0.0.1"])
async def test_odd_spellings_of_loopback_are_no_permission(host: str) -> None:
    async with serving(echo) as server, client() as upstream:
        await failing(UpstreamUnreachable, upstream.send(peer(), post(server.port, host=host)))
        assert server.connections == 0


@on_both_loops
async def test_a_mixed_answer_connects_only_to_the_allowed_address() -> None:
    async with serving(echo) as server, client() as upstream:
        know(upstream, "mix.example", server.port, "169.254.169.254", "127.0.0.1")
        reply = await upstream.send(peer(allow_private=True), post(server.port, b"x", host="mix.example"))
        assert await reply.body(1) == b"x"
