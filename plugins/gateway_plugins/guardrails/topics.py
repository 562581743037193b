"""Keeps conversations away from topics, or to topics, by the words that they are made of.

    - use: guardrail.topics
      stage: input
      with:
        deny: [{name: gambling, terms: [casino, betting odds, roulette], at_least: 2}]
        allow: [{name: banking, terms: [account, transfer, card, loan]}]

A topic is there when `at_least` of its terms are. With `allow`, a text that has none of those topics is `off_topic`;
texts shorter than `min_words` (a greeting, a yes) are let through.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gateway import Finding

Term = Annotated[str, Meta(min_length=1, max_length=200)]


class Topic(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One topic: words and phrases, in any case; `*` at the end of a word stands for its endings."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.:-]{0,63}$")]
    terms: Annotated[tuple[Term, ...], Meta(min_length=1)]
    at_least: Annotated[int, Meta(ge=1, le=100, description="So many different terms.")] = 1


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Topics that are refused, and those that alone are allowed."""

    deny: tuple[Topic, ...] = ()
    allow: tuple[Topic, ...] = ()
    min_words: Annotated[int, Meta(ge=0, description="Shorter texts are never off topic.")] = 5
    apply_to: Literal["input", "output", "both"] = "input"


class Topics:
    """A detector of topics; its findings are of the whole text."""

    name = "guardrail.topics"
    Config = Options
    hold_back = 0

    def __init__(self, options: Options) -> None:
        if not options.deny and not options.allow:
            raise ValueError("name topics under `deny` or `allow`")
        self._options = options
        self._denied = [_Terms(topic) for topic in options.deny]
        self._allowed = [_Terms(topic) for topic in options.allow]
        self.apply_to = options.apply_to

    def scan(self, text: str, part: str = "content") -> Sequence[Finding]:
        """The topics that are there and should not be, or `off_topic`."""
        if part in ("arguments", "tools"):
            return ()
        words = _words(text)
        joined = f" {' '.join(words)} "
        known = frozenset(words)
        found = [Finding(0, len(text), topic.name) for topic in self._denied if topic.is_in(known, joined)]
        enough = len(words) >= self._options.min_words
        if self._allowed and enough and not any(topic.is_in(known, joined) for topic in self._allowed):
            found.append(Finding(0, len(text), "off_topic"))
        return found


class _Terms:
    """A topic's terms, sorted by how they are looked up."""

    def __init__(self, topic: Topic) -> None:
        self.name = topic.name
        self._at_least = min(topic.at_least, len(topic.terms))
        terms = [" ".join(_words(term)) + ("*" if term.endswith("*") else "") for term in topic.terms]
        self._words = frozenset(term for term in terms if " " not in term and not term.endswith("*"))
        self._phrases = [f" {term[:-1]}" if term.endswith("*") else f" {term} " for term in terms
                         if term not in self._words]  # fmt: skip

    def is_in(self, words: frozenset[str], joined: str) -> bool:
        """Whether enough of the terms are in a text, given its words and all of them joined by blanks."""
        count = len(self._words & words)
        return count >= self._at_least or count + sum(phrase in joined for phrase in self._phrases) >= self._at_least


def _words(text: str) -> list[str]:
    return "".join(sign if sign.isalnum() else " " for sign in text.casefold()).split()
