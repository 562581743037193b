"""How replies end: nothing final leaves before the books are closed, and a shutdown is told in the stream."""

import asyncio
import contextlib
import json
from importlib.metadata import EntryPoint

import pytest
from running import PLUGINS, chat, provider, running
from waiting import PATIENCE, measured

from gateway import hookimpl, registry
from gateway.testing import FakeUpstream

SSE = {"content_type": "text/event-stream"}
TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":null}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}}\n\n'
DONE = b"data: [DONE]\n\n"
WHOLE = b'{"choices":[{"index":0,"message":{"content":"Hello"}}],"usage":{"prompt_tokens":9,"completion_tokens":3}}'


class SlowSink:
    """A sink behind the ledger's that is done when it is told: `at_work` says that it was called."""

    name = "sink.slow"
    at_work: asyncio.Event
    may_end: asyncio.Event

    @hookimpl
    async def on_usage(self, exchange):
        self.at_work.set()
        await self.may_end.wait()


@pytest.fixture
async def slow(monkeypatch):
    """The sink, installed as a package would install it."""
    installed = registry.entry_points
    own = EntryPoint("sink.slow", f"{__name__}:SlowSink", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [*installed(group=group), own])
    SlowSink.at_work, SlowSink.may_end = asyncio.Event(), asyncio.Event()
    yield SlowSink
    SlowSink.may_end.set()


@contextlib.asynccontextmanager
async def gateway(directory, upstream, **sections):
    models = [{"name": "m", "targets": ["up/m"]}]
    async with running(directory, providers=[provider(upstream)], models=models, **sections) as gw:
        yield gw


@pytest.fixture
async def upstream():
    async with FakeUpstream() as up:
        yield up


async def quiet(reply):
    """Whether nothing more comes for now."""
    try:
        return not await asyncio.wait_for(reply.content.readany(), 0.15)
    except TimeoutError:
        return True


@pytest.mark.parametrize("asked", [{}, {"stream_options": {"include_usage": True}}])
async def test_the_terminal_record_leaves_only_after_the_row_is_written(tmp_path, upstream, slow, asked):
    """A client that has seen `[DONE]` is in the ledger, whatever happens then; all that came before is not held."""
    upstream.script(TEXT, STOP + USAGE, DONE, pause=0.02, **SSE)
    async with (
        gateway(tmp_path, upstream, plugins=[*PLUGINS, {"use": "sink.slow"}]) as gw,
        gw.post(json=chat(stream=True, **asked)) as reply,
    ):
        before = TEXT + STOP + (USAGE if asked else b"")
        assert await reply.content.readexactly(len(before)) == before
        await asyncio.wait_for(slow.at_work.wait(), PATIENCE)
        assert await quiet(reply)
        (row,) = await gw.rows(1)
        assert (row.id, row.outcome, row.output) == (reply.headers["x-request-id"], "ok", 3)
        slow.may_end.set()
        assert await reply.read() == DONE


async def test_an_end_without_done_waits_for_the_row_as_well(tmp_path, upstream, slow):
    """There the end of the body is what clients finish at."""
    upstream.script(TEXT, STOP + USAGE, pause=0.02, **SSE)
    async with (
        gateway(tmp_path, upstream, plugins=[*PLUGINS, {"use": "sink.slow"}]) as gw,
        gw.post(json=chat(stream=True)) as reply,
    ):
        assert await reply.content.readexactly(len(TEXT + STOP)) == TEXT + STOP
        await asyncio.wait_for(slow.at_work.wait(), PATIENCE)
        assert await quiet(reply)
        assert not reply.content.at_eof()
        assert len(await gw.rows(1)) == 1
        slow.may_end.set()
        assert await reply.read() == b""


async def test_an_unstreamed_reply_leaves_only_after_the_row_is_written(tmp_path, upstream, slow):
    upstream.script(WHOLE)
    async with gateway(tmp_path, upstream, plugins=[*PLUGINS, {"use": "sink.slow"}]) as gw:
        asked = asyncio.ensure_future(gw.post(json=chat())._coro)
        await asyncio.wait_for(slow.at_work.wait(), PATIENCE)
        await asyncio.sleep(0.1)
        assert not asked.done()
        (row,) = await gw.rows(1)
        assert (row.outcome, row.output) == ("ok", 3)
        slow.may_end.set()
        async with await asked as reply:
            assert await reply.read() == WHOLE


async def test_a_client_that_leaves_while_its_books_are_closed_changes_nothing(tmp_path, upstream, slow):
    """The answer was complete: its row is written once, as it was."""
    upstream.script(TEXT, STOP + USAGE + DONE, pause=0.02, **SSE)
    async with gateway(tmp_path, upstream, plugins=[*PLUGINS, {"use": "sink.slow"}]) as gw:
        async with gw.post(json=chat(stream=True)) as reply:
            await reply.content.readexactly(len(TEXT + STOP))
            await asyncio.wait_for(slow.at_work.wait(), PATIENCE)
        await asyncio.sleep(0.05)
        slow.may_end.set()
        await asyncio.sleep(0.05)
        (row,) = await gw.rows(1)
        assert (row.outcome, row.output, row.estimated) == ("ok", 3, False)


async def test_a_shutdown_that_cannot_wait_is_told_in_the_stream(tmp_path, upstream):
    """The client gets an error it can read, the row says `shutdown`, and the upstream is closed."""
    upstream.script(TEXT, **SSE, ending="hang")
    async with gateway(tmp_path, upstream) as gw, gw.post(json=chat(stream=True)) as reply:
        assert await reply.content.readexactly(len(TEXT)) == TEXT
        drain = asyncio.ensure_future(gw.service.drain(0.1))
        last = await asyncio.wait_for(reply.read(), PATIENCE)
        await drain
        assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "shutting_down"
        (row,) = await gw.rows(1)
        assert (row.outcome, row.estimated, upstream.open) == ("shutdown", True, 0)


async def test_a_stream_that_fits_into_the_drain_time_ends_as_usual(tmp_path, upstream):
    upstream.script(TEXT, STOP + USAGE + DONE, pause=0.3, **SSE)
    async with gateway(tmp_path, upstream) as gw, gw.post(json=chat(stream=True)) as reply:
        await reply.content.readexactly(len(TEXT))
        drain = asyncio.ensure_future(gw.service.drain(PATIENCE))
        assert await reply.read() == STOP + DONE
        await asyncio.wait_for(drain, PATIENCE)
        assert [row.outcome for row in await gw.rows(1)] == ["ok"]


@contextlib.asynccontextmanager
async def late_json(seconds):
    """The base URL of an upstream that answers everything late, and with JSON."""

    serving = set()

    async def serve(reader, writer):
        serving.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(seconds)
            head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(WHOLE)}\r\n\r\n"
            writer.write(head.encode() + WHOLE)
            await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        await asyncio.gather(*serving)


@measured
async def test_a_whole_reply_to_a_stream_that_has_begun_is_an_error_in_it(tmp_path_factory):
    """Comments have committed an event stream: JSON cannot follow. Before the first comment it passes as it is."""
    early = {"keepalive_after": 0.5, "keepalive_every": 0.5, "keepalive_before_headers": True}
    async with late_json(1.5) as late, late_json(0) as prompt:
        entries = [
            {"name": name, "use": "provider.openai_compatible", "with": {"base_url": url}}
            for name, url in (("late", late), ("prompt", prompt))
        ]
        async with running(tmp_path_factory.mktemp("begun"), providers=entries, stream=early) as gw:
            async with gw.post(json=chat("prompt/m", stream=True)) as reply:
                assert (await reply.read(), reply.content_type) == (WHOLE, "application/json")
            async with gw.post(json=chat("late/m", stream=True)) as reply:
                records = (await reply.read()).split(b"\n\n")
            assert reply.content_type == "text/event-stream"
            assert records[0] == b": keep-alive"
            assert json.loads(records[-2].removeprefix(b"data: "))["error"]["code"] == "upstream_cut"
            assert [row.outcome for row in await gw.rows(2)] == ["ok", "upstream_cut"]
