"""Windows of calendars in any zone, what a budget is about, and the names of its counters."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.money.policies import SPANS, BudgetPolicy, counter, window


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def shown(period: str, zone: str, at: str) -> tuple[str, str]:
    return tuple(datetime.fromtimestamp(each / 1000, UTC).isoformat()[:16] for each in window(period, zone, ms(at)))


@pytest.mark.parametrize(
    ("period", "zone", "at", "expected"),
    [
        ("day", "UTC", "2026-11-23T12:00:00Z", ("2026-11-23T00:00", "2026-11-24T00:00")),
        ("day", "Asia/Tokyo", "2026-11-23T15:00:00Z", ("2026-11-23T15:00", "2026-11-24T15:00")),
        ("day", "Asia/Kolkata", "2026-11-23T18:29:59Z", ("2026-11-22T18:30", "2026-11-23T18:30")),
        ("day", "Europe/Berlin", "2026-03-29T12:00:00Z", ("2026-03-28T23:00", "2026-03-29T22:00")),  # 23 hours
        ("day", "Europe/Berlin", "2026-10-25T12:00:00Z", ("2026-10-24T22:00", "2026-10-25T23:00")),  # 25 hours
        ("day", "Africa/Cairo", "2026-04-24T12:00:00Z", ("2026-04-23T22:00", "2026-04-24T21:00")),  # midnight is skipped
        ("hour", "Europe/Berlin", "2026-10-25T00:59:59Z", ("2026-10-25T00:00", "2026-10-25T01:00")),  # 2 o'clock, once
        ("hour", "Europe/Berlin", "2026-10-25T01:00:00Z", ("2026-10-25T01:00", "2026-10-25T02:00")),  # and again
        ("hour", "Asia/Kolkata", "2026-11-23T12:29:59Z", ("2026-11-23T11:30", "2026-11-23T12:30")),
        ("week", "UTC", "2026-11-22T23:59:59Z", ("2026-11-16T00:00", "2026-11-23T00:00")),
        ("week", "America/New_York", "2026-11-01T12:00:00Z", ("2026-10-26T04:00", "2026-11-02T05:00")),
        ("month", "America/New_York", "2026-03-01T04:59:59Z", ("2026-02-01T05:00", "2026-03-01T05:00")),
        ("month", "Pacific/Auckland", "2026-12-31T11:00:00Z", ("2026-12-31T11:00", "2027-01-31T11:00")),
        ("month", "UTC", "2028-02-29T12:00:00Z", ("2028-02-01T00:00", "2028-03-01T00:00")),
        ("day", "Nowhere/Atlantis", "2026-11-23T12:00:00Z", ("2026-11-23T00:00", "2026-11-24T00:00")),
    ],
)
def test_a_window_is_that_of_the_zones_calendar(period, zone, at, expected):
    assert shown(period, zone, at) == expected


@given(
    st.integers(ms("2000-01-01T00:00:00Z"), ms("2037-01-01T00:00:00Z")), st.sampled_from(list(SPANS)),
    st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Africa/Cairo", "Asia/Kathmandu"]),
)  # fmt: skip
def test_every_moment_is_in_its_window_and_windows_follow_each_other_without_a_gap(at, period, zone):
    start, end = window(period, zone, at)
    assert start <= at < end
    assert window(period, zone, start) == (start, end)
    assert window(period, zone, end - 1) == (start, end)
    assert window(period, zone, end)[0] == end


def policy(**fields) -> BudgetPolicy:
    values = {
        "id": "b", "tenant": "t", "name": "n", "scope": "key", "scope_id": "k", "period": "day", "amount": 1,
        "created": 0, "since": 7,
    }
    return BudgetPolicy(**{**values, **fields})


@pytest.mark.parametrize(
    ("filters", "names", "counted"),
    [
        ({}, ("up", "gpt-4o", "smart"), True),
        ({"models": ("gpt-*",)}, ("up", "gpt-4o", "smart"), True),
        ({"models": ("smart",)}, ("up", "gpt-4o", "smart"), True),
        ({"models": ("up/gpt-4o",)}, ("up", "gpt-4o", "smart"), True),
        ({"models": ("claude-*", "o?")}, ("up", "gpt-4o", "smart"), False),
        ({"models": ()}, ("up", "gpt-4o", "smart"), False),
        ({"providers": ("up",)}, ("up", "gpt-4o", "smart"), True),
        ({"providers": ("down",), "models": ("gpt-4o",)}, ("up", "gpt-4o", "smart"), False),
    ],
)
def test_a_budget_is_about_the_models_and_providers_that_it_names(filters, names, counted):
    assert policy(**filters).about(*names) is counted


def test_a_counter_is_another_one_in_the_next_window_and_when_it_counts_something_else():
    names = {counter(policy(), 0), counter(policy(), 86_400_000), counter(policy(since=8), 0), counter(policy(id="c"), 0)}
    assert len(names) == 4
    assert counter(policy(rolling=True), 0) == counter(policy(rolling=True), 86_400_000)
