"""Connections to a provider through an HTTP proxy."""

import asyncio
import contextlib

import pytest
from faults import authority, client, echo, failing, peer, post, serving, tls_for
from wire import on_both_loops

from gateway.errors import UpstreamUnreachable
from gateway.tunnel import Proxy, proxy_of


@contextlib.asynccontextmanager
async def proxying(seen, status=b"200 Connection established"):
    """A proxy that notes what it is asked, and passes everything on."""

    async def pump(reader, writer):
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def handler(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        seen.append(head.decode())
        writer.write(b"HTTP/1.1 " + status + b"\r\nvia: test\r\n\r\n")
        if not status.startswith(b"2"):
            writer.close()
            return
        port = int(head.split(b" ")[1].rpartition(b":")[2])
        far, out = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, out), pump(far, writer))

    async with serving(handler) as server:
        yield server


@on_both_loops
async def test_plain_and_tls_requests_go_through_and_their_connections_are_kept() -> None:
    seen: list[str] = []
    async with proxying(seen) as proxy, serving(echo) as plain, serving(echo, tls_for("far.example")) as secret, client() as upstream:
        way = Proxy("127.0.0.1", proxy.port, "Basic dTpw")
        who = peer(ca_file=authority()[1], proxy=way)
        for _ in range(2):
            reply = await upstream.send(who, post(plain.port, b"one", host="far.example"))
            assert await reply.body(10) == b"one"
            reply = await upstream.send(who, post(secret.port, b"two", scheme="https", host="far.example"))
            assert await reply.body(10) == b"two"
    assert [head.split("\r\n")[0] for head in seen] == [f"CONNECT far.example:{port} HTTP/1.1" for port in (plain.port, secret.port)]
    assert all("proxy-authorization: Basic dTpw\r\n" in head for head in seen)


@on_both_loops
async def test_a_proxy_that_says_no_or_nothing_is_named_as_the_reason() -> None:
    async with client() as upstream:
        for status, words in ((b"407 Proxy Authentication Required", "other credentials"), (b"403 Forbidden", "status 403")):
            async with proxying([], status) as proxy:
                who = peer(proxy=Proxy("127.0.0.1", proxy.port))
                assert words in await failing(UpstreamUnreachable, upstream.send(who, post(9, host="far.example")))
        assert "proxy" in await failing(UpstreamUnreachable, upstream.send(peer(proxy=Proxy("127.0.0.1", proxy.port)), post(9, host="far.example")))


def test_a_proxys_url_is_read() -> None:
    assert proxy_of("http://proxy.corp:3128") == Proxy("proxy.corp", 3128)
    assert proxy_of("http://u:p%40ss@[::1]:3128/") == Proxy("::1", 3128, "Basic dTpwQHNz")


@pytest.mark.parametrize("url", ["https://p:1", "http://p", "http://p:0", "http://p:99999", "socks5://p:1", "http://u:secret@p:1/x"])
def test_another_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match="proxy must be") as refusal:
        proxy_of(url)
    assert "secret" not in str(refusal.value)
