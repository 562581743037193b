"""The owner of the database: what it does before the first request, when a worker dies, and at the end."""

import asyncio
import contextlib
import sqlite3

import pytest
from waiting import PATIENCE

from gateway.clock import now_ms
from gateway.config import Config
from gateway.errors import Unavailable
from gateway.exchange import Caller, Exchange, Level, Price, Request, Target
from gateway.metrics import Metrics
from gateway.money.budgets import budget_keys
from gateway.money.journal import Journal
from gateway.money.ledger import LedgerRow
from gateway.owner import Owner
from gateway.shared_state import Ask
from gateway.shared_state.memory import MemoryState
from gateway.store import StoreUnavailable
from gateway.store.lock import OwnedElsewhere
from gateway.store.owner import RemoteStore
from gateway.store.sqlite import SqliteStore


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path / "data"


@contextlib.asynccontextmanager
async def owning(data_dir, **options):
    owner = await Owner.open(Config(), data_dir, MemoryState, **options)
    try:
        yield owner
    finally:
        await owner.close()


def journal(data_dir, slot=0):
    return Journal(data_dir / "journal", slot, fsync_ms=1, max_bytes=1 << 30)


def row(name, cost=0, **fields):
    return LedgerRow(id=name, ts_ms=now_ms(), tenant="acme", key="k1", cost=cost, **fields)


def begun(name):
    class Provider:
        name = "demo"

    exchange = Exchange(name, "chat.completions", None, {}, now_ms())
    exchange.caller = Caller("acme", "k1")
    exchange.request = Request(raw=b"x" * 400, body={}, model="m")
    exchange.target = Target(Provider, "m", Price(10**9, 10**9, 10**9, 10**9, "v"))
    return exchange


async def spent(owner, kind="key", name="k1"):
    return [(await owner.state.spent(key))[0] for key in budget_keys(Level(kind, name), now_ms())]


async def ids(data_dir):
    store = await SqliteStore.open(data_dir)
    try:
        return [(found.id, found.outcome) for found in (await store.usage_rows(0, 2**62)).items]
    finally:
        await store.close()


async def test_what_was_spent_is_known_before_the_first_request(data_dir):
    """From the database, and from the journal of a process that was killed before its rows were stored."""
    async with owning(data_dir) as owner:
        await owner.store.append("other", 1, [row("r1", 500)])
    left = journal(data_dir)
    left.close(row("r2", 70))
    left.stop()
    async with owning(data_dir) as owner:
        assert await spent(owner) == [570, 570]
        assert await spent(owner, "tenant", "acme") == [570, 570]
    assert list((data_dir / "journal").iterdir()) == []


async def test_what_a_dead_worker_held_comes_back_and_what_it_had_open_is_booked_and_charged(data_dir):
    class OneOfTwo(MemoryState):
        def __init__(self):
            super().__init__("worker-1")

    owner = await Owner.open(Config(), data_dir, OneOfTwo)
    try:
        await owner.state.take("hold", [Ask("lease", "c", 1)])
        worker = journal(data_dir, 1)
        worker.open(begun("r1"))
        worker.stop()
        await owner.worker_died(1, "worker-1")
        assert (await owner.state.totals())["open_holds"] == 0
        (killed,) = (await owner.store.usage_rows(0, 2**62)).items
        assert (killed.id, killed.outcome) == ("r1", "killed")
        assert killed.cost > 0
        assert await spent(owner) == [killed.cost, killed.cost]
    finally:
        await owner.close()


async def test_writes_of_other_processes_are_served_and_change_the_generation(data_dir):
    async with owning(data_dir) as owner:
        await owner.start(Metrics(data_dir))
        first = await owner.first_run()
        before = owner.state.generation("auth")
        other = await RemoteStore.open(data_dir, beside_owner=True)
        (key,) = (await other.list_keys()).items
        assert first.key.startswith("sk-gw-" + key.id)
        await other.revoke_key(key.id, now_ms())
        assert owner.state.generation("auth") > before
        await other.close()
        assert await owner.first_run() is None


async def test_a_database_that_another_process_owns_is_waited_for_and_then_refused(data_dir):
    async with owning(data_dir):
        with pytest.raises(StoreUnavailable, match="owns the database"):
            await Owner.open(Config(), data_dir, MemoryState, patience=0.2)


async def test_a_second_gateway_gives_up_long_before_a_slow_database_would_be_given_up(data_dir, monkeypatch):
    monkeypatch.setattr("gateway.owner.OWNED_PATIENCE", 0.2)
    async with owning(data_dir):
        async with asyncio.timeout(PATIENCE / 2):
            with pytest.raises(OwnedElsewhere, match="One gateway at a time"):
                await Owner.open(Config(), data_dir, MemoryState)


async def test_a_living_gateway_keeps_its_shared_state_when_a_second_is_started(data_dir):
    def never():
        raise AssertionError("made before the database was ours")

    async with owning(data_dir):
        with pytest.raises(StoreUnavailable):
            await Owner.open(Config(), data_dir, never, patience=0)


async def test_the_start_goes_on_as_soon_as_the_owner_before_has_gone(data_dir):
    first = await Owner.open(Config(), data_dir, MemoryState)
    waiting = asyncio.ensure_future(Owner.open(Config(), data_dir, MemoryState, patience=PATIENCE))
    await asyncio.sleep(0.15)
    assert not waiting.done()
    await first.close()
    await (await waiting).close()


async def test_a_database_that_stays_locked_at_the_end_costs_no_row(data_dir, monkeypatch):
    monkeypatch.setattr("gateway.owner._LAST_DRAIN", 0.2)
    async with owning(data_dir):
        done = journal(data_dir)
        done.close(row("r1"))
        done.stop()
        locker = sqlite3.connect(data_dir / "gateway.db", isolation_level=None)
        locker.execute("BEGIN IMMEDIATE")

        async def unlock():
            await asyncio.sleep(0.5)
            locker.close()

        unlocking = asyncio.ensure_future(unlock())
    await unlocking
    async with owning(data_dir):
        pass
    assert await ids(data_dir) == [("r1", "ok")]


async def test_rows_reach_the_database_while_it_runs(data_dir):
    async with owning(data_dir) as owner:
        await owner.start(Metrics(data_dir))
        writing = journal(data_dir)
        writing.close(row("r1"))
        async with asyncio.timeout(PATIENCE):
            while not (await owner.store.usage_rows(0, 2**62)).items:
                await asyncio.sleep(0.02)
        writing.stop()


async def test_a_broken_database_file_is_refused_in_words(data_dir):
    data_dir.mkdir(mode=0o700)
    (data_dir / "gateway.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(Unavailable, match="not a database"):
        await Owner.open(Config(), data_dir, MemoryState, patience=0)
