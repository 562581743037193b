"""Limits requests that run at the same time, for each tenant and key.

    - use: limiter.concurrency
      with: {per_key: 20}

A place is a lease: it is given back at the end of its exchange, or when the worker that held it has died.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from gateway import Exchange, Level, RateLimited, hookimpl
from gateway.limits import Kept, Limit, explained, title
from gateway.shared_state import Ask, Refused

if TYPE_CHECKING:
    from gateway import Gateway


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Defaults for levels that have no limit of their own."""

    per_key: Annotated[Limit | None, Meta(description="Running requests of one key.")] = None
    per_tenant: Annotated[Limit | None, Meta(description="Running requests of one tenant.")] = None


class ConcurrencyLimiter:
    """Holds one place at each level while an exchange runs."""

    name = "limiter.concurrency"

    def __init__(self, config: Config) -> None:
        self._kept = Kept("concurrency", {"key": config.per_key, "tenant": config.per_tenant}, self._ask)

    @hookimpl
    async def startup(self, gateway: "Gateway") -> None:
        """Leases are the process's, so that they outlive a reload."""
        self._state = gateway.state

    @hookimpl
    async def pre_request(self, exchange: Exchange) -> None:
        """Take a place at every level, or refuse and take none."""
        found, asks = self._kept.of(exchange)
        if not found:
            return
        hold = exchange.local[self.name] = f"{exchange.id}/{self.name}"
        outcome = await self._state.take(hold, asks)
        if isinstance(outcome, Refused):
            level, limit = found[outcome.index]
            raise RateLimited(
                f"Too many requests at the same time: the concurrency limit of {title(level)} is {limit}.",
                retry_after=1,
            )

    @hookimpl
    async def on_usage(self, exchange: Exchange) -> None:
        """Give the places back."""
        hold: str | None = exchange.local.pop(self.name, None)
        if hold is not None:
            await self._state.settle(hold)

    @hookimpl
    async def explain(self, exchange: Exchange) -> Sequence[Mapping[str, Any]]:
        """See `Hooks.explain`."""
        found, asks = self._kept.of(exchange)
        return explained(self.name, "concurrency", found, 1, await self._state.peek(asks))

    def _ask(self, level: Level, limit: int) -> Ask:
        return Ask("lease", f"{self.name}/{level.kind}/{level.id}", limit)
