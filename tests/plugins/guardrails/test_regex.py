"""Patterns of the customer's own: what they catch, how much of a stream they hold back; none stalls the loop."""

import asyncio
import time

import pytest

from gateway import Context, Verdict
from gateway.testing import GuardrailContract, answered, exchange
from gateway_plugins.guardrails.regex import Config, Regex


class TestRedactingRegex(GuardrailContract):
    catches = "4711-0815"

    async def make(self) -> Regex:
        return Regex(Config(patterns=(r"\b\d{4}-\d{4}\b", "never"), action="redact"))


class TestBlockingRegex(GuardrailContract):
    catches = "Project Falcon"

    async def make(self) -> Regex:
        return Regex(Config(patterns=("project falcon",), ignore_case=True, category="codename"))


class TestBufferingRegex(GuardrailContract):
    catches = "key=abcdefghij"

    async def make(self) -> Regex:
        return Regex(Config(patterns=(r"key=\w+",), action="redact", hold_back=0))


async def verdict(text: str, **options: object) -> Verdict:
    return await Regex(Config(**options)).check(text, Context("input", exchange()))


async def test_each_match_of_each_pattern_is_replaced() -> None:
    found = await verdict("a1 b2 a3", patterns=(r"a\d", "b2"), action="redact", replacement="*")
    assert sorted((r.start, r.end, r.text) for r in found.redactions) == [(0, 2, "*"), (3, 5, "*"), (6, 8, "*")]


async def test_a_warning_names_its_category_only() -> None:
    assert await verdict("a1", patterns=("a1",), action="warn", category="codes") == Verdict("warn", reason="codes")


async def test_a_pattern_that_matches_nothing_at_all_catches_nothing() -> None:
    assert await verdict("bbb", patterns=("a*",), hold_back=5) == Verdict()


@pytest.mark.parametrize(("patterns", "hold_back"), [
    ((r"\d{4}",), 4), ((r"ab|cde", "x"), 3), (("(?i)a{2,9}b",), 10), ((r"\b",), 1),
])  # fmt: skip
def test_a_stream_is_held_back_by_the_longest_match(patterns: tuple[str, ...], hold_back: int) -> None:
    assert Regex(Config(patterns=patterns)).hold_back == hold_back


@pytest.mark.parametrize("pattern", [r"\d+", "(?=a)b", "(?<!a)b", r"\p{Lu}{3}", "a{5000}"])
def test_a_pattern_of_unknown_length_needs_a_hold_back(pattern: str) -> None:
    with pytest.raises(ValueError, match="hold_back"):
        Regex(Config(patterns=(pattern,)))
    assert Regex(Config(patterns=(pattern,), hold_back=20)).hold_back == 20
    assert Regex(Config(patterns=(pattern,), apply_to="input"))


@pytest.mark.parametrize("pattern", ["^a", r"\Aa", "(?m)^a"])
def test_a_pattern_for_the_beginning_needs_whole_answers(pattern: str) -> None:
    with pytest.raises(ValueError, match="beginning"):
        Regex(Config(patterns=(pattern,), hold_back=20))
    assert Regex(Config(patterns=(pattern,), hold_back=0)).hold_back == 0


def test_a_wrong_pattern_is_refused_at_start() -> None:
    with pytest.raises(ValueError, match="a pattern is wrong"):
        Regex(Config(patterns=("(",), hold_back=1))


async def test_a_pattern_that_backtracks_without_end_is_stopped() -> None:
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        await verdict("a" * 60 + "!", patterns=("(a|aa|a?)+$",), hold_back=0, timeout=0.05)
    assert time.monotonic() - started < 1


async def test_a_long_text_does_not_stall_the_loop() -> None:
    guardrail = Regex(Config(patterns=(r"(x+x+)+y",), hold_back=0, timeout=0.03))
    work = asyncio.ensure_future(guardrail.check("x" * 20_000, Context("input", exchange())))
    turns = 0
    while not work.done():
        await asyncio.sleep(0.01)
        turns += 1
    assert isinstance(work.exception(), TimeoutError)
    assert turns >= 5


async def test_it_works_on_a_stream() -> None:
    guardrail = await TestRedactingRegex().make()
    steps = await answered(guardrail, ["id 47", "11-08", "15."], exchange())
    assert "".join(steps) == "id [REDACTED]."
