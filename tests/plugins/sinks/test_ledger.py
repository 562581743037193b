"""The ledger sink records every exchange once, and refuses what it could not record."""

import pytest

from gateway.errors import RateLimited, Unavailable
from gateway.money.drain import Drain
from gateway_plugins.sinks.ledger import LedgerSink


class Store:
    """Keeps rows by id."""

    def __init__(self):
        self.rows = {}

    async def append(self, journal, position, rows):
        self.rows.update((row.id, row) for row in rows)

    async def position(self, journal):
        return 0

    async def forget(self, journal):
        pass


async def test_the_ledger_gets_the_row_of_an_exchange(place, tmp_path, exchange):
    sink, store = await place.start(LedgerSink()), Store()
    one = exchange()
    await sink.before_attempt(one, one.target)
    await sink.on_usage(one)
    await Drain(store, tmp_path / "journal").drain_now()
    row = store.rows["r1"]
    assert (row.cost, row.input, row.cached, row.outcome, len(row.attempts)) == (182_500, 100, 40, "ok", 1)


async def test_the_ledger_gets_one_row_of_a_refused_exchange_too(place, tmp_path, refused):
    sink, store = await place.start(LedgerSink()), Store()
    await sink.on_usage(refused(RateLimited("no")))
    await Drain(store, tmp_path / "journal").drain_now()
    assert [row.outcome for row in store.rows.values()] == ["refused"]


async def test_a_journal_that_takes_nothing_refuses_before_the_target_is_touched(place, monkeypatch, exchange):
    sink = await place.start(LedgerSink())

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)

    async def fill():
        for number in range(10_000):
            one = exchange(f"r{number}")
            await sink.before_attempt(one, one.target)

    with pytest.raises(Unavailable, match="record usage"):
        await fill()
