"""The dry run says what then happens, and takes nothing."""

import asyncio

import msgspec
import pytest
from running import chat, provider, running

from gateway.accounts import keys
from gateway.accounts.records import Limits
from gateway.clock import now_ms
from gateway.money import NANO
from gateway.testing import FakeUpstream

MODELS = [
    {"name": "m", "targets": ["up/big", "up/small"]},
    {"name": "unpriced", "targets": ["up/unknown"]},
    {"name": "free", "targets": ["up/free"]},
]
PRICES = [
    {"model": "up/big", "input": "10", "output": "100"}, {"model": "up/small", "input": "0.01", "output": "0.1"},
    {"model": "up/free", "input": "0", "output": "0"},
]  # fmt: skip


@pytest.fixture
async def gw(tmp_path):
    async with (
        FakeUpstream() as upstream,
        running(tmp_path, providers=[provider(upstream)], models=MODELS, prices=PRICES) as started,
    ):
        started.upstream = upstream
        yield started


async def with_limits(gw, **limits):
    """From now on `gw` calls with a key that has these limits."""
    secret = keys.pepper(gw.process.gateway.secret)
    gw.key, record = keys.issue(secret, tenant="default", created=now_ms(), name="limited", limits=Limits(**limits))
    await gw.store.create_key(record)


async def explained(gw, **fields):
    async with gw.post("/explain", json=chat(**fields)) as reply:
        assert reply.status == 200, await reply.text()
        return await reply.json()


async def answer(gw, **fields):
    """The status of the request itself, and the target that answered."""
    async with gw.post(json=chat(**fields)) as reply:
        await reply.read()
        return reply.status, reply.headers.get("x-gateway-model")


def entry(told, limit):
    return next(found for found in told["limits"] if found["limit"] == limit)


async def test_it_names_the_stages_in_the_order_of_their_calls(gw):
    told = await explained(gw)
    assert [stage["use"] for stage in told["stages"]] == [
        "auth.api_keys", "limiter.requests", "limiter.tokens", "limiter.concurrency", "limiter.budget", "sink.ledger",
        "sink.prometheus", "sink.log",
    ]  # fmt: skip
    assert told["stages"][0]["hooks"] == ["startup", "shutdown", "authenticate"]
    assert told["caller"]["tenant"] == "default"
    assert gw.key not in str(told)


async def test_it_takes_nothing_and_calls_nobody(gw):
    await with_limits(gw, requests_per_minute=2, tokens_per_minute=1000, concurrency=1, cost_daily=NANO)
    first = await explained(gw, max_tokens=10)
    for _ in range(5):
        assert await explained(gw, max_tokens=10) == first
    assert gw.upstream.requests == []
    assert await gw.rows() == []


@pytest.mark.parametrize("limit", [1, 3])
async def test_requests_a_minute_pass_until_the_limit(gw, limit):
    await with_limits(gw, requests_per_minute=limit)
    for used in range(limit):
        told = await explained(gw)
        assert told["would"] == "answer"
        assert entry(told, "requests_per_minute") == {
            "plugin": "limiter.requests", "limit": "requests_per_minute", "level": "key", "name": "limited",
            "max": limit, "used": used, "remaining": limit - used, "asks": 1, "would": "pass",
        }  # fmt: skip
        assert (await answer(gw))[0] == 200
    told = await explained(gw)
    assert (told["would"], entry(told, "requests_per_minute")["would"]) == ("refuse", "refuse")
    assert (await answer(gw))[0] == 429


@pytest.mark.parametrize(("cap", "would", "status"), [(400, "answer", 200), (600, "refuse", 429)])
async def test_tokens_a_minute_count_the_input_and_the_cap(gw, cap, would, status):
    await with_limits(gw, tokens_per_minute=500)
    told = await explained(gw, max_tokens=cap)
    assert told["would"] == would
    assert entry(told, "tokens_per_minute")["asks"] == cap + told["targets"][0]["estimated_input_tokens"]
    assert (await answer(gw, max_tokens=cap))[0] == status


async def test_a_place_that_is_taken_is_seen(gw):
    await with_limits(gw, concurrency=1)
    assert (await explained(gw))["would"] == "answer"
    async with gw.post(json=chat(stream=True, demo={"hang": "mid"})):
        told = await explained(gw)
        assert (told["would"], entry(told, "concurrency")["used"]) == ("refuse", 1)
        assert (await answer(gw))[0] == 429


async def test_what_would_be_reserved_is_what_is_reserved(gw):
    await with_limits(gw, cost_daily=NANO)
    request = {"max_tokens": 100, "stream": True, "demo": {"hang": "mid"}}
    told = entry(await explained(gw, **request), "cost_daily")
    assert (told["target"], told["max"], told["used"], told["remaining"]) == ("up/big", "1", "0", "1")
    async with gw.post(json=chat(**request)) as reply:
        reserved = (await gw.process.gateway.state.totals())["reserved"]
        assert reply.headers["x-gateway-budget-remaining"] == told["left"]
    assert int(float(told["reserve"]) * NANO + 0.5) == reserved


async def test_a_target_that_is_too_dear_is_passed_over(gw):
    await with_limits(gw, cost_daily=NANO // 1000)
    told = await explained(gw, max_tokens=100)
    assert [target["would"] for target in told["targets"]] == ["refuse", "pass"]
    assert [found["target"] for found in told["limits"]] == ["up/big", "up/small"]
    assert told["would"] == "answer"
    assert await answer(gw, max_tokens=100) == (200, "small")


async def test_no_target_that_can_be_paid_is_a_refusal(gw):
    await with_limits(gw, cost_daily=10)
    told = await explained(gw, max_tokens=100)
    assert [target["would"] for target in told["targets"]] == ["refuse", "refuse"]
    assert told["would"] == "refuse"
    assert (await answer(gw, max_tokens=100))[0] == 429


async def test_an_answer_that_is_shortened_says_how_far(gw):
    """Without a cap of the caller's own the answer is cut to what can be paid."""
    await with_limits(gw, cost_daily=NANO // 50)
    told = entry(await explained(gw), "cost_daily")
    assert 16 < told["output_tokens_at_most"] < 4096
    async with gw.post(json=chat()) as reply:
        assert reply.headers["x-gateway-warnings"] == f"max_tokens={told['output_tokens_at_most']}"


@pytest.mark.parametrize(("model", "would", "status"), [("unpriced", "refuse", 403), ("free", "answer", 200)])
async def test_a_cost_limit_needs_a_price(gw, model, would, status):
    await with_limits(gw, cost_monthly=NANO)
    told = await explained(gw, model=model)
    assert told["would"] == would
    assert [found["limit"] for found in told["limits"]] == (["price"] if model == "unpriced" else [])
    assert (await answer(gw, model=model))[0] == status


async def test_a_cost_at_most_needs_a_cap(gw):
    target = (await explained(gw))["targets"][0]
    assert target["output_tokens_at_most"] is None
    assert "estimated_cost_at_most" not in target
    target = (await explained(gw, max_tokens=1000, n=2))["targets"][0]
    tokens = target["estimated_input_tokens"]
    assert target["output_tokens_at_most"] == 2000
    assert float(target["estimated_cost_at_most"]) == pytest.approx((tokens * 10 + 2000 * 100) / 1e6)
    assert target["price"]["version"].startswith("config-")


async def test_a_model_that_is_not_there_or_not_allowed_is_refused_with_the_reason(gw):
    await with_limits(gw, models=("free",))
    assert (await explained(gw, model="fre"))["refusal"]["code"] == "model_not_found"
    told = await explained(gw, model="m")
    assert (told["would"], told["refusal"]["status"]) == ("refuse", 403)


async def test_a_target_without_the_endpoint_is_none(gw, monkeypatch):
    (up,) = gw.process.gateway.snapshot.plugins.providers.values()
    monkeypatch.setattr(up, "endpoints", frozenset({"completions"}), raising=False)
    told = await explained(gw)
    assert (told["targets"], told["would"], told["refusal"]["status"]) == ([], "refuse", 404)
    async with gw.post("/explain", json={"model": "m", "prompt": "x"}) as reply:
        assert (await reply.json())["endpoint"] == "completions"


async def test_the_estimate_is_the_one_that_traffic_has_taught(gw):
    text = "word " * 100
    before = (await explained(gw, text=text))["targets"][0]["estimated_input_tokens"]
    gw.upstream.script(
        msgspec.json.encode({"choices": [], "usage": {"prompt_tokens": 3 * before, "completion_tokens": 1}})
    )
    await answer(gw, text=text)
    await asyncio.sleep(0)
    assert (await explained(gw, text=text))["targets"][0]["estimated_input_tokens"] > 2 * before


async def test_bad_input_is_refused_as_in_a_request(gw):
    for body, status in ((b"{", 400), (b'{"model": 1}', 400)):
        async with gw.post("/explain", data=body, headers={"content-type": "application/json"}) as reply:
            assert reply.status == status
    gw.key = "sk-gw-wrong"
    async with gw.post("/explain", json=chat()) as reply:
        assert reply.status == 401
