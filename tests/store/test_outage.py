"""A database that is away for long: rows wait in files, not in memory, and each is stored once when it is back."""

import asyncio
import contextlib
import sqlite3
import tracemalloc

import pytest
from postgres_server import Server, _programs
from waiting import until

from gateway.money.drain import Drain
from gateway.money.journal import Journal
from gateway.money.ledger import AttemptRow, LedgerRow
from gateway.store.postgres import PostgresStore
from gateway.store.reports import Which
from gateway.store.sqlite import DATABASE, SqliteStore

ROWS = 8_000
NOON = 1_795_435_200_000


class Locked:
    """SQLite, and somebody who holds its lock."""

    async def open(self, directory):
        self.path = directory / DATABASE
        return await SqliteStore.open(directory, busy_ms=50)

    async def away(self):
        self.other = sqlite3.connect(self.path, isolation_level=None)
        self.other.execute("PRAGMA busy_timeout = 20000")
        self.other.execute("BEGIN IMMEDIATE")

    async def back(self):
        self.other.execute("ROLLBACK")
        self.other.close()

    def remove(self):
        pass


class Stopped:
    """PostgreSQL, whose server is stopped."""

    async def open(self, directory):
        self.server = Server(_programs() or pytest.skip("PostgreSQL is not installed: `apt-get install postgresql`"))
        return await PostgresStore.open(self.server.url(), instance="i", data_dir=directory)

    async def away(self):
        await asyncio.to_thread(self.server.stop)

    async def back(self):
        await asyncio.to_thread(self.server.start)

    def remove(self):
        self.server.remove()


def row(number):
    attempt = AttemptRow("p", "target", "ok", input=100, output=10, cost=7, lines="x" * 100)
    return LedgerRow(
        id=f"req_{number:08d}", ts_ms=NOON + number, tenant="acme", key=f"k{number % 50}", model=f"m{number % 7}",
        input=100, output=10, cost=7, attempts=(attempt,),
    )  # fmt: skip


@pytest.mark.parametrize("kind", [Locked, Stopped])
async def test_what_is_finished_while_the_database_is_away_waits_in_files_and_is_stored_once(data_dir, kind):
    database = kind()
    store = await database.open(data_dir)
    journal = Journal(data_dir / "journal", 0, fsync_ms=50, max_bytes=1 << 30, segment_bytes=1 << 20)
    drain = Drain(store, data_dir / "journal")
    running = asyncio.create_task(drain.run())
    try:
        journal.close(row(0))
        await until(lambda: _stored(store, 1))
        await database.away()
        tracemalloc.start()
        for number in range(1, ROWS):
            journal.close(row(number))  # no request fails: this never raises
            if number % 1000 == 0:
                await asyncio.sleep(0.05)
        await until(lambda: drain.lag().rows >= ROWS - 1)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert most < 6 << 20, "rows are kept in memory"
        assert sum(path.stat().st_size for path in (data_dir / "journal").iterdir()) > 2 << 20
        await database.back()
        await until(lambda: _stored(store, ROWS))
        sums = await store.usage_sums(Which(), NOON, NOON + ROWS, None, range(0))
        assert (sums[0].requests, sums[0].cost) == (ROWS, 7 * ROWS)
        await until(lambda: drain.lag().rows == 0)
    finally:
        tracemalloc.stop()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        journal.stop()
        await store.close()
        database.remove()


async def _stored(store, count):
    found = await store._reports.rows("SELECT COUNT(*), COUNT(DISTINCT id) FROM exchanges")
    assert found[0][0] == found[0][1] <= count
    return found[0][0] == count
