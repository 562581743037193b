"""`limiter.requests`: exact per minute, at each level, with true headers and a true Retry-After."""

import asyncio
from types import SimpleNamespace

import msgspec
import pytest

from gateway import Caller, Exchange, Level, RateLimited
from gateway.shared_state.memory import MemoryState
from gateway_plugins.limiters.requests import Config, RequestLimiter

SECOND = 1_000_000_000


def exchange(number: int = 0, *levels: Level) -> Exchange:
    made = Exchange(f"req_{number}", "chat.completions", SimpleNamespace(name="stub"), {}, 0)
    made.caller = Caller("t1", "k1", levels=levels)
    return made


async def limiter(state: MemoryState, **options) -> RequestLimiter:
    made = RequestLimiter(msgspec.convert(options, Config))
    await made.startup(SimpleNamespace(state=state))
    return made


async def admitted(plugin: RequestLimiter, count: int, *levels: Level) -> int:
    async def one(number: int) -> bool:
        await asyncio.sleep(0)
        try:
            await plugin.pre_request(exchange(number, *levels))
        except RateLimited:
            return False
        return True

    return sum(await asyncio.gather(*(one(number) for number in range(count))))


@pytest.mark.parametrize(("tries", "expected"), [(4, 4), (5, 5), (6, 5), (50, 5)])
async def test_parallel_requests_admit_exactly_the_limit(tries, expected):
    plugin = await limiter(MemoryState())
    assert await admitted(plugin, tries, Level("key", "k1", requests_per_minute=5)) == expected


async def test_no_limit_anywhere_counts_nothing_and_shows_nothing():
    state = MemoryState()
    plugin = await limiter(state)
    one = exchange(0, Level("tenant", "t1"), Level("key", "k1"))
    assert await plugin.pre_request(one) is None
    assert one.internal == {}
    assert state._rows == {}


async def test_the_default_holds_for_each_key_and_its_own_limit_goes_before_it():
    plugin = await limiter(MemoryState(), per_key=2)
    assert await admitted(plugin, 5, Level("key", "k1")) == 2
    assert await admitted(plugin, 5, Level("key", "k2")) == 2
    assert await admitted(plugin, 5, Level("key", "k3", requests_per_minute=4)) == 4


async def test_all_keys_of_a_tenant_share_its_limit_and_a_refusal_counts_nowhere():
    plugin = await limiter(MemoryState(), per_tenant=3)
    tenant = Level("tenant", "t1", "Acme")
    assert await admitted(plugin, 2, tenant, Level("key", "k1", requests_per_minute=100)) == 2
    assert await admitted(plugin, 5, tenant, Level("key", "k2", requests_per_minute=2)) == 1
    one = exchange(9, tenant, Level("key", "k2", requests_per_minute=2))
    with pytest.raises(RateLimited, match="tenant `Acme` is 3 a minute"):
        await plugin.pre_request(one)


async def test_a_refusal_says_the_level_the_limit_and_when_it_frees():
    now = 5_000 * SECOND
    state = MemoryState(clock=lambda: now)
    plugin = await limiter(state, per_key=1)
    await plugin.pre_request(exchange(0, Level("key", "k1", "build server")))
    now += 20 * SECOND
    one = exchange(1, Level("key", "k1", "build server"))
    with pytest.raises(RateLimited, match="key `build server` is 1 a minute") as caught:
        await plugin.pre_request(one)
    assert caught.value.retry_after == 41.0
    assert caught.value.status == 429
    standing = one.internal["standings"]["requests"]
    assert (standing.unit, standing.limit, standing.remaining, standing.reset) == ("requests", 1, 0, 41.0)
    now += 41 * SECOND
    await plugin.pre_request(one)


async def test_headers_show_the_level_with_the_least_left():
    plugin = await limiter(MemoryState(), per_tenant=10, per_key=600)
    one = exchange(0, Level("tenant", "t1"), Level("key", "k1"))
    await plugin.pre_request(one)
    standing = one.internal["standings"]["requests"]
    assert (standing.limit, standing.remaining) == (10, 9)


async def test_two_limiters_of_different_names_count_apart():
    state = MemoryState()
    first, second = await limiter(state, per_key=1), await limiter(state, per_key=1)
    second.name = "strict"
    assert await admitted(first, 3, Level("key", "k1")) == 1
    assert await admitted(second, 3, Level("key", "k1")) == 1


async def test_counters_outlive_the_instance():
    state = MemoryState()
    assert await admitted(await limiter(state, per_key=2), 2, Level("key", "k1")) == 2
    assert await admitted(await limiter(state, per_key=3), 5, Level("key", "k1")) == 1


async def test_without_a_caller_it_fails_instead_of_letting_pass():
    one = exchange()
    one.caller = None
    with pytest.raises(RuntimeError, match="authenticated"):
        await (await limiter(MemoryState(), per_key=1)).pre_request(one)


@pytest.mark.parametrize("options", [{"per_key": 0}, {"per_key": "many"}, {"per_user": 3}])
def test_wrong_options_are_errors(options):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(options, Config)
