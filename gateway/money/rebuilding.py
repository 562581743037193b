"""Builds the roll-ups anew from the ledger, day by day, while the gateway runs."""

from collections.abc import AsyncIterator

import structlog

from gateway.store import UsageStore

_log = structlog.get_logger("gateway.rollups")


async def rebuild(store: UsageStore) -> AsyncIterator[tuple[int, int, int]]:
    """Build every day that the ledger has: after each its number (days since 1970), its rows, and the days to come."""
    since = dict(await store.rollups_since())
    days = await store.rollup_days()
    for done, day in enumerate(days, 1):
        yield day, await store.rebuild_day(day, since), len(days) - done
    await store.rebuilt()


async def fill_missing(store: UsageStore) -> None:
    """The roll-ups of a ledger that was written before there were any."""
    if not await store.rollups_missing():
        return
    _log.info("adding up the ledger for reports")
    total = 0
    async for _, rows, _ in rebuild(store):
        total += rows
    _log.info("the ledger is added up", rows=total)
