"""`limiter.tokens`: the estimate is held before, the truth is counted after."""

from types import SimpleNamespace

import msgspec
import pytest

from gateway import Caller, Exchange, Level, RateLimited, Request, Usage
from gateway.shared_state import Ask
from gateway.shared_state.memory import MemoryState
from gateway_plugins.limiters.tokens import Config, TokenLimiter


def exchange(number: int = 0, *, tokens: int = 100, endpoint: str = "chat.completions", **fields) -> Exchange:
    made = Exchange(f"req_{number}", endpoint, SimpleNamespace(name="stub", generates=endpoint != "embeddings"), {}, 0)
    made.caller = Caller("t1", "k1", levels=(Level("key", "k1", "ci"),))
    made.request = Request(b"{}", {}, "m", **fields)
    made.internal["input_tokens"] = tokens  # as the estimate remembers it
    return made


async def limiter(state: MemoryState, **options) -> TokenLimiter:
    made = TokenLimiter(msgspec.convert(options, Config))
    await made.startup(SimpleNamespace(state=state))
    return made


async def used(state: MemoryState) -> int:
    return (await state.peek([Ask("window", "limiter.tokens/key/k1", 100)]))[0].used


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, 100 + 256),
        ({"max_output": 50}, 150),
        ({"max_output": 50, "choices": 3}, 250),
        ({"endpoint": "embeddings"}, 100),
        ({"endpoint": "completions", "max_output": 7}, 107),
    ],
)
async def test_the_estimate_is_input_plus_the_output_cap_of_each_choice(fields, expected):
    state = MemoryState()
    await (await limiter(state, per_key=10_000)).pre_request(exchange(**fields))
    assert await used(state) == expected


async def test_the_actual_usage_replaces_the_estimate_once():
    state = MemoryState()
    plugin = await limiter(state, per_key=10_000)
    one = exchange(max_output=500)
    await plugin.pre_request(one)
    one.usage = Usage(input=90, output=30, cached=50, reasoning=10)
    await plugin.on_usage(one)
    await plugin.on_usage(one)
    assert await used(state) == 120
    assert (await state.totals())["open_holds"] == 0


async def test_a_request_that_reached_no_upstream_gives_its_tokens_back():
    state = MemoryState()
    plugin = await limiter(state, per_key=10_000)
    one = exchange()
    await plugin.pre_request(one)
    await plugin.on_usage(one)
    assert await used(state) == 0


@pytest.mark.parametrize(("limit", "passes"), [(149, False), (150, True), (151, True)])
async def test_the_boundary_is_exact(limit, passes):
    plugin = await limiter(MemoryState(), per_key=limit)
    one = exchange(max_output=50)
    if passes:
        await plugin.pre_request(one)
        assert one.internal["standings"]["tokens"].remaining == limit - 150
    else:
        with pytest.raises(RateLimited):
            await plugin.pre_request(one)


async def test_a_refusal_says_what_is_needed_and_left_and_when():
    plugin = await limiter(MemoryState(), per_key=200)
    await plugin.pre_request(exchange(1, max_output=50))
    with pytest.raises(RateLimited, match="about 150, and key `ci` has 50 left of 200 a minute") as caught:
        await plugin.pre_request(exchange(2, max_output=50))
    assert 30 < caught.value.retry_after <= 61
    assert "x-should-retry" not in caught.value.headers


async def test_a_request_larger_than_the_limit_is_told_not_to_retry():
    with pytest.raises(RateLimited) as caught:
        await (await limiter(MemoryState(), per_key=100)).pre_request(exchange(max_output=50))
    assert caught.value.retry_after is None
    assert caught.value.headers["x-should-retry"] == "false"


async def test_a_refused_request_counts_nothing_and_settles_nothing():
    state = MemoryState()
    plugin = await limiter(state, per_key=100)
    one = exchange(max_output=50)
    with pytest.raises(RateLimited):
        await plugin.pre_request(one)
    await plugin.on_usage(one)
    assert await used(state) == 0


async def test_usage_above_the_estimate_blocks_what_comes_next():
    state = MemoryState()
    plugin = await limiter(state, per_key=1000)
    one = exchange(1, max_output=50)
    await plugin.pre_request(one)
    one.usage = Usage(input=100, output=5000)
    await plugin.on_usage(one)
    with pytest.raises(RateLimited):
        await plugin.pre_request(exchange(2, tokens=1, max_output=1))


@pytest.mark.parametrize("options", [{"per_key": 0}, {"default_output": -1}, {"tokens": 3}])
def test_wrong_options_are_errors(options):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(options, Config)
