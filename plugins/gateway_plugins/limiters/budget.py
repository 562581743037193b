"""Limits cost per UTC day and month, for each tenant and key: reserves before an attempt, settles after it.

    - use: limiter.budget
      with: {unpriced: refuse}

Reserved is the most that the attempt can cost: its input, and its output cap for each choice. A request without an
output cap gets the target's; when that does not fit but something does, the request is sent with the cap that fits
(`x-gateway-warnings: max_tokens=<n>`). Configure it once: its counters are those of the ledger. `x-gateway-budget-
remaining` is what is left in dollars after all reservations, this request's included.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gateway import Exchange, Forbidden, Level, Price, QuotaExceeded, Target, hookimpl
from gateway.events import Usage
from gateway.limits import NO_RETRY, levels, title
from gateway.money import dollars
from gateway.money.budgets import Budget, affordable_output, budgets, resets_at, upper_cost, upper_cost_of
from gateway.money.cost import dearest
from gateway.money.estimate import input_upper
from gateway.shared_state import Granted, Refused, Standing

if TYPE_CHECKING:
    from gateway import Gateway

_DAY_MS = 86_400_000
_KEPT = 10_000
_TRIES = 4  # other workers may take what was left between two tries


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to do where a price or an output cap is missing."""

    unpriced: Annotated[
        Literal["refuse", "allow"], Meta(description="A caller with a cost limit asks for a model without a price.")
    ] = "refuse"
    default_output_cap: Annotated[
        int, Meta(ge=1, description="Output cap sent where neither the request nor the target has one.")
    ] = 4096
    min_output: Annotated[
        int, Meta(ge=1, description="Output tokens that must be affordable to shorten an answer instead of refusing.")
    ] = 16


class _Account(msgspec.Struct):
    """What this limiter did for one exchange: the open hold, and what is settled already."""

    budgets: tuple[Budget, ...]
    hold: str = ""
    attempts: int = 0
    settled: int = 0
    warning: str = ""


class BudgetLimiter:
    """Keeps what is spent and reserved within every cost limit of the caller, to the nano-dollar."""

    name = "limiter.budget"

    def __init__(self, config: Config) -> None:
        self._config = config
        self._kept: dict[str, tuple[int, tuple[Level, ...], tuple[Budget, ...]]] = {}

    @hookimpl
    async def startup(self, gateway: "Gateway") -> None:
        """Counters are the process's, so that they outlive a reload."""
        self._state = gateway.state

    @hookimpl
    async def before_attempt(self, exchange: Exchange, target: Target) -> None:
        """Reserve the most that this attempt can cost, at every level in one step, or refuse the target."""
        if target.free or not any(_has_limit(level) for level in levels(exchange)):
            return
        account = self._account(exchange)
        if target.price is not None:
            await self._reserve(exchange, target, _highest(exchange, target.price), account)
        elif self._config.unpriced == "refuse":
            raise Forbidden(
                f"The model {target.model} has no known price, and this key or its tenant has a cost limit.",
                code="model_not_priced",
            )

    @hookimpl
    async def after_attempt(self, exchange: Exchange) -> None:
        """Give the reservation back, less what the failed attempt did cost."""
        account: _Account | None = exchange.local.get(self.name)
        if account is None:
            return
        await self._settle(account, sum(attempt.cost for attempt in exchange.attempts))
        if account.warning in exchange.warnings:
            exchange.warnings.remove(account.warning)

    @hookimpl
    async def on_usage(self, exchange: Exchange) -> None:
        """Turn the reservation into what was spent; count what was spent without one."""
        account: _Account | None = exchange.local.get(self.name)
        if account is not None:
            await self._settle(account, exchange.cost)
        elif exchange.cost:
            await self._state.charge([budget.charge(exchange.cost) for budget in self._budgets(exchange)])

    @hookimpl
    async def explain(self, exchange: Exchange, target: Target) -> Sequence[Mapping[str, Any]]:
        """See `Hooks.explain`: what would be reserved at this target's price, and what would be left."""
        found = [budget for budget in budgets(levels(exchange), exchange.started_ms) if budget.limit is not None]
        if target.free or not found:
            return []
        price, known = target.price, {"plugin": self.name, "target": f"{target.provider.name}/{target.model}"}
        if price is None:
            return [{**known, "limit": "price", "would": "refuse" if self._config.unpriced == "refuse" else "pass"}]
        price = _highest(exchange, price)
        choices, tokens = exchange.request.choices if exchange.request else 1, input_upper(exchange)
        cap, ours = self._cap(exchange, target)
        standings = await self._state.peek([budget.ask(0) for budget in found])
        left = min(standing.remaining for standing in standings)
        fits = affordable_output(price, tokens, choices, left)
        if ours and min(self._config.min_output, cap) <= fits < cap:
            cap = fits
        amount = upper_cost(price, tokens, cap * choices)
        return [
            {**known, "output_tokens_at_most": cap, **_entry(budget, amount, standing)}
            for budget, standing in zip(found, standings, strict=True)
        ]

    def _budgets(self, exchange: Exchange) -> tuple[Budget, ...]:
        """The caller's budgets, kept for the day: their names are the same for each of its requests."""
        mine, day = levels(exchange), exchange.started_ms // _DAY_MS
        key = exchange.caller.key if exchange.caller else ""
        kept = self._kept.get(key)
        if kept is not None and kept[0] == day and kept[1] is mine:
            return kept[2]
        if len(self._kept) >= _KEPT:
            self._kept.clear()
        found = budgets(mine, exchange.started_ms)
        self._kept[key] = (day, mine, found)
        return found

    def _account(self, exchange: Exchange) -> _Account:
        account: _Account | None = exchange.local.get(self.name)
        if account is None:
            account = _Account(self._budgets(exchange))
            exchange.local[self.name] = account
        return account

    async def _settle(self, account: _Account, cost: int) -> None:
        """Bring what is counted up to `cost`, the whole exchange's so far."""
        due = max(0, cost - account.settled)
        hold, account.hold = account.hold, ""
        account.settled += due
        if hold and await self._state.settle(hold, {budget.key: due for budget in account.budgets}):
            return
        if due:  # nothing was reserved, or the hold was swept while this worker stood still
            await self._state.charge([budget.charge(due) for budget in account.budgets])

    async def _reserve(self, exchange: Exchange, target: Target, price: Price, account: _Account) -> None:
        request = exchange.request
        choices = request.choices if request is not None else 1
        tokens = input_upper(exchange)
        cap, ours = self._cap(exchange, target)
        cut = ours and target.max_output is None  # an unknown cap is no bound unless it is sent
        account.attempts += 1
        account.hold = f"{exchange.id}/{self.name}/{account.attempts}"
        for tries_left in reversed(range(_TRIES)):
            amount = _amount(exchange, price, tokens, cap * choices)
            outcome = await self._state.take(account.hold, [budget.ask(amount) for budget in account.budgets])
            if isinstance(outcome, Granted):
                exchange.reply_headers["x-gateway-budget-remaining"] = dollars(_left(account, outcome))
                if cut:
                    self._send_cap(exchange, account, cap)
                return
            fits = affordable_output(price, tokens, choices, _left(account, outcome))
            if not ours or not tries_left or fits < min(self._config.min_output, cap):
                account.hold = ""
                raise await self._exhausted(exchange, account.budgets[outcome.index], amount)
            if fits < cap:
                cap, cut = fits, True

    def _cap(self, exchange: Exchange, target: Target) -> tuple[int, bool]:
        """The output tokens of one choice, and whether the cap is ours to lower."""
        request = exchange.request
        if request is None or not exchange.dialect.generates:
            return 0, False
        if request.max_output is None:
            return target.max_output or self._config.default_output_cap, True
        return min(request.max_output, target.max_output or request.max_output), False

    def _send_cap(self, exchange: Exchange, account: _Account, cap: int) -> None:
        exchange.cap = cap
        account.warning = f"max_tokens={cap}"
        exchange.warnings.append(account.warning)

    async def _exhausted(self, exchange: Exchange, budget: Budget, amount: int) -> QuotaExceeded:
        spent, reserved = await self._state.spent(budget.key)
        running = f" and ${dollars(reserved)} reserved by running requests" if reserved else ""
        resets = resets_at(budget.period, exchange.started_ms)
        return QuotaExceeded(
            f"The {budget.period} cost limit of {title(budget.level)} is ${dollars(budget.limit or 0)}, with "
            f"${dollars(spent)} spent{running}; this request may cost ${dollars(amount)}. "
            f"The limit starts anew at {resets:%Y-%m-%dT%H:%M:%SZ}.",
            headers=NO_RETRY,
        )


def _entry(budget: Budget, amount: int, standing: Standing) -> Mapping[str, Any]:
    """One budget in a dry run; money in dollars."""
    left = standing.limit - standing.used - amount
    return {
        "limit": f"cost_{budget.period}", "level": budget.level.kind, "name": budget.level.name or budget.level.id,
        "max": dollars(standing.limit), "used": dollars(standing.used), "remaining": dollars(standing.remaining),
        "reserve": dollars(amount), "left": dollars(max(0, left)), "would": "refuse" if left < 0 else "pass",
    }


def _has_limit(level: Level) -> bool:
    return level.cost_daily is not None or level.cost_monthly is not None


def _left(account: _Account, outcome: Granted | Refused) -> int:
    """What is left of the tightest limit, in nano-dollars."""
    return min(
        standing.remaining
        for budget, standing in zip(account.budgets, outcome.standings, strict=True)
        if budget.limit is not None
    )


def _amount(exchange: Exchange, price: Price, tokens: int, output: int) -> int:
    """What to reserve: of sound and images what their size says."""
    most: Usage | None = exchange.internal.get("most")
    return upper_cost(price, tokens, output) if most is None else upper_cost_of(price, most)


def _highest(exchange: Exchange, price: Price) -> Price:
    """The dearest rates that this request may meet: of the service tier that it asks for, at its length."""
    if not (price.variants or price.tiers or price.later):
        return price
    asked = exchange.request.body.get("service_tier") if exchange.request else None
    return dearest(price, input_upper(exchange), asked if isinstance(asked, str) else "", exchange.started_ms)
