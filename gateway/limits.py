"""What limiters share: which levels of a caller are limited, the names in refusals, the standings in headers."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from msgspec import Meta

from gateway.exchange import Exchange, Level
from gateway.hookspecs import RateStanding
from gateway.shared_state import Granted, Refused, Standing

Limit = Annotated[int, Meta(ge=1)]
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
