"""Estimates learn from what providers report, stay bounded, and never count an image as text."""

from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.events import Usage
from gateway.exchange import Attempt, Exchange, Request
from gateway.money.estimate import (
    FIRST_RATIO,
    IMAGE_TOKENS,
    Estimator,
    input_tokens,
    input_upper,
    output_tokens,
)


def exchange(raw, model="small", estimator=None):
    """A request with this body."""
    made = Exchange("r", "chat.completions", None, {}, 1)
    made.request = Request(raw=raw, body={}, model=model)
    made.model = "small"
    if estimator is not None:
        made.internal["estimator"] = estimator
    return made


def finished(raw, tokens, estimator, **fields):
    """The same after a provider reported its input tokens."""
    made = exchange(raw, estimator=estimator)
    made.usage = Usage(input=tokens, **fields)
    made.attempts.append(Attempt("p", "m", "ok"))
    return made


def test_before_anything_is_known_four_bytes_are_a_token():
    assert input_tokens(exchange(b"x" * 400)) == 100


def about(estimator, size, model="small"):
    return input_tokens(exchange(b"x" * size, model=model, estimator=estimator))


def test_the_estimate_comes_close_to_what_the_provider_reports():
    estimator = Estimator()
    for number in range(60):
        size = 500 + number * 97 % 5000
        estimator.learn(finished(b"x" * size, round(size * 0.4), estimator))
    for size in (300, 1000, 4000, 20_000):
        assert about(estimator, size) == pytest.approx(0.4 * size, rel=0.06)


def test_what_stands_around_the_text_is_learned_apart_from_it():
    """Tools that a provider adds, or JSON that it does not count: a fixed number, whatever the length."""
    estimator = Estimator()
    for number in range(100):
        size = 100 + number * 331 % 3000
        estimator.learn(finished(b"x" * size, 60 + size // 5, estimator))
    for size in (200, 1000, 10_000):
        assert about(estimator, size) == pytest.approx(60 + size / 5, rel=0.15)


def test_one_odd_report_moves_the_estimate_a_little():
    estimator = Estimator()
    for _ in range(20):
        estimator.learn(finished(b"x" * 1000, 250, estimator))
    estimator.learn(finished(b"x" * 1000, 1000, estimator))
    assert 250 < about(estimator, 1000) < 350


@pytest.mark.parametrize("count", [1, 30, 1000])
@pytest.mark.parametrize("tokens", [10, 100])
def test_short_prompts_teach_nothing_about_long_ones_however_many_they_are(tokens, count):
    """Most of their tokens are the provider's own frame, or most of their bytes JSON."""
    estimator = Estimator()
    for number in range(count):
        size = 100 + number % 40
        estimator.learn(finished(b"x" * size, tokens, estimator))
    assert about(estimator, 20_000) == pytest.approx(5000, rel=0.2)
    if count > 1:
        assert about(estimator, 120) == pytest.approx(tokens, rel=0.25)


def test_answers_teach_how_many_tokens_their_bytes_are_if_all_that_was_billed_was_said():
    estimator = Estimator()

    def answered(said, **usage):
        one = finished(b"x" * 10, 3, estimator)
        one.usage = Usage(input=3, **usage)
        one.internal["tap"] = SimpleNamespace(text_bytes=said)
        estimator.learn(one)

    for said, usage in ((20, {"output": 20}), (4000, {"output": 9000}), (4000, {"output": 3000, "reasoning": 2000})):
        answered(said, **usage)
        assert estimator.said_ratio("small") is None
    for _ in range(60):
        answered(4000, output=1600)  # and none of those before
    assert estimator.said_ratio("small") == pytest.approx(0.4, abs=0.01)


@pytest.mark.parametrize(
    ("raw", "tokens", "fields"),
    [
        (b"x" * 1000, 250, {"estimated": True}),
        (b"x" * 1000, 0, {}),
        (b"x" * 1000, 10**9, {}),
        (b"x" * 10, 9, {}),
        (b'{"url":"data:image/png;base64,' + b"A" * 5000 + b'"}', 300, {}),
    ],
)
def test_what_says_nothing_about_text_teaches_nothing(raw, tokens, fields):
    estimator = Estimator()
    estimator.learn(finished(raw, tokens, estimator, **fields))
    assert about(estimator, 1000) == 1000 * FIRST_RATIO


def test_the_sum_of_several_attempts_teaches_nothing():
    estimator = Estimator()
    two = finished(b"x" * 1000, 800, estimator)
    two.attempts.append(two.attempts[0])
    estimator.learn(two)
    assert about(estimator, 1000) == 1000 * FIRST_RATIO


def test_names_without_end_do_not_grow_the_memory():
    estimator = Estimator()
    for number in range(5000):
        one = finished(b"x" * 1000, 300, estimator)
        one.request = msgspec.structs.replace(one.request, model=f"m{number}")
        estimator.learn(one)
    assert len(estimator._lines) <= 1024
    assert about(estimator, 1000, "m4999") > 260
    assert about(estimator, 1000) == pytest.approx(300, abs=3)


def test_an_image_counts_by_piece_and_not_by_its_bytes():
    body = b'{"content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,%s"}}]}'
    small, large = (input_tokens(exchange(body % (b"A" * size))) for size in (1_000, 1_000_000))
    assert small == large
    assert IMAGE_TOKENS < small < IMAGE_TOKENS + 60


def test_linked_images_and_several_images_count_each():
    linked = b'{"type":"image_url","image_url":{"url":"https://example.org/a.png"}}'
    inline = b'{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}'
    assert input_tokens(exchange(b"[" + linked + b"," + inline + b"," + inline + b"]")) > 3 * IMAGE_TOKENS


def test_a_large_file_counts_by_its_size():
    body = b'{"file_data":"data:application/pdf;base64,%s"}' % (b"A" * 640_000)
    assert 10_000 <= input_tokens(exchange(body)) < 11_000


def test_an_estimate_is_made_once_for_an_exchange():
    estimator = Estimator()
    one = exchange(b"x" * 1000, estimator=estimator)
    before = input_tokens(one), input_upper(one)
    for _ in range(50):
        estimator.learn(finished(b"x" * 1000, 900, estimator))
    assert (input_tokens(one), input_upper(one)) == before


@given(st.binary(max_size=3000), st.floats(0.05, 1.5))
def test_the_upper_estimate_is_never_below_the_estimate(raw, ratio):
    estimator = Estimator()
    estimator.learn(finished(b"x" * 1000, int(ratio * 1000), estimator))
    one = exchange(raw, estimator=estimator)
    assert input_upper(one) >= input_tokens(one) >= 0
    assert input_upper(one) >= (len(raw) - raw.count(b";base64,") * len(raw)) // 2


def test_a_cut_stream_has_at_least_a_token_for_each_record_with_text():
    assert output_tokens(400, 3) == 100
    assert output_tokens(4, 30, 0.5) == 30
    assert output_tokens(0, 0) == 0
    assert output_tokens(401, 3, 0.25) == 101
    assert output_tokens(500, 100) == 100  # a token, a record
    assert output_tokens(500, 100, 0.25) == 125  # where it is known better


@pytest.mark.parametrize("name", [b'"data"', b'"bytes"'])
def test_base64_in_a_field_of_its_own_is_no_text(name):
    """Anthropic's, Gemini's and Bedrock's way of sending files: an image counts by piece, another file by its size."""
    block = b'{"type":"image","source":{"type":"base64","media_type":"image/png",%b:"%b"}}' % (name, b"A" * 40_000)
    text = len(block) - 40_000
    assert input_tokens(exchange(block)) == pytest.approx(IMAGE_TOKENS + text * FIRST_RATIO, abs=1)
    behind = b'{"inlineData":{%b:"%b","mimeType":"image/png"}}' % (name, b"A" * 40_000)
    assert input_tokens(exchange(behind)) < IMAGE_TOKENS + 50
    file = b'{"source":{"media_type":"application/pdf",%b : "%b"}}' % (name, b"A" * 640_000)
    assert input_tokens(exchange(file)) == pytest.approx(10_000, abs=50)
    assert input_tokens(exchange(b'{"data":"short","text":"%b"}' % (b"x" * 400))) == pytest.approx(107, abs=3)
