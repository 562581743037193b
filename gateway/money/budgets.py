"""Cost limits over calendar days and months (UTC): their counters' names, bounds, and when they start again.

Counting is the business of `shared_state`; refusing, of `limiter.budget`. An exchange belongs to the day on which
it started, here as in the ledger, so that a counter equals the ledger's sum.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec

from gateway.events import Usage
from gateway.exchange import Level, Price
from gateway.money.cost import COUNTED
from gateway.shared_state import Ask

NO_LIMIT = 1 << 60  # nano-dollars: counted all the same, for a limit that is set later in the month

LONGEST = 600               # seconds of a machine's time that are reserved for one request
_INPUT_UNITS = frozenset(("cache_write_1h", "audio_input", "audio_cached", "image_input", "image_cached"))
_OUTPUT_UNITS = frozenset(("audio_output", "image_output", "reasoning"))

_DAY = 86_400.0
_KEEP_DAILY = 2 * _DAY      # after the last touch; a day is over then
_KEEP_MONTHLY = 33 * _DAY


class Budget(msgspec.Struct, frozen=True):
    """One counter of spending: of `level`, for the day or month in `key`. `limit` is in nano-dollars."""

    level: Level
    period: Literal["daily", "monthly"]
    key: str
    limit: int | None
    keep: float

    def ask(self, amount: int) -> Ask:
        """Reserve `amount` of it; without a limit only its spending is counted."""
        if self.limit is None:
            return Ask("budget", self.key, NO_LIMIT, 0, keep=self.keep)
        return Ask("budget", self.key, self.limit, amount, keep=self.keep)

    def charge(self, amount: int) -> Ask:
        """Add `amount` to what is spent, without a reservation."""
        return Ask("budget", self.key, NO_LIMIT, amount, keep=self.keep)


def periods(now_ms: int) -> tuple[str, str]:
    """The UTC day and month of a moment: `2026-11-23`, `2026-11`."""
    day = datetime.fromtimestamp(now_ms // 1000, UTC).date().isoformat()
    return day, day[:7]


def budget_keys(level: Level, now_ms: int) -> tuple[str, str]:
    """The names of a level's counters, daily and monthly: to seed them from the ledger."""
    day, month = periods(now_ms)
    return f"cost/{level.kind}/{level.id}/d/{day}", f"cost/{level.kind}/{level.id}/m/{month}"


def budgets(levels: Sequence[Level], now_ms: int) -> tuple[Budget, ...]:
    """Both budgets of each level, limited or not."""
    day, month = periods(now_ms)
    found = []
    for level in levels:
        prefix = f"cost/{level.kind}/{level.id}"
        found.append(Budget(level, "daily", f"{prefix}/d/{day}", level.cost_daily, _KEEP_DAILY))
        found.append(Budget(level, "monthly", f"{prefix}/m/{month}", level.cost_monthly, _KEEP_MONTHLY))
    return tuple(found)


def resets_at(period: Literal["daily", "monthly"], now_ms: int) -> datetime:
    """The start of the next day or month, UTC."""
    today = datetime.fromtimestamp(now_ms // 1000, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "daily":
        return today + timedelta(days=1)
    return (today.replace(day=1) + timedelta(days=32)).replace(day=1)


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
