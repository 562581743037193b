"""Budgets as objects: whose spending of what, in which window, up to which amount, and what happens then.

Pure: windows of a time zone, which requests a budget is about, and the names of its counters. Counting is the business
of `shared_state`, refusing that of `limiter.budget`, keeping the current ones at hand that of `policybook.py`.
"""

from datetime import UTC, date, datetime, timedelta
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final, Literal
from zoneinfo import ZoneInfo

import msgspec

Scope = Literal["tenant", "team", "user", "key"]
Period = Literal["hour", "day", "week", "month"]
Action = Literal["block", "warn", "tier_down"]

THRESHOLDS: Final = (50, 80, 95, 100)
SPANS: Final[dict[Period, int]] = {"hour": 3600, "day": 86_400, "week": 7 * 86_400, "month": 30 * 86_400}
_NAMES: Final[dict[Period, str]] = {"hour": "hourly", "day": "daily", "week": "weekly", "month": "monthly"}
_ROLLING: Final[dict[Period, str]] = {"hour": "1-hour", "day": "24-hour", "week": "7-day", "month": "30-day"}
_KEEP: Final = 86_400.0  # seconds after its window's length for which a counter is kept
_HOUR: Final = 3600_000


class BudgetPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """One budget. `amount` is in nano-dollars; `models` and `providers` are names or wildcards (`None`: all).

    A window is a calendar `period` in the tenant's time zone, or, if `rolling`, the last hour, 24 hours, 7 or 30 days.
    `since` is when it began to count as it does now; what was spent before, the ledger says. One that the `platform`
    set is not the tenant's to change.
    """

    id: str
    tenant: str
    name: str
    scope: Scope
    scope_id: str
    period: Period
    amount: int
    created: int
    since: int
    rolling: bool = False
    action: Action = "block"
    tier_down_to: str | None = None
    models: tuple[str, ...] | None = None
    providers: tuple[str, ...] | None = None
    thresholds: tuple[int, ...] = THRESHOLDS
    enabled: bool = True
    platform: bool = False
    created_by: str = ""
    version: int = 1
    updated: int | None = None

    @property
    def filtered(self) -> bool:
        """Whether it is about some models or providers only."""
        return self.models is not None or self.providers is not None

    @property
    def window_name(self) -> str:
        """`daily`, or `rolling 24-hour`."""
        return f"rolling {_ROLLING[self.period]}" if self.rolling else _NAMES[self.period]

    def about(self, provider: str, target: str, *asked: str) -> bool:
        """Whether a request is counted that `provider` serves with its model `target`, by names the client used."""
        if self.providers is not None and provider not in self.providers:
            return False
        if self.models is None:
            return True
        names = (target, f"{provider}/{target}", *asked)
        return any(fnmatchcase(name, pattern) for pattern in self.models for name in names)


def window(period: Period, zone: str, at_ms: int) -> tuple[int, int]:
    """The calendar window of a moment, from its first millisecond to before the next one's. Days with a change of the
    clock have 23 or 25 hours; weeks begin on Monday."""
    local = datetime.fromtimestamp(at_ms / 1000, zone_of(zone))
    if period == "hour":  # an hour of the clock is an hour of time, also where the clock says it twice
        offset = int((local.utcoffset() or timedelta()).total_seconds() * 1000)
        start = (at_ms + offset) // _HOUR * _HOUR - offset
        return start, start + _HOUR
    first = local.date()
    if period == "day":
        after = first + timedelta(days=1)
    elif period == "week":
        first -= timedelta(days=first.weekday())
        after = first + timedelta(days=7)
    else:
        first = first.replace(day=1)
        after = (first + timedelta(days=32)).replace(day=1)
    return _midnight(first, zone), _midnight(after, zone)


def counter(policy: BudgetPolicy, start_ms: int) -> str:
    """The name of its counter for the window that begins then; another one once it counts something else."""
    return f"budget/{policy.id}/{policy.since}" + ("" if policy.rolling else f"/{start_ms // 1000}")


def keep(policy: BudgetPolicy) -> float:
    """Seconds for which a counter is kept that nobody touches."""
    return SPANS[policy.period] * 1.1 + _KEEP


@lru_cache(maxsize=1024)
def zone_of(name: str) -> ZoneInfo:
    """A time zone by name; UTC where this machine does not know it."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        return ZoneInfo("UTC")


def _midnight(day: date, zone: str) -> int:
    """The first moment of a day. Where the clock skips midnight, that is the moment of the skip."""
    local = datetime(day.year, day.month, day.day, tzinfo=zone_of(zone))
    return round(local.astimezone(UTC).timestamp() * 1000)
