"""`limiter.budget` at exactly the limit, one nano-dollar below and above it: for each level, and for a budget of a model."""

from types import SimpleNamespace

import msgspec
import pytest

from gateway import Caller, Exchange, Level, Price, QuotaExceeded, Request, Target
from gateway.money.policies import BudgetPolicy
from gateway.shared_state.memory import MemoryState
from gateway.store import Page
from gateway_plugins.limiters.budget import BudgetLimiter, Config

NOON = 1_795_435_200_000  # 2026-11-23T12:00:00Z
COST = 100 * 1000 + 50 * 2000  # nano-dollars: what each request below reserves, and costs
TARGET = Target(SimpleNamespace(name="stub"), "big-model", Price(1_000_000, 2_000_000, 0, 0, "test"))
LEVELS = {"tenant": "t1", "team": "g1", "user": "u1", "key": "k1"}


def level(kind: str, **limits: int) -> Level:
    return Level(kind, LEVELS[kind], kind, **limits)


def policy(kind: str, amount: int, **fields: object) -> BudgetPolicy:
    return msgspec.convert(
        {"id": "b1", "tenant": "t1", "name": "cap", "scope": kind, "scope_id": LEVELS[kind], "period": "month",
         "amount": amount, "created": 0, "since": 0, **fields}, BudgetPolicy,
    )  # fmt: skip


async def limiter(*policies: BudgetPolicy) -> BudgetLimiter:
    made = BudgetLimiter(Config())

    async def page(kind, where, **options):
        return Page(tuple(policies) if kind is BudgetPolicy else ())

    await made.startup(SimpleNamespace(state=MemoryState(), store=SimpleNamespace(page=page)))
    return made


async def passed(plugin: BudgetLimiter, *levels: Level) -> list[bool]:
    """Whether each of three requests one after another was let through; those that were cost what they reserved."""
    found = []
    for number in range(3):
        one = Exchange(f"req_{number}", "chat.completions", SimpleNamespace(name="stub", generates=True), {}, NOON)
        one.caller = Caller("t1", "k1", owner="u1", team="g1", levels=levels)
        one.request = Request(b"{}", {}, "m", max_output=50)
        one.internal["input_upper"] = 100
        try:
            await plugin.before_attempt(one, TARGET)
            found.append(True)
            one.cost, one.target = COST, TARGET
        except QuotaExceeded:
            found.append(False)
        await plugin.on_usage(one)
    return found


EXACT = [(-1, [True, False, False]), (0, [True, True, False]), (1, [True, True, False])]


@pytest.mark.parametrize(("difference", "expected"), EXACT)
@pytest.mark.parametrize("period", ["cost_daily", "cost_monthly"])
@pytest.mark.parametrize("kind", LEVELS)
async def test_two_requests_fit_into_exactly_their_cost_at_every_level(kind, period, difference, expected):
    levels = [level(each, **({period: 2 * COST + difference} if each == kind else {})) for each in LEVELS]
    assert await passed(await limiter(), *levels) == expected


@pytest.mark.parametrize(("difference", "expected"), EXACT)
@pytest.mark.parametrize("fields", [{}, {"models": ["big-*"]}, {"providers": ["stub"]}, {"rolling": True}], ids=str)
@pytest.mark.parametrize("kind", LEVELS)
async def test_the_same_of_budgets_of_every_scope_and_of_a_model(kind, fields, difference, expected):
    plugin = await limiter(policy(kind, 2 * COST + difference, **fields))
    assert await passed(plugin, *(level(each) for each in LEVELS)) == expected
