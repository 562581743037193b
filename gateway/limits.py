"""What limiters share: which levels of a caller are limited, the names in refusals, the standings in headers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from msgspec import Meta

from gateway.exchange import Exchange, Level
from gateway.hookspecs import RateStanding
from gateway.shared_state import Ask, Granted, Refused, Standing

Limit = Annotated[int, Meta(ge=1)]
_KEPT = 10_000
NO_RETRY: Mapping[str, str] = {"x-should-retry": "false"}  # clients of the OpenAI SDK repeat each 429 otherwise


def levels(exchange: Exchange) -> tuple[Level, ...]:
    """The caller's levels. Without a caller there is nothing to hold a limit against: that is a defect."""
    if exchange.caller is None:
        raise RuntimeError("a limiter ran before anybody was authenticated")
    return exchange.caller.levels


def limited(exchange: Exchange, field: str, defaults: Mapping[str, int | None]) -> list[tuple[Level, int]]:
    """The levels with a limit in `field`, or else a default for their kind, outermost first."""
    found = []
    for level in levels(exchange):
        limit = getattr(level, field)
        if limit is None:
            limit = defaults.get(level.kind)
        if limit is not None:
            found.append((level, limit))
    return found


class Kept:
    """The limited levels of each caller, and what a request of one unit asks of them: the same for each of its
    requests until its limits change."""

    def __init__(
        self, field: str, defaults: Mapping[str, int | None], ask: Callable[[Level, int], Ask]
    ) -> None:
        self._field = field
        self._defaults = defaults
        self._ask = ask
        self._kept: dict[str, tuple[tuple[Level, ...], list[tuple[Level, int]], list[Ask]]] = {}

    def of(self, exchange: Exchange) -> tuple[list[tuple[Level, int]], list[Ask]]:
        """The levels with their limits, and the asks, in the same order."""
        mine = levels(exchange)
        key = exchange.caller.key if exchange.caller else ""
        kept = self._kept.get(key)
        if kept is None or kept[0] is not mine:
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            found = limited(exchange, self._field, self._defaults)
            kept = self._kept[key] = (mine, found, [self._ask(level, limit) for level, limit in found])
        return kept[1], kept[2]


def title(level: Level) -> str:
    """How a person calls a level: key `build server`."""
    return f"{level.kind} `{level.name or level.id}`"


def show(exchange: Exchange, unit: str, outcome: Granted | Refused) -> None:
    """Note the tightest standing for the reply's rate-limit headers; of a refusal, the one that refused."""
    if isinstance(outcome, Refused):
        tightest = outcome.standings[outcome.index]
    else:
        tightest = outcome.standings[0]
        for standing in outcome.standings[1:]:
            if standing.remaining < tightest.remaining:
                tightest = standing
    exchange.internal.setdefault("standings", {})[unit] = RateStanding(
        unit, tightest.limit, tightest.remaining, tightest.reset
    )


def explained(
    plugin: str, limit: str, found: Sequence[tuple[Level, int]], amount: int, standings: Sequence[Standing]
) -> list[Mapping[str, Any]]:
    """The entries of a dry run (`Hooks.explain`): how each level stands before a request that takes `amount`."""
    return [
        {
            "plugin": plugin, "limit": limit, "level": level.kind, "name": level.name or level.id, "max": most,
            "used": standing.used, "remaining": standing.remaining, "asks": amount,
            "would": "pass" if standing.used + amount <= most else "refuse",
        }
        for (level, most), standing in zip(found, standings, strict=True)
    ]
