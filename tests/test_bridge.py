"""Exchanges whose two sides speak different dialects, through a whole gateway: policy, limits, guardrails, bad upstreams."""

import asyncio
import json

import pytest
from running import PLUGINS, provider, running
from waiting import PATIENCE

from gateway.accounts import keys
from gateway.accounts.records import Limits
from gateway.clock import now_ms
from gateway.testing import FakeUpstream

ASKED = [{"role": "user", "content": "Hi"}]
REPLY = json.dumps({
    "id": "msg_1", "type": "message", "role": "assistant", "model": "c", "content": [{"type": "text", "text": "my code is 4711-0815"}],
    "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 100, "output_tokens": 50},
}).encode()
REGEX = {"use": "guardrail.regex", "with": {"patterns": [r"\d{4}-\d{4}"], "action": "redact"}}


def event(kind, **fields):
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), json.dumps({"type": kind, **fields}).encode())


START = event("message_start", message={"id": "m", "model": "c", "content": [], "usage": {"input_tokens": 100, "output_tokens": 1}})
BEGIN = event("content_block_start", index=0, content_block={"type": "text", "text": ""})


def said(text):
    return event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})


END = event("content_block_stop", index=0) + event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 50}) + event("message_stop")


def claude(upstream, **options):
    root = upstream.url.removesuffix("/v1")
    return {"name": "claude", "use": "provider.anthropic", "with": {"base_url": root, "api_key": "upstream-key-000", **options}}


@pytest.fixture
async def upstream():
    async with FakeUpstream() as up:
        yield up


def setting(upstream, *, plugins=(), options=None, **model):
    models = [
        {"name": "c", "targets": ["claude/claude-haiku-4-5"], **model},
        {"name": "two", "targets": ["claude/claude-haiku-4-5", "up/gpt"], **model},
    ]
    return {
        "providers": [claude(upstream, **(options or {})), provider(upstream)], "models": models, "plugins": [*PLUGINS, *plugins],
        "prices": [{"model": "claude/*", "input": "1.00", "output": "2.00"}, {"model": "up/*", "input": "1", "output": "1"}],
    }


def chat(model="c", **fields):
    return {"model": model, "messages": ASKED, **fields}


async def streamed(reply):
    return [json.loads(line[5:]) for line in (await reply.text()).splitlines() if line.startswith("data: {")]


async def test_usage_and_cost_are_the_targets(tmp_path, upstream):
    """Whole and streamed: the ledger has Anthropic's numbers, the client sees them in its own fields."""
    async with running(tmp_path, **setting(upstream)) as gw:
        upstream.script(REPLY)
        async with gw.post(json=chat()) as reply:
            assert (await reply.json())["usage"]["total_tokens"] == 150
            assert reply.headers["x-gateway-cost"] == "0.000200000"
        upstream.script(START + BEGIN, said("a"), said("b"), END, content_type="text/event-stream")
        async with gw.post(json=chat(stream=True)) as reply:
            assert "".join(c["choices"][0]["delta"].get("content") or "" for c in await streamed(reply)) == "ab"
        rows = await gw.rows(2)
        assert [(row.input, row.output, row.cost, row.estimated, row.outcome) for row in rows] == [(100, 50, 200_000, False, "ok")] * 2
        assert rows[1].streamed


@pytest.mark.parametrize("stream", [False, True])
async def test_a_guardrail_sees_the_clients_format(tmp_path, upstream, stream):
    """A pattern split over pieces of Anthropic's stream does not reach OpenAI's client."""
    async with running(tmp_path, **setting(upstream, plugins=[REGEX])) as gw:
        if stream:
            upstream.script(START + BEGIN, said("my code is 47"), said("11-08"), said("15, ok"), END, content_type="text/event-stream")
        else:
            upstream.script(REPLY)
        async with gw.post(json=chat(stream=stream)) as reply:
            text = await reply.text()
        assert "4711" not in text
        assert "0815" not in text
        assert "my code is" in text
        if stream:
            assert text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_guardrail_on_anthropics_own_stream(tmp_path, upstream, stream):
    """The same dialect on both sides: what is not changed stays as it came, what is leaves changed."""
    async with running(tmp_path, **setting(upstream, plugins=[REGEX])) as gw:
        if stream:
            upstream.script(START + BEGIN, said("my code is 47"), said("11-08"), said("15, ok"), END, content_type="text/event-stream")
        else:
            upstream.script(REPLY)
        async with gw.post("/messages", json={**chat(), "max_tokens": 50, "stream": stream}) as reply:
            text = await reply.text()
        assert "4711" not in text
        assert "0815" not in text
        if stream:
            assert text.startswith(START.decode())
            assert text.endswith(END.decode())
            told = "".join(json.loads(line[5:]).get("delta", {}).get("text", "") for line in text.splitlines() if line.startswith("data:"))
            assert told.startswith("my code is ")
            assert told.endswith(", ok")


async def test_what_one_target_cannot_carry_another_may(tmp_path, upstream):
    """`on_lossy: refuse`: the target of another dialect is passed over, the native one answers; alone, it is a 400."""
    async with running(tmp_path, **setting(upstream, on_lossy="refuse")) as gw:
        async with gw.post(json=chat("two", seed=7)) as reply:
            assert reply.status == 200
            assert reply.headers["x-gateway-provider"] == "up"
            assert reply.headers["x-gateway-attempts"] == "1"
            assert "x-gateway-warnings" not in reply.headers
        async with gw.post(json=chat("c", seed=7)) as reply:
            assert reply.status == 400
            assert (await reply.json())["error"]["param"] == "seed"
        assert [request.path for request in upstream.requests] == ["/v1/chat/completions"]
        assert [row.outcome for row in await gw.rows(2)] == ["ok", "refused"]


async def test_a_warning_is_of_the_target_that_answered(tmp_path, upstream):
    """The first target would have dropped a field; the second, which answers, does not."""
    async with running(tmp_path, **setting(upstream)) as gw:
        upstream.script(b"{}", status=500)
        async with gw.post(json=chat("two", seed=7)) as reply:
            assert reply.status == 200
            assert "x-gateway-warnings" not in reply.headers
        upstream.script(REPLY)
        async with gw.post(json=chat("two", seed=7)) as reply:
            assert reply.headers["x-gateway-warnings"] == "dropped=seed"


async def test_a_budgets_cap_reaches_the_other_dialect(tmp_path, upstream):
    """What is left buys fewer than 100 tokens: the upstream is asked for no more, in its own field."""
    async with running(tmp_path, **setting(upstream, max_output_tokens=64_000)) as gw:
        secret = keys.pepper(gw.process.gateway.secret)
        limits = Limits(cost_daily=200_000)
        gw.key, record = keys.issue(secret, tenant="default", created=now_ms(), name="limited", limits=limits)
        await gw.store.create_key(record)
        upstream.script(REPLY)
        async with gw.post(json=chat()) as reply:
            assert reply.status == 200
            told = reply.headers["x-gateway-warnings"]
        cap = upstream.requests[0].json["max_tokens"]
        assert 16 <= cap < 100
        assert told == f"max_tokens={cap}"


@pytest.mark.parametrize("body", [b"<html>no</html>", b"[]", b'{"choices": []}', b"", b'{"content": "x"}'])
async def test_a_reply_that_is_none_leads_to_the_next_target(tmp_path, upstream, body):
    """HTML, other JSON, nothing: the attempt failed, and another target answers."""
    async with running(tmp_path, **setting(upstream)) as gw:
        upstream.script(body, content_type="text/html")
        async with gw.post(json=chat("two")) as reply:
            assert reply.status == 200
            assert reply.headers["x-gateway-attempts"] == "2"
        upstream.script(body, content_type="text/html")
        async with gw.post(json=chat("c")) as reply:
            assert reply.status == 502
            assert (await reply.json())["error"]["code"] == "upstream_cut"


async def test_a_stream_that_ends_early_says_so_and_its_part_is_counted(tmp_path, upstream):
    async with running(tmp_path, **setting(upstream)) as gw:
        upstream.script(START + BEGIN, said("some words that were said"), content_type="text/event-stream")
        async with gw.post(json=chat(stream=True)) as reply:
            chunks = await streamed(reply)
        assert chunks[-1]["error"]["code"] == "upstream_cut"
        (row,) = await gw.rows(1)
        assert (row.outcome, row.input, row.estimated) == ("upstream_cut", 100, True)
        assert row.output >= 1


async def test_broken_json_in_a_stream_ends_it_with_an_error(tmp_path, upstream):
    async with running(tmp_path, **setting(upstream)) as gw:
        upstream.script(START + BEGIN, b"data: <html>\n\n", content_type="text/event-stream")
        async with gw.post(json=chat(stream=True)) as reply:
            assert (await streamed(reply))[-1]["error"]["code"] == "upstream_cut"


async def test_the_first_token_goes_out_as_it_comes_in(tmp_path, upstream):
    """Nothing waits for the rest of the reply."""
    async with running(tmp_path, **setting(upstream)) as gw:
        upstream.script(START + BEGIN + said("first"), said("never"), content_type="text/event-stream", ending="hang", pause=30)
        async with asyncio.timeout(PATIENCE / 2), gw.post(json=chat(stream=True)) as reply:
            got = b""
            while b"first" not in got:
                got += await reply.content.readany()


async def test_credentials_in_an_error_do_not_reach_the_client(tmp_path, upstream):
    async with running(tmp_path, **setting(upstream)) as gw:
        told = {"type": "error", "error": {"type": "authentication_error", "message": "bad key upstream-key-000"}}
        upstream.script(json.dumps(told).encode(), status=401)
        async with gw.post(json=chat()) as reply:
            assert "upstream-key-000" not in await reply.text()
        upstream.script(START, event("error", error={"type": "api_error", "message": "key upstream-key-000"}), content_type="text/event-stream")
        async with gw.post(json=chat(stream=True)) as reply:
            assert "upstream-key-000" not in await reply.text()


async def test_flags_that_the_service_does_not_know_are_taken_out_and_named(tmp_path, upstream):
    async with running(tmp_path, **setting(upstream, options={"betas": ["files-*"]})) as gw:
        upstream.script(REPLY)
        headers = {"anthropic-beta": "files-api-2025-04-14,context-1m-2025-08-07"}
        async with gw.post("/messages", json={**chat(), "max_tokens": 5}, headers=headers) as reply:
            assert reply.headers["x-gateway-warnings"] == "dropped=anthropic-beta:context-1m-2025-08-07"
        assert upstream.requests[0].headers["anthropic-beta"] == "files-api-2025-04-14"


async def test_a_thousand_parts_are_translated_and_too_many_refused(tmp_path, upstream):
    async with running(tmp_path, **setting(upstream)) as gw:
        for count, status in ((1000, 200), (20_001, 400)):
            upstream.script(REPLY)
            content = [{"type": "text", "text": "x"}] * count
            async with gw.post(json={"model": "c", "messages": [{"role": "user", "content": content}]}) as reply:
                assert reply.status == status
