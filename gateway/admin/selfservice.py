"""What a key may ask about itself, with nothing but the key: what it is, what it spent, what is left."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from gateway.admin.endpoint import Ask, Endpoint
from gateway.admin.fields import NoQuery
from gateway.admin.values import Days, Dollars, Group, Totals, at, grouped, moment, shown, totals
from gateway.clock import now_ms
from gateway.dialects.openai_embeddings import Embeddings
from gateway.exchange import Caller, Exchange, Request, Target
from gateway.models import model_list
from gateway.money import dollars
from gateway.money.budgets import Budget, budgets, policy_budgets
from gateway.money.policies import BudgetPolicy
from gateway.runtime import Gateway

_DAY_MS = 86_400_000


class UsageQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which days count."""

    days: Days = 30


class MyUsage(msgspec.Struct, frozen=True):
    """What one key used from `start` on, in all, and by model and day."""

    key: str
    start: datetime
    end: datetime
    total: Totals
    by_model: tuple[Group, ...]
    by_day: tuple[Group, ...]


class Rate(msgspec.Struct, frozen=True):
    """A limit on requests, tokens or running requests, of the key or of what it belongs to."""

    limit: str
    level: str
    name: str
    max: int
    used: int
    remaining: int


class CostLimit(msgspec.Struct, frozen=True):
    """What is spent in a window; `limit` and `remaining` are `null` where nothing is limited, `resets_at` where the
    window rolls. `budget` is the name of one that was made as an object."""

    period: str
    level: str
    name: str
    limit: Dollars | None
    spent: Dollars
    reserved: Dollars
    remaining: Dollars | None
    resets_at: datetime | None
    budget: str | None = None


class MyLimits(msgspec.Struct, frozen=True):
    """All limits that a request with this key meets now; the one with the least left decides."""

    rates: tuple[Rate, ...]
    costs: tuple[CostLimit, ...]


class MyKey(msgspec.Struct, frozen=True, kw_only=True):
    """The key itself, without its secret; `models` are the names that it may ask for."""

    id: str
    name: str
    tenant: str
    environment: str
    key_prefix: str | None
    is_active: bool
    created_at: datetime | None
    expires_at: datetime | None
    last_used_at: datetime | None
    models: tuple[str, ...]


async def my_usage(gateway: Gateway, ask: Ask[UsageQuery, Any]) -> MyUsage:
    """What this key used. Of no other key: there is no parameter for one."""
    ask.caller.need("usage")
    now, key = now_ms(), ask.caller.key
    start = (now // _DAY_MS - ask.query.days + 1) * _DAY_MS
    by_model = await gateway.store.usage_summary(start, now + 1, "model", key=key)
    by_day = await gateway.store.usage_summary(start, now + 1, "day", key=key)
    return MyUsage(key, at(start), at(now), totals(by_model), grouped(by_model), grouped(by_day))


async def my_limits(gateway: Gateway, ask: Ask[NoQuery, Any]) -> MyLimits:
    """How every limit stands, taking nothing of it."""
    ask.caller.need("usage")
    now = now_ms()
    told = await gateway.snapshot.plugins.explain(*_nothing(gateway, ask.caller, now))
    found = (*budgets(ask.caller.levels, now), *await _made(gateway, ask.caller, now))
    costs = [await _cost(gateway, budget) for budget in found]
    return MyLimits(tuple(_rate(each) for each in told if "max" in each), tuple(costs))


async def my_key(gateway: Gateway, ask: Ask[NoQuery, Any]) -> MyKey:
    """What is known of the key. A caller without a stored key (a token of an identity provider) has no prefix."""
    caller = ask.caller
    record = await gateway.store.find_key(caller.key)
    models = tuple(line["id"] for line in model_list(gateway.snapshot.router, caller)["data"])
    return MyKey(
        id=caller.key, name=caller.key_name, tenant=caller.tenant, environment=caller.environment,
        key_prefix=record.prefix if record else None, is_active=True, created_at=at(record.created) if record else None,
        expires_at=moment(record.expires_at) if record else None,
        last_used_at=moment(record.last_used) if record else None, models=models,
    )  # fmt: skip


ROUTES = (
    Endpoint("GET", "/api/v1/usage/me", "key", my_usage, "What this key used", "key", query=UsageQuery, answer=MyUsage),
    Endpoint("GET", "/api/v1/usage/limits", "key", my_limits, "What is left of its limits", "key", answer=MyLimits),
    Endpoint("GET", "/api/v1/key", "key", my_key, "What this key is and may use", "key", answer=MyKey),
)  # fmt: skip


def _nothing(gateway: Gateway, caller: Caller, now: int) -> tuple[Exchange, Target]:
    """A request for nothing, at a free target: what limiters say of it is how they stand."""
    exchange = Exchange("limits", "embeddings", Embeddings(), {}, now)
    exchange.caller = caller
    exchange.request = Request(b"{}", {"model": "", "input": ""}, "")
    provider: Any = next(iter(gateway.snapshot.plugins.providers.values()), None)
    return exchange, Target(provider, "", free=True)


def _rate(told: Mapping[str, Any]) -> Rate:
    return Rate(
        str(told.get("limit", "")), str(told.get("level", "")), str(told.get("name", "")), int(told["max"]),
        int(told.get("used", 0)), int(told.get("remaining", 0)),
    )  # fmt: skip


async def _made(gateway: Gateway, caller: Caller, now: int) -> tuple[Budget, ...]:
    """The budgets of the caller's levels that are objects of their own."""
    whose = {(level.kind, level.id): level for level in caller.levels}
    page = await gateway.store.page(BudgetPolicy, {"tenant": caller.tenant, "enabled": True}, limit=500)
    mine = [policy for policy in page.items if (policy.scope, policy.scope_id) in whose]
    made = policy_budgets(mine, caller.levels[0].zone if caller.levels else "UTC", now)
    return tuple(msgspec.structs.replace(each, level=whose[each.level.kind, each.level.id]) for each in made)


async def _cost(gateway: Gateway, budget: Budget) -> CostLimit:
    spent, reserved = await gateway.state.spent(budget.key)
    if budget.span:
        spent = (await gateway.state.peek([budget.ask(0)]))[0].used
    limit, level = budget.shown_limit, budget.level
    left = None if limit is None else max(0, limit - spent - reserved)
    return CostLimit(
        budget.period, level.kind, level.name or level.id, shown(limit), dollars(spent), dollars(reserved),
        shown(left), at(budget.ends_ms) if budget.ends_ms else None,
        budget.policy.name if budget.policy is not None else None,
    )  # fmt: skip
