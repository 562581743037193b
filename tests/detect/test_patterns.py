"""Patterns match in linear time; a customer's pattern that cannot is stopped; one that is wrong is refused."""

import time

import pytest

from gateway.detect import patterns
from gateway.detect.patterns import PatternSet, PatternTimeout, as_bytes, compile_custom, compile_text

CATASTROPHIC = [r"^(a+)+$", r"(a|aa)+$", r"(.*a){25}", r"(\w+\s?)*$", r"(x+x+)+y", r"([a-z]+)*\d"]


def test_positions_are_those_of_the_text_whatever_the_script():
    text = "\u4f60\u597d\U0001f600 a1 \u043f\u0440 b2"
    found = PatternSet([r"[a-z]\d", "zzz"])
    data = as_bytes(text)
    assert found.hits(data) == [0]
    assert [text[slice(*m.span())] for m in found.find(0, data)] == ["a1", "b2"]


def test_triggers_can_be_simpler_than_the_patterns():
    found = PatternSet([r"\d{3}-\d{2}"], triggers=[r"\d"])
    assert found.hits(b"7") == [0]
    assert not list(found.find(0, b"7"))
    assert not found.hits(b"none")


@pytest.mark.parametrize("pattern", CATASTROPHIC)
def test_patterns_that_explode_elsewhere_are_quick(pattern):
    custom = compile_custom(pattern, timeout=0.2)
    began = time.thread_time()
    for text in ("a" * 20_000 + "!", "x" * 20_000, "word " * 4_000 + "!"):
        custom.spans(text)
    assert time.thread_time() - began < 5


def test_a_pattern_that_needs_look_around_runs_with_a_time_limit():
    custom = compile_custom(r"(?<=id )\d+")
    assert not custom.linear
    assert custom.spans("id 42") == [(3, 5)]
    slow = compile_custom(r"(?=(a+))(?:\1|a)*[^ab]x?", timeout=0.05)
    with pytest.raises(PatternTimeout, match=r"0\.05 s"):
        slow.spans("a" * 3_000 + "b")


def test_only_the_value_counts_where_a_pattern_names_it():
    assert compile_custom(r"employee (?P<value>E\d{4})").spans("employee E1234") == [(9, 14)]


def test_case_can_be_ignored():
    assert compile_custom("abc", ignore_case=True).spans("xABC") == [(1, 4)]
    assert not compile_custom("abc").spans("xABC")


@pytest.mark.parametrize("pattern", ["(", "[a", "a{2,1}", r"(?<=a+"])
def test_a_pattern_that_is_wrong_is_refused(pattern):
    with pytest.raises(ValueError, match="is wrong"):
        compile_custom(pattern)


def test_text_with_lone_surrogates_is_searched():
    assert compile_custom(r"\d+").spans("\ud800 12 \udfff") == [(2, 4)]
    assert compile_text("x").spans("\ud800\udc00x") == [(2, 3)]


def test_without_re2_the_same_is_found(monkeypatch):
    texts = ["a1 b22 c", "\u4f60a1", "", "zz 9"]
    ours = [r"[a-z]\d+", r"(?i)ZZ"]
    with_re2 = PatternSet(ours)
    expected = [[(n, m.span()) for n in with_re2.hits(as_bytes(t)) for m in with_re2.find(n, as_bytes(t))] for t in texts]
    monkeypatch.setattr(patterns, "re2", None)
    plain = PatternSet(ours)
    assert [[(n, m.span()) for n in plain.hits(as_bytes(t)) for m in plain.find(n, as_bytes(t))] for t in texts] == expected
    assert compile_custom(r"\d+", timeout=1).spans("a 12") == [(2, 4)]
    assert compile_text(r"\p{Greek}").spans("a\u03b1") == [(1, 2)]
