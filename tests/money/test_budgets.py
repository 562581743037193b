"""Calendar budgets: UTC days and months, names of counters, and bounds that hold under rounding."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from gateway.events import Usage
from gateway.exchange import Level, Price
from gateway.money.budgets import NO_LIMIT, affordable_output, budget_keys, budgets, periods, upper_cost
from gateway.money.cost import cost_nano


def ms(*moment: int) -> int:
    return int(datetime(*moment, tzinfo=UTC).timestamp()) * 1000


def test_counters_are_named_by_level_and_utc_calendar():
    keys = budget_keys(Level("key", "abc"), ms(2026, 11, 23, 23, 59, 59) + 999)
    assert keys == ("cost/key/abc/d/2026-11-23", "cost/key/abc/m/2026-11")
    assert periods(ms(2026, 11, 24)) == ("2026-11-24", "2026-11")


def test_both_budgets_of_each_level_are_counted_and_only_limited_ones_reserve():
    found = budgets([Level("tenant", "t"), Level("key", "k", cost_daily=5)], ms(2026, 1, 1))
    assert [(budget.key, budget.limit) for budget in found] == [
        ("cost/tenant/t/d/2026-01-01", None), ("cost/tenant/t/m/2026-01", None),
        ("cost/key/k/d/2026-01-01", 5), ("cost/key/k/m/2026-01", None),
    ]  # fmt: skip
    asks = [budget.ask(3) for budget in found]
    assert [(ask.amount, ask.limit) for ask in asks] == [(0, NO_LIMIT), (0, NO_LIMIT), (3, 5), (0, NO_LIMIT)]
    assert asks[0].keep < asks[1].keep
    assert [budget.charge(3).amount for budget in found] == [3, 3, 3, 3]


rates = st.integers(0, 10**8)
tokens = st.integers(0, 10**6)


@given(rates, rates, rates, rates, tokens, tokens, st.data())
def test_no_usage_within_the_bound_costs_more_than_the_bound(input_, output, cached, write, given_in, given_out, data):
    price = Price(input_, output, cached, write, "test")
    hit = data.draw(st.integers(0, given_in))
    written = data.draw(st.integers(0, given_in - hit))
    usage = Usage(input=given_in, output=given_out, cached=hit, cache_write=written)
    assert cost_nano(price, usage) <= upper_cost(price, given_in, given_out)


@given(rates, st.integers(1, 10**8), tokens, st.integers(1, 5), st.integers(0, 10**12))
def test_the_affordable_output_is_the_most_that_fits(input_, output, given_in, choices, available):
    price = Price(input_, output, 0, 0, "test")
    fits = affordable_output(price, given_in, choices, available)
    if fits < 0:
        assert upper_cost(price, given_in, 0) > available
    else:
        assert upper_cost(price, given_in, fits * choices) <= available
        assert upper_cost(price, given_in, (fits + 1) * choices) > available
