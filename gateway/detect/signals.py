"""Signals: named patterns whose presence in a text is an input of a linear model, beside its words."""

from gateway.detect.patterns import PatternSet
from gateway.detect.phrases import bytes_pattern, filled
from gateway.detect.words import read


class Signals:
    """The signals of one word list."""

    def __init__(self, name: str) -> None:
        tables = read(name)
        self._names = tuple(f"#{signal}" for signal in tables["signals"])
        patterns = [bytes_pattern(filled(pattern, tables["lists"])) for pattern in tables["signals"].values()]
        self._patterns = PatternSet(patterns)

    def found(self, text: str) -> list[str]:
        """The names of those present in a text as `phrases.plain` gives it, each with `#` before it."""
        return [self._names[number] for number in self._patterns.hits(text.encode("utf-8", "replace"))]
