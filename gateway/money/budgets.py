"""Cost limits over windows of time: their counters' names, their bounds, and when they start again.

Two kinds: the daily and monthly limits of each level of a caller, and the budgets of `policies.py`. Counting is the
business of `shared_state`; refusing, of `limiter.budget`. An exchange belongs to the window in which it started, here
as in the ledger, so that a counter equals the ledger's sum.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from gateway.events import Usage
from gateway.exchange import Level, Price
from gateway.money.cost import COUNTED
from gateway.money.policies import SPANS, BudgetPolicy, counter, keep, window, zone_of
from gateway.shared_state import Ask

NO_LIMIT = 1 << 60  # nano-dollars: counted all the same, for a limit that is set later in the month

LONGEST = 600               # seconds of a machine's time that are reserved for one request
_INPUT_UNITS = frozenset(("cache_write_1h", "audio_input", "audio_cached", "image_input", "image_cached"))
_OUTPUT_UNITS = frozenset(("audio_output", "image_output", "reasoning"))

_DAY = 86_400.0
_KEEP_DAILY = 2 * _DAY      # after the last touch; a day is over then
_KEEP_MONTHLY = 33 * _DAY
_UTC: Final = "UTC"


class Budget(msgspec.Struct, frozen=True):
    """One counter of spending: of `level`, for the window in `key`. `limit` is in nano-dollars, `None` where nothing is
    refused.

    `period` is the window's name, `ends_ms` its end (0: it rolls, over `span` seconds); `policy` is set where it is an
    object of its own.
    """

    level: Level
    period: str
    key: str
    limit: int | None
    keep: float
    ends_ms: int = 0
    policy: BudgetPolicy | None = None
    span: float = 0.0

    def ask(self, amount: int) -> Ask:
        """Reserve `amount` of it; without a limit only its spending is counted."""
        if self.span:
            return Ask("rolling", self.key, NO_LIMIT if self.limit is None else self.limit, amount, self.span)
        if self.limit is None:
            return Ask("budget", self.key, NO_LIMIT, amount if self.policy is not None else 0, keep=self.keep)
        return Ask("budget", self.key, self.limit, amount, keep=self.keep)

    def charge(self, amount: int, age: float = 0.0) -> Ask:
        """Add `amount` to what is spent, without a reservation; where it rolls, as spent `age` seconds ago."""
        if self.span:
            return Ask("rolling", self.key, NO_LIMIT, amount, self.span, age=age)
        return Ask("budget", self.key, NO_LIMIT, amount, keep=self.keep)

    @property
    def shown_limit(self) -> int | None:
        """The amount that it is about, whether it refuses or warns."""
        return self.policy.amount if self.policy is not None else self.limit


def periods(now_ms: int, zone: str = _UTC) -> tuple[str, str]:
    """The day and month of a moment: `2026-11-23`, `2026-11`."""
    day = datetime.fromtimestamp(now_ms // 1000, zone_of(zone)).date().isoformat()
    return day, day[:7]


def budget_keys(level: Level, now_ms: int) -> tuple[str, str]:
    """The names of a level's counters, daily and monthly: to seed them from the ledger."""
    day, month = periods(now_ms, level.zone)
    zone = "" if level.zone == _UTC else f"@{level.zone}"
    return f"cost/{level.kind}/{level.id}/d/{day}{zone}", f"cost/{level.kind}/{level.id}/m/{month}{zone}"


def budgets(levels: Sequence[Level], now_ms: int) -> tuple[Budget, ...]:
    """Both budgets of each level, limited or not."""
    found: list[Budget] = []
    for level in levels:
        day, month = budget_keys(level, now_ms)
        ends = [window("day", level.zone, now_ms)[1], window("month", level.zone, now_ms)[1]]
        found.append(Budget(level, "daily", day, level.cost_daily, _KEEP_DAILY, ends[0]))
        found.append(Budget(level, "monthly", month, level.cost_monthly, _KEEP_MONTHLY, ends[1]))
    return tuple(found)


def policy_budgets(policies: Iterable[BudgetPolicy], zone: str, now_ms: int) -> tuple[Budget, ...]:
    """The counters of these policies for the windows of a moment in their tenant's time zone."""
    found: list[Budget] = []
    for policy in policies:
        start, end = (0, 0) if policy.rolling else window(policy.period, zone, now_ms)
        found.append(
            Budget(
                Level(policy.scope, policy.scope_id, zone=zone), policy.window_name, counter(policy, start),
                None if policy.action == "warn" else policy.amount, keep(policy), end, policy,
                float(SPANS[policy.period]) if policy.rolling else 0.0,
            )
        )  # fmt: skip
    return tuple(found)


def moment(ms: int) -> datetime:
    """The end of a window, for people and programs."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def upper_cost(price: Price, input_tokens: int, output_tokens: int) -> int:
    """The most that so many tokens can cost: each at the dearest of its rates. `price` comes from `cost.dearest`."""
    pico = _fixed(price) + input_tokens * _dearest_input(price) + output_tokens * _dearest_output(price)
    return (pico + 500) // 1000


def upper_cost_of(price: Price, most: Usage) -> int:
    """The same for a usage that is known to be the most: with its sound, characters and images."""
    parts = most.special
    counted = 0 if parts is None else sum(getattr(parts, name) * price.units.get(name, 0) for name in COUNTED)
    return upper_cost(price, most.input, most.output) + (counted + 500) // 1000


def affordable_output(price: Price, input_tokens: int, choices: int, available: int) -> int:
    """How many output tokens each of `choices` answers may have within `available` nano-dollars; -1: not even none."""
    if upper_cost(price, input_tokens, 0) > available:
        return -1
    per_token = _dearest_output(price) * choices
    if per_token == 0:
        return NO_LIMIT
    left = available * 1000 - _fixed(price) - input_tokens * _dearest_input(price)
    # Half up: a sum that ends in less than half a nano-dollar is rounded down.
    return max(0, left + 499) // per_token


def _dearest_input(price: Price) -> int:
    special = (rate for unit, rate in price.units.items() if unit in _INPUT_UNITS)
    return max(price.input, price.cached, price.cache_write, *special)


def _dearest_output(price: Price) -> int:
    return max(price.output, *(rate for unit, rate in price.units.items() if unit in _OUTPUT_UNITS), 0)


def _fixed(price: Price) -> int:
    """What a request costs whatever its tokens, in pico-dollars; of a machine's time, `LONGEST` seconds."""
    return price.units.get("request", 0) + LONGEST * price.units.get("second", 0)
