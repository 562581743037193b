"""What was spent so far in the running windows, from the ledger: for counters that begin with nothing.

At a start all counters are seeded before the first request (`seed`). A budget that is made while requests run is given
what was spent before it began to count (`Baseline`): what ends from then on, each worker counts itself.
"""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from gateway.clock import now_ms
from gateway.exchange import Level
from gateway.money.budgets import Budget, budget_keys, periods, policy_budgets
from gateway.money.policies import BudgetPolicy, window
from gateway.money.policybook import PolicyBook
from gateway.shared_state import Ask, Granted

if TYPE_CHECKING:
    from gateway.config import Config
    from gateway.shared_state import SharedState
    from gateway.store import Store

_STEPS: Final = 60
_JOURNAL_LAG: Final = 0.3  # seconds until the database has what ended just now
_PATIENCE: Final = 5.0
_SCOPES: Final[Mapping[str, str]] = {"tenant": "tenant", "team": "team", "user": "owner", "key": "key"}


def aliases_of(config: "Config") -> dict[str, str]:
    """What other names of configured models stand for: the ledger has the names that clients used."""
    return {alias: entry.name for entry in config.models for alias in entry.aliases}


async def seed(
    state: "SharedState", store: "Store", book: PolicyBook, aliases: Mapping[str, str], *, rolling: bool
) -> None:
    """Set all counters to the ledger's sums. `rolling` ones are added to, so only where nothing was counted yet."""
    now = now_ms()
    spent: dict[str, int] = {}
    for (kind, name), sums in (await store.budget_sums(*periods(now))).items():
        daily, monthly = budget_keys(Level(kind, name), now)
        spent |= {daily: sums.daily, monthly: sums.monthly}
    for tenant, zone in book.zones.items():
        spent |= await _zoned(store, tenant, zone, now)
    charges: list[Ask] = []
    for policy in book.policies:
        (budget,) = policy_budgets([policy], book.zone(policy.tenant), now)
        found = await _charges(store, policy, budget, book.zone(policy.tenant), now, aliases)
        if budget.span:
            charges += found
        else:
            spent[budget.key] = sum(each.amount for each in found)
    await state.seed(spent)
    if rolling and charges:
        await state.charge(charges)


class Baseline:
    """Gives new budgets what was spent before them. Any process may: of all that try, one does it."""

    def __init__(self, state: "SharedState", store: "Store", aliases: Mapping[str, str]) -> None:
        self._state = state
        self._store = store
        self._aliases = aliases

    async def establish(self, policy: BudgetPolicy, zone: str) -> None:
        """Return when this budget's counter knows what was spent before."""
        now = now_ms()
        (budget,) = policy_budgets([policy], zone, now)
        begun, done = (Ask("window", f"{word}/{budget.key}", 1, span=600.0) for word in ("begun", "done"))
        if not isinstance(await self._state.take("", [begun]), Granted):
            await self._wait_for(done)
            return
        await asyncio.sleep(_JOURNAL_LAG)
        charges = await _charges(self._store, policy, budget, zone, now, self._aliases, before_ms=policy.since)
        if charges:
            await self._state.charge(charges)
        await self._state.take("", [done])

    async def move(self, tenant: str, zone: str) -> None:
        """The tenant's days begin at another time from now on: its levels' counters are others."""
        now = now_ms()
        begun = Ask("window", f"begun/zone/{tenant}/{zone}", 1, span=60.0)
        if isinstance(await self._state.take("", [begun]), Granted):
            await asyncio.sleep(_JOURNAL_LAG)
            await self._state.seed(await _zoned(self._store, tenant, zone, now))

    async def _wait_for(self, done: Ask) -> None:
        for _ in range(int(_PATIENCE / 0.05)):
            if (await self._state.peek([done]))[0].used:
                return
            await asyncio.sleep(0.05)


async def _charges(
    store: "Store", policy: BudgetPolicy, budget: Budget, zone: str, now: int, aliases: Mapping[str, str],
    *, before_ms: int | None = None,
) -> list[Ask]:
    """What a budget has cost in its running window; step by step where it rolls."""
    start, end, step = now - round(budget.span * 1000), now + 1, max(1, round(budget.span * 1000 / _STEPS))
    if not budget.span:
        start, end = window(policy.period, zone, now)
        step = end - start
    scope = {_SCOPES[policy.scope]: policy.scope_id, "tenant": policy.tenant}
    found = await store.spending(start, end, step, scope, before_ms)
    ages: dict[int, int] = {}
    for each in found:
        names = (each.model, aliases.get(each.model, each.model))
        if policy.about(each.provider, each.target_model, *names):
            ages[each.step] = ages.get(each.step, 0) + each.cost
    return [budget.charge(cost, max(0.0, (now - start - (n + 1) * step) / 1000)) for n, cost in ages.items() if cost]


async def _zoned(store: "Store", tenant: str, zone: str, now: int) -> dict[str, int]:
    """The daily and monthly sums of all levels of a tenant that is not on UTC."""
    day, month = window("day", zone, now)[0], window("month", zone, now)[0]
    sums: dict[str, int] = {}
    for (kind, name), spent in (await store.level_sums(tenant, day, month)).items():
        daily, monthly = budget_keys(Level(kind, name, zone=zone), now)
        sums |= {daily: spent.daily, monthly: spent.monthly}
    return sums

