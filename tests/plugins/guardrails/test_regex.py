"""Patterns of the customer's own: what they catch, how much of a stream they hold back; none stalls the loop."""

import asyncio
import time

import pytest
from waiting import measured

from gateway import Finding, Unavailable
from gateway.guardrails.stage import only
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


def scanned(text: str, **options: object) -> list[Finding]:
    return list(Regex(Config(**options)).scan(text))


def test_each_match_of_each_pattern_is_found() -> None:
    found = scanned("a1 b2 a3", patterns=(r"a\d", "b2"), category="code")
    assert sorted((f.start, f.end, f.kind) for f in found) == [(0, 2, "code"), (3, 5, "code"), (6, 8, "code")]


async def test_the_entrys_action_wins_and_a_replacement_is_kept() -> None:
    guardrail = Regex(Config(patterns=("a1",), action="warn", category="x"))
    assert (await answered(guardrail, ["a1"], exchange()))[0] + "" in ("", "a1")
    redacting = Regex(Config(patterns=("a1",), action="redact", replacement="*"))
    assert "".join(await answered(redacting, ["my a1", "."], exchange())) == "my *."


def test_a_pattern_that_matches_nothing_at_all_catches_nothing() -> None:
    assert scanned("bbb", patterns=("a*",), hold_back=5) == []


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
    with pytest.raises(ValueError, match="is wrong"):
        Regex(Config(patterns=("(",), hold_back=1))


@pytest.mark.parametrize("pattern", [r"(a|aa|a?)+$", r"(a+)+$", r"(?:a*)*b", r"([a-z]+)*\d", "(.*a){20}!"])
def test_a_pattern_that_would_backtrack_without_end_runs_in_linear_time(pattern: str) -> None:
    started = time.monotonic()
    Regex(Config(patterns=(pattern,), hold_back=0)).scan("a" * 20_000 + "!")
    assert time.monotonic() - started < 10


@measured
async def test_what_only_the_slow_engine_can_run_is_stopped_and_stalls_nobody() -> None:
    guardrail = Regex(Config(patterns=(r"(?<!b)(x+x+)+(?=y)",), hold_back=0, timeout=0.2))
    work = asyncio.ensure_future(only("g", guardrail).pre_request(exchange("x" * 2_000)))
    turns = 0
    while not work.done():
        await asyncio.sleep(0.01)
        turns += 1
    assert isinstance(work.exception(), Unavailable)
    assert turns >= 5


async def test_it_works_on_a_stream() -> None:
    guardrail = await TestRedactingRegex().make()
    steps = await answered(guardrail, ["id 47", "11-08", "15."], exchange())
    assert "".join(steps) == "id [REDACTED]."
