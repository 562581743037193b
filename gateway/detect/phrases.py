"""Finds phrases: rules made of words near one another, in any script, in linear time.

A rule runs only where the words that it needs occur at all, which one or two passes over the text decide for all
rules. Which phrases are looked for is said in `gateway.detect.words`.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice

import msgspec

from gateway.detect.normalise import Folded, fold
from gateway.detect.patterns import Match, PatternSet

_MOST = 20  # matches of a rule that are looked at


class Rule(msgspec.Struct, frozen=True):
    """`pattern` in re2's syntax over `Plain.text`; `<40>` in it is a gap of that many bytes without a sentence's end.

    `needs` are simpler patterns, one or two, each of which matches wherever the real one does.
    """

    kind: str
    pattern: str
    needs: tuple[str, ...]
    score: float = 0.9


class Hit(msgspec.Struct, frozen=True):
    """Where in the plain text a rule matched."""

    start: int
    end: int
    rule: Rule


class Plain(msgspec.Struct, frozen=True):
    """A text in lower case, without accents and character tricks; `span` leads back to the text as given."""

    text: str
    folded: Folded
    whole: int

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where these characters stand in the text as given; all of it if that is not known."""
        if len(self.text) != len(self.folded.text):
            return 0, self.whole
        return self.folded.span(start, end)


class Phrases:
    """Any number of rules, searched together."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = list(rules)
        first = [bytes_pattern(rule.needs[0]) for rule in rules]
        self._patterns = PatternSet([bytes_pattern(rule.pattern) for rule in rules], first)
        self._second = PatternSet([bytes_pattern(rule.needs[-1]) for rule in rules])

    def find(self, text: str, excused: Callable[[str, Hit], bool] | None = None) -> list[Hit]:
        """The first match of each rule in a text as `plain` gives it; if it is `excused`, the first that is not."""
        data = text.encode("utf-8", "replace")
        numbers = self._patterns.hits(data)
        if not numbers:
            return []
        found = []
        for number in sorted(set(numbers).intersection(self._second.hits(data))):
            first: Hit | None = None
            for match in islice(self._patterns.find(number, data), _MOST if excused else 1):
                hit = self._hit(match, number, data, text)
                first = first or hit
                if excused is None or not excused(text, hit):
                    first = hit
                    break
            found += [first] if first else []
        return found

    def _hit(self, match: Match, number: int, data: bytes, text: str) -> Hit:
        start, end = match.span()
        if len(data) != len(text):
            start = len(data[:start].decode("utf-8", "ignore"))
            end = len(data[: match.end()].decode("utf-8", "ignore"))
        return Hit(start, end, self._rules[number])


def plain(text: str) -> Plain:
    """Fold a text for searching."""
    folded = fold(text)
    if folded.text.isascii():
        return Plain(folded.text.lower(), folded, len(text))
    return Plain(folded.text.translate(_ACCENTS).lower(), folded, len(text))


def without_accents(words: str) -> str:
    """Word lists are folded as texts are, whatever accents they are written with."""
    return words.translate(_ACCENTS)


def alternatives(pattern: str) -> list[str]:
    """The branches of an alternation, split where it is not inside brackets."""
    parts, start = [], 0
    for at, sign, depth in _outside_classes(pattern):
        if sign == "|" and not depth:
            parts.append(pattern[start:at])
            start = at + 1
    return [*parts, pattern[start:]]


def depth_after(pattern: str) -> int:
    """How many brackets are open at its end; less than none if it closes others'."""
    depth = 0
    for _at, _sign, depth in _outside_classes(pattern):  # noqa: B007 - the last one counts
        pass
    return depth


def filled(pattern: str, lists: Mapping[str, str]) -> str:
    """Put the lists in the place of their names in braces; a list may name another."""
    for _ in range(2):
        for name, words in lists.items():
            pattern = pattern.replace("{" + name + "}", words)
    return pattern


def bytes_pattern(pattern: str) -> str:
    """The pattern over UTF-8, as one character for each byte: what `PatternSet` takes."""
    pattern = re.sub(r"<(\d+)>", r"[^.!?]{0,\1}", without_accents(pattern))
    pattern = re.sub(r"([^\x00-\x7f])(?=[?*+{])", r"(?:\1)", pattern)
    pattern = pattern.replace(r"\w", r"[0-9a-z_\x80-\xff]")
    return pattern.encode().decode("latin-1")


def heads(pattern: str) -> str:
    """An alternation with each branch cut before its first gap: what must occur for it to match."""
    return "|".join(branch.partition(".{0,")[0].partition("<")[0] for branch in alternatives(pattern))


def _outside_classes(pattern: str) -> Iterator[tuple[int, str, int]]:
    """The signs that are neither escaped nor in a class, with their places and how deep in brackets what follows is."""
    depth, at = 0, 0
    while at < len(pattern):
        sign = pattern[at]
        if sign == "\\":
            at += 2
            continue
        if sign == "[":
            at = pattern.index("]", at + 2)
            sign = "]"
        depth += (sign == "(") - (sign == ")")
        yield at, sign, depth
        at += 1


def _accents(ranges: Iterable[tuple[int, int]]) -> dict[int, str]:
    table = {}
    for low, high in ranges:
        for code in range(low, high):
            base = unicodedata.normalize("NFKD", chr(code))
            if len(base) > 1 and all(unicodedata.category(mark) == "Mn" for mark in base[1:]):
                table[code] = base[0]
    return table


_SINGLE = {  # what has no decomposition: dotless i, Polish l, Vietnamese d, Danish o, sharp s, final sigma, a filler
    "\u0131": "i", "\u0130": "I", "\u0142": "l", "\u0141": "L", "\u0111": "d", "\u0110": "D", "\u00f8": "o",
    "\u00d8": "O", "\u00df": "s", "\u03c2": "\u03c3", "\u0640": " ",
}  # fmt: skip
_ACCENTS = _accents(((0xC0, 0x250), (0x370, 0x530), (0x622, 0x628), (0x1E00, 0x2000))) | {
    ord(sign): same for sign, same in _SINGLE.items()
}
