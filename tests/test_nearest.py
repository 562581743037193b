"""Nearest names."""

import time

from gateway.nearest import did_you_mean, nearest


def test_the_nearest_names_come_first():
    assert nearest("acton", ["limit", "action", "actor"])[0] == "action"
    assert nearest("GPT-4o", ["gpt-4o", "gpt-4o-mini"])[0] == "gpt-4o"
    assert nearest("demo", ["gpt-4o", "demo-small-preview"]) == ["demo-small-preview"]
    assert nearest("zzz", ["action"]) == []
    assert nearest("", ["action"]) == []


def test_the_hint_is_nothing_when_no_name_is_near():
    assert did_you_mean("acton", ["action"]) == "; did you mean `action`?"
    assert did_you_mean("zzz", ["action"]) == ""


def test_a_very_long_name_costs_nothing():
    began = time.perf_counter()
    assert nearest("m" * 1_000_000, [f"model-{n}" for n in range(2000)]) == []
    assert time.perf_counter() - began < 2


def test_among_thousands_of_names_the_near_one_is_found_in_milliseconds():
    """An unknown model's 404 suggests names on the event loop: it must not hold up other requests."""
    names = [f"provider-{n % 40}/some-model-{n}" for n in range(2400)]
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        assert nearest("provider-3/some-modle-43", names)[0] == "provider-3/some-model-43"
        best = min(best, time.perf_counter() - began)
    assert best < 0.3
