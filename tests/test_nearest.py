"""Nearest names."""

import time

from gateway.nearest import did_you_mean, nearest


def test_the_nearest_names_come_first():
    assert nearest("acton", ["limit", "action", "actor"])[0] == "action"
    assert nearest("GPT-4o", ["gpt-4o", "gpt-4o-mini"])[0] == "gpt-4o"
    assert nearest("zzz", ["action"]) == []


def test_the_hint_is_nothing_when_no_name_is_near():
    assert did_you_mean("acton", ["action"]) == "; did you mean `action`?"
    assert did_you_mean("zzz", ["action"]) == ""


def test_a_very_long_name_costs_nothing():
    began = time.perf_counter()
    assert nearest("m" * 1_000_000, [f"model-{n}" for n in range(2000)]) == []
    assert time.perf_counter() - began < 0.1
