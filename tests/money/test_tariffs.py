"""A price in the configuration says all that a provider's price list can say."""

import msgspec
import pytest

from gateway.config import PriceEntry
from gateway.events import Special, Usage
from gateway.money.budgets import affordable_output, upper_cost
from gateway.money.cost import Line, cost_nano, dearest, lines
from gateway.money.prices import PriceBook

DAY = 86_400_000
JULY = 1_782_864_000_000  # 2026-07-01, Unix milliseconds


def price(*entries):
    """The price of `own/model` with these entries."""
    given = [msgspec.convert({"model": "own/model", "input": "1", "output": "2", **each}, PriceEntry) for each in entries]
    return PriceBook(given).find("own", "model", None)


def test_a_long_prompt_pays_its_own_rates_for_all_of_its_tokens():
    found = price({"tiers": [{"above": 1000, "input": "3"}, {"above": 100, "input": "2", "output": "5"}]})
    assert cost_nano(found, Usage(input=100, output=10)) == 100_000 + 20_000
    assert cost_nano(found, Usage(input=101, output=10)) == 202_000 + 50_000
    assert cost_nano(found, Usage(input=1001, output=10)) == 3_003_000 + 20_000  # what a tier leaves out is the usual rate


def test_another_service_tier_pays_its_own_rates_and_an_unknown_one_the_usual():
    found = price({"variants": {"flex": {"input": "0.5"}, "priority": {"input": "4", "output": "8"}}})
    assert [cost_nano(found, Usage(input=1000, tier=tier)) for tier in ("", "flex", "priority", "gold")] == [
        1_000_000, 500_000, 4_000_000, 1_000_000,
    ]


def test_a_price_holds_from_its_day_on():
    found = price({"input": "1"}, {"input": "3", "since": "2026-07-01"}, {"input": "2", "since": "2026-08-01"})
    days = (JULY - 1, JULY, JULY + 31 * DAY - 1, JULY + 31 * DAY)
    assert [cost_nano(found, Usage(input=1000), at) for at in days] == [1_000_000, 3_000_000, 3_000_000, 2_000_000]


def test_parts_of_the_usage_pay_their_own_rates_once():
    found = price({
        "cached_input": "0.1", "cache_write": "1.25", "cache_write_1h": "2", "audio_input": "10", "audio_output": "20",
        "image_input": "5", "reasoning": "3",
    })
    usage = Usage(
        input=1000, cached=200, cache_write=100, output=500, reasoning=50,
        special=Special(cache_write_1h=40, audio_input=100, audio_cached=50, audio_output=10, image_input=7),
    )
    # 700 plain input, of which 50 sound (its other 50 are cached) and 7 image; 60 written for 5 minutes, 40 for an hour.
    by_hand = (643 * 1000 + 50 * 10_000 + 7 * 5000) + 200 * 100 + (60 * 1250 + 40 * 2000) + (440 * 2000 + 10 * 20_000 + 50 * 3000)
    assert cost_nano(found, usage) == by_hand
    assert sum(line.quantity * line.rate for line in lines(found, usage)) == by_hand * 1000


def test_a_part_without_a_rate_of_its_own_costs_what_its_whole_does():
    usage = Usage(input=1000, output=100, special=Special(audio_input=900, image_output=100))
    assert cost_nano(price({}), usage) == cost_nano(price({}), Usage(input=1000, output=100))


def test_requests_and_searches_have_a_price_each():
    found = price({"per_request": "0.001", "per_search": "0.01"})
    assert cost_nano(found, Usage(input=10, special=Special(searches=3))) == 1_000_000 + 30_000_000 + 10_000
    assert Line("searches", 3, 10**10) in lines(found, Usage(special=Special(searches=3)))


def test_a_machine_by_the_hour_is_shared_by_its_requests():
    found = price({"input": "0", "output": "0", "per_hour": "3.60", "parallel": 10})
    assert cost_nano(found, Usage(input=10_000, output=900), seconds=2.5) == 250_000  # 3.60 / 3600 s / 10 * 2.5 s


def test_the_version_changes_with_any_rate():
    prices = [price({}), price({"reasoning": "2"}), price({"tiers": [{"above": 5}]}), price({"variants": {"flex": {}}})]
    assert len({each.version for each in prices}) == 4
    assert prices[0].version == price({}).version


@pytest.mark.parametrize("wrong", [
    {"tiers": [{"above": 0}]}, {"variants": {"gold": {}}}, {"since": "July"}, {"per_hour": "-1"}, {"parallel": 0}, {"reasonning": "1"},
])
def test_a_wrong_entry_is_refused(wrong):
    with pytest.raises(msgspec.ValidationError):
        price(wrong)


@pytest.mark.parametrize("tier", ["", "flex", "priority"])
def test_what_is_reserved_is_never_less_than_what_is_charged(tier):
    found = price({
        "cache_write": "1.25", "cache_write_1h": "2", "audio_input": "9", "reasoning": "7", "per_request": "0.01",
        "tiers": [{"above": 200, "input": "3", "output": "4"}], "variants": {"priority": {"input": "5"}, "flex": {"input": "0.5"}},
    })
    for read in (0, 150, 201, 999):
        for answered in {"", tier}:
            usage = Usage(
                input=read, output=100, reasoning=80, tier=answered,
                special=Special(cache_write_1h=0, audio_input=read),
            )
            assert cost_nano(found, usage) <= upper_cost(dearest(found, 1000, tier), read, 100)


def test_a_fixed_price_is_taken_off_before_output_is_bought():
    found = price({"per_request": "0.001"})
    assert affordable_output(found, 0, 1, 999_999) == -1
    assert affordable_output(found, 0, 1, 1_000_000 + 4000) == 2
