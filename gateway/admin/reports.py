"""Reports of usage: sums, histories, and who and what used how much; each as far as the right `usage:read` reaches."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from gateway.accounts.records import Tenant
from gateway.admin.endpoint import Ask, Endpoint
from gateway.admin.fields import Id, Line, NoBody
from gateway.admin.services import Admin
from gateway.clock import now_ms
from gateway.reporting.periods import Interval, Period, day_of, month_of, period, starts
from gateway.reporting.sums import (
    Dollars,
    Group,
    PeriodShown,
    Piece,
    Totals,
    groups,
    names_of,
    period_shown,
    pieces,
    totals,
)
from gateway.store.reports import By, Sums, Which

Moment = Annotated[str, Meta(max_length=64, description="A day such as 2027-01-31, or a moment with its zone.")]
Days = Annotated[int, Meta(ge=1, le=3660, description="How many days back, the running one included.")]
Most = Annotated[int, Meta(ge=1, le=500, description="How many groups at most, the dearest first.")]
_TOP = 10


class UsageQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When (the last 30 days unless said; `end` does not count; days are the tenant's), and whose usage of what."""

    days: Days | None = None
    start: Moment | None = None
    end: Moment | None = None
    month: Annotated[str, Meta(max_length=7, description="A whole month, such as 2027-01.")] | None = None
    time_zone: Line | None = None
    tenant: Id | None = None
    team: Id | None = None
    user: Id | None = None
    key: Id | None = None
    provider: Line | None = None
    model: Annotated[str, Meta(min_length=1, max_length=256)] | None = None


class HistoryQuery(UsageQuery, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The same, cut into pieces of time."""

    interval: Interval = "day"


class GroupsQuery(UsageQuery, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The same, in groups."""

    limit: Most = 100


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """All together, and by model and provider."""

    period: PeriodShown
    total: Totals
    by_model: tuple[Group, ...]
    by_provider: tuple[Group, ...]


class History(msgspec.Struct, frozen=True, kw_only=True):
    """Piece by piece, empty ones included."""

    period: PeriodShown
    interval: Interval
    total: Totals
    items: tuple[Piece, ...]


class Groups(msgspec.Struct, frozen=True, kw_only=True):
    """The groups, the dearest first; `total` is of all, also of those that `limit` cut off."""

    period: PeriodShown
    group_by: str
    total: Totals
    items: tuple[Group, ...]


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens by kind. `uncached_input_tokens` are those that were read in full; reasoning is a part of output."""

    period: PeriodShown
    total_tokens: int
    input_tokens: int
    uncached_input_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cache_hit_rate: float
    by_model: tuple[Group, ...]
    by_day: tuple[Piece, ...]


class Dashboard(msgspec.Struct, frozen=True, kw_only=True):
    """What a first page shows: the period, today, this month, the most used, and a line through time."""

    period: PeriodShown
    total: Totals
    today: Totals
    this_month: Totals
    cost_today: Dollars
    cost_this_month: Dollars
    active_users: int
    active_keys: int
    active_models: int
    top_models: tuple[Group, ...]
    top_providers: tuple[Group, ...]
    top_users: tuple[Group, ...]
    top_keys: tuple[Group, ...]
    usage_over_time: tuple[Piece, ...]


class Scope(msgspec.Struct, frozen=True):
    """What a request asks for, within what its sender may see."""

    which: Which
    period: Period


async def scope(admin: Admin, ask: Ask[Any, Any], permission: str = "usage:read") -> Scope:
    """The filters and the period of a query. What is somebody else's leads to nothing, as if it were not there."""
    query: UsageQuery = ask.query
    limits = ask.principal.scope(permission, query.tenant)
    teams, owner = limits.get("teams"), query.user
    if query.team is not None:
        teams = (query.team,) if teams is None or query.team in teams else ()
    if "own" in limits:
        teams = () if owner not in (None, limits["own"]) else teams
        owner = limits["own"]
    tenant = limits.get("tenant")
    zone = query.time_zone or await _zone(admin, tenant)
    when = period(now_ms(), zone, start=query.start, end=query.end, days=query.days, month=query.month)
    which = Which(
        tenant=tenant, teams=teams, owner=owner, key=query.key, provider=query.provider, model=query.model
    )
    return Scope(which, when)


async def show_summary(admin: Admin, ask: Ask[UsageQuery, NoBody]) -> Summary:
    """Everything together."""
    asked = await scope(admin, ask)
    by_model, by_provider = await sums(admin, asked, "model"), await sums(admin, asked, "provider")
    return Summary(
        period=period_shown(asked.period), total=totals(by_model), by_model=groups(by_model, {}),
        by_provider=groups(by_provider, {}),
    )  # fmt: skip


async def show_history(admin: Admin, ask: Ask[HistoryQuery, NoBody]) -> History:
    """Through time."""
    asked = await scope(admin, ask)
    found, when = await _through_time(admin, asked, ask.query.interval)
    return History(period=period_shown(asked.period), interval=ask.query.interval, total=totals(found), items=when)


async def show_tokens(admin: Admin, ask: Ask[UsageQuery, NoBody]) -> Tokens:
    """Tokens by kind, model and day."""
    asked = await scope(admin, ask)
    by_model = await sums(admin, asked, "model")
    _, by_day = await _through_time(admin, asked, "day")
    all_ = totals(by_model)
    read = all_.input_tokens
    return Tokens(
        period=period_shown(asked.period), total_tokens=all_.total_tokens, input_tokens=read,
        uncached_input_tokens=max(0, read - all_.cached_tokens - all_.cache_write_tokens),
        cached_tokens=all_.cached_tokens, cache_write_tokens=all_.cache_write_tokens, output_tokens=all_.output_tokens,
        reasoning_tokens=all_.reasoning_tokens, cache_hit_rate=round(all_.cached_tokens / read, 6) if read else 0.0,
        by_model=groups(by_model, {}), by_day=by_day,
    )  # fmt: skip


async def show_dashboard(admin: Admin, ask: Ask[HistoryQuery, NoBody]) -> Dashboard:
    """The numbers of a first page."""
    asked = await scope(admin, ask)
    zone, now = asked.period.zone, now_ms()
    today = totals(await sums(admin, Scope(asked.which, day_of(now, zone))))
    month = totals(await sums(admin, Scope(asked.which, month_of(now, zone))))
    by = {name: await sums(admin, asked, name) for name in _TOPS}
    names = {name: await names_of(admin.gateway.store, name, _ids(found)) for name, found in by.items()}
    tops = {name: groups(found, names[name], _TOP) for name, found in by.items()}
    _, line = await _through_time(admin, asked, ask.query.interval)
    return Dashboard(
        period=period_shown(asked.period), total=totals(by["model"]), today=today, this_month=month,
        cost_today=today.total_cost, cost_this_month=month.total_cost,
        active_users=sum(1 for each in by["owner"] if each.group), active_keys=len(by["key"]),
        active_models=sum(1 for each in by["model"] if each.group), top_models=tops["model"],
        top_providers=tops["provider"], top_users=tops["owner"], top_keys=tops["key"], usage_over_time=line,
    )  # fmt: skip


async def sums(admin: Admin, asked: Scope, by: By | None = None) -> tuple[Sums, ...]:
    """What the store says."""
    return await admin.gateway.store.usage_sums(asked.which, asked.period.start, asked.period.end, by)


async def grouped(admin: Admin, asked: Scope, by: By, limit: int, label: str) -> Groups:
    """One report by something."""
    found = await sums(admin, asked, by)
    names = await names_of(admin.gateway.store, by, _ids(found))
    return Groups(
        period=period_shown(asked.period), group_by=label, total=totals(found), items=groups(found, names, limit)
    )


def _by(by: By, label: str) -> Any:  # noqa: ANN401 - a function of an endpoint
    async def show(admin: Admin, ask: Ask[GroupsQuery, NoBody]) -> Groups:
        return await grouped(admin, await scope(admin, ask), by, ask.query.limit, label)

    return show


_TOPS: tuple[By, ...] = ("model", "provider", "owner", "key")
_REPORTS: tuple[tuple[str, By], ...] = (
    ("model", "model"), ("provider", "provider"), ("key", "key"), ("user", "owner"), ("team", "team"),
    ("tenant", "tenant"),
)  # fmt: skip

ROUTES = (
    Endpoint("GET", "/usage/summary", "usage:read", show_summary, "Add up usage and cost", "usage", query=UsageQuery,
             answer=Summary),
    Endpoint("GET", "/usage/history", "usage:read", show_history, "Usage and cost through time", "usage",
             query=HistoryQuery, answer=History),
    Endpoint("GET", "/usage/tokens", "usage:read", show_tokens, "Tokens by kind, model and day", "usage",
             query=UsageQuery, answer=Tokens),
    *(
        Endpoint("GET", f"/usage/by-{name}", "usage:read", _by(by, name), f"Usage and cost by {name}", "usage",
                 query=GroupsQuery, answer=Groups)
        for name, by in _REPORTS
    ),
    Endpoint("GET", "/dashboard/stats", "usage:read", show_dashboard, "The numbers of a dashboard", "usage",
             query=HistoryQuery, answer=Dashboard, aliases=(("GET", "/usage/dashboard"), ("GET", "/stats/detailed"))),
)  # fmt: skip


async def _through_time(admin: Admin, asked: Scope, interval: Interval) -> tuple[tuple[Sums, ...], tuple[Piece, ...]]:
    when = asked.period
    if when.end > (now := now_ms() + 1) > when.start:  # what is to come is not cut into pieces
        when = Period(when.start, now, when.zone)
    cuts = starts(when, interval)
    found = await admin.gateway.store.usage_sums(asked.which, when.start, when.end, None, cuts)
    return found, pieces(found, when, cuts)


async def _zone(admin: Admin, tenant: object) -> str:
    """The tenant's time zone; UTC for all tenants together."""
    found = await admin.gateway.store.one(Tenant, id=tenant) if tenant else None
    return found.time_zone if found else "UTC"


def _ids(found: tuple[Sums, ...]) -> list[str]:
    """Of the dearest first: of thousands of groups not all are shown."""
    return [each.group for each in sorted(found, key=lambda each: -each.cost)]

