"""Sums as people read them: requests, tokens, dollars, rates; and names instead of ids."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from gateway.accounts.records import Key, ServiceAccount, Team, Tenant, User
from gateway.money import dollars
from gateway.reporting.periods import Period
from gateway.store import Store
from gateway.store.reports import Sums

Dollars = Annotated[str, Meta(description="Dollars as a decimal string, exact.")]

_ADDED: Final = tuple(name for name in Sums.__struct_fields__ if name not in ("names", "start_ms"))
_MOST_NAMES: Final = 500


class PeriodShown(msgspec.Struct, frozen=True):
    """From `start` until before `end`; days are those of `time_zone`."""

    start: datetime
    end: datetime
    time_zone: str


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Usage added up. `refused_requests` are those that the gateway refused itself, `failed_requests` the others that
    came to nothing; `unpriced` and `estimated` count the requests whose cost is not the provider's word."""

    total_requests: int = 0
    successful_requests: int = 0
    refused_requests: int = 0
    failed_requests: int = 0
    success_rate: float | None = None
    total_tokens: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    total_cost: Dollars = "0"
    unpriced: int = 0
    estimated: int = 0
    avg_latency_ms: float | None = None
    avg_first_byte_ms: float | None = None


class Group(Totals, frozen=True, kw_only=True):
    """The totals of one model, key, user …: `id` as the ledger has it, `name` for people; `share` of the whole cost."""

    id: str
    name: str
    share: float


class Piece(Totals, frozen=True, kw_only=True):
    """The totals from `start` until before `end`; `group` where something was grouped by."""

    start: datetime
    end: datetime
    group: str = ""


def period_shown(period: Period) -> PeriodShown:
    """A period for people."""
    return PeriodShown(period.moment(period.start), period.moment(period.end), period.zone)


def totals(found: Iterable[Sums]) -> Totals:
    """The sum of all of them."""
    return Totals(**_fields(added(found)))


def added(found: Iterable[Sums]) -> Sums:
    """All of them together."""
    numbers = [0] * len(_ADDED)
    for each in found:
        numbers = [have + getattr(each, name) for have, name in zip(numbers, _ADDED, strict=True)]
    return Sums((), 0, *numbers)


def groups(found: Sequence[Sums], names: Mapping[str, str], limit: int | None = None) -> tuple[Group, ...]:
    """Each group by itself, the dearest first."""
    whole = sum(each.cost for each in found)
    ordered = sorted(found, key=lambda each: (-each.cost, -each.requests, each.group))
    return tuple(
        Group(id=each.group, name=names.get(each.group, each.group), share=_share(each.cost, whole), **_fields(each))
        for each in ordered[:limit]
    )


def pieces(found: Sequence[Sums], period: Period, starts: Sequence[int]) -> tuple[Piece, ...]:
    """Each piece of time, also those in which nothing happened; of each group those in which something did."""
    ends = dict(zip(starts, [*starts[1:], period.end], strict=True))
    known = list(found)
    if all(not each.names for each in known):
        seen = {each.start_ms for each in known}
        known += [Sums((), start) for start in starts if start not in seen]
    known.sort(key=lambda each: (each.start_ms, each.group))
    return tuple(
        Piece(
            start=period.moment(each.start_ms), end=period.moment(ends[each.start_ms]), group=each.group,
            **_fields(each),
        )
        for each in known
    )


async def names_of(store: Store, by: str, ids: Iterable[str]) -> dict[str, str]:
    """What people call the keys, users, teams or tenants with these ids; those that are gone keep their id."""
    wanted = [each for each in ids if each][:_MOST_NAMES]
    kinds: Mapping[str, tuple[type[Any], ...]] = {
        "key": (Key,), "owner": (User, ServiceAccount), "team": (Team,), "tenant": (Tenant,),
    }  # fmt: skip
    found: dict[str, str] = {}
    for kind in kinds.get(by, ()):
        page = await store.page(kind, {"id": tuple(wanted)}, limit=_MOST_NAMES) if wanted else None
        for each in page.items if page else ():
            found[each.id] = getattr(each, "email", None) or each.name or each.id
    return found


def _fields(sums: Sums) -> dict[str, Any]:
    return {
        "total_requests": sums.requests, "successful_requests": sums.succeeded, "refused_requests": sums.refused,
        "failed_requests": sums.requests - sums.succeeded - sums.refused,
        "success_rate": _share(sums.succeeded, sums.requests) if sums.requests else None,
        "total_tokens": sums.input + sums.output, "input_tokens": sums.input, "output_tokens": sums.output,
        "cached_tokens": sums.cached, "cache_write_tokens": sums.cache_write, "reasoning_tokens": sums.reasoning,
        "total_cost": dollars(sums.cost), "unpriced": sums.unpriced, "estimated": sums.estimated,
        "avg_latency_ms": round(sums.duration_us / sums.requests / 1000, 3) if sums.requests else None,
        "avg_first_byte_ms": round(sums.ttfb_us / sums.answered / 1000, 3) if sums.answered else None,
    }  # fmt: skip


def _share(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0
