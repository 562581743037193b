"""Counters on a Valkey server count as in memory, for many processes at once."""

import asyncio
import itertools
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from valkey_server import valkey_server

from gateway.shared_state import Ask, Granted, Refused, SharedState
from gateway.shared_state.memory import MemoryState
from gateway.shared_state.valkey import StateAway, ValkeyState

ROOT = Path(__file__).parents[2]
MICRO = 1_000_000
numbers = itertools.count()


@pytest.fixture(scope="module")
def server():
    with valkey_server() as running:
        yield running


@pytest.fixture
async def state(server):
    made = ValkeyState(server.url, "one", prefix=f"t{next(numbers)}")
    await made.seed({})
    yield made
    await made.close()


def test_it_keeps_the_interface():
    checked: SharedState = ValkeyState("valkey://127.0.0.1:1/0", "x")
    assert checked is not None


keys = st.sampled_from(["a", "b"])
step = st.one_of(
    st.tuples(
        st.just("take"), st.integers(0, 8),
        st.lists(
            st.builds(Ask, st.sampled_from(["window", "lease", "budget", "rolling"]), keys, st.integers(0, 20), st.integers(0, 9),
                      st.sampled_from([6.0, 60.0])),
            min_size=1, max_size=2, unique_by=lambda ask: ask.key,
        ),
    ),
    st.tuples(st.just("settle"), st.integers(0, 8), st.dictionaries(keys, st.integers(0, 30))),
    st.tuples(st.just("charge"), st.integers(0, 8), keys),
    st.tuples(st.just("charge rolling"), st.integers(0, 80), keys),
    st.tuples(st.just("wait"), st.integers(0, 70 * MICRO), st.none()),
    st.tuples(st.just("release"), st.none(), st.none()),
)


async def perform(state, name, number, what):
    if name == "take":
        try:
            return await state.take(f"h{number}", what)
        except ValueError as error:
            return "open" if "open already" in str(error) else str(error)
    if name == "settle":
        return await state.settle(f"h{number}", what)
    if name == "charge":
        return await state.charge([Ask("budget", what, 0, number)])
    if name == "charge rolling":
        return await state.charge([Ask("rolling", what, 0, number, 60.0, age=float(number))])
    return await state.release_owner("0")


async def look(state):
    asks = [Ask(kind, key, 10) for kind in ("window", "lease", "budget", "rolling") for key in ("a", "b")]
    return [(await state.peek([ask]))[0] for ask in asks], [await state.spent(key) for key in ("a", "b")], await state.totals()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(script=st.lists(step, max_size=30))
def test_memory_and_the_server_do_the_same_on_any_script(server, script):
    async def compare():
        now = [5_000 * MICRO]
        memory = MemoryState("0", clock=lambda: now[0] * 1000)
        shared = ValkeyState(server.url, "0", prefix=f"c{next(numbers)}", clock=lambda: now[0])
        try:
            await shared.seed({})
            for name, number, what in script:
                if name == "wait":
                    now[0] += number
                    continue
                assert await perform(shared, name, number, what) == await perform(memory, name, number, what)
                assert await look(shared) == await look(memory)
        finally:
            await shared.close()

    asyncio.run(compare())


WORKER = textwrap.dedent("""
    import asyncio, sys
    from gateway.shared_state import Ask, Granted
    from gateway.shared_state.valkey import ValkeyState

    async def main(url, prefix, owner, tries):
        state = ValkeyState(url, owner, prefix=prefix)
        won = 0
        for number in range(tries):
            taken = await state.take(f"{number}", [Ask("window", "w", 700), Ask("budget", "b", 5_000_000_000_000, 10_000_000_000)])
            if type(taken) is Granted:
                won += 1
                await state.settle(f"{number}", {"b": 10_000_000_000})
        print(won)
        await state.close()

    asyncio.run(main(*sys.argv[1:4], int(sys.argv[4])))
""")


async def test_four_processes_admit_exactly_the_limit(server, state):
    prefix = state._prefix[1:-2]
    made = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", WORKER, server.url, prefix, f"w{n}", "300", stdout=subprocess.PIPE, cwd=ROOT)
        for n in range(4)
    ]
    won = [int((await process.communicate())[0]) for process in made]
    assert sum(won) == 500  # the budget: 5,000 dollars at 10 each; the window would let 700 pass
    assert await state.spent("b") == (5_000_000_000_000, 0)
    assert await state.totals() == {"open_holds": 0, "reserved": 0}


async def test_what_a_silent_process_held_comes_back(server, state):
    now = [1_000 * MICRO]
    prefix = f"s{next(numbers)}"
    dead, living = (ValkeyState(server.url, name, prefix=prefix, clock=lambda: now[0]) for name in ("dead", "living"))
    await dead.seed({})
    await dead.beat()
    await living.beat()
    await dead.take("h", [Ask("lease", "l", 1), Ask("budget", "b", 10, 7)])
    now[0] += 14 * MICRO
    await living.beat()
    assert await living.sweep() == 0
    now[0] += 2 * MICRO
    assert await living.sweep() == 1
    assert await living.spent("b") == (0, 0)
    assert isinstance(await living.take("i", [Ask("lease", "l", 1)]), Granted)
    await dead.close()
    await living.close()


async def test_a_generation_is_seen_by_other_processes_within_a_second(server, state):
    other = ValkeyState(server.url, "two", prefix=state._prefix[1:-2])
    await other.beat()
    await state.bump("keys")
    for _ in range(10):
        await asyncio.sleep(0.1)
        if other.generation("keys") == 1:
            break
    assert other.generation("keys") == 1
    await other.close()


async def test_seeding_never_takes_back_what_others_have_counted(state):
    await state.charge([Ask("budget", "b", 0, 50)])
    await state.seed({"b": 40, "c": 7})
    assert await state.spent("b") == (50, 0)
    await state.seed({"b": 60})
    assert await state.spent("b") == (60, 0)
    assert await state.spent("c") == (7, 0)


async def test_a_refusal_points_at_what_blocks_longest(state):
    asks = [Ask("window", "w", 1), Ask("lease", "l", 1)]
    assert isinstance(await state.take("h", asks), Granted)
    refused = await state.take("i", asks)
    assert isinstance(refused, Refused)
    assert refused.index == 1
    assert 30 < refused.standings[0].retry_after <= 61


async def test_a_server_that_is_away_is_said_so_within_its_time():
    state = ValkeyState("valkey://127.0.0.1:1/0", "x")
    with pytest.raises(StateAway, match="away"):
        await state.take("h", [Ask("lease", "l", 1)])
    await state.close()


async def test_keys_that_are_over_are_forgotten_by_the_server(server, state):
    await state.take("", [Ask("window", "w", 5, span=0.6)])
    await state.take("h", [Ask("budget", "b", 5, 1, keep=0.2)])
    await state.settle("h", {"b": 1})
    await asyncio.sleep(1.0)
    assert await state._redis.exists(state._prefix + "window:w", state._prefix + "budget:b") == 0
