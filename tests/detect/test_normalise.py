"""`fold` undoes tricks with characters and remembers where each one stood."""

import time

import pytest

from gateway.detect.normalise import fold


@pytest.mark.parametrize(("tricky", "plain"), [
    ("\uff11\uff12\uff13\uff0d\uff14\uff15", "123-45"),
    ("\u0661\u0662\u0663", "123"),
    ("\U0001d7cf\U0001d7d0 \u2460\u2461 1\ufe0f\u20e32\ufe0f\u20e3", "12 12 12"),
    ("j\u200bo\u200dh\u00adn\ufeff@x.de", "john@x.de"),
    ("\U0001d422\U0001d420\U0001d427\U0001d428\U0001d42b\U0001d41e", "ignore"),
    ("\u24d8\u24d6\u24dd \U0001f158\U0001f156", "ign IG"),
    ("\u026a\u0262\u0274\u1d0f\u0280\u1d07", "ignore"),
    ("a\u00a0b\u2003c\u2014d", "a b c-d"),
    ("p\u0430ssw\u043erd", "password"),
    ("\U000e0069\U000e0067", "ig"),
    ("z\u0336a\u0336", "za"),
])
def test_tricks_become_ascii(tricky, plain):
    assert fold(tricky).text == plain


@pytest.mark.parametrize("text", ["plain", "", "Gr\u00fc\u00dfe aus K\u00f6ln", "\u043f\u0440\u0438\u0432\u0435\u0442 \u043c\u0438\u0440", "\u4f60\u597d"])
def test_honest_text_stays_as_it_is(text):
    folded = fold(text)
    assert folded.text == text
    assert folded.span(0, len(text)) == (0, len(text))


def test_a_span_leads_back_to_the_characters_as_given():
    text = "\U0001f600 a\u200bb\u200bc d"
    folded = fold(text)
    start = folded.text.index("abc")
    assert text[slice(*folded.span(start, start + 3))] == "a\u200bb\u200bc"


def test_lone_surrogates_do_no_harm():
    assert fold("a\ud800\u200bb").text == "a\ud800b"


def test_a_megabyte_of_tricks_takes_linear_time():
    began = time.thread_time()
    fold("\uff11\u200b" * 500_000)
    fold("a\u0430" * 500_000)
    assert time.thread_time() - began < 5


def test_many_mixed_words_take_linear_time():
    began = time.thread_time()
    folded = fold("\u0430b " * 300_000)
    assert folded.text == "ab " * 300_000
    assert time.thread_time() - began < 5
