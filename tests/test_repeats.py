"""`Idempotency-Key` on the data plane: one call upstream and one charge, whatever happens to the client between."""

import asyncio

import pytest
from running import chat, provider, running
from waiting import until

from gateway.testing import FakeUpstream

REPLY = b'{"id":"x","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}'
PRICES = [{"model": "up/*", "input": "1.00", "output": "2.00"}]
ONCE = {"idempotency-key": "order-4711"}


@pytest.fixture
async def upstream():
    async with FakeUpstream() as up:
        yield up


@pytest.fixture
async def gw(tmp_path, upstream):
    models = [{"name": "m", "targets": ["up/real-model"]}]
    kept = {"max_bytes": 100_000}
    async with running(
        tmp_path, providers=[provider(upstream)], models=models, prices=PRICES, idempotency=kept
    ) as started:
        yield started


async def asked(gw, body, headers=ONCE, path="/chat/completions"):
    """Status, body and headers of a request with a key."""
    async with gw.post(path, json=body, headers=dict(headers)) as reply:
        return reply.status, await reply.read(), reply.headers


async def test_the_second_time_the_answer_is_the_stored_one(gw, upstream):
    upstream.script(REPLY)
    first = await asked(gw, chat())
    second = await asked(gw, chat())
    assert first[:2] == second[:2] == (200, REPLY)
    assert "idempotency-replayed" not in first[2]
    assert second[2]["idempotency-replayed"] == "true"
    assert second[2]["x-request-id"] == first[2]["x-request-id"]
    assert second[2]["content-type"] == first[2]["content-type"]
    assert "x-gateway-cost" not in second[2]
    assert len(upstream.requests) == 1
    assert [row.cost for row in await gw.rows(1)] == [20_000]
    metrics = await (await gw.client.get(gw.root + "/metrics")).text()
    assert "ai_gateway_idempotent_replays_total 1.0" in metrics


async def test_a_stream_is_given_again_byte_for_byte(gw, upstream):
    first = await asked(gw, chat(stream=True, stream_options={"include_usage": True}))
    second = await asked(gw, chat(stream=True, stream_options={"include_usage": True}))
    assert first[:2] == second[:2]
    assert first[1].endswith(b"data: [DONE]\n\n")
    assert second[2]["content-type"].startswith("text/event-stream")
    assert len(upstream.requests) == 1
    assert len(await gw.rows(1)) == 1


async def test_another_body_is_refused_and_another_route_or_key_is_another_request(gw, upstream):
    assert (await asked(gw, chat()))[0] == 200
    status, body, _ = await asked(gw, chat(text="something else"))
    assert status == 422
    assert b'"idempotency_key_reused"' in body
    assert len(upstream.requests) == 1
    assert (await asked(gw, {"model": "m", "prompt": "x"}, path="/completions"))[0] == 200
    assert (await asked(gw, chat(), headers={"idempotency-key": "order-4712"}))[0] == 200
    assert len(upstream.requests) == 3


async def test_while_the_first_runs_the_second_is_a_conflict_in_the_callers_dialect(gw, upstream):
    slow = asyncio.create_task(asked(gw, chat(demo={"delay_ms": 1500})))
    await until(lambda: upstream.requests)
    status, body, headers = await asked(gw, chat(demo={"delay_ms": 1500}))
    assert status == 409
    assert b'"idempotency_request_running"' in body
    assert headers["retry-after"] == "1"
    assert (await slow)[0] == 200
    assert len(upstream.requests) == 1

    message = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}
    assert (await asked(gw, message, path="/messages"))[0] == 200
    status, body, _ = await asked(gw, {**message, "max_tokens": 6}, path="/messages")
    assert status == 422
    assert body.startswith(b'{"type":"error"')


async def test_a_client_that_leaves_finds_the_answer_when_it_comes_back(gw, upstream):
    for body in (chat(demo={"delay_ms": 400}), chat(demo={"delay_ms": 100}, stream=True)):
        headers = {"idempotency-key": f"left-{len(upstream.requests)}"}
        before = len(upstream.requests)
        task = asyncio.create_task(asked(gw, body, headers=headers))
        await until(lambda before=before: len(upstream.requests) > before)
        task.cancel()

        async def came_back(body=body, headers=headers):
            return (await asked(gw, body, headers=headers))[0] == 200

        await until(came_back)
        assert len(upstream.requests) == before + 1
    assert [row.outcome for row in await gw.rows(2)] == ["ok", "ok"]


@pytest.mark.parametrize("failure", [{"status": 500}, {"status": 429}, {"status": 400}])
async def test_errors_are_not_kept(gw, upstream, failure):
    upstream.script(b'{"error":{"message":"no"}}', **failure)
    assert (await asked(gw, chat()))[0] >= 400
    assert (await asked(gw, chat()))[0] == 200
    assert len(upstream.requests) == 2


async def test_a_stream_that_broke_off_is_not_kept(gw, upstream):
    upstream.script(
        b'data: {"id":"x","choices":[{"index":0,"delta":{"content":"par"}}]}\n\n',
        content_type="text/event-stream", ending="cut",
    )  # fmt: skip
    first = await asked(gw, chat(stream=True))
    assert b'"error"' in first[1]
    second = await asked(gw, chat(stream=True))
    assert second[1].endswith(b"data: [DONE]\n\n")
    assert "idempotency-replayed" not in second[2]


async def test_an_answer_over_the_limit_is_not_charged_again_but_cannot_be_given_again(gw, upstream):
    upstream.script(REPLY.replace(b'"hi"', b'"' + b"h" * 120_000 + b'"'))
    assert (await asked(gw, chat()))[0] == 200
    status, body, _ = await asked(gw, chat())
    assert (status, len(upstream.requests)) == (409, 1)
    assert b"max_bytes" in body


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", "\xe9"])
async def test_odd_keys_are_refused(gw, upstream, key):
    status, body, _ = await asked(gw, chat(), headers={"idempotency-key": key})
    assert status == 400
    assert b"Idempotency-Key" in body
    assert not upstream.requests


async def test_without_a_valid_key_nothing_is_remembered(gw, upstream):
    for _ in range(2):
        status, body, _ = await asked(gw, chat(), headers={**ONCE, "authorization": "Bearer sk-gw-wrong"})
        assert status == 401
        assert b"invalid_api_key" in body
    assert (await asked(gw, chat()))[0] == 200
    assert len(upstream.requests) == 1


async def test_ten_at_once_are_one_call(gw, upstream):
    replies = await asyncio.gather(*(asked(gw, chat(demo={"delay_ms": 300})) for _ in range(10)))
    assert sorted({status for status, *_ in replies}) == [200, 409]
    assert len(upstream.requests) == 1


async def test_answers_outlive_a_restart_and_lie_sealed(tmp_path, upstream):
    upstream.script(REPLY.replace(b'"hi"', b'"a very private answer"'))
    sections = {"providers": [provider(upstream)], "models": [{"name": "m", "targets": ["up/real-model"]}]}
    async with running(tmp_path, **sections) as gw:
        key, (_, body, _) = gw.key, await asked(gw, chat())
    files = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert not [path for path in files if b"very private" in path.read_bytes()]
    async with running(tmp_path, **sections) as gw:
        gw.key = key
        assert (await asked(gw, chat()))[:2] == (200, body)
    assert len(upstream.requests) == 1


async def test_a_lease_of_a_dead_process_ends(gw, upstream, monkeypatch):
    """What a killed worker held is free again once its lease is over."""
    monkeypatch.setattr("gateway.repeats._LEASE_MS", 50)
    monkeypatch.setattr("gateway.repeats._RENEW_S", 3600.0)
    slow = asyncio.create_task(asked(gw, chat(demo={"delay_ms": 2000})))
    await until(lambda: upstream.requests)
    await until(lambda: _asked_again(gw))
    assert len(upstream.requests) == 2
    assert (await slow)[0] == 200


async def _asked_again(gw):
    return (await asked(gw, chat(demo={"delay_ms": 2000})))[0] == 200
