"""Limits tokens per minute, for each tenant and key: estimated before, corrected when the usage is known.

    - use: limiter.tokens
      with: {per_key: 100000}

The estimate is the input plus the caller's output cap (or `default_output`) for each choice. The correction goes
to the second in which the request was counted, as long as that is inside the window. A request that reached no
upstream gives its tokens back.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from gateway import Exchange, Level, RateLimited, hookimpl
from gateway.limits import NO_RETRY, Limit, explained, limited, show, title
from gateway.money.estimate import input_tokens
from gateway.shared_state import Ask, Refused

if TYPE_CHECKING:
    from gateway import Gateway


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Defaults for levels that have no limit of their own, and for requests without an output cap."""

    per_key: Annotated[Limit | None, Meta(description="Tokens a minute of one key.")] = None
    per_tenant: Annotated[Limit | None, Meta(description="Tokens a minute of one tenant.")] = None
    default_output: Annotated[int, Meta(ge=0, description="Output expected where a request has no cap.")] = 256


class TokenLimiter:
    """Counts tokens in a sliding window of 60 seconds."""

    name = "limiter.tokens"

    def __init__(self, config: Config) -> None:
        self._config = config
        self._defaults = {"key": config.per_key, "tenant": config.per_tenant}

    @hookimpl
    async def startup(self, gateway: "Gateway") -> None:
        """Counters are the process's, so that they outlive a reload."""
        self._state = gateway.state

    @hookimpl
    async def pre_request(self, exchange: Exchange) -> None:
        """Count the estimate at every level, or refuse and count nothing."""
        found = limited(exchange, "tokens_per_minute", self._defaults)
        if not found:
            return
        amount = self._estimate(exchange)
        asks = exchange.local[self.name] = self._asks(found, amount)
        outcome = await self._state.take(f"{exchange.id}/{self.name}", asks)
        show(exchange, "tokens", outcome)
        if isinstance(outcome, Refused):
            level, limit = found[outcome.index]
            standing = outcome.standings[outcome.index]
            raise RateLimited(
                f"Too many tokens: this request needs about {amount}, and {title(level)} has {standing.remaining} "
                f"left of {limit} a minute.",
                retry_after=standing.retry_after,
                headers=NO_RETRY if standing.retry_after is None else None,
            )

    @hookimpl
    async def on_usage(self, exchange: Exchange) -> None:
        """Replace the estimate by what was used."""
        asks: list[Ask] | None = exchange.local.pop(self.name, None)
        if asks is not None:
            usage = exchange.usage
            used = usage.input + usage.output if usage is not None else 0
            await self._state.settle(f"{exchange.id}/{self.name}", {ask.key: used for ask in asks})

    @hookimpl
    async def explain(self, exchange: Exchange) -> Sequence[Mapping[str, Any]]:
        """See `Hooks.explain`."""
        found = limited(exchange, "tokens_per_minute", self._defaults)
        amount = self._estimate(exchange)
        standings = await self._state.peek(self._asks(found, amount))
        return explained(self.name, "tokens_per_minute", found, amount, standings)

    def _asks(self, found: Sequence[tuple[Level, int]], amount: int) -> list[Ask]:
        return [Ask("window", f"{self.name}/{level.kind}/{level.id}", limit, amount) for level, limit in found]

    def _estimate(self, exchange: Exchange) -> int:
        tokens = input_tokens(exchange)
        request = exchange.request
        if request is None or not exchange.dialect.generates:
            return tokens
        output = self._config.default_output if request.max_output is None else request.max_output
        return tokens + output * request.choices
