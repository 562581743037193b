"""While the server of the shared state is away, limits hold: each process has its share, and what it spends is told later."""

import asyncio
import random

import pytest
import structlog
from valkey_server import valkey_server
from waiting import until

from gateway.shared_state import Ask, Granted, Refused, SharedState
from gateway.shared_state.fallback import CoordinatedState
from gateway.shared_state.valkey import StateAway, ValkeyState


@pytest.fixture
def server():
    with valkey_server() as running:
        yield running


@pytest.fixture
async def states(server):
    made = [CoordinatedState(ValkeyState(server.url, name)) for name in ("one", "two")]
    await made[0].seed({})
    for state in (*made, *made):
        await state.beat()
    yield made
    for state in made:
        await state.close()


def budget(amount, limit=100, key="b"):
    return [Ask("budget", key, limit, amount)]


async def spend(state, hold, amount, limit=100):
    taken = await state.take(hold, budget(amount, limit))
    if type(taken) is Granted:
        await state.settle(hold, {"b": amount})
    return type(taken)


def test_it_keeps_the_interface():
    checked: SharedState = CoordinatedState(ValkeyState("valkey://127.0.0.1:1/0", "x"))
    assert checked is not None


async def test_two_processes_alone_never_spend_more_than_was_left(server, states):
    for state in states:
        assert await spend(state, "first", 10) is Granted  # both have seen the budget; 80 are left, or 90 as one of them knows
    server.stop()
    alone = 0
    for number in range(30):
        for state in states:
            if await spend(state, f"h{number}", 5) is Granted:
                alone += 5
    assert 60 <= alone <= 80 + 5
    assert all(state.away for state in states)


async def test_rates_and_leases_are_shared_out(server, states):
    server.stop()
    taken = [await state.take("", [Ask("window", "w", 10)]) for _ in range(8) for state in states]
    assert sum(type(each) is Granted for each in taken) == 10
    assert isinstance(await states[0].take("h", [Ask("lease", "l", 1)]), Refused)  # half of one is none


async def test_a_budget_never_seen_is_refused(server, states):
    server.stop()
    with pytest.raises(StateAway, match="not known"):
        await states[0].take("h", budget(1))


async def test_what_was_spent_alone_is_charged_when_the_server_is_back(server, states):
    one, two = states
    await spend(one, "first", 10)
    await one.take("open", budget(20))  # taken before, settled while it is away
    server.stop()
    assert await spend(one, "alone", 15) is Granted
    await one.settle("open", {"b": 20})
    await one.take("still", budget(5))  # taken alone, settled after
    server.start()
    await one.beat()
    assert one.away  # it came back empty: the ledger has to say what was spent
    assert [await two.ready(), await two.ready()] == [True, False]  # the first finds that its connection is gone
    await two.seed({"b": 10})
    await one.beat()
    assert not one.away
    assert await two.spent("b") == (10 + 15 + 20, 0)
    assert await one.settle("still", {"b": 4})
    assert (await one.totals())["open_holds"] == 0


async def test_a_server_without_memory_admits_nobody_before_it_is_seeded(server, states):
    one, _ = states
    await spend(one, "first", 90)
    server.stop()
    server.start()
    assert isinstance(await one.take("h", budget(20)), Refused)
    await one.seed({"b": 90})
    await one.beat()
    assert isinstance(await one.take("i", budget(20)), Refused)
    assert isinstance(await one.take("j", budget(10)), Granted)


async def test_a_hold_that_the_server_forgot_is_charged_all_the_same(server, states):
    one, _ = states
    await one.take("h", budget(30))
    server.stop()
    server.start()
    await one.seed({})  # finds that its connection is gone
    await one.seed({})
    assert await one.settle("h", {"b": 25}) is True
    await one.beat()
    assert await one.spent("b") == (25, 0)


async def test_what_is_taken_for_somebody_who_is_cancelled_meanwhile_is_given_back(states):
    """Clients leave at any moment, also while the server answers: nobody would ever settle such a hold."""
    dice = random.Random(7)

    async def one(number):
        hold = f"h{number}"
        if type(await states[0].take(hold, budget(1, 10**6))) is Granted:
            await states[0].settle(hold, {"b": 1})

    for start in range(0, 600, 60):
        tasks = [asyncio.create_task(one(number)) for number in range(start, start + 60)]
        for task in tasks:
            await asyncio.sleep(dice.choice((0, 0, 0.0005)))
            if dice.random() < 0.7:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert await states[0].totals() == {"open_holds": 0, "reserved": 0}
    assert not states[0].away


async def test_a_server_that_was_restarted_is_away_once_and_not_for_each_old_connection(server, states):
    state = states[0]
    await asyncio.gather(*(spend(state, f"h{number}", 1) for number in range(30)))
    with structlog.testing.capture_logs() as logs:
        server.stop()
        await state.peek(budget(0))
        server.start()

        async def back():
            await state.seed({})
            await state.beat()
            return not state.away

        await until(back)
        await asyncio.gather(*(state.peek(budget(0)) for _ in range(40)))
    said = [line["event"] for line in logs]
    assert len([text for text in said if "cannot be reached" in text]) == 1


async def test_what_a_silent_server_did_without_an_answer_counts_once(server, states):
    state = states[0]
    assert await spend(state, "first", 1) is Granted  # the server knows the scripts from now on
    for number in range(5):
        assert type(await state.take(f"h{number}", budget(10))) is Granted
    server.pause()
    try:
        for number in range(5):
            assert await state.settle(f"h{number}", {"b": 7})
        assert state.away
    finally:
        server.go_on()

    async def back():
        await state.beat()
        return not state.away

    await until(back)
    assert await state.spent("b") == (36, 0)


async def test_a_revocation_that_nobody_hears_is_an_error(server, states):
    server.stop()
    with pytest.raises(StateAway):
        await states[0].bump("keys")
