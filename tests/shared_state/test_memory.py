"""What every store of shared state must do, proven on the one for a single worker."""

import asyncio
import random

import pytest

from gateway.shared_state import Ask, Granted, Refused, SharedState
from gateway.shared_state.memory import MemoryState

SECOND = 1_000_000_000


class Clock:
    def __init__(self) -> None:
        self.now = 5_000 * SECOND

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state(clock) -> MemoryState:
    return MemoryState("0", clock=clock)


def test_it_keeps_the_interface(state):
    checked: SharedState = state
    assert checked is state


async def test_a_hold_is_given_back_once(state):
    await state.take("h", [Ask("lease", "l", 1), Ask("budget", "b", 10, 5)])
    assert await state.settle("h", {"b": 4}) is True
    assert await state.settle("h", {"b": 4}) is False
    assert await state.spent("b") == (4, 0)
    assert (await state.peek([Ask("lease", "l", 1)]))[0].used == 0


async def test_settling_what_never_was_is_false(state):
    assert await state.settle("nothing") is False


async def test_a_key_missing_from_actual_keeps_its_window_and_costs_nothing(state):
    await state.take("h", [Ask("window", "w", 10, 4), Ask("budget", "b", 10, 5)])
    await state.settle("h")
    assert (await state.peek([Ask("window", "w", 10)]))[0].used == 4
    assert await state.spent("b") == (0, 0)


async def test_an_open_hold_cannot_be_taken_again(state):
    await state.take("h", [Ask("lease", "l", 5)])
    with pytest.raises(ValueError, match="open already"):
        await state.take("h", [Ask("lease", "l", 5)])
    assert (await state.peek([Ask("lease", "l", 5)]))[0].used == 1


async def test_a_refused_hold_is_not_open(state):
    assert isinstance(await state.take("h", [Ask("lease", "l", 0)]), Refused)
    assert await state.settle("h") is False


async def test_an_empty_hold_counts_for_good_and_leaves_nothing_to_settle(state):
    await state.take("", [Ask("window", "w", 2)])
    await state.take("", [Ask("window", "w", 2)])
    assert isinstance(await state.take("", [Ask("window", "w", 2)]), Refused)
    assert (await state.totals())["open_holds"] == 0


async def test_seeding_sets_what_is_spent_and_keeps_what_is_reserved(state):
    await state.take("h", [Ask("budget", "b", 100, 5)])
    await state.seed({"b": 95, "other": 7})
    assert await state.spent("b") == (95, 5)
    assert await state.spent("other") == (7, 0)
    assert isinstance(await state.take("i", [Ask("budget", "b", 100, 1)]), Refused)


async def test_a_charge_counts_even_above_the_limit(state):
    await state.charge([Ask("budget", "b", 10, 25)])
    assert await state.spent("b") == (25, 0)
    with pytest.raises(ValueError, match="only money"):
        await state.charge([Ask("lease", "l", 1)])


async def test_totals_follow_open_holds(state):
    await state.take("h", [Ask("budget", "day", 100, 5), Ask("budget", "month", 100, 5)])
    assert await state.totals() == {"open_holds": 1, "reserved": 10}
    await state.settle("h")
    assert await state.totals() == {"open_holds": 0, "reserved": 0}


async def test_a_generation_only_rises_by_bumps(state):
    before = state.generation("keys")
    assert await state.bump("keys") == before + 1
    assert state.generation("keys") == before + 1
    assert state.generation("prices") == 0


async def test_releasing_this_worker_gives_everything_back(state):
    await state.take("h", [Ask("lease", "l", 5), Ask("budget", "b", 10, 5)])
    assert await state.release_owner("someone else") == 0
    assert await state.release_owner("0") == 1
    assert await state.totals() == {"open_holds": 0, "reserved": 0}
    assert await state.spent("b") == (0, 0)


async def test_dead_windows_are_forgotten_and_living_ones_stay(state, clock):
    for i in range(600):
        await state.take("", [Ask("window", f"old{i}", 5)])
    clock.now += 120 * SECOND
    await state.take("", [Ask("window", "young", 5)])
    await state.take("h", [Ask("budget", "b", 5)])
    for _ in range(4):
        await state.sweep()
    assert set(state._rows) == {"wyoung", "bb"}


async def test_ten_thousand_cancelled_requests_leave_nothing_open(state):
    asks = [Ask("lease", "l", 10**6), Ask("budget", "b", 10**9, 7)]
    dice = random.Random(7)

    async def request(i: int) -> None:
        try:
            await state.take(f"h{i}", asks)
            await asyncio.sleep(dice.choice([0, 0, 0.001]))
        finally:
            await state.settle(f"h{i}", {"b": 1})

    for start in range(0, 10_000, 500):
        tasks = [asyncio.create_task(request(i)) for i in range(start, start + 500)]
        await asyncio.sleep(0)
        for task in tasks:
            if dice.random() < 0.5:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert await state.totals() == {"open_holds": 0, "reserved": 0}
    assert (await state.peek(asks))[0].used == 0
    assert await state.spent("b") == (10_000, 0)


async def test_parallel_takes_admit_exactly_the_limit(state):
    async def one(i: int) -> bool:
        await asyncio.sleep(0)
        return isinstance(await state.take(f"h{i}", [Ask("budget", "b", 100, 7)]), Granted)

    assert sum(await asyncio.gather(*(one(i) for i in range(50)))) == 14
