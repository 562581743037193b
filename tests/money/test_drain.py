"""The drain stores every acknowledged row once, through kills, outages and rows that cannot be stored."""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import until

from gateway.errors import Unavailable
from gateway.exchange import Caller, Exchange, Price, Request, Target
from gateway.money import drain as drain_module
from gateway.money.drain import Drain
from gateway.money.journal import Journal
from gateway.money.ledger import LedgerRow

WRITER = """
import sys
from pathlib import Path
from gateway.exchange import Caller, Exchange, Price, Request, Target
from gateway.money.journal import Journal
from gateway.money.ledger import LedgerRow

class Demo:
    name = "demo"

journal = Journal(Path(sys.argv[1]), 3, fsync_ms=5, max_bytes=1 << 30, segment_bytes=1 << 17)
number = 0
while True:
    number += 1
    one = Exchange(f"r{number}", "chat.completions", None, {}, 1)
    one.caller = Caller("acme", "k1")
    one.request = Request(raw=b"x" * 100, body={}, model="m")
    one.target = Target(Demo, "m", Price(1, 1, 1, 1, "v"))
    journal.open(one)
    if number % 10:
        journal.close(LedgerRow(id=one.id, ts_ms=1, tenant="acme", key="k1"))
        sys.stdout.write(f"closed {one.id}\\n")
    else:
        sys.stdout.write(f"opened {one.id}\\n")
    sys.stdout.flush()
"""


class MemoryStore:
    """A ledger store as the interface promises it; it can be away, poisoned, or be killed around a commit."""

    def __init__(self):
        self.rows = {}
        self.positions = {}
        self.away = False
        self.poison = set()
        self.die_after_commit = False
        self.batches = []

    async def append(self, journal, position, rows):
        await asyncio.sleep(0)
        if self.away:
            raise Unavailable("away")
        if self.poison & {row.id for row in rows}:
            raise OverflowError("Python int too large to convert to SQLite INTEGER")
        self.batches.append(len(rows))
        fresh = [row for row in rows if row.id not in self.rows]
        self.rows.update((row.id, row) for row in fresh)
        self.positions[journal] = position
        if self.die_after_commit:
            self.die_after_commit = False
            raise ConnectionError("killed after the commit")
        return len(fresh)

    async def position(self, journal):
        if self.away:
            raise Unavailable("away")
        return self.positions.get(journal, 0)

    async def forget(self, journal):
        if self.away:
            raise Unavailable("away")
        self.positions.pop(journal, None)


class Demo:
    """As much of a provider as the journal reads."""

    name = "demo"


def exchange(name):
    """An exchange about to go to its target."""
    made = Exchange(name, "chat.completions", None, {}, 1)
    made.caller = Caller("acme", "k1")
    made.request = Request(raw=b"x" * 400, body={}, model="m")
    made.target = Target(Demo, "m", Price(1_000_000, 1, 1, 1, "v"))
    return made


def row(name, **fields):
    """A finished row."""
    return LedgerRow(id=name, ts_ms=1, tenant="acme", key="k1", **fields)


@pytest.fixture
def store():
    """A fresh store."""
    return MemoryStore()


@pytest.fixture
def open_journal(tmp_path):
    """Makes journals that are stopped at the end."""
    made = []

    def make(slot=0, **options):
        journal = Journal(tmp_path, slot, **{"fsync_ms": 5, "max_bytes": 1 << 30, **options})
        made.append(journal)
        return journal

    yield make
    for journal in made:
        with contextlib.suppress(OSError):
            journal.stop()


@contextlib.asynccontextmanager
async def running(drain):
    """The drain's loop for as long as the block."""
    task = asyncio.ensure_future(drain.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_rows_of_all_workers_reach_the_store_once_and_in_batches(tmp_path, store, open_journal):
    first, second = open_journal(0), open_journal(1)
    for number in range(500):
        first.close(row(f"a{number}"))
        second.close(row(f"b{number}"))
    drain = Drain(store, tmp_path)
    await drain.drain_now()
    await drain.drain_now()
    assert len(store.rows) == 1000
    assert max(store.batches) <= 400
    assert sum(store.batches) == 1000
    assert drain.lag() == drain_module.Lag(0, 0)


async def test_a_drained_segment_goes_and_the_active_one_stays(tmp_path, store, open_journal):
    journal = open_journal(0, segment_bytes=64 * 1024)
    for number in range(2000):
        journal.open(exchange(f"r{number}"))
        journal.close(row(f"r{number}"))
    assert len(list(tmp_path.glob("*.journal"))) > 2
    await Drain(store, tmp_path).drain_now()
    [left] = tmp_path.glob("*.journal")
    assert set(store.positions) == {left.name}
    assert len(store.rows) == 2000


async def test_a_second_drain_goes_on_where_the_first_one_stopped(tmp_path, store, open_journal):
    journal = open_journal()
    journal.close(row("one"))
    await Drain(store, tmp_path).drain_now()
    journal.close(row("two"))
    await Drain(store, tmp_path).drain_now()
    assert store.batches == [1, 1]


async def test_what_a_dead_process_left_open_is_booked_as_killed(tmp_path, store, open_journal):
    dead, alive = open_journal(0), open_journal(1)
    for name in ("done", "cut"):
        dead.open(exchange(name))
    dead.close(row("done", cost=5))
    alive.open(exchange("running"))
    dead.stop()
    drain = Drain(store, tmp_path)
    assert await drain.settle_dead() == 1
    assert set(store.rows) == {"done", "cut"}
    assert (store.rows["cut"].outcome, store.rows["cut"].estimated) == ("killed", True)
    assert (store.rows["cut"].input, store.rows["cut"].cost) == (100, 100_000)
    assert store.rows["done"].cost == 5
    assert [path.name[0] for path in tmp_path.glob("*.journal")] == ["1"]


async def test_settling_one_slot_leaves_the_others(tmp_path, store, open_journal):
    for slot in (0, 1):
        journal = open_journal(slot)
        journal.open(exchange(f"of-{slot}"))
        journal.stop()
    assert await Drain(store, tmp_path).settle_dead(1) == 1
    assert set(store.rows) == {"of-1"}


async def test_a_kill_between_commit_and_answer_stores_nothing_twice(tmp_path, store, open_journal):
    journal = open_journal()
    for number in range(300):
        journal.close(row(f"r{number}"))
    store.die_after_commit = True
    with contextlib.suppress(ConnectionError):
        await Drain(store, tmp_path).drain_now()
    await Drain(store, tmp_path).drain_now()
    assert len(store.rows) == 300


async def test_a_kill_while_settling_books_each_exchange_once(tmp_path, store, open_journal):
    journal = open_journal()
    journal.open(exchange("cut"))
    journal.stop()
    store.die_after_commit = True
    with contextlib.suppress(ConnectionError):
        await Drain(store, tmp_path).settle_dead()
    before = dict(store.rows)
    await Drain(store, tmp_path).settle_dead()
    assert store.rows == before
    assert list(tmp_path.glob("*.journal")) == []


async def test_rows_wait_while_the_database_is_away_and_go_when_it_is_back(
    tmp_path, store, open_journal, monkeypatch, capsys
):
    monkeypatch.setattr(drain_module, "_LONGEST_PAUSE", 0.1)
    journal = open_journal()
    drain = Drain(store, tmp_path)
    async with running(drain):
        journal.close(row("before"))
        await until(lambda: "before" in store.rows)
        store.away = True
        for number in range(50):
            journal.close(row(f"r{number}"))
        await until(lambda: drain.lag().rows == 50)
        await asyncio.sleep(0.3)
        assert drain.lag().rows == 50
        assert drain.lag().bytes > 50 * 40
        store.away = False
        await until(lambda: len(store.rows) == 51)
        await until(lambda: drain.lag().rows == 0)
    log = capsys.readouterr().out
    assert log.count("they wait in the journal") == 1
    assert log.count("takes rows again") == 1


async def test_the_loop_settles_dead_processes_by_itself(tmp_path, store, open_journal, monkeypatch):
    monkeypatch.setattr(drain_module, "_SETTLE_EVERY", 0.05)
    journal = open_journal()
    journal.open(exchange("cut"))
    async with running(Drain(store, tmp_path)):
        await asyncio.sleep(0.2)
        assert store.rows == {}
        journal.stop()
        await until(lambda: "cut" in store.rows)


async def test_a_row_that_cannot_be_stored_holds_up_nobody_and_its_file_is_kept(tmp_path, store, open_journal):
    journal = open_journal()
    for number in range(100):
        journal.close(row(f"r{number}"))
    store.poison = {"r42"}
    drain = Drain(store, tmp_path)
    await drain.drain_now()
    assert len(store.rows) == 99
    journal.stop()
    await drain.settle_dead()
    assert [path.suffix for path in tmp_path.iterdir()] == [".damaged"]


async def test_damage_is_logged_with_file_and_offset_and_its_file_is_kept(tmp_path, store, open_journal, capsys):
    journal = open_journal()
    for number in range(10):
        journal.close(row(f"r{number}"))
    journal.stop()
    [path] = tmp_path.glob("*.journal")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    await Drain(store, tmp_path).settle_dead()
    assert len(store.rows) == 9
    log = capsys.readouterr().out
    assert path.name in log
    assert "offset=" in log
    assert path.with_suffix(".damaged").exists()


@pytest.mark.parametrize("seed", [1, 2])
async def test_after_kill_9_every_acknowledged_row_is_stored_once_and_the_rest_is_killed(tmp_path, store, seed):
    directory = tmp_path / "journal"
    acknowledged = tmp_path / "acknowledged"
    with acknowledged.open("wb") as out:
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(directory)], stdout=out,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
    drain = Drain(store, directory)
    try:
        await until(lambda: acknowledged.stat().st_size > 10_000)
        async with running(drain):  # draining goes on while it writes and dies
            await asyncio.sleep(random.Random(seed).uniform(0.05, 0.3))
            child.send_signal(signal.SIGKILL)
            child.wait()
    finally:
        child.kill()
        child.wait()
    await drain.settle_dead(3)
    lines = [line.split() for line in acknowledged.read_text().splitlines() if line.endswith(tuple("0123456789"))]
    closed = {name for what, name in lines[:-1] if what == "closed"}
    opened = {name for what, name in lines[:-1] if what == "opened"}
    assert len(closed) > 500
    assert {name for name in closed if store.rows[name].outcome == "ok"} == closed
    assert {name for name in opened if store.rows[name].outcome == "killed"} == opened
    assert len(store.rows) - len(closed) - len(opened) <= 2  # those whose acknowledgement did not get out
    assert list(directory.glob("*.journal")) == []
