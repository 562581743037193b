"""The budgets of all tenants as one process knows them: read once, and again after any change of an account.

`of` is called for each caller and not for each request; what it gives may be kept until `version` changes.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import structlog

from gateway.accounts.records import Tenant
from gateway.errors import Unavailable
from gateway.exchange import Level
from gateway.money.budgets import Budget, budgets, policy_budgets
from gateway.money.policies import BudgetPolicy

if TYPE_CHECKING:
    from gateway.shared_state import SharedState
    from gateway.store import AccountStore

_PAGE: Final = 500
_RETRY: Final = 1.0  # seconds until a database that was away is asked again
_log = structlog.get_logger("gateway.budgets")


class PolicyBook:
    """One for each process that counts. `policies` are the enabled ones; `zones` the tenants that are not on UTC."""

    def __init__(self, store: "AccountStore", state: "SharedState") -> None:
        self.policies: tuple[BudgetPolicy, ...] = ()
        self.zones: Mapping[str, str] = MappingProxyType({})
        self.version = 0
        self._store = store
        self._state = state
        self._generation = -1
        self._not_before = 0.0
        self._turn = asyncio.Lock()
        self._index: dict[tuple[str, str], list[BudgetPolicy]] = {}

    @property
    def stale(self) -> bool:
        """Whether an account has changed since it was read, and it is time to read it again."""
        return self._state.generation("auth") != self._generation and time.monotonic() >= self._not_before

    async def load(self) -> None:
        """Read all of it. Raises `Unavailable`."""
        generation = self._state.generation("auth")
        policies, zones = await read_policies(self._store), await read_zones(self._store)
        self._generation = generation
        if policies == self.policies and zones == self.zones:
            return
        index: dict[tuple[str, str], list[BudgetPolicy]] = {}
        for policy in policies:
            index.setdefault((policy.scope, policy.scope_id), []).append(policy)
        self.policies, self.zones, self._index = policies, zones, index
        self.version += 1

    async def refresh(self) -> None:
        """The same after a change. While the database is away the budgets stay as they were known: none is dropped."""
        async with self._turn:
            if not self.stale:
                return
            try:
                await self.load()
            except Unavailable as error:
                self._not_before = time.monotonic() + _RETRY
                _log.warning("budgets cannot be read; those known before hold", reason=error.message)

    def of(self, tenant: str, spenders: Iterable[tuple[str, str]]) -> list[BudgetPolicy]:
        """The budgets of these levels, by kind and id, in the given order; of this tenant alone."""
        if not self._index:
            return []
        return [policy for each in spenders for policy in self._index.get(each, ()) if policy.tenant == tenant]

    def zone(self, tenant: str) -> str:
        """A tenant's time zone."""
        return self.zones.get(tenant, "UTC")

    def budgets(self, tenant: str, spenders: Iterable[tuple[str, str]], at_ms: int) -> tuple[Budget, ...]:
        """All counters of whoever spent: those of each level, and the budgets' own (filtered ones included)."""
        zone, whose = self.zone(tenant), list(spenders)
        levels = [Level(kind, name, zone=zone) for kind, name in whose]
        return (*budgets(levels, at_ms), *policy_budgets(self.of(tenant, whose), zone, at_ms))


async def read_policies(store: "AccountStore") -> tuple[BudgetPolicy, ...]:
    """All enabled budgets, oldest first."""
    found: list[BudgetPolicy] = []
    cursor = ""
    while True:
        page = await store.page(BudgetPolicy, {"enabled": True}, limit=_PAGE, cursor=cursor)
        found += page.items
        if page.next is None:
            return tuple(reversed(found))
        cursor = page.next


async def read_zones(store: "AccountStore") -> dict[str, str]:
    """The time zones of the tenants that are not on UTC."""
    zones: dict[str, str] = {}
    cursor = ""
    while True:
        page = await store.page(Tenant, {"zoned": True}, limit=_PAGE, cursor=cursor)
        zones |= {tenant.id: tenant.time_zone for tenant in page.items}
        if page.next is None:
            return zones
        cursor = page.next
