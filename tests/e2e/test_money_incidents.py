"""How money went wrong in gateways like this one, each tried from outside; docs/guarantees.md lists them with their tests."""

import asyncio
import contextlib

import aiohttp
import msgspec
import pytest
from running import chat, provider, running

from gateway.accounts import keys
from gateway.accounts.records import Key, Limits, Tenant
from gateway.clock import now_ms
from gateway.configfile import read
from gateway.dialects.served import CALLED, SERVED
from gateway.exchange import Level
from gateway.money import NANO
from gateway.money.budgets import budget_keys
from gateway.problems import ConfigError
from gateway.store.work import change
from gateway.testing import FakeUpstream

ANSWER = {"role": "assistant", "content": "word " * 40}
# What an endpoint wants, beside a model; nothing where a chat's fields do.
BODIES = {
    "completions": {"prompt": "x"}, "embeddings": {"input": "x"}, "responses": {"input": "x"},
    "responses.compact": {"input": "x"}, "responses.input_tokens": {"input": "x"}, "moderations": {"input": "x"},
    "images.generations": {"prompt": "x"}, "audio.speech": {"input": "x", "voice": "a"},
    "rerank": {"query": "x", "documents": ["y"]}, "score": {"text_1": "x", "text_2": "y"}, "tokenize": {"prompt": "x"},
    "detokenize": {"tokens": [1]}, "converse": {"messages": [{"role": "user", "content": [{"text": "x"}]}]},
    "generateContent": {"contents": [{"role": "user", "parts": [{"text": "x"}]}]},
    "countTokens": {"contents": [{"role": "user", "parts": [{"text": "x"}]}]},
    "embedContent": {"content": {"parts": [{"text": "x"}]}},
    "batchEmbedContents": {"requests": [{"model": "models/m", "content": {"parts": [{"text": "x"}]}}]},
}  # fmt: skip
FORMS = {"images.edits": "image", "images.variations": "image", "audio.transcriptions": "file", "audio.translations": "file"}


@pytest.fixture
async def upstream():
    async with FakeUpstream() as fake:
        yield fake


@contextlib.asynccontextmanager
async def started(tmp_path, *names, **prices):
    """A gateway whose model `m` has a target at each of these upstreams, which cost 1 and 5 dollars a million tokens."""
    prices = {"input": "1", "output": "5", **prices}
    entries = [provider(fake, name) for name, fake in names]
    models = [{"name": "m", "targets": [f"{name}/x" for name, _ in names]}]
    book = [{"model": f"{name}/x", **({"input": "0", "output": "0"} if name == "free" else prices)} for name, _ in names]
    async with running(tmp_path, providers=entries, models=models, prices=book) as gate:
        yield gate


async def limited(gate, **limits):
    """From now on the gateway is asked with a key that has these limits."""
    secret = keys.pepper(gate.process.gateway.secret)
    gate.key, record = keys.issue(secret, tenant="default", created=now_ms(), name="limited", limits=Limits(**limits))
    await gate.store.create_key(record)
    return record.id


def served_paths():
    """Every path that leads to an upstream, with its endpoint; the model's name stands in some of them."""
    for served in SERVED:
        for path in served.paths:
            yield path.replace("{model}", "m"), served.endpoint
    for called in CALLED:
        for action, served in called.actions.items():
            for path in called.paths:
                yield f"{path}/m:{action}", served.endpoint


async def test_no_route_to_an_upstream_goes_around_the_budget(tmp_path, upstream):
    """With a budget of nothing each of them is refused, by all of its addresses, and no upstream hears of it."""
    options = {"base_url": upstream.url, "api_key": "upstream-credential-000"}
    entries = [{"name": name, "use": f"provider.{name}", "with": options} for name in ("openai", "vllm", "gemini", "anthropic")]
    entries[2]["with"] = entries[3]["with"] = {**options, "base_url": upstream.url.removesuffix("/v1")}
    models = [{"name": "m", "targets": [f"{entry['name']}/x" for entry in entries]}]
    prices = [{"model": target, "input": "1", "output": "5", "per_request": "0.01"} for target in models[0]["targets"]]
    refused, others = set(), {}
    async with running(tmp_path, providers=entries, models=models, prices=prices) as gate:
        await limited(gate, cost_monthly=1)
        for path, endpoint in served_paths():
            headers = {"authorization": f"Bearer {gate.key}", "content-type": "application/json"}
            body = {"model": "m", "max_tokens": 5, **BODIES.get(endpoint, {"messages": [{"role": "user", "content": "x"}]})}
            data = msgspec.json.encode(body)
            if endpoint in FORMS:
                data = aiohttp.FormData({"model": "m", "prompt": "x"})
                data.add_field(FORMS[endpoint], b"RIFF" + b"\0" * 200, filename="a.wav")
                del headers["content-type"]
            async with gate.client.post(gate.root + path, data=data, headers=headers) as reply:
                text = await reply.text()
                # Amazon's API has a status of its own for a quota that is used up.
                if reply.status == 429 or reply.headers.get("x-amzn-errortype") == "ServiceQuotaExceededException":
                    assert "cost limit" in text
                    refused.add(endpoint)
                else:
                    others[path] = (reply.status, text)
    assert others == {}
    assert upstream.requests == []
    assert refused == {endpoint for _, endpoint in served_paths()}


async def test_a_paid_fallback_of_a_free_model_is_refused_where_the_budget_is_used_up(tmp_path):
    async with FakeUpstream() as free, FakeUpstream() as paid, started(tmp_path, ("free", free), ("paid", paid)) as gate:
        await limited(gate, cost_daily=1)
        assert await status(gate) == 200  # free of charge: no budget is in its way
        free.script(b'{"error":{"message":"down"}}', status=503)
        async with gate.post(json=chat()) as reply:
            assert reply.status == 429
            assert (await reply.json())["error"]["code"] == "insufficient_quota"
        assert paid.requests == []


async def test_a_fallback_at_a_provider_that_the_tenant_may_not_use_is_never_tried(tmp_path):
    async with FakeUpstream() as mine, FakeUpstream() as theirs, started(tmp_path, ("mine", mine), ("theirs", theirs)) as gate:
        await gate.store.commit([change(Tenant, {"id": "default"}, {"providers": ("mine",)})], bump=True)
        mine.script(b'{"error":{"message":"down"}}', status=503)
        async with gate.post(json=chat()) as reply:
            assert reply.status == 503
        assert theirs.requests == []


def whole(usage):
    body = {"id": "x", "object": "chat.completion", "model": "m", "choices": [{"index": 0, "message": ANSWER, "finish_reason": "stop"}]}
    return msgspec.json.encode(body if usage is None else {**body, "usage": usage})


def streamed(usage):
    """The same, one word at a time; the usage in a record of its own."""
    base = {"id": "x", "object": "chat.completion.chunk", "model": "m"}
    said = [{**base, "choices": [{"index": 0, "delta": {"content": "word "}}]} for _ in range(40)]
    end = {**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    records = [*said, end, *([{**base, "choices": [], "usage": usage}] if usage is not None else [])]
    return b"".join(b"data: " + msgspec.json.encode(record) + b"\n\n" for record in records) + b"data: [DONE]\n\n"


@pytest.mark.parametrize(
    ("usage", "cost", "estimated"),
    [
        ({"prompt_tokens": 1000, "completion_tokens": 40, "total_tokens": 1040}, 1_000_000 + 200_000, False),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, 0, False),
        (None, None, True),
        ({"prompt_tokens": -7, "completion_tokens": 40, "total_tokens": 33}, None, True),
        ({"prompt_tokens": 1000, "completion_tokens": -40, "cost": 0}, None, True),
    ],
    ids=["told", "zero", "missing", "negative input", "negative output"],
)  # fmt: skip
async def test_missing_zero_and_impossible_usage_are_three_things_and_a_stream_costs_what_its_twin_does(
    tmp_path, upstream, usage, cost, estimated
):
    async with started(tmp_path, ("up", upstream)) as gate:
        upstream.script(whole(usage))
        async with gate.post(json=chat()) as reply:
            assert reply.status == 200
        upstream.script(streamed(usage), content_type="text/event-stream")
        async with gate.post(json=chat(stream=True)) as reply:
            told = await reply.text()
        assert upstream.requests[-1].json["stream_options"] == {"include_usage": True}
        assert '"usage"' not in told  # the client did not ask for it
        assert told.endswith("data: [DONE]\n\n")
        one, two = await gate.rows(2)
        assert (one.estimated, two.estimated) == (estimated, estimated)
        if estimated:  # what a request says and an answer said is counted
            assert one.input == two.input == 8
            assert 40 <= one.output <= two.output <= 43
            assert one.cost == one.input * 1000 + one.output * 5000
        else:
            assert (one.cost, two.cost) == (cost, cost)


async def test_a_cut_stream_costs_what_its_text_is_worth(tmp_path, upstream):
    async with started(tmp_path, ("up", upstream)) as gate:
        sent = streamed(None)[: streamed(None).index(b'"finish_reason"') - 60]
        upstream.script(sent, content_type="text/event-stream", ending="cut")
        async with gate.post(json=chat(text="Tell me forty words about the sea.", stream=True)) as reply:
            assert "error" in await reply.text()
        (row,) = await gate.rows(1)
        assert (row.estimated, row.outcome) == (True, "upstream_cut")
        assert row.output == pytest.approx(40, abs=3)
        assert row.input == pytest.approx(15, abs=2)


async def test_a_reload_with_a_wrong_price_changes_nothing_and_a_good_one_holds_for_the_next_request(tmp_path, upstream):
    """Prices, models and what may be called are one snapshot: a request never sees half of a new one."""
    usage = {"prompt_tokens": 1000, "completion_tokens": 0}
    async with started(tmp_path, ("up", upstream)) as gate:
        async def charged(model="m"):
            upstream.script(whole(usage))
            async with gate.post(json=chat(model)) as reply:
                await reply.read()
                return reply.status, reply.headers.get("x-gateway-cost")

        def tree(price):
            models = [{"name": name, "targets": ["up/x"]} for name in ("m", "newer")]
            base = {"server": {"port": 0}, "data_dir": str(tmp_path / "data"), "providers": [provider(upstream)]}
            plugins = [{"use": name} for name in ("auth.api_keys", "limiter.budget", "sink.ledger")]
            book = [{"model": "up/x", "input": price, "output": "5"}]
            return msgspec.yaml.encode({**base, "plugins": plugins, "models": models, "prices": book})

        assert await charged() == (200, "0.001000000")
        for wrong in ("-1", "free", "1e999"):
            with pytest.raises(ConfigError, match="prices"):
                await gate.service.reload(read(tree(wrong), "test.yaml", {}))
        assert await charged() == (200, "0.001000000")
        assert (await charged("newer"))[0] == 404
        upstream._script.clear()
        await gate.service.reload(read(tree("2"), "test.yaml", {}))
        assert await charged() == (200, "0.002000000")
        assert await charged("newer") == (200, "0.002000000")
        first, *_, last = [row for row in await gate.rows(5) if row.cost]
        assert first.price_version != last.price_version


async def test_a_free_model_is_no_business_of_a_budget_that_is_used_up_nor_is_a_key_without_one(tmp_path, upstream):
    async with started(tmp_path, ("free", upstream)) as gate:
        assert [await status(gate) for _ in range(2)] == [200, 200]
        key = await limited(gate, cost_daily=1)
        assert await status(gate) == 200
        await gate.store.commit([change(Key, {"id": key}, {"limits": Limits(cost_daily=0)})], bump=True)
        assert await status(gate) == 200


async def test_retries_of_one_request_are_one_row_and_its_sum_has_them_once(tmp_path):
    async with FakeUpstream() as bad, FakeUpstream() as good, started(tmp_path, ("bad", bad), ("good", good)) as gate:
        bad.script(b'{"error":{"message":"down"}}', status=500)
        good.script(whole({"prompt_tokens": 1000, "completion_tokens": 10}))
        assert await status(gate) == 200
        (row,) = await gate.rows(1)
        assert [attempt.outcome for attempt in row.attempts] == ["upstream_error", "ok"]
        assert row.cost == sum(attempt.cost for attempt in row.attempts) == 1_050_000
        for level in (Level("tenant", row.tenant), Level("key", row.key)):
            for counter in budget_keys(level, row.ts_ms):
                assert await gate.process.gateway.state.spent(counter) == (1_050_000, 0)


@pytest.mark.parametrize("level", ["tenant", "key"])
async def test_parallel_requests_at_the_limit_spend_it_to_the_last_unit_and_not_more(tmp_path, upstream, level):
    """Each costs what it reserves: a fixed price. Of fifty at once exactly as many pass as can be paid."""
    async with started(tmp_path, ("up", upstream), input="0", output="0", per_request="0.01") as gate:
        if level == "key":
            await limited(gate, cost_daily=NANO * 7 // 100 + 9_999_999)
        else:
            limits = Limits(cost_monthly=NANO * 7 // 100 + 9_999_999)
            await gate.store.commit([change(Tenant, {"id": "default"}, {"limits": limits})], bump=True)
        statuses = await asyncio.gather(*(status(gate) for _ in range(50)))
        assert (statuses.count(200), statuses.count(429)) == (7, 43)
        assert sum(row.cost for row in await gate.rows(50)) == NANO * 7 // 100


async def status(gate):
    async with gate.post(json=chat()) as reply:
        await reply.read()
        return reply.status
