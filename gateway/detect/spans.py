"""`Span`: what was found where; `View`: a text made ready for searching; `resolve`: overlapping spans made one."""

from collections.abc import Iterable
from functools import cached_property
from typing import NamedTuple

from gateway.detect import context
from gateway.detect.normalise import Folded, fold
from gateway.detect.patterns import as_bytes


class Span(NamedTuple):
    """The characters from `start` to before `end` are a `kind`, as surely as `score` (0 to 1) says."""

    start: int
    end: int
    kind: str
    score: float


class View:
    """A text folded, and as bytes with the same positions."""

    def __init__(self, text: str) -> None:
        self.folded: Folded = fold(text)
        self.text = self.folded.text
        self.data = as_bytes(self.text)

    @cached_property
    def classes(self) -> frozenset[str]:
        """The classes of context words that occur anywhere."""
        return context.classes(self.text)

    @cached_property
    def stripped(self) -> tuple[int, int]:
        """Where the text begins and ends without the blanks around it."""
        start = len(self.text) - len(self.text.lstrip())
        return start, max(start, len(self.text.rstrip()))

    def labels(self, start: int, end: int) -> context.Labels:
        """What the words around the characters from `start` to before `end` say."""
        return context.Labels(self.text, start, end) if self.classes else context.SILENT

    def alone(self, start: int, end: int) -> bool:
        """Is this all that the text says?"""
        low, high = self.stripped
        return start <= low + 1 and end >= high - 1

    def original(self, span: Span) -> Span:
        """The span in the text as it was given."""
        start, end = self.folded.span(span.start, span.end)
        return Span(start, end, span.kind, span.score)


def resolve(spans: Iterable[Span]) -> list[Span]:
    """The spans in order, without overlaps: of two that overlap the surer, then the longer one counts, and it grows
    over what the other covers, so that nothing found is left uncovered."""
    merged: list[Span] = []
    for span in sorted(spans, key=lambda s: (s.start, -s.end)):
        if not merged or span.start >= merged[-1].end:
            merged.append(span)
            continue
        last = merged.pop()
        best = max(last, span, key=lambda s: (s.score, s.end - s.start))
        merged.append(Span(last.start, max(last.end, span.end), best.kind, best.score))
    return merged
