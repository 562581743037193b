"""Cost is exact: hand-computed invoices, and arithmetic with fractions as the judge."""

import math
from fractions import Fraction
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.events import Special, Usage
from gateway.exchange import Price
from gateway.money import dollars
from gateway.money.cost import MAX_NANO, bill, cost_nano, lines, lines_cost, read_lines
from gateway.money.prices import PriceBook

RECORDINGS = Path(__file__).parents[3] / "shared" / "recordings"
COUNTS = st.integers(0, 10**9)
RATES = st.integers(0, 10**9)


@given(COUNTS, COUNTS, COUNTS, COUNTS, RATES, RATES, RATES, RATES)
def test_cost_is_the_exact_sum_rounded_half_up_once(plain, cached, written, output, a, b, c, d):
    usage = Usage(input=plain + cached + written, cached=cached, cache_write=written, output=output)
    exact = Fraction(plain * a + output * b + cached * c + written * d, 1000)
    assert cost_nano(Price(a, b, c, d, "v"), usage) == min(math.floor(exact + Fraction(1, 2)), MAX_NANO)


@given(st.builds(Usage, *[st.integers(-10**6, 10**20)] * 5))
def test_cost_is_never_negative_and_always_fits_the_database(usage):
    assert 0 <= cost_nano(Price(10**6, 10**7, 10**5, 10**6, "v"), usage) <= MAX_NANO


@pytest.mark.parametrize(("pico", "nano"), [(499, 0), (500, 1), (501, 1), (1499, 1), (1500, 2)])
def test_half_a_nano_dollar_goes_up(pico, nano):
    assert cost_nano(Price(pico, 0, 0, 0, "v"), Usage(input=1)) == nano


def test_cached_tokens_are_billed_once_and_at_their_own_rate():
    price = Price(2_500_000, 10_000_000, 1_250_000, 2_500_000, "v")
    assert cost_nano(price, Usage(input=2000, cached=1024, output=100, reasoning=60)) == (
        976 * 2_500 + 1024 * 1_250 + 100 * 10_000
    )


def test_tokens_said_to_be_cached_beyond_the_input_are_billed_but_take_nothing_away():
    assert cost_nano(Price(1000, 0, 500, 0, "v"), Usage(input=10, cached=20)) == 10


def recorded(name):
    """The usage object of a recording, or a skip where the recordings are not there."""
    path = RECORDINGS / name
    if not path.exists():
        pytest.skip(f"no recordings at {RECORDINGS}")
    response = msgspec.json.decode(path.read_bytes())["response"]
    if "body" in response:
        return response["body"]["usage"]
    lines = (line[6:] for line in response["body_text"].splitlines() if line.startswith("data: {"))
    return next(u for line in lines if (u := msgspec.json.decode(line).get("usage")))


def openai_usage(found):
    """As the OpenAI dialects read it."""
    details = found.get("prompt_tokens_details") or {}
    return Usage(
        input=found["prompt_tokens"], output=found["completion_tokens"], cached=details.get("cached_tokens") or 0,
    )


def anthropic_usage(found):
    """Their input leaves out what was read from or written to the cache; ours includes it."""
    read, written = found["cache_read_input_tokens"], found["cache_creation_input_tokens"]
    return Usage(
        input=found["input_tokens"] + read + written, output=found["output_tokens"], cached=read, cache_write=written,
    )


@pytest.mark.parametrize(
    ("name", "model", "nano"),
    [
        # 120 x $2.00 + 1024 x $0.50 (cached) + 2 x $8.00 a million
        ("openai.chat.completions.stream.openai-streaming-cached-prompt-tokens.c5296a7f", "gpt-4.1", 768_000),
        # 56 x $0.10 + 1024 x $0.025 (cached) + 7 x $0.40
        ("openai.chat.completions.openai-pdf.2eae1967", "gpt-4.1-nano", 34_000),
        # 12 x $0.05 + 100 x $0.40, all of the 100 reasoning
        ("openai.chat.completions.chat-detailed-usage.ce19f87f", "gpt-5-nano", 40_600),
        # 4 x $2.00 + 14210 x $0.20 (read) + 426 x $2.50 (written) + 290 x $10.00
        ("anthropic.messages.anthropic-code-execution-files-cache-prefix-stab.21a4816c", "claude-sonnet-5", 6_815_000),
    ],
)
def test_golden_invoices(name, model, nano):
    kind = name.partition(".")[0]
    usage = (openai_usage if kind == "openai" else anthropic_usage)(recorded(f"{kind}/{name}.json"))
    assert cost_nano(PriceBook().find("p", model, kind), usage) == nano


def test_a_streamed_and_an_unstreamed_reply_with_the_same_tokens_cost_the_same():
    price = PriceBook().find("o", "gpt-4o", "openai")
    assert cost_nano(price, Usage(7, 9)) == cost_nano(price, msgspec.structs.replace(Usage(7, 9), reasoning=3))


@given(st.integers(-10**18, 10**18))
def test_dollars_are_exact_decimal_strings(nano):
    text = dollars(nano)
    assert Fraction(text) == Fraction(nano, 10**9)
    assert not text.endswith(".")


@pytest.mark.parametrize(
    ("nano", "text"), [(0, "0"), (1, "0.000000001"), (12_000_000, "0.012"), (-1_500_000_000, "-1.5")]
)
def test_dollars_have_no_needless_zeros(nano, text):
    assert dollars(nano) == text


UNITS = st.dictionaries(
    st.sampled_from([
        "audio_input", "audio_cached", "audio_output", "image_input", "image_cached", "image_output", "cache_write_1h",
        "reasoning", "request", "searches", "second",
    ]),
    RATES,
)  # fmt: skip
FEW = st.integers(-5, 10**6)
SPECIAL = st.builds(
    Special, cache_write_1h=FEW, audio_input=FEW, audio_cached=FEW, audio_output=FEW, image_input=FEW, image_output=FEW,
    image_cached=FEW, searches=FEW,
)  # fmt: skip


def tuple_of(line):
    return line.unit, line.quantity, line.rate


@given(
    st.builds(Price, RATES, RATES, RATES, RATES, st.just("v"), units=UNITS),
    st.builds(Usage, FEW, FEW, FEW, FEW, FEW, special=st.none() | SPECIAL), st.floats(0, 1000),
)  # fmt: skip
def test_the_bill_of_any_usage_adds_up_to_its_cost_and_is_read_back_whole(price, usage, seconds):
    cost, text = bill(price, usage, 1, seconds)
    assert cost == cost_nano(price, usage, 1, seconds) == lines_cost(read_lines(text))
    assert {*map(tuple_of, read_lines(text))} == {*map(tuple_of, lines(price, usage, 1, seconds))}


def test_a_bill_has_the_rates_that_held():
    long = Price(4_000_000, 8_000_000, 0, 0, "v")
    price = Price(2_000_000, 4_000_000, 0, 0, "v", tiers=((100, long),))
    assert bill(price, Usage(input=100, output=1)) == (204_000, "input:100@2000000 output:1@4000000")
    assert bill(price, Usage(input=101, output=1)) == (412_000, "input:101@4000000 output:1@8000000")
    assert bill(price, Usage()) == (0, "")


def test_a_text_that_is_no_bill_has_no_lines():
    assert read_lines("") == read_lines("x y:1 z@2") == ()
