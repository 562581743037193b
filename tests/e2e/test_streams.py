"""Streams on the wire: keep-alive comments, deadlines, cuts, ends, failover, HTTP/1.0, and their ledger rows."""

import asyncio
import itertools
import json
import time

import pytest
import pytest_asyncio
from running import chat, provider, running
from waiting import measured, until
from wire import connected, head

from gateway.testing import FakeUpstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

SSE = "text/event-stream"
DONE = b"data: [DONE]\n\n"
AFTER, EVERY, IDLE, FIRST_BYTE = 0.3, 0.15, 1.0, 0.6
COMMENT = b": keep-alive\n\n"
ASKED = {"stream": True, "stream_options": {"include_usage": True}}  # nothing to take out: bytes leave as read
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}}\n\n'


def record(text, choice=0, finish=None):
    delta = {"content": text} if text else {}
    body = {"id": "x", "choices": [{"index": choice, "delta": delta, "finish_reason": finish}]}
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"


HELLO, WORLD, STOP = record("Hello"), record(" world"), record("", finish="stop")


class Lines:
    """A gateway with two upstreams, and what its operator sees."""

    def __init__(self, view, first, second):
        self.view, self.first, self.second = view, first, second
        self.gw = view.gw

    async def read(self, body):
        """Ask; the reply, and its body as pairs of arrival (seconds after the headers) and bytes."""
        async with self.gw.post(json=body) as reply:
            began = time.monotonic()
            return reply, [(time.monotonic() - began, piece) async for piece in reply.content.iter_any()]

    async def whole(self, body):
        """Ask; the whole body, and the ledger's row."""
        reply, pieces = await self.read(body)
        assert reply.status == 200
        return b"".join(piece for _, piece in pieces), await self.view.row(reply.headers["x-request-id"])


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lines(tmp_path_factory, gateway_view):
    async with FakeUpstream() as first, FakeUpstream() as second:
        sections = {
            "providers": [provider(first, "first"), provider(second, "second")],
            "models": [{"name": "m", "targets": ["first/m"]}, {"name": "two", "targets": ["first/m", "second/m"]}],
            "timeouts": {"first_byte": FIRST_BYTE, "idle": IDLE},
            "stream": {"keepalive_after": AFTER, "keepalive_every": EVERY},
            "server": {"write_timeout": 1.0},
        }
        async with running(tmp_path_factory.mktemp("streams"), **sections) as gw:
            yield Lines(gateway_view(gw), first, second)


@pytest.fixture(autouse=True)
def nothing_left(lines):
    """What a failed test has scripted must not reach the next one."""
    lines.first._script.clear()
    lines.second._script.clear()


async def test_the_headers_of_a_stream_keep_proxies_from_holding_it(lines):
    lines.first.script(HELLO + STOP + DONE, content_type=SSE)
    async with lines.gw.post(json=chat(stream=True), headers={"accept-encoding": "gzip, br"}) as reply:
        assert reply.headers["content-type"].startswith(SSE)
        assert (reply.headers["cache-control"], reply.headers["x-accel-buffering"]) == ("no-store", "no")
        assert "content-encoding" not in reply.headers
        assert await reply.read() == HELLO + STOP + DONE


@pytest.mark.parametrize("asked", [{"stream": True}, ASKED])
@measured
async def test_silence_is_filled_with_comments_between_records(lines, asked):
    """The first after the delay, the next ones after their own; without them the bytes are the upstream's."""
    lines.first.script(HELLO, WORLD + STOP + DONE, content_type=SSE, pause=0.8)
    _, pieces = await lines.read(chat(**asked))
    comments = [at for at, piece in pieces if piece == COMMENT]
    assert 2 <= len(comments) <= 4
    assert AFTER - 0.05 <= comments[0] < AFTER + 0.25
    gaps = [b - a for a, b in itertools.pairwise(comments)]
    assert all(EVERY - 0.05 <= gap < EVERY + 0.2 for gap in gaps)
    assert b"".join(piece for _, piece in pieces if piece != COMMENT) == HELLO + WORLD + STOP + DONE


@measured
async def test_no_comment_breaks_an_open_record(lines):
    """Half a record has left as read: until its other half comes, silence it is."""
    lines.first.script(HELLO + WORLD[:20], WORLD[20:] + STOP + DONE, content_type=SSE, pause=0.8)
    data, row = await lines.whole(chat(**ASKED))
    assert data == HELLO + WORLD + STOP + DONE
    assert row.outcome == "ok"


@measured
async def test_half_a_record_that_waits_leaves_room_for_comments(lines):
    """Where whole records leave, the half has not: comments come before it."""
    lines.first.script(HELLO + WORLD[:20], WORLD[20:] + STOP + DONE, content_type=SSE, pause=0.8)
    data, _ = await lines.whole(chat(stream=True))
    assert data.startswith(HELLO + COMMENT + COMMENT)
    assert data.replace(COMMENT, b"") == HELLO + WORLD + STOP + DONE


@measured
async def test_no_comment_comes_before_the_upstreams_headers(lines):
    """They would commit status 200; the upstream may still fail."""
    reply, pieces = await lines.read(chat(stream=True, demo={"delay_ms": 500}))
    assert reply.status == 200
    assert pieces[0][1].startswith(b"data: {")


@measured
async def test_comments_come_before_the_headers_where_configured(tmp_path_factory, lines, gateway_view):
    """Status 200 is out early; a later failure is told in the stream, and a next target can still answer."""
    sections = {
        "providers": [provider(lines.first, "first"), provider(lines.second, "second")],
        "models": [{"name": "m", "targets": ["first/m"]}, {"name": "two", "targets": ["first/m", "second/m"]}],
        "stream": {"keepalive_after": 0.1, "keepalive_every": 0.1, "keepalive_before_headers": True},
    }
    async with running(tmp_path_factory.mktemp("early"), **sections) as gw:
        early = Lines(gateway_view(gw), lines.first, lines.second)
        data, row = await early.whole(chat(stream=True, demo={"delay_ms": 500}))
        assert data.startswith(COMMENT * 3)
        assert (row.outcome, row.http_status, row.streamed) == ("ok", 200, True)
        data, row = await early.whole(chat(stream=True, demo={"delay_ms": 300, "fail": 503}))
        last = json.loads(data.replace(COMMENT, b"").removeprefix(b"data: "))
        assert "told to fail with 503" in last["error"]["message"]
        assert (row.outcome, row.http_status, row.attempts[0].status) == ("upstream_error", 200, 503)
        early.second.script(HELLO + STOP + DONE, content_type=SSE)
        data, row = await early.whole(chat("two", stream=True, demo={"delay_ms": 300, "fail": 503}))
        assert data.replace(COMMENT, b"") == HELLO + STOP + DONE
        assert [(one.provider, one.outcome) for one in row.attempts] == [("first", "upstream_error"), ("second", "ok")]


def error_of(data):
    """The error in a stream's last record."""
    return json.loads(data.split(b"data: ")[-1])["error"]


@pytest.mark.parametrize("asked", [{"stream": True}, ASKED])
async def test_an_upstream_that_falls_silent_ends_as_a_timeout_in_the_stream(lines, asked):
    lines.first.script(HELLO + WORLD, content_type=SSE, ending="hang")
    data, row = await lines.whole(chat(**asked))
    data = data.replace(COMMENT, b"")
    assert data.startswith(HELLO + WORLD + b"data: {")
    assert error_of(data)["code"] == "upstream_timeout"
    assert DONE not in data
    assert (row.outcome, row.http_status, row.estimated) == ("upstream_timeout", 200, True)
    assert row.input > 0
    assert row.output > 0


async def test_a_cut_inside_a_record_ends_the_record_first(lines):
    """What came stays, the open record is ended, then the error; no `[DONE]` is made up; the use is estimated."""
    lines.first.script(HELLO + WORLD[:20], content_type=SSE, ending="cut")
    data, row = await lines.whole(chat(**ASKED))
    assert data.startswith(HELLO + WORLD[:20] + b"\n\ndata: {")
    assert error_of(data)["code"] == "upstream_cut"
    assert DONE not in data
    assert (row.outcome, row.estimated) == ("upstream_cut", True)
    assert row.output > 0


@pytest.mark.parametrize("ending", ["cut", "clean"])
@pytest.mark.parametrize("pieces", [(HELLO,), (HELLO, record("Hi", 1), STOP)])
async def test_an_end_before_every_choice_has_finished_is_a_cut(lines, ending, pieces):
    """Also where the connection ends in good order."""
    lines.first.script(b"", *pieces, content_type=SSE, ending=ending)
    data, row = await lines.whole(chat(stream=True, n=len(pieces)))
    assert data.startswith(b"".join(pieces) + b"data: {")
    assert error_of(data)["code"] == "upstream_cut"
    assert (row.outcome, row.estimated) == ("upstream_cut", True)


@pytest.mark.parametrize("asked", [{"stream": True}, ASKED])
async def test_finish_reasons_and_a_clean_end_are_success_without_done(lines, asked):
    """As some servers end: nothing is invented."""
    lines.first.script(HELLO, STOP, USAGE, content_type=SSE)
    data, row = await lines.whole(chat(**asked))
    assert data == HELLO + STOP + (USAGE if asked is ASKED else b"")
    assert (row.outcome, row.input, row.output, row.estimated) == ("ok", 9, 3, False)


@measured
async def test_done_ends_the_stream_even_if_the_upstream_keeps_its_connection_open(lines):
    """Clients finish at `[DONE]`; nobody waits for what may never come."""
    lines.first.script(HELLO + STOP + DONE, content_type=SSE, ending="hang")
    began = time.monotonic()
    data, row = await lines.whole(chat(stream=True))
    assert data == HELLO + STOP + DONE
    assert time.monotonic() - began < IDLE
    assert row.outcome == "ok"
    await until(lambda: not lines.first.open)


@pytest.mark.parametrize(
    ("failing", "outcome"),
    [
        ({"demo": {"hang": "before_headers"}}, "upstream_timeout"),
        ({"demo": {"hang": "before_first"}}, "upstream_timeout"),
        ({"demo": {"cut_after": 0}}, "upstream_cut"), ({"demo": {"fail": 500}}, "upstream_error"),
    ],
)
async def test_a_stream_that_fails_before_its_first_byte_falls_through_to_the_next_target(lines, failing, outcome):
    lines.second.script(HELLO + STOP + USAGE + DONE, content_type=SSE)
    data, row = await lines.whole(chat("two", stream=True, **failing))
    assert data.replace(COMMENT, b"") == HELLO + STOP + DONE
    assert [(one.provider, one.outcome) for one in row.attempts] == [("first", outcome), ("second", "ok")]
    assert (row.provider, row.outcome, row.output) == ("second", "ok", 3)


@measured
async def test_headers_that_leave_before_it_is_known_who_answers_do_not_name_anyone(lines):
    """A comment sends them while a next target may still have to answer; where none can, they are complete."""
    lines.second.script(HELLO + STOP + DONE, content_type=SSE)
    for model, named in (("two", False), ("m", True)):
        reply, _ = await lines.read(chat(model, stream=True, demo={"hang": "before_first"}))
        assert ("x-gateway-model" in reply.headers, "x-gateway-attempts" in reply.headers) == (named, named)
        assert reply.headers["x-request-id"]


async def test_a_stream_that_fails_after_its_first_byte_stays_with_its_target(lines):
    lines.second.requests.clear()
    lines.first.script(HELLO, content_type=SSE, ending="cut")
    data, row = await lines.whole(chat("two", stream=True))
    assert data.startswith(HELLO)
    assert row.outcome == "upstream_cut"
    assert lines.second.requests == []


async def test_a_client_that_speaks_http_1_0_gets_the_stream_up_to_the_end_of_its_connection(lines):
    """No chunks; the same bytes; also an unstreamed reply."""
    for asked, served in ((ASKED, HELLO + STOP + DONE), ({}, b'{"choices":[]}')):
        lines.first.script(served, content_type=SSE if asked else "application/json")
        async with connected(lines.gw.port) as client:
            await client.send(post(lines.gw, chat(**asked), start="POST /v1/chat/completions HTTP/1.0"))
            answer = await client.rest()
        headers, _, body = answer.partition(b"\r\n\r\n")
        assert headers.startswith(b"HTTP/1.1 200")
        assert b"transfer-encoding" not in headers.lower()
        assert b"connection: close" in headers.lower()
        assert body == served


def post(gw, body, start="POST /v1/chat/completions HTTP/1.1", cut=0):
    """A request's bytes, but for the last `cut`."""
    data = json.dumps(body).encode()
    credential = f"Authorization: Bearer {gw.key}"
    fields = ("Host: gateway", credential, "Content-Type: application/json", f"Content-Length: {len(data)}")
    return head(*fields, start=start) + data[: len(data) - cut]


PHASES = {
    "in its own body": ({"cut": 5}, {}, b""),
    "before the headers": ({}, {"stream": True, "demo": {"hang": "before_headers"}}, b""),
    "before the first chunk": ({}, {"stream": True, "demo": {"hang": "before_first"}}, b""),
    "in mid-stream": ({}, {"stream": True, "demo": {"hang": "mid"}}, b"data: {"),
    "in mid-stream, untouched": ({}, {**ASKED, "demo": {"hang": "mid"}}, b"data: {"),
    "while a stream flows": ({}, {"stream": True, "demo": {"chunk_delay_ms": 20, "size": 500}}, b"data: {"),
    "before an unstreamed reply": ({}, {"demo": {"hang": "before_headers"}}, b""),
    "in the middle of an unstreamed reply": ({}, {"demo": {"hang": "mid"}}, b""),
}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def patient(tmp_path_factory, gateway_view):
    """A gateway that waits long for its upstream: what ends early was ended by its client."""
    async with FakeUpstream() as first:
        sections = {
            "providers": [provider(first, "first")],
            "models": [{"name": "m", "targets": ["first/m"]}],
            "timeouts": {"first_byte": 120.0, "idle": 120.0},
        }
        async with running(tmp_path_factory.mktemp("patient"), **sections) as gw:
            yield Lines(gateway_view(gw), first, None)


@pytest.mark.parametrize("phase", PHASES)
@measured
async def test_a_client_that_leaves_closes_the_upstream_within_a_second(patient, phase):
    """In every phase; one row says `client_closed`, with an estimate of what was used."""
    options, fields, awaited = PHASES[phase]
    first, server = patient.first, patient.gw.process._server
    key = await patient.view.new_key()
    first.requests.clear()
    async with connected(patient.gw.port) as client:
        request = post(patient.gw, chat(**fields), **options).replace(patient.gw.key.encode(), key.encode())
        await client.send(request)
        if awaited:
            await client.reader.readuntil(awaited)
        await until(lambda: server.requests_in_flight == 1 and len(first.requests) == (0 if options else 1))
    left = time.monotonic()
    await until(lambda: not first.open and not server.requests_in_flight)
    took = time.monotonic() - left
    (row,) = await patient.view.rows_of(key)
    assert (row.outcome, row.error) == ("client_closed", None)
    assert row.estimated == (not options)  # the upstream had the request
    assert (row.output > 0) == bool(awaited)
    assert took < 1


@measured
async def test_a_client_that_does_not_read_slows_the_upstream_and_is_let_go(lines):
    """The gateway holds little; after `write_timeout` without a byte taken, both connections end."""
    key = await lines.view.new_key()
    big = record("x" * 65_000)
    lines.first.script(*[big] * 600, STOP + DONE, content_type=SSE)
    async with connected(lines.gw.port) as client:
        await client.send(post(lines.gw, chat(**ASKED)).replace(lines.gw.key.encode(), key.encode()))
        await asyncio.sleep(0.5)
        assert lines.first.open == 1  # it could not write its 39 MB: nobody takes them
        await until(lambda: not lines.first.open)
        (row,) = await lines.view.rows_of(key)
    assert (row.outcome, row.error) == ("client_closed", "write_timeout")
    assert row.output > 0


@measured
async def test_a_client_that_reads_slowly_gets_everything(lines):
    """Slower than the upstream, faster than the deadline."""
    big = record("x" * 65_000)
    lines.first.script(*[big] * 40, STOP + DONE, content_type=SSE)
    size = 0
    async with lines.gw.post(json=chat(**ASKED)) as reply:
        async for piece in reply.content.iter_chunked(262_144):
            size += len(piece)
            await asyncio.sleep(0.05)
    assert size == 40 * len(big) + len(STOP + DONE)
    assert (await lines.view.row(reply.headers["x-request-id"])).outcome == "ok"
