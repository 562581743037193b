"""`limiter.concurrency`: never more than the limit at a time, and nothing leaks."""

import asyncio
import random
from types import SimpleNamespace

import msgspec
import pytest

from gateway import Caller, Exchange, Level, RateLimited
from gateway.shared_state import Ask
from gateway.shared_state.memory import MemoryState
from gateway_plugins.limiters.concurrency import ConcurrencyLimiter, Config


def exchange(number: int = 0, *levels: Level) -> Exchange:
    made = Exchange(f"req_{number}", "chat.completions", SimpleNamespace(name="stub"), {}, 0)
    made.caller = Caller("t1", "k1", levels=levels or (Level("key", "k1"),))
    return made


async def limiter(state: MemoryState, **options) -> ConcurrencyLimiter:
    made = ConcurrencyLimiter(msgspec.convert(options, Config))
    await made.startup(SimpleNamespace(state=state))
    return made


async def running(state: MemoryState) -> int:
    return (await state.peek([Ask("lease", "limiter.concurrency/key/k1", 100)]))[0].used


async def test_the_limit_is_exact_and_a_place_comes_back():
    state = MemoryState()
    plugin = await limiter(state, per_key=2)
    first, second, third = (exchange(number) for number in range(3))
    await plugin.pre_request(first)
    await plugin.pre_request(second)
    with pytest.raises(RateLimited, match="concurrency limit of key `k1` is 2") as caught:
        await plugin.pre_request(third)
    assert caught.value.retry_after == 1
    await plugin.on_usage(third)
    assert await running(state) == 2
    await plugin.on_usage(first)
    await plugin.pre_request(third)
    assert await running(state) == 2


async def test_giving_back_twice_gives_back_once():
    state = MemoryState()
    plugin = await limiter(state, per_key=5)
    first, second = exchange(1), exchange(2)
    await plugin.pre_request(first)
    await plugin.pre_request(second)
    await plugin.on_usage(first)
    await plugin.on_usage(first)
    assert await running(state) == 1


async def test_a_tenant_and_its_key_are_both_held():
    state = MemoryState()
    plugin = await limiter(state)
    tenant = Level("tenant", "t1", concurrency=1)
    await plugin.pre_request(exchange(1, tenant, Level("key", "k1", concurrency=9)))
    with pytest.raises(RateLimited, match="tenant `t1` is 1"):
        await plugin.pre_request(exchange(2, tenant, Level("key", "k2")))


async def test_without_a_limit_nothing_is_held():
    state = MemoryState()
    plugin = await limiter(state)
    one = exchange()
    await plugin.pre_request(one)
    await plugin.on_usage(one)
    assert await state.totals() == {"open_holds": 0, "reserved": 0}


async def test_ten_thousand_random_cancels_leave_the_gauge_at_zero():
    state = MemoryState()
    plugin = await limiter(state, per_key=300)
    dice = random.Random(3)

    async def request(number: int) -> None:
        one = exchange(number)
        try:
            await plugin.pre_request(one)
            await asyncio.sleep(dice.choice([0, 0, 0.0005]))
        finally:
            await plugin.on_usage(one)

    for start in range(0, 10_000, 500):
        tasks = [asyncio.create_task(request(number)) for number in range(start, start + 500)]
        await asyncio.sleep(0)
        for task in tasks:
            if dice.random() < 0.7:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert await running(state) == 0
    assert await state.totals() == {"open_holds": 0, "reserved": 0}


@pytest.mark.parametrize("options", [{"per_key": 0}, {"max": 3}])
def test_wrong_options_are_errors(options):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(options, Config)
