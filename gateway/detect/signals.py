"""Signals: named patterns whose presence in a text is an input of a linear model, beside its words."""

import re

from gateway.detect.patterns import PatternSet
from gateway.detect.phrases import alternatives, bytes_pattern, depth_after, filled
from gateway.detect.words import read

_GAP = re.compile(r"<\d+>")


class Signals:
    """The signals of one word list."""

    def __init__(self, name: str) -> None:
        tables = read(name)
        patterns = [filled(pattern, tables["lists"]) for pattern in tables["signals"].values()]
        self._names = tuple(f"#{signal}" for signal in tables["signals"])
        # A pattern with gaps runs by itself, and only where its longest part occurs: together they would need too many
        # states.
        self._gapped = frozenset(number for number, pattern in enumerate(patterns) if _GAP.search(pattern))
        self._patterns = PatternSet([bytes_pattern(each) for each in patterns], [_trigger(each) for each in patterns])

    def found(self, text: str) -> list[str]:
        """The names of those present in a text as `phrases.plain` gives it, each with `#` before it."""
        data = text.encode("utf-8", "replace")
        return [
            self._names[number]
            for number in self._patterns.hits(data)
            if number not in self._gapped or next(self._patterns.find(number, data), None)
        ]


def _trigger(pattern: str) -> str:
    """What must occur for the pattern to match: of each alternative the longest part between its gaps."""
    parts = []
    for branch in alternatives(pattern):
        pieces = _GAP.split(branch)
        if any(depth_after(piece) for piece in pieces):
            return bytes_pattern(pattern)  # a gap inside brackets
        parts.append(max(pieces, key=len))
    return bytes_pattern("|".join(parts))
