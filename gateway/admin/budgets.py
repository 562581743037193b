"""Budgets: hard limits on money, whose and for what, with their standing."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.accounts.records import Key, Team, User
from gateway.admin.endpoint import Ask, Done, Endpoint, Items
from gateway.admin.fields import Cursor, Id, Line, NoBody, NoQuery, PageSize, Search
from gateway.admin.limits import ModelName
from gateway.admin.services import Admin
from gateway.admin.users import TenantQuery
from gateway.admin.values import Dollars, Money, at, moment, nano, shown
from gateway.clock import now_ms
from gateway.errors import InvalidFields
from gateway.money import dollars
from gateway.money.budgets import Budget, policy_budgets
from gateway.money.policies import THRESHOLDS, Action, BudgetPolicy, Period, Scope
from gateway.money.seeding import Baseline, aliases_of

Names = Annotated[tuple[ModelName, ...], Meta(min_length=1, max_length=200)]
Percent = Annotated[int, Meta(ge=1, le=1000)]
Percents = Annotated[tuple[Percent, ...], Meta(max_length=10, description="Alerts, in percent of the limit.")]
Window = Literal["calendar", "rolling"]


class BudgetShown(msgspec.Struct, frozen=True, kw_only=True):
    """A budget and how it stands. Calendar windows are those of the tenant's time zone; `resets_at` is `null` where the
    window rolls. `is_platform` ones were set by the platform's owners."""

    id: str
    tenant_id: str
    name: str
    scope_type: Scope
    scope_id: str
    model_filter: tuple[str, ...] | None
    provider_filter: tuple[str, ...] | None
    period: Period
    window: Window
    hard_limit_usd: Dollars
    action_on_limit: Action
    tier_down_to: str | None
    thresholds: tuple[int, ...]
    enabled: bool
    is_platform: bool
    spent: Dollars
    reserved: Dollars
    remaining: Dollars
    utilization: Annotated[float, Meta(description="Percent of the limit, spent and reserved.")]
    resets_at: datetime | None
    created_at: datetime
    updated_at: datetime | None
    version: int


class NewBudget(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A budget to be made; for the whole tenant unless it says whose."""

    name: Line
    hard_limit_usd: Money
    scope_type: Scope = "tenant"
    scope_id: Id | None = None
    model_filter: Names | None = None
    provider_filter: Names | None = None
    period: Period = "month"
    window: Window = "calendar"
    action_on_limit: Action = "block"
    tier_down_to: ModelName | None = None
    thresholds: Percents = THRESHOLDS
    enabled: bool = True


class BudgetChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What changes of a budget; `null` takes a filter away."""

    name: Line | UnsetType = UNSET
    hard_limit_usd: Money | UnsetType = UNSET
    scope_type: Scope | UnsetType = UNSET
    scope_id: Id | UnsetType = UNSET
    model_filter: Names | UnsetType | None = UNSET
    provider_filter: Names | UnsetType | None = UNSET
    period: Period | UnsetType = UNSET
    window: Window | UnsetType = UNSET
    action_on_limit: Action | UnsetType = UNSET
    tier_down_to: ModelName | UnsetType | None = UNSET
    thresholds: Percents | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class BudgetsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which budgets, a page at a time, newest first."""

    limit: PageSize = 100
    cursor: Cursor = ""
    search: Search = ""
    tenant: Id | None = None
    scope_type: Scope | None = None
    scope_id: Id | None = None
    enabled: bool | None = None


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A request that is not made: whose, for which model, and what it would cost at most."""

    estimated_cost: Money = "0"
    model: ModelName | None = None
    provider: ModelName | None = None
    api_key_id: Id | None = None
    user_id: Id | None = None
    team_id: Id | None = None


class Reason(msgspec.Struct, frozen=True):
    """A budget that such a request does not fit into."""

    budget_id: str
    name: str
    action: Action
    remaining: Dollars


class Verdict(msgspec.Struct, frozen=True):
    """Whether such a request would pass all budgets that are objects; `reasons` are those that it does not fit into."""

    allowed: bool
    reasons: tuple[Reason, ...]


class Option(msgspec.Struct, frozen=True):
    """Something that a budget can be for."""

    id: str
    name: str


class ScopeOptions(msgspec.Struct, frozen=True):
    """What budgets of this tenant can be for: the newest 500 of each kind."""

    teams: tuple[Option, ...]
    users: tuple[Option, ...]
    keys: tuple[Option, ...]
    models: tuple[str, ...]
    providers: tuple[str, ...]


async def list_budgets(admin: Admin, ask: Ask[BudgetsQuery, NoBody]) -> Items[BudgetShown]:
    """Budgets."""
    query = ask.query
    page = await admin.accounts.budgets.page(
        ask.principal, tenant=query.tenant, search=query.search, limit=query.limit, cursor=query.cursor,
        scope=query.scope_type, scope_id=query.scope_id, enabled=query.enabled,
    )  # fmt: skip
    return Items(tuple([await _shown(admin, each) for each in page.items]), page.next)


async def create_budget(admin: Admin, ask: Ask[TenantQuery, NewBudget]) -> BudgetShown:
    """Make a budget. It holds, with what was spent so far in its window, when this returns."""
    fields = _fields(admin, ask.body)
    if ask.body.scope_id is None:
        if ask.body.scope_type != "tenant":
            raise InvalidFields(("scope_id", f"names the {ask.body.scope_type} that the budget is for"))
        del fields["scope_id"]
    made = await admin.accounts.budgets.create(ask.principal, admin.origin(ask), fields, ask.query.tenant)
    await _count(admin, made)
    return await _shown(admin, made)


async def get_budget(admin: Admin, ask: Ask[NoQuery, NoBody]) -> BudgetShown:
    """One budget."""
    return await _shown(admin, await admin.accounts.budgets.get(ask.principal, ask.id()))


async def change_budget(admin: Admin, ask: Ask[NoQuery, BudgetChange]) -> BudgetShown:
    """Change a budget. One that now counts something else begins with what was spent of that."""
    return await _change(admin, ask, _fields(admin, ask.body))


async def toggle_budget(admin: Admin, ask: Ask[NoQuery, NoBody]) -> BudgetShown:
    """Switch a budget off, or on again."""
    before = await admin.accounts.budgets.get(ask.principal, ask.id(), "budgets:write")
    return await _change(admin, ask, {"enabled": not before.enabled})


async def delete_budget(admin: Admin, ask: Ask[NoQuery, NoBody]) -> Done:
    """Take a budget away."""
    await admin.accounts.budgets.delete(ask.principal, admin.origin(ask), ask.id(), ask.version)
    return Done()


async def check_budgets(admin: Admin, ask: Ask[TenantQuery, Question]) -> Verdict:
    """Whether a request would fit, taking nothing."""
    where = ask.principal.scope("budgets:read", ask.query.tenant)
    tenant, body = str(where.get("tenant", ask.query.tenant or ask.principal.home)), ask.body
    wanted = {("tenant", tenant), ("team", body.team_id), ("user", body.user_id), ("key", body.api_key_id)}
    amount = nano(body.estimated_cost, "estimated_cost") or 0
    page = await admin.accounts.budgets.page(ask.principal, tenant=tenant, enabled=True, limit=500)
    reasons = [
        Reason(policy.id, policy.name, policy.action, dollars(max(0, left)))
        for policy in page.items
        if (policy.scope, policy.scope_id) in wanted and policy.about(body.provider or "", body.model or "")
        and (left := policy.amount - sum(await _standing(admin, policy))) < amount
    ]
    return Verdict(all(reason.action != "block" for reason in reasons), tuple(reasons))


async def list_scopes(admin: Admin, ask: Ask[TenantQuery, NoBody]) -> ScopeOptions:
    """What a budget can be for."""
    where = ask.principal.scope("budgets:read", ask.query.tenant)
    store, config = admin.accounts.book.store, admin.gateway.snapshot.config
    found: dict[str, tuple[Option, ...]] = {}
    for name, kind in (("teams", Team), ("users", User), ("keys", Key)):
        page = await store.page(kind, where, limit=500)
        found[name] = tuple(Option(each.id, each.name or each.id) for each in page.items)  # type: ignore[attr-defined]
    models = tuple(entry.name for entry in config.models)
    return ScopeOptions(**found, models=models, providers=tuple(entry.name for entry in config.providers))


ROUTES = (
    Endpoint("GET", "/budgets", "budgets:read", list_budgets, "List budgets", "budgets", query=BudgetsQuery,
             answer=Items[BudgetShown], aliases=(("GET", "/budget/policies"),)),
    Endpoint("POST", "/budgets", "budgets:write", create_budget, "Make a budget", "budgets", query=TenantQuery,
             body=NewBudget, answer=BudgetShown, status=201, errors=(404,), aliases=(("POST", "/budget/policies"),)),
    Endpoint("GET", "/budgets/scope-options", "budgets:read", list_scopes, "List what a budget can be for", "budgets",
             query=TenantQuery, answer=ScopeOptions, aliases=(("GET", "/budget/scope-options"),)),
    Endpoint("POST", "/budgets/check", "budgets:read", check_budgets, "Ask whether a request would fit", "budgets",
             query=TenantQuery, body=Question, answer=Verdict, aliases=(("POST", "/budget/check"),)),
    Endpoint("GET", "/budgets/{id}", "budgets:read", get_budget, "Show a budget", "budgets", answer=BudgetShown,
             aliases=(("GET", "/budget/policies/{id}"),)),
    Endpoint("PATCH", "/budgets/{id}", "budgets:write", change_budget, "Change a budget", "budgets",
             body=BudgetChange, answer=BudgetShown, errors=(412,),
             aliases=(("PUT", "/budgets/{id}"), ("PUT", "/budget/policies/{id}"))),
    Endpoint("POST", "/budgets/{id}/toggle", "budgets:write", toggle_budget, "Switch a budget off or on", "budgets",
             answer=BudgetShown, aliases=(("POST", "/budget/policies/{id}/toggle"),)),
    Endpoint("DELETE", "/budgets/{id}", "budgets:write", delete_budget, "Delete a budget", "budgets", status=204,
             errors=(412,), aliases=(("DELETE", "/budget/policies/{id}"),)),
)  # fmt: skip

_NAMES = (
    ("name", "name"), ("scope_type", "scope"), ("scope_id", "scope_id"), ("model_filter", "models"),
    ("provider_filter", "providers"), ("period", "period"), ("action_on_limit", "action"),
    ("tier_down_to", "tier_down_to"), ("enabled", "enabled"),
)  # fmt: skip


def _fields(admin: Admin, given: NewBudget | BudgetChange) -> dict[str, Any]:
    fields = {stored: value for name, stored in _NAMES if (value := getattr(given, name)) is not UNSET}
    if given.hard_limit_usd is not UNSET:
        fields["amount"] = nano(given.hard_limit_usd, "hard_limit_usd")
    if given.window is not UNSET:
        fields["rolling"] = given.window == "rolling"
    if given.thresholds is not UNSET:
        fields["thresholds"] = tuple(sorted(set(given.thresholds)))
    lower = given.tier_down_to
    if isinstance(lower, str) and admin.gateway.snapshot.router.label(lower) == "other":
        raise InvalidFields(("tier_down_to", "is no model of this gateway"))
    return fields


async def _change(admin: Admin, ask: Ask[Any, Any], fields: dict[str, Any]) -> BudgetShown:
    before = await admin.accounts.budgets.get(ask.principal, ask.id(), "budgets:write")
    after = await admin.accounts.budgets.update(ask.principal, admin.origin(ask), ask.id(), fields, ask.version)
    if after.since != before.since:
        await _count(admin, after)
    return await _shown(admin, after)


async def _count(admin: Admin, policy: BudgetPolicy) -> None:
    if policy.enabled:
        gateway = admin.gateway
        baseline = Baseline(gateway.state, gateway.store, aliases_of(gateway.snapshot.config))
        await baseline.establish(policy, await admin.accounts.budgets.zone(policy.tenant))


async def _budget(admin: Admin, policy: BudgetPolicy) -> Budget:
    zone = await admin.accounts.budgets.zone(policy.tenant)
    return policy_budgets([policy], zone, now_ms())[0]


async def _standing(admin: Admin, policy: BudgetPolicy, budget: Budget | None = None) -> tuple[int, int]:
    """Spent and reserved; where it rolls, both together."""
    budget = budget or await _budget(admin, policy)
    if budget.span:
        return (await admin.gateway.state.peek([budget.ask(0)]))[0].used, 0
    return await admin.gateway.state.spent(budget.key)


async def _shown(admin: Admin, policy: BudgetPolicy) -> BudgetShown:
    budget = await _budget(admin, policy)
    spent, reserved = await _standing(admin, policy, budget)
    used = spent + reserved
    return BudgetShown(
        id=policy.id, tenant_id=policy.tenant, name=policy.name, scope_type=policy.scope, scope_id=policy.scope_id,
        model_filter=policy.models, provider_filter=policy.providers, period=policy.period,
        window="rolling" if policy.rolling else "calendar", hard_limit_usd=dollars(policy.amount),
        action_on_limit=policy.action, tier_down_to=policy.tier_down_to, thresholds=policy.thresholds,
        enabled=policy.enabled, is_platform=policy.platform, spent=dollars(spent), reserved=dollars(reserved),
        remaining=shown(max(0, policy.amount - used)) or "0",
        utilization=round(100 * used / policy.amount, 2) if policy.amount else 100.0,
        resets_at=at(budget.ends_ms) if budget.ends_ms else None, created_at=at(policy.created),
        updated_at=moment(policy.updated), version=policy.version,
    )  # fmt: skip
