"""Limits requests per minute, for each tenant and key; the strictest level decides.

    - use: limiter.requests
      with: {per_key: 600}

A level's own limit (`requests_per_minute`) goes before the defaults here. A request that a later limiter or a
guardrail refuses has been counted all the same; one that this limiter refuses has not.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from gateway import Exchange, Level, RateLimited, hookimpl
from gateway.limits import Kept, Limit, explained, show, title
from gateway.shared_state import Ask, Refused

if TYPE_CHECKING:
    from gateway import Gateway


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Defaults for levels that have no limit of their own."""

    per_key: Annotated[Limit | None, Meta(description="Requests a minute of one key.")] = None
    per_tenant: Annotated[Limit | None, Meta(description="Requests a minute of one tenant.")] = None


class RequestLimiter:
    """Counts each request in a sliding window of 60 seconds."""

    name = "limiter.requests"

    def __init__(self, config: Config) -> None:
        self._kept = Kept("requests_per_minute", {"key": config.per_key, "tenant": config.per_tenant}, self._ask)

    @hookimpl
    async def startup(self, gateway: "Gateway") -> None:
        """Counters are the process's, so that they outlive a reload."""
        self._state = gateway.state

    @hookimpl
    async def pre_request(self, exchange: Exchange) -> None:
        """Count the request at every level, or refuse it and count nothing."""
        found, asks = self._kept.of(exchange)
        if not found:
            return
        outcome = await self._state.take("", asks)
        show(exchange, "requests", outcome)
        if isinstance(outcome, Refused):
            level, limit = found[outcome.index]
            raise RateLimited(
                f"Too many requests: the limit of {title(level)} is {limit} a minute.",
                retry_after=outcome.standings[outcome.index].retry_after,
            )

    @hookimpl
    async def explain(self, exchange: Exchange) -> Sequence[Mapping[str, Any]]:
        """See `Hooks.explain`."""
        found, asks = self._kept.of(exchange)
        return explained(self.name, "requests_per_minute", found, 1, await self._state.peek(asks))

    def _ask(self, level: Level, limit: int) -> Ask:
        return Ask("window", f"{self.name}/{level.kind}/{level.id}", limit)
