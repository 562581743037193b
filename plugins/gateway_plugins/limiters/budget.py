"""Keeps spending within budgets: the daily and monthly limits of each level, and the budgets made through the API.

    - use: limiter.budget
      with: {unpriced: refuse}

Before an attempt the most that it can cost is reserved, at all levels in one step: its input, and its output cap for
each choice. A request without an output cap gets the target's; when that does not fit but something does, it is sent
with the cap that fits (`x-gateway-warnings: max_tokens=<n>`). Afterwards what it did cost takes the place of that.
Configure it once: its counters are those of the ledger. See docs/budgets.md.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gateway import Exchange, Forbidden, Level, Price, QuotaExceeded, RateLimited, Target, hookimpl
from gateway.events import Usage
from gateway.limits import levels
from gateway.money import dollars
from gateway.money.budgets import Budget, affordable_output, budgets, policy_budgets, upper_cost, upper_cost_of
from gateway.money.cost import dearest
from gateway.money.estimate import input_upper
from gateway.money.policybook import PolicyBook
from gateway.money.standing import blocks, entry, exceeded, left, over
from gateway.shared_state import Ask, Granted, Refused

if TYPE_CHECKING:
    from gateway import Gateway

_KEPT = 10_000
_TRIES = 4             # other workers may take what was left between two tries
_LEAST_LOWERED = 1024  # tokens: a shorter answer of a dear model is worse than a whole one of a cheaper model
_TURN = 10.0           # seconds that a request whose size nobody can limit waits for its turn
_LOOK = 0.05
_REMAINING = "x-gateway-budget-remaining"


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


class _Known(msgspec.Struct, frozen=True):
    """The budgets of one caller, for as long as their windows last: those of every request, and those of some."""

    levels: tuple[Level, ...]
    version: int
    start_ms: int
    end_ms: int
    always: tuple[Budget, ...]
    filtered: tuple[Budget, ...]
    limited: bool
    charges: tuple[Ask, ...]

    def of(self, exchange: Exchange, target: Target | None) -> tuple[Budget, ...]:
        """Those that a request at this target is counted in."""
        if not self.filtered or target is None:
            return self.always
        asked = (exchange.request.model, exchange.model) if exchange.request is not None else (exchange.model,)
        provider = target.provider.name
        mine = [each for each in self.filtered if each.policy and each.policy.about(provider, target.model, *asked)]
        return (*self.always, *mine)


class _Account(msgspec.Struct):
    """What this limiter did for one exchange: the open hold, what is left with it, and what is settled already."""

    budgets: tuple[Budget, ...] = ()
    version: int = 0
    hold: str = ""
    attempts: int = 0
    amount: int = 0
    left: int = 0
    settled: int = 0
    warnings: list[str] = []
    lowered: frozenset[str] = frozenset()


class BudgetLimiter:
    """Keeps what is spent and reserved within every cost limit of the caller, to the nano-dollar."""

    name = "limiter.budget"

    def __init__(self, config: Config) -> None:
        self._config = config
        self._kept: dict[str, _Known] = {}

    @hookimpl
    async def startup(self, gateway: "Gateway") -> None:
        """Counters are the process's, so that they outlive a reload."""
        self._state = gateway.state
        self._book = PolicyBook(gateway.store, gateway.state)
        await self._book.load()

    @hookimpl
    async def before_attempt(self, exchange: Exchange, target: Target) -> None:
        """Reserve the most that this attempt can cost, at every level in one step, or refuse the target."""
        if self._book.stale:
            await self._book.refresh()
        known = self._known(exchange)
        if target.free or not known.limited:
            return
        mine = known.of(exchange, target)
        if not any(budget.shown_limit is not None for budget in mine):
            return
        if target.price is not None:
            account = self._account(exchange)
            account.budgets, account.version = _lowered(mine, account.lowered), self._book.version
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
        for warning in account.warnings:
            if warning in exchange.warnings:
                exchange.warnings.remove(warning)
        account.warnings = []

    @hookimpl
    async def on_usage(self, exchange: Exchange) -> None:
        """Turn the reservation into what was spent; count what was spent without one; say what is left."""
        account: _Account | None = exchange.local.get(self.name)
        if self._book.stale:
            await self._book.refresh()
        if account is None and exchange.caller is not None:
            known = self._known(exchange)
            if not (known.limited or known.filtered):  # nobody limits this caller: what it spends is counted
                if exchange.cost > 0:
                    await self._state.charge(known.charges, exchange.cost)
                return
        reserved = account is not None and bool(account.hold)
        if account is not None:
            spent = exchange.cost - account.settled
            await self._settle(account, exchange.cost)
            if reserved:
                exchange.reply_headers[_REMAINING] = dollars(max(0, account.left + account.amount - spent))
        if not reserved and exchange.caller is not None:
            await self._without_hold(exchange, account)
        elif account is not None and exchange.cost and account.version != self._book.version:
            counted = {budget.key for budget in account.budgets}
            late = [each for each in self._known(exchange).of(exchange, exchange.target) if each.key not in counted]
            await self._state.charge([budget.charge(exchange.cost) for budget in late if budget.policy is not None])

    @hookimpl
    async def explain(self, exchange: Exchange, target: Target) -> Sequence[Mapping[str, Any]]:
        """See `Hooks.explain`: what would be reserved at this target's price, and what would be left."""
        await self._book.refresh()
        found = [each for each in self._known(exchange).of(exchange, target) if each.shown_limit is not None]
        if target.free or not found:
            return []
        price, known = target.price, {"plugin": self.name, "target": f"{target.provider.name}/{target.model}"}
        if price is None:
            return [{**known, "limit": "price", "would": "refuse" if self._config.unpriced == "refuse" else "pass"}]
        price = _highest(exchange, price)
        choices, tokens = exchange.request.choices if exchange.request else 1, input_upper(exchange)
        cap, ours = self._cap(exchange, target)
        standings = await self._state.peek([budget.ask(0) for budget in found])
        remaining = left(found, standings)
        fits = affordable_output(price, tokens, choices, remaining)
        if ours and min(self._config.min_output, cap) <= fits < cap:
            cap = fits
        amount = upper_cost(price, tokens, cap * choices)
        return [
            {**known, "output_tokens_at_most": cap, **entry(budget, amount, standing)}
            for budget, standing in zip(found, standings, strict=True)
        ]

    def _known(self, exchange: Exchange) -> _Known:
        """The caller's budgets, kept while their windows last: their names are the same for each of its requests."""
        mine, at_ms = levels(exchange), exchange.started_ms
        key = exchange.caller.key if exchange.caller else ""
        kept = self._kept.get(key)
        if kept is not None and kept.levels is mine and kept.version == self._book.version and (
            kept.start_ms <= at_ms < kept.end_ms
        ):
            return kept
        tenant = exchange.caller.tenant if exchange.caller else ""
        own = budgets(mine, at_ms)
        spenders = [(level.kind, level.id) for level in mine]
        owner = exchange.caller.owner if exchange.caller else ""
        if owner and ("user", owner) not in spenders:  # a service account, which has no limits of its own
            spenders.append(("user", owner))
        made = policy_budgets(self._book.of(tenant, spenders), mine[0].zone if mine else "UTC", at_ms)
        always = (*own, *(each for each in made if each.policy and not each.policy.filtered))
        filtered = tuple(each for each in made if each.policy and each.policy.filtered)
        ends = [each.ends_ms for each in (*always, *filtered) if each.ends_ms]
        known = _Known(
            mine, self._book.version, at_ms, min(ends, default=1 << 62), always, filtered,
            any(each.shown_limit is not None for each in (*always, *filtered)),
            tuple(each.charge(0) for each in always),
        )  # fmt: skip
        if len(self._kept) >= _KEPT:
            self._kept.clear()
        self._kept[key] = known
        return known

    def _account(self, exchange: Exchange) -> _Account:
        account: _Account | None = exchange.local.get(self.name)
        if account is None:
            account = exchange.local[self.name] = _Account()
        return account

    async def _without_hold(self, exchange: Exchange, account: _Account | None) -> None:
        """Charge what nothing was reserved for; and where something is limited, look how much is left."""
        known = self._known(exchange)
        due = exchange.cost - (account.settled if account is not None else 0)
        mine = known.of(exchange, exchange.target)
        if due > 0:
            await self._state.charge([budget.charge(due) for budget in mine])
        if known.limited and _REMAINING not in exchange.reply_headers:
            shown = [budget for budget in mine if budget.shown_limit is not None]
            if shown:
                standings = await self._state.peek([budget.ask(0) for budget in shown])
                exchange.reply_headers[_REMAINING] = dollars(left(shown, standings))

    async def _settle(self, account: _Account, cost: int) -> None:
        """Bring what is counted up to `cost`, the whole exchange's so far."""
        if not account.hold:
            return
        due = max(0, cost - account.settled)
        hold, account.hold = account.hold, ""
        account.settled += due
        if await self._state.settle(hold, {budget.key: due for budget in account.budgets}):
            return
        if due:  # the hold was swept while this worker stood still
            await self._state.charge([budget.charge(due) for budget in account.budgets])

    async def _reserve(self, exchange: Exchange, target: Target, price: Price, account: _Account) -> None:
        request = exchange.request
        choices = request.choices if request is not None else 1
        tokens = input_upper(exchange)
        cap, ours = self._cap(exchange, target)
        cut = ours and target.max_output is None  # an unknown cap is no bound unless it is sent
        alone = _alone(exchange, account.budgets)
        for tries_left in reversed(range(_TRIES)):
            amount = _amount(exchange, price, tokens, cap * choices)
            outcome = await self._take(exchange, account, amount, alone)
            if isinstance(outcome, Granted):
                self._note(exchange, account, amount, outcome)
                if cut:
                    self._send_cap(exchange, account, cap)
                return
            against = over(account.budgets, outcome.standings, amount)
            least = self._config.min_output if any(blocks(each) for each in against) else _LEAST_LOWERED
            fits = affordable_output(price, tokens, choices, left(account.budgets, outcome.standings))
            if not ours or not tries_left or fits < min(least, cap):
                raise self._refusal(exchange, account, against, outcome, amount)
            if fits < cap:
                cap, cut = fits, True

    async def _take(
        self, exchange: Exchange, account: _Account, amount: int, alone: Sequence[Ask]
    ) -> Granted | Refused:
        """One try. Where no bound can be sent upstream, one request at a time: the next sees what it did cost."""
        account.attempts += 1
        hold = f"{exchange.id}/{self.name}/{account.attempts}"
        asks = [budget.ask(amount) for budget in account.budgets]
        give_up = time.monotonic() + _TURN
        while True:
            outcome = await self._state.take(hold, [*asks, *alone] if alone else asks)
            if isinstance(outcome, Granted):
                account.hold = hold
                return outcome
            if not alone or over(account.budgets, outcome.standings, amount):
                return outcome
            if time.monotonic() >= give_up:
                raise RateLimited(
                    "Requests whose size cannot be limited run one at a time under this cost limit; it was not this "
                    "one's turn.", retry_after=1,
                )  # fmt: skip
            await asyncio.sleep(_LOOK)

    def _note(self, exchange: Exchange, account: _Account, amount: int, outcome: Granted) -> None:
        """What is left now, and which budgets that only warn are passed."""
        account.amount, account.left = amount, left(account.budgets, outcome.standings)
        exchange.reply_headers[_REMAINING] = dollars(account.left)
        for budget, standing in zip(account.budgets, outcome.standings, strict=False):
            policy = budget.policy
            if policy is not None and policy.action == "warn" and standing.used > policy.amount:
                name = policy.name.replace(",", " ")
                self._warn(exchange, account, f"over_budget={name}")

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
        self._warn(exchange, account, f"max_tokens={cap}")

    def _warn(self, exchange: Exchange, account: _Account, warning: str) -> None:
        account.warnings = [*account.warnings, warning]
        exchange.warnings.append(warning)

    def _refusal(
        self, exchange: Exchange, account: _Account, against: Sequence[Budget], outcome: Refused, amount: int
    ) -> QuotaExceeded:
        """Why this target is refused; where all that stands against it is a budget with a cheaper model, that one."""
        standings = {standing.key: standing for standing in outcome.standings}
        blocking = [budget for budget in against if blocks(budget)]
        budget = max(blocking or against, key=lambda each: (standings[each.key].retry_after is None, each.ends_ms))
        error = exceeded(budget, standings[budget.key], amount)
        if not blocking and budget.policy is not None and budget.policy.tier_down_to is not None:
            account.lowered |= {each.policy.id for each in against if each.policy is not None}
            error.instead = budget.policy.tier_down_to
            exchange.warnings.append(f"budget={budget.policy.name.replace(',', ' ')}")
            exchange.warnings.append(f"model={error.instead}")
        exchange.reply_headers[_REMAINING] = dollars(standings[budget.key].remaining)
        return error


def _lowered(budgets_: tuple[Budget, ...], lowered: frozenset[str]) -> tuple[Budget, ...]:
    """The same, without the limits of budgets that already led to a cheaper model: they only count it."""
    if not lowered:
        return budgets_
    return tuple(
        msgspec.structs.replace(each, limit=None) if each.policy is not None and each.policy.id in lowered else each
        for each in budgets_
    )


def _amount(exchange: Exchange, price: Price, tokens: int, output: int) -> int:
    """What to reserve: of sound and images what their size says."""
    most: Usage | None = exchange.internal.get("most")
    return upper_cost(price, tokens, output) if most is None else upper_cost_of(price, most)


def _alone(exchange: Exchange, budgets_: Sequence[Budget]) -> list[Ask]:
    """Places for one request each, where the size of the answer is nobody's to limit."""
    if not getattr(exchange.dialect, "unbounded", False):
        return []
    return [Ask("lease", f"alone/{budget.key}", 1) for budget in budgets_ if budget.limit is not None]


def _highest(exchange: Exchange, price: Price) -> Price:
    """The dearest rates that this request may meet: of the service tier that it asks for, at its length."""
    if not (price.variants or price.tiers or price.later):
        return price
    asked = exchange.request.body.get("service_tier") if exchange.request else None
    return dearest(price, input_upper(exchange), asked if isinstance(asked, str) else "", exchange.started_ms)
