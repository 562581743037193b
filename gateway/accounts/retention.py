"""How long things are kept: takes away what is older than a tenant's or the configuration's days, a little at a time.

One process of all that share a database does it: the one with the lease. It also logs the head of the audit now and
then, which proves later that nothing was cut off.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Final, Literal

import structlog

from gateway.accounts.book import Book
from gateway.accounts.principal import Origin, Principal
from gateway.accounts.records import Tenant
from gateway.clock import now_ms
from gateway.config import Retention
from gateway.errors import Unavailable
from gateway.store.expiry import PRUNED, Expire, Lease

_FIRST: Final = 30.0
_EVERY: Final = 600.0
_HEAD_EVERY: Final = 3600.0
_LEASE_MS: Final = 900_000
_KEEP_EVERY: Final = 300.0
_DAY_MS: Final = 86_400_000
_BATCH: Final = 200
_PAUSE: Final = 0.02
_LEASE: Final = "retention"
# Entries about nobody's tenant, and about all.
_PLATFORM: Final = ("", "*")
_GATEWAY: Final = Principal(id="gateway", kind="system", name="retention", role="owner", home="")
_log = structlog.get_logger("gateway.retention")

What = Literal["contents", "usage", "audit"]


class Keeping:
    """One for each process that owns a database or shares one; `holder` names it among those."""

    def __init__(self, book: Book, settings: Retention, holder: str) -> None:
        self._book = book
        self._settings = settings
        self._holder = holder
        self._told = float("-inf")

    async def run(self) -> None:
        """For ever; cancel to end."""
        await asyncio.sleep(_FIRST)
        while True:
            try:
                await self.once()
            except Unavailable as error:
                _log.warning("what is over its time stays for now", reason=error.message)
            await asyncio.sleep(_EVERY)

    async def once(self) -> bool:
        """Take away all that is over its time now. False where another process does it."""
        if not await self._leased():
            return False
        await self._tell_head()
        await self._emptied(Expire("ended", "", now_ms() - _DAY_MS, _BATCH))
        async for tenant in self._tenants():
            if not await self._leased():
                return False
            await self._expire(tenant)
        return True

    async def _tenants(self) -> AsyncIterator[Tenant]:
        for name in _PLATFORM:
            yield Tenant(id=name, name=name, created=0)
        cursor: str | None = ""
        while cursor is not None:
            page = await self._book.store.list_tenants(limit=200, cursor=cursor)
            for tenant in page.items:
                yield tenant
            cursor = page.next

    async def _expire(self, tenant: Tenant) -> None:
        gone: dict[str, int] = {}
        for what, days in self._days(tenant):
            count = await self._emptied(self._step(what, tenant.id, days))
            if count:
                gone[what] = count
        if gone:
            _log.info("took away what was over its time", tenant=tenant.id, **gone)

    def _days(self, tenant: Tenant) -> Iterator[tuple[What, int]]:
        settings = self._settings
        found: tuple[tuple[What, int | None], ...] = (
            ("contents", tenant.content_days or settings.content_days),
            ("usage", tenant.usage_days or settings.usage_days),
            ("audit", tenant.audit_days or settings.audit_days),
        )
        for what, days in found:
            if days is not None:
                yield what, days

    def _step(self, what: What, tenant: str, days: int) -> Expire:
        before = now_ms() - days * _DAY_MS
        if what != "audit":
            return Expire(what, tenant, before, _BATCH)
        detail = {"tenant": tenant, "before": datetime.fromtimestamp(before / 1000, UTC).isoformat(), "days": days}
        note = self._book.note(_GATEWAY, Origin(), PRUNED, tenant="", resource=("tenant", tenant), detail=detail)
        return Expire(what, tenant, before, _BATCH, note.entry, note.key)

    async def _emptied(self, step: Expire) -> int:
        """Repeat until nothing is left; between two steps others have their turn."""
        count, kept = 0, time.monotonic()
        while gone := await self._book.commit(step, bump=False):
            count += gone
            await asyncio.sleep(_PAUSE)
            if time.monotonic() - kept >= _KEEP_EVERY:  # millions of rows take longer than a lease
                kept = time.monotonic()
                if not await self._leased():
                    break
        return count

    async def _leased(self) -> bool:
        now = now_ms()
        return await self._book.commit(Lease(_LEASE, self._holder, now, now + _LEASE_MS), bump=False) == 1

    async def _tell_head(self) -> None:
        if time.monotonic() - self._told >= _HEAD_EVERY:
            self._told = time.monotonic()
            seq, mac = await self._book.store.audit_head()
            _log.info("head of the audit", head=f"{seq}:{mac}")
