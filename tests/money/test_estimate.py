"""Estimates learn from what providers report, stay bounded, and never count an image as text."""

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


def test_the_ratio_comes_close_to_what_the_provider_reports():
    estimator = Estimator()
    for _ in range(50):
        estimator.learn(finished(b"x" * 1000, 400, estimator))
    assert input_tokens(exchange(b"x" * 500, estimator=estimator)) == pytest.approx(200, abs=2)
    assert estimator.ratio("small") == pytest.approx(0.4, abs=0.001)


def test_one_odd_report_moves_the_ratio_a_little():
    estimator = Estimator()
    for _ in range(20):
        estimator.learn(finished(b"x" * 1000, 250, estimator))
    estimator.learn(finished(b"x" * 1000, 1000, estimator))
    assert 0.25 < estimator.ratio("small") < 0.35


def test_a_short_prompt_teaches_little():
    """Most of its tokens are the provider's own frame: the next long prompt would be estimated far too high."""
    estimator = Estimator()
    estimator.learn(finished(b"x" * 70, 70, estimator))
    assert FIRST_RATIO < estimator.ratio("small") < 1.3 * FIRST_RATIO


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
    assert estimator.ratio("small") == FIRST_RATIO


def test_the_sum_of_several_attempts_teaches_nothing():
    estimator = Estimator()
    two = finished(b"x" * 1000, 800, estimator)
    two.attempts.append(two.attempts[0])
    estimator.learn(two)
    assert estimator.ratio("small") == FIRST_RATIO


def test_names_without_end_do_not_grow_the_memory():
    estimator = Estimator()
    for number in range(5000):
        one = finished(b"x" * 1000, 300, estimator)
        one.request = msgspec.structs.replace(one.request, model=f"m{number}")
        estimator.learn(one)
    assert len(estimator._ratios) <= 1024
    assert estimator.ratio("m4999") == pytest.approx(0.3)
    assert estimator.ratio("small") == pytest.approx(0.3)


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
