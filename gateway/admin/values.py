"""Money, moments and limits as the API shows and takes them: decimal dollars, RFC 3339, `null` for not limited."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from gateway.errors import InvalidFields
from gateway.money import NANO, dollars
from gateway.store import UsageGroup

_MOST = 1_000_000_000  # dollars; as nano-dollars it stays inside 63 bits

# What comes in: "12.50" or 12.5. What goes out is always text.
Money = Annotated[str, Meta(pattern=r"^[0-9]{1,10}(\.[0-9]{1,9})?$")] | Annotated[float, Meta(ge=0, le=_MOST)]
Dollars = Annotated[str, Meta(description="Dollars as a decimal string.")]
Days = Annotated[int, Meta(ge=1, le=366, description="How many days back, the running one included (UTC).")]


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Usage added up; `unpriced` and `estimated` count the requests whose cost is not the provider's word."""

    total_requests: int = 0
    successful_requests: int = 0
    total_tokens: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    total_cost: Dollars = "0"
    unpriced: int = 0
    estimated: int = 0


class Group(Totals, frozen=True, kw_only=True):
    """The totals of one model, day or provider, by its name."""

    name: str


def nano(money: str | float | None, path: str) -> int | None:
    """Nano-dollars of what came in. Raises `InvalidFields` for fractions of a nano-dollar."""
    if money is None:
        return None
    try:
        scaled = Decimal(str(money)) * NANO
    except InvalidOperation:
        raise InvalidFields((path, "is no amount of dollars")) from None
    if scaled != int(scaled) or scaled > _MOST * NANO:
        raise InvalidFields((path, f"must have at most 9 decimal places, and be at most {_MOST}"))
    return int(scaled)


def shown(amount: int | None) -> str | None:
    """Nano-dollars as dollars."""
    return None if amount is None else dollars(amount)


def moment(milliseconds: int | None) -> datetime | None:
    """A stored time as it is shown."""
    return None if milliseconds is None else at(milliseconds)


def at(milliseconds: int) -> datetime:
    """A stored time that is never missing."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def stored(when: datetime | None, path: str) -> int | None:
    """A time as it is stored. Raises `InvalidFields` for one without a time zone."""
    if when is None:
        return None
    if when.tzinfo is None:
        raise InvalidFields((path, "needs a time zone, as in 2027-01-31T12:00:00Z"))
    return int(when.timestamp() * 1000)


def totals(groups: Sequence[UsageGroup]) -> Totals:
    """The sum of all groups (of one, where nothing was grouped)."""
    return Totals(**_sums(groups))


def grouped(groups: Sequence[UsageGroup]) -> tuple[Group, ...]:
    """Each group for itself, in the order given."""
    return tuple(Group(name=group.group, **_sums((group,))) for group in groups)


def _sums(groups: Sequence[UsageGroup]) -> dict[str, Any]:
    def total(field: str) -> int:
        return sum(getattr(group, field) for group in groups)

    return {
        "total_requests": total("requests"), "successful_requests": total("succeeded"),
        "total_tokens": total("input") + total("output"), "input_tokens": total("input"),
        "output_tokens": total("output"), "cached_tokens": total("cached"), "reasoning_tokens": total("reasoning"),
        "total_cost": dollars(total("cost")), "unpriced": total("unpriced"), "estimated": total("estimated"),
    }
