"""The fake upstream: it answers like a provider, and fails, stalls and breaks off exactly as told."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

import pytest
from waiting import PATIENCE, until

from gateway.testing import Behaviour, FakeUpstream


class Client:
    """A bare HTTP client on one connection, which sees what is on the wire."""

    def __init__(self, url: str) -> None:
        self.port = int(url.rsplit(":", 1)[1].split("/")[0])

    async def open(self) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()

    def send(self, path: str, body: dict | bytes | None = None, key: str = "k", method: str = "POST") -> None:
        data = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        head = f"{method} {path} HTTP/1.1\r\nAuthorization: Bearer {key}\r\ncontent-length: {len(data)}\r\n\r\n"
        self.writer.write(head.encode() + data)

    async def head(self) -> tuple[int, dict[str, str]]:
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines[1:] if line)
        return int(lines[0].split()[1]), fields

    async def answer(self) -> tuple[int, dict[str, str], bytes, bool]:
        """Status, headers, body, and whether it was complete."""
        status, fields = await self.head()
        if "content-length" in fields:
            return status, fields, await self.reader.readexactly(int(fields["content-length"])), True
        body = b""
        while size := await self.reader.readline():
            piece = await self.reader.readexactly(int(size, 16) + 2)
            if int(size, 16) == 0:
                return status, fields, body, True
            body += piece[:-2]
        return status, fields, body, False


@pytest.fixture
async def client(fake_upstream: FakeUpstream) -> AsyncIterator[Client]:
    made = Client(fake_upstream.url)
    await made.open()
    yield made
    await made.close()


def chat(stream: bool = False, **demo: object) -> dict:
    body = {"model": "demo-small", "messages": [{"role": "user", "content": "Hi"}], "stream": stream, "user": "u"}
    return {**body, "demo": demo} if demo else body


async def ask(client: Client, body: dict | bytes, path: str = "/v1/chat/completions") -> tuple[int, dict, bytes, bool]:
    client.send(path, body)
    return await asyncio.wait_for(client.answer(), PATIENCE)


async def test_it_answers_every_endpoint_on_one_connection(client: Client, fake_upstream: FakeUpstream) -> None:
    asks = {
        "/v1/chat/completions": chat(), "/v1/completions": {"model": "m", "prompt": "Hi"},
        "/v1/embeddings": {"model": "m", "input": "Hi"},
    }
    for path, body in asks.items():
        status, fields, reply, complete = await ask(client, body, path)
        assert (status, complete, fields["content-type"]) == (200, True, "application/json")
        assert json.loads(reply)["model"] == body["model"]
    assert [request.path for request in fake_upstream.requests] == list(asks)
    assert fake_upstream.requests[0].json == chat()


async def test_a_stream_ends_with_done(client: Client) -> None:
    status, fields, body, complete = await ask(client, chat(stream=True))
    assert (status, complete, fields["content-type"]) == (200, True, "text/event-stream; charset=utf-8")
    assert body.endswith(b"data: [DONE]\n\n")


async def test_scripted_answers_go_first_and_byte_for_byte(client: Client, fake_upstream: FakeUpstream) -> None:
    fake_upstream.script(b"data: a\n", b"\ndata: b\n\n", content_type="text/event-stream", pause=0.01)
    fake_upstream.script(b"no", status=418, headers={"x-why": "tea"})
    fake_upstream.script(b"half", ending="cut")
    assert (await ask(client, chat()))[2] == b"data: a\n\ndata: b\n\n"
    status, fields, body, _ = await ask(client, chat())
    assert (status, fields["x-why"], body) == (418, "tea", b"no")
    assert (await ask(client, chat()))[2:] == (b"half", False)


@pytest.mark.parametrize("how", [{"no_done": True}, {"malformed": True}, {"error_mid": 3}, {"cut_after": 3}])
async def test_a_stream_breaks_as_told(client: Client, how: dict) -> None:
    _, _, body, complete = await ask(client, chat(stream=True, **how))
    records = body.split(b"\n\n")[:-1]
    assert (b"[DONE]" in body) == ("malformed" in how)
    assert complete == ("cut_after" not in how)
    if "malformed" in how:
        with pytest.raises(json.JSONDecodeError):
            json.loads(records[1][6:])
    if "cut_after" in how:
        assert len(records) == 3
    if "error_mid" in how:
        assert len(records) == 4
        assert json.loads(records[3][6:])["error"]["code"] == "demo_error"


async def test_an_unstreamed_reply_breaks_as_told(client: Client) -> None:
    with pytest.raises(json.JSONDecodeError):
        json.loads((await ask(client, chat(malformed=True)))[2])
    _, _, body, complete = await ask(client, chat(cut_after=1))
    assert body
    assert not complete


async def test_it_fails_with_the_status_it_is_told(client: Client) -> None:
    status, fields, body, _ = await ask(client, chat(fail=429, retry_after=1.5))
    assert (status, fields["retry-after"]) == (429, "1.5")
    assert json.loads(body)["error"]["type"] == "rate_limit_error"


async def test_it_fails_so_many_times_for_each_user(client: Client) -> None:
    statuses = [(await ask(client, chat(fail=500, fail_times=2)))[0] for _ in range(4)]
    assert statuses == [500, 500, 200, 200]
    assert (await ask(client, {**chat(fail=500, fail_times=1), "user": "other"}))[0] == 500


async def test_it_waits_as_told(client: Client) -> None:
    started = time.monotonic()
    await ask(client, chat(stream=True, delay_ms=60, chunk_delay_ms=10, chunks=4))
    assert time.monotonic() - started > 0.12


@pytest.mark.parametrize(("stream", "place", "seen"), [
    (True, "before_headers", False), (True, "before_first", True), (True, "mid", True),
    (False, "before_headers", False), (False, "before_first", True), (False, "mid", True),
])  # fmt: skip
async def test_it_hangs_until_the_client_is_gone(
    client: Client, fake_upstream: FakeUpstream, stream: bool, place: str, seen: bool
) -> None:
    client.send("/v1/chat/completions", chat(stream=stream, hang=place))
    if seen:
        assert (await client.head())[0] == 200
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.answer() if not seen else client.reader.readuntil(b"[DONE]"), 0.05)
    await until(lambda: fake_upstream.open == 1)
    await client.close()
    await until(lambda: not fake_upstream.open)
    await until(lambda: fake_upstream.gone == 1)


@pytest.mark.parametrize(("body", "status"), [
    (b"{", 400), (b"[]", 400), (b'{"model":1}', 400), (b'{"model":"m"}', 400),
    (b'{"model":"m","messages":[{}],"demo":{"fale":1}}', 400), (b'{"model":"m","messages":[{}],"demo":3}', 400),
])  # fmt: skip
async def test_bad_requests_get_400(client: Client, body: bytes, status: int) -> None:
    assert (await ask(client, body))[0] == status


async def test_unknown_paths_get_404(client: Client) -> None:
    assert (await ask(client, chat(), "/v1/nothing"))[0] == 404


async def test_what_is_no_http_ends_the_connection(client: Client) -> None:
    client.writer.write(b"hello\r\n\r\n")
    assert await client.reader.read() == b""


async def test_a_key_and_model_names_are_checked_where_given() -> None:
    async with FakeUpstream(key="k", models=["demo-small"]) as upstream:
        client = Client(upstream.url)
        await client.open()
        assert (await ask(client, {**chat(), "model": "other"}))[0] == 404
        assert (await ask(client, chat()))[0] == 200
        client.send("/v1/models", method="GET")
        assert json.loads((await client.answer())[2])["data"][0]["id"] == "demo-small"
        client.send("/v1/chat/completions", chat(), key="wrong")
        assert (await client.answer())[0] == 401
        await client.close()


async def test_closing_drops_what_is_under_way() -> None:
    upstream = FakeUpstream(Behaviour(hang="before_first"), record=False)
    await upstream.start()
    client = Client(upstream.url)
    await client.open()
    client.send("/v1/chat/completions", chat(stream=True))
    await client.head()
    await upstream.close()
    await upstream.close()
    assert await client.reader.read() == b""
    await client.close()
    assert upstream.requests == []
    with pytest.raises(RuntimeError):
        _ = upstream.url
