"""`limiter.budget`: spent + reserved never passes a limit, whatever happens to the requests."""

import asyncio
import random
from types import SimpleNamespace

import msgspec
import pytest

from gateway import Attempt, Caller, Exchange, Forbidden, Level, Price, QuotaExceeded, Request, Target
from gateway.money.budgets import budget_keys, policy_budgets
from gateway.money.policies import BudgetPolicy
from gateway.shared_state.memory import MemoryState
from gateway.store import Page, StoreUnavailable
from gateway_plugins.limiters.budget import BudgetLimiter, Config

NOON = 1_795_435_200_000  # 2026-11-23T12:00:00Z
MICRO = 1_000_000         # pico-dollars: a dollar per million tokens
PRICE = Price(1 * MICRO, 2 * MICRO, 1 * MICRO // 2, 0, "test")
KEY = Level("key", "k1", "ci")
DAY, MONTH = budget_keys(KEY, NOON)


def cost(input_tokens: int, output_tokens: int) -> int:
    return input_tokens * 1000 + output_tokens * 2000  # nano-dollars at PRICE


def target(price: Price | None = PRICE, **fields) -> Target:
    return Target(SimpleNamespace(name="stub"), "big-model", price, **fields)


def exchange(
    number: int = 0, *levels: Level, tokens: int = 100, endpoint: str = "chat.completions", **fields
) -> Exchange:
    made = Exchange(f"req_{number}", endpoint, SimpleNamespace(name="stub", generates=endpoint != "embeddings"), {}, NOON)
    made.caller = Caller("t1", "k1", levels=levels)
    made.request = Request(b"{}", {}, "m", **fields)
    made.internal["input_upper"] = tokens  # as the estimate remembers it
    return made


def daily(limit: int) -> Level:
    return msgspec.structs.replace(KEY, cost_daily=limit)


class Policies:
    """A store with nothing but budgets; a change of them is told as the real one does."""

    def __init__(self, state: MemoryState, *policies: BudgetPolicy) -> None:
        self.state = state
        self.policies = list(policies)

    async def page(self, kind, where, **options):
        return Page(tuple(reversed(self.policies)) if kind is BudgetPolicy else ())

    async def change(self, *policies: BudgetPolicy) -> None:
        self.policies = list(policies)
        await self.state.bump("auth")


async def limiter(state: MemoryState, *policies: BudgetPolicy, **options) -> BudgetLimiter:
    made = BudgetLimiter(msgspec.convert(options, Config))
    made.store = Policies(state, *policies)
    await made.startup(SimpleNamespace(state=state, store=made.store))
    return made


def policy(**fields) -> BudgetPolicy:
    values = {
        "id": "b1", "tenant": "t1", "name": "monthly cap", "scope": "key", "scope_id": "k1", "period": "month",
        "amount": 10**9, "created": 0, "since": 0,
    }
    return BudgetPolicy(**{**values, **fields})


async def finish(plugin: BudgetLimiter, one: Exchange, spent: int) -> None:
    one.cost = spent
    await plugin.on_usage(one)


@pytest.mark.parametrize(("difference", "passes"), [(-1, False), (0, True), (1, True)])
async def test_the_boundary_is_exact_to_the_nano_dollar(difference, passes):
    state = MemoryState()
    plugin = await limiter(state)
    one = exchange(0, daily(cost(100, 50) + difference), max_output=50)
    if passes:
        await plugin.before_attempt(one, target())
        assert await state.spent(DAY) == (0, cost(100, 50))
        assert one.cap is None
    else:
        with pytest.raises(QuotaExceeded):
            await plugin.before_attempt(one, target())
        assert await state.spent(DAY) == (0, 0)


async def test_settling_counts_the_cost_at_every_level_once():
    state = MemoryState()
    plugin = await limiter(state)
    tenant = Level("tenant", "t1", cost_monthly=10**9)
    one = exchange(0, tenant, daily(10**9), max_output=50)
    await plugin.before_attempt(one, target())
    await finish(plugin, one, 777)
    await finish(plugin, one, 777)
    for level in (tenant, KEY):
        for key in budget_keys(level, NOON):
            assert await state.spent(key) == (777, 0)
    assert await state.totals() == {"open_holds": 0, "reserved": 0}


async def test_parallel_requests_never_pass_the_limit_together():
    state = MemoryState()
    plugin = await limiter(state)
    limit = 7 * cost(100, 50) + 5

    async def one(number: int) -> bool:
        made = exchange(number, daily(limit), max_output=50)
        try:
            await plugin.before_attempt(made, target())
        except QuotaExceeded:
            return False
        await asyncio.sleep(0)
        await finish(plugin, made, cost(100, 50))
        return True

    assert sum(await asyncio.gather(*(one(number) for number in range(40)))) == 7
    assert await state.spent(DAY) == (7 * cost(100, 50), 0)


async def test_without_a_cap_the_targets_full_cap_is_reserved():
    state = MemoryState()
    one = exchange(0, daily(10**9), choices=2)
    await (await limiter(state)).before_attempt(one, target(max_output=300))
    assert await state.spent(DAY) == (0, cost(100, 600))
    assert (one.cap, one.warnings) == (None, [])


@pytest.mark.parametrize("endpoint", ["chat.completions", "completions"])
async def test_what_is_left_becomes_the_cap_and_says_so(endpoint):
    state = MemoryState()
    one = exchange(0, daily(cost(100, 2 * 40) + 3999), endpoint=endpoint, choices=2)
    await (await limiter(state)).before_attempt(one, target(max_output=300))
    assert one.cap == 40
    assert one.warnings == ["max_tokens=40"]
    assert await state.spent(DAY) == (0, cost(100, 80))


@pytest.mark.parametrize(("affordable", "passes"), [(15, False), (16, True)])
async def test_less_than_the_least_output_is_refused(affordable, passes):
    plugin = await limiter(MemoryState())
    one = exchange(0, daily(cost(100, affordable)))
    if passes:
        await plugin.before_attempt(one, target(max_output=300))
        assert one.cap == 16
    else:
        with pytest.raises(QuotaExceeded):
            await plugin.before_attempt(one, target(max_output=300))


async def test_the_callers_own_cap_is_never_changed():
    plugin = await limiter(MemoryState())
    with pytest.raises(QuotaExceeded):
        await plugin.before_attempt(exchange(0, daily(cost(100, 40)), max_output=50), target(max_output=300))


async def test_a_target_of_unknown_cap_is_sent_one_because_only_that_bounds_its_cost():
    state = MemoryState()
    one = exchange(0, daily(10**12))
    await (await limiter(state, default_output_cap=1000)).before_attempt(one, target())
    assert one.cap == 1000
    assert await state.spent(DAY) == (0, cost(100, 1000))


async def test_embeddings_have_no_output():
    state = MemoryState()
    one = exchange(0, daily(cost(100, 0)), endpoint="embeddings")
    await (await limiter(state)).before_attempt(one, target(max_output=300))
    assert await state.spent(DAY) == (0, cost(100, 0))


async def test_a_dear_cache_write_is_part_of_the_bound():
    state = MemoryState()
    price = Price(MICRO, 2 * MICRO, MICRO // 10, MICRO * 5 // 4, "test")
    await (await limiter(state)).before_attempt(exchange(0, daily(10**9), max_output=1), target(price))
    assert await state.spent(DAY) == (0, 100 * 1250 + 2000)


@pytest.mark.parametrize("output_price", [0, 1, 333, 999, 123_456])
async def test_a_shortened_answer_always_fits_whatever_the_rounding(output_price):
    for limit in range(200, 260):
        state = MemoryState()
        one = exchange(0, daily(limit), tokens=3)
        price = Price(777, output_price, 0, 0, "test")
        try:
            await (await limiter(state, min_output=1)).before_attempt(one, target(price, max_output=10**6))
        except QuotaExceeded:
            assert output_price == 123_456
        spent, reserved = await state.spent(DAY)
        assert spent + reserved <= limit


async def test_a_model_without_a_price_is_refused_to_a_caller_with_a_limit():
    plugin = await limiter(MemoryState())
    with pytest.raises(Forbidden, match="no known price") as caught:
        await plugin.before_attempt(exchange(0, daily(10**9)), target(None))
    assert caught.value.code == "model_not_priced"
    await plugin.before_attempt(exchange(1, KEY), target(None))
    await plugin.before_attempt(exchange(2, daily(10**9)), target(None, free=True))
    await (await limiter(MemoryState(), unpriced="allow")).before_attempt(exchange(3, daily(1)), target(None))


async def test_spending_without_a_limit_is_counted_for_a_limit_that_comes_later():
    state = MemoryState()
    plugin = await limiter(state)
    one = exchange(0, KEY)
    await plugin.before_attempt(one, target())
    await finish(plugin, one, 5000)
    assert await state.spent(DAY) == (5000, 0)
    assert await state.spent(MONTH) == (5000, 0)
    with pytest.raises(QuotaExceeded):
        await plugin.before_attempt(exchange(1, daily(5000), max_output=1), target())


async def test_a_failed_attempt_gives_back_and_the_next_reserves_at_its_own_price():
    state = MemoryState()
    plugin = await limiter(state)
    one = exchange(0, daily(10**9), max_output=50)
    await plugin.before_attempt(one, target())
    await plugin.after_attempt(one)
    assert await state.spent(DAY) == (0, 0)
    dearer = Price(10 * MICRO, 20 * MICRO, 0, 0, "test")
    await plugin.before_attempt(one, target(dearer))
    assert await state.spent(DAY) == (0, 10 * cost(100, 50))
    await finish(plugin, one, 42)
    assert await state.spent(DAY) == (42, 0)


async def test_a_failed_attempt_that_cost_something_is_counted_once():
    state = MemoryState()
    plugin = await limiter(state)
    one = exchange(0, daily(10**9), max_output=50)
    await plugin.before_attempt(one, target())
    one.attempts.append(Attempt("stub", "big-model", "upstream_cut", cost=300))
    await plugin.after_attempt(one)
    assert await state.spent(DAY) == (300, 0)
    await plugin.before_attempt(one, target())
    await finish(plugin, one, 1000)
    assert await state.spent(DAY) == (1000, 0)


async def test_a_shortened_attempt_that_failed_takes_its_warning_along():
    plugin = await limiter(MemoryState())
    one = exchange(0, daily(cost(100, 40)))
    await plugin.before_attempt(one, target(max_output=300))
    await plugin.after_attempt(one)
    assert one.warnings == []


async def test_an_attempt_refused_by_somebody_else_leaves_nothing():
    state = MemoryState()
    plugin = await limiter(state)
    one = exchange(0, daily(10**9))
    await plugin.after_attempt(one)
    await plugin.on_usage(one)
    assert await state.totals() == {"open_holds": 0, "reserved": 0}


async def test_a_cost_is_counted_even_when_the_hold_was_swept():
    state = MemoryState()
    plugin = await limiter(state)
    one = exchange(0, daily(10**9), max_output=50)
    await plugin.before_attempt(one, target())
    await state.release_owner("0")
    await finish(plugin, one, 900)
    assert await state.spent(DAY) == (900, 0)


async def test_a_refusal_names_the_limit_what_is_spent_and_when_it_starts_anew():
    state = MemoryState()
    plugin = await limiter(state)
    level = Level("tenant", "t1", "Acme", cost_monthly=5_000_000_000)
    await state.seed({budget_keys(level, NOON)[1]: 4_990_000_000})
    running = exchange(0, level, tokens=0, max_output=3000)
    await plugin.before_attempt(running, target())
    with pytest.raises(QuotaExceeded) as caught:
        await plugin.before_attempt(exchange(1, level, tokens=0, max_output=3000), target())
    assert caught.value.message == (
        "The monthly cost limit of tenant `Acme` is $5, with $4.996 spent or reserved by running requests and $0.004 "
        "left; this request may cost $0.006. The limit starts anew at 2026-12-01T00:00:00Z."
    )
    assert caught.value.retry_after > 0
    assert caught.value.details == {
        "limit": "5", "remaining": "0.004", "period": "monthly", "level": "tenant", "resets_at": "2026-12-01T00:00:00Z",
    }  # fmt: skip
    assert caught.value.headers["x-should-retry"] == "false"
    assert running.reply_headers["x-gateway-budget-remaining"] == "0.004"


async def test_ten_thousand_random_ends_keep_counters_equal_to_the_costs():
    state = MemoryState()
    plugin = await limiter(state)
    dice = random.Random(11)
    total = 0

    async def request(number: int) -> int:
        one = exchange(number, daily(10**15), max_output=50)
        try:
            await plugin.before_attempt(one, target())
            await asyncio.sleep(0)
            if dice.random() < 0.2:
                await plugin.after_attempt(one)
                await plugin.before_attempt(one, target())
            await asyncio.sleep(0)
            one.cost = dice.randrange(500_000)
        finally:
            await plugin.on_usage(one)
            nonlocal total
            total += one.cost
        return one.cost

    for start in range(0, 10_000, 1000):
        tasks = [asyncio.create_task(request(number)) for number in range(start, start + 1000)]
        await asyncio.sleep(0)
        for task in tasks:
            if dice.random() < 0.5:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert await state.totals() == {"open_holds": 0, "reserved": 0}
    assert await state.spent(DAY) == (total, 0)
    assert await state.spent(MONTH) == (total, 0)


@pytest.mark.parametrize(
    "options", [{"unpriced": "maybe"}, {"min_output": 0}, {"default_output_cap": 0}, {"limit": 3}]
)
def test_wrong_options_are_errors(options):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(options, Config)


def left(one: Exchange) -> str:
    return one.reply_headers["x-gateway-budget-remaining"]


async def test_a_budget_object_refuses_at_its_limit_like_a_limit_of_a_level():
    state = MemoryState()
    plugin = await limiter(state, policy(amount=cost(100, 50), period="day"))
    first = exchange(0, KEY, max_output=50)
    await plugin.before_attempt(first, target())
    assert left(first) == "0"
    with pytest.raises(QuotaExceeded, match="The daily budget `monthly cap` of key `k1`") as caught:
        await plugin.before_attempt(exchange(1, KEY, max_output=50), target())
    assert caught.value.details["budget"] == "b1"
    assert caught.value.details["resets_at"] == "2026-11-24T00:00:00Z"
    await finish(plugin, first, cost(100, 10))
    assert left(first) == "0.00008"  # what was reserved and not spent is there again


async def test_a_new_budget_holds_for_the_very_next_request_and_a_removed_one_no_longer():
    state = MemoryState()
    plugin = await limiter(state)
    await plugin.before_attempt(exchange(0, KEY, max_output=50), target())
    await plugin.store.change(policy(amount=1))
    with pytest.raises(QuotaExceeded):
        await plugin.before_attempt(exchange(1, KEY, max_output=50), target())
    await plugin.store.change(policy(amount=10**9, version=2))
    await plugin.before_attempt(exchange(2, KEY, max_output=50), target())
    await plugin.store.change()
    await plugin.before_attempt(exchange(3, KEY, max_output=50), target())


async def test_a_request_that_ran_while_a_budget_was_made_is_counted_in_it():
    state = MemoryState()
    plugin = await limiter(state)
    one = exchange(0, daily(10**9), max_output=50)
    await plugin.before_attempt(one, target())
    made = policy()
    await plugin.store.change(made)
    await finish(plugin, one, 700)
    (budget,) = policy_budgets([made], "UTC", NOON)
    assert await state.spent(budget.key) == (700, 0)
    assert await state.spent(DAY) == (700, 0)


async def test_a_budget_for_some_models_counts_and_refuses_those_alone():
    state = MemoryState()
    made = policy(amount=cost(100, 50), models=("big-*",), period="week")
    plugin = await limiter(state, made)
    one = exchange(0, KEY, max_output=50)
    await plugin.before_attempt(one, target())
    await finish(plugin, one, cost(100, 50))
    small = Target(SimpleNamespace(name="stub"), "small-model", PRICE)
    await plugin.before_attempt(exchange(1, KEY, max_output=50), small)
    two = exchange(2, KEY, max_output=50)
    two.target = small
    await finish(plugin, two, 999)
    with pytest.raises(QuotaExceeded):
        await plugin.before_attempt(exchange(3, KEY, max_output=50), target())
    (budget,) = policy_budgets([made], "UTC", NOON)
    assert await state.spent(budget.key) == (cost(100, 50), 0)


async def test_a_warning_budget_lets_pass_and_says_so():
    state = MemoryState()
    plugin = await limiter(state, policy(amount=cost(100, 50), action="warn", name="soft, really"))
    first, second = exchange(0, KEY, max_output=50), exchange(1, KEY, max_output=50)
    await plugin.before_attempt(first, target())
    await plugin.before_attempt(second, target())
    assert (first.warnings, second.warnings) == ([], ["over_budget=soft  really"])
    assert left(second) == "0"
    await plugin.after_attempt(second)
    assert second.warnings == []


async def test_a_used_up_budget_with_a_cheaper_model_names_it_and_counts_it():
    state = MemoryState()
    made = policy(amount=cost(100, 50), action="tier_down", tier_down_to="cheap")
    plugin = await limiter(state, made)
    await plugin.before_attempt(exchange(0, KEY, max_output=50), target())
    one = exchange(1, KEY, max_output=50)
    with pytest.raises(QuotaExceeded) as caught:
        await plugin.before_attempt(one, target())
    assert caught.value.instead == "cheap"
    await plugin.after_attempt(one)
    await plugin.before_attempt(one, target(Price(1000, 1000, 0, 0, "test")))
    await finish(plugin, one, 150)
    (budget,) = policy_budgets([made], "UTC", NOON)
    assert (await state.spent(budget.key))[0] == 150
    assert one.warnings == ["budget=monthly cap", "model=cheap"]


async def test_a_hard_budget_beside_it_is_not_circumvented_by_the_cheaper_model():
    plugin = await limiter(
        MemoryState(), policy(amount=1, action="tier_down", tier_down_to="cheap"), policy(id="b2", name="hard", amount=1)
    )
    one = exchange(1, KEY, max_output=50)
    with pytest.raises(QuotaExceeded, match="hard") as caught:
        await plugin.before_attempt(one, target())
    assert caught.value.instead == ""


async def test_a_rolling_budget_says_when_enough_is_free_again():
    state = MemoryState()
    plugin = await limiter(state, policy(amount=cost(100, 50), rolling=True, period="hour"))
    one = exchange(0, KEY, max_output=50)
    await plugin.before_attempt(one, target())
    await finish(plugin, one, cost(100, 50))
    with pytest.raises(QuotaExceeded, match=r"rolling 1-hour budget .* Enough of it is free again at") as caught:
        await plugin.before_attempt(exchange(1, KEY, max_output=50), target())
    assert 3500 < caught.value.retry_after <= 3661


async def test_budgets_of_another_tenant_with_the_same_ids_are_not_ours():
    plugin = await limiter(MemoryState(), policy(tenant="t2", amount=1))
    await plugin.before_attempt(exchange(0, KEY, max_output=50), target())


async def test_a_request_whose_size_nobody_can_limit_runs_alone():
    state = MemoryState()
    plugin = await limiter(state)

    def unbounded(number: int) -> Exchange:
        made = exchange(number, daily(10**9), endpoint="embeddings")
        made.dialect.unbounded = True
        return made

    running, order = 0, []

    async def one(number: int) -> None:
        nonlocal running
        made = unbounded(number)
        await plugin.before_attempt(made, target())
        running += 1
        order.append(running)
        await asyncio.sleep(0.01)
        running -= 1
        await finish(plugin, made, 100)

    await asyncio.gather(*(one(number) for number in range(4)))
    assert order == [1, 1, 1, 1]
    assert await state.spent(DAY) == (400, 0)


async def test_what_is_left_is_said_also_where_nothing_was_reserved():
    state = MemoryState()
    plugin = await limiter(state)
    one = exchange(0, daily(10**9))
    await plugin.on_usage(one)  # refused before any target was tried
    assert left(one) == "1"
    other = exchange(1, KEY)
    await plugin.on_usage(other)
    assert "x-gateway-budget-remaining" not in other.reply_headers


async def test_days_begin_in_the_tenants_zone():
    state = MemoryState()
    plugin = await limiter(state)
    tokyo = msgspec.structs.replace(daily(cost(100, 50)), zone="Asia/Tokyo")
    one = exchange(0, tokyo, max_output=50)
    await plugin.before_attempt(one, target())
    await finish(plugin, one, cost(100, 50))
    with pytest.raises(QuotaExceeded, match="starts anew at 2026-11-23T15:00:00Z"):
        await plugin.before_attempt(exchange(1, tokyo, max_output=50), target())
    tomorrow = exchange(2, tokyo, max_output=50)
    tomorrow.started_ms += 3 * 3600_000
    await plugin.before_attempt(tomorrow, target())


async def test_the_database_away_leaves_the_known_budgets_in_force():
    state = MemoryState()
    plugin = await limiter(state, policy(amount=1))

    async def away(*arguments, **options):
        raise StoreUnavailable("away")

    plugin.store.page = away
    await state.bump("auth")
    with pytest.raises(QuotaExceeded):
        await plugin.before_attempt(exchange(0, KEY, max_output=50), target())
