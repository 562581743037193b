"""Finds runs of digits and cuts them into `Number`s: groups of digits and what separates them.

What a number means is for `cards`, `phones`, `national` and others. Digits that were torn apart (one by one, or by a
line break in the middle) are put together here.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise

from gateway.detect import context
from gateway.detect.spans import Span, View

RUN = r"[0-9](?:[ \t\r\n\-./()_]{0,4}[0-9]){6,}"
Judge = Callable[["Number"], Span | None]
_GROUP = "0123456789"
_MOST_DIGITS = 20
_OPENERS = frozenset(" \t\r\n\"'`([{<>,;:|=?&*")
_STICKING = frozenset(sign for sign in map(chr, range(0x250)) if sign == "_" or sign.isalnum())
_CLOSERS = frozenset(" \t\r\n\"'`)]}<>,;:|!?&*.\\")

Group = tuple[int, int, str]  # start, end, digits


class Number:
    """Some neighbouring groups of a run. `shape` is their lengths; `joint` what stands between all of them (nothing,
    a blank, a sign, or `?` if it differs); `clean` is false for a part of a longer row of groups of the same kind, and
    `torn` says that a line break was taken out of the middle."""

    def __init__(self, view: View, groups: Sequence[Group], *, clean: bool = True) -> None:
        self.view, self.clean, self.torn = view, clean, False
        text = view.text
        self.start, self.end = groups[0][0], groups[-1][1]
        self.digits = "".join([group[2] for group in groups])
        gaps = [text[a[1] : b[0]] for a, b in pairwise(groups)]
        self.shape, self.joint = _formed([group[2] for group in groups], gaps)
        before = text[max(0, self.start - 4) : self.start]
        self.parens = False
        if any(")" in gap for gap in gaps):
            self.parens = True
            if before.endswith("("):
                self.start -= 1
                before = before[:-1]
        self.plus = before.rstrip(" (").endswith("+")
        if self.plus:
            self.start = text.rindex("+", 0, self.start)

    @cached_property
    def labels(self) -> context.Labels:
        """What the words around say."""
        return self.view.labels(self.start, self.end)

    @property
    def edged(self) -> bool:
        """Do no Latin letters or digits touch it?"""
        text, start = self.view.text, self.start
        return (not start or text[start - 1] not in _STICKING) and text[self.end : self.end + 1] not in _STICKING

    @property
    def free(self) -> bool:
        """Does it stand for itself, not inside a name, a path, an amount or a longer code?"""
        text, start, end = self.view.text, self.start, self.end
        if not self.edged:
            return False
        before, after = text[start - 1 : start] if start else "", text[end : end + 1]
        if before.isascii() and before not in _OPENERS and before:
            return False
        if after.isascii() and after not in _CLOSERS and after:
            return False
        if after in (".", ":", ",") and text[end + 1 : end + 2].isdigit():
            return False
        return not (before in (":", ",") and start > 1 and text[start - 2].isdigit())

    @property
    def alone(self) -> bool:
        """Is it all that the text says?"""
        return self.view.alone(self.start, self.end)


def find(view: View, start: int, end: int, shapes: frozenset[tuple[int, ...]], judge: Judge) -> Iterator[Span]:
    """What `judge` recognises in the run from `start` to before `end`: whole lines of it first, then parts in one of
    the `shapes`, then what a line break tore apart."""
    before: Sequence[Group] = ()
    for row in _rows(_groups(view.text, start, end), view.text):
        if before and (span := _torn(view, before, row, judge)) is not None:
            before = ()
            yield span
            continue
        found = list(_in_row(view, row, shapes, judge))
        before = () if found else row
        yield from found


def _in_row(view: View, row: Sequence[Group], shapes: frozenset[tuple[int, ...]], judge: Judge) -> Iterator[Span]:
    total = sum([len(group[2]) for group in row])
    worth = 7 <= total <= _MOST_DIGITS and (len(row) > 1 or _may_be(view, row, 0, 1))
    if worth and (span := judge(Number(view, row))) is not None:
        yield span
        return
    if len(row) == 1:
        return
    at, lengths = 0, tuple(len(group[2]) for group in row)
    while at < len(row):
        for size in (5, 4, 3, 2, 1):
            shape = lengths[at : at + size]
            if len(shape) == size < len(row) and (shape in shapes if size > 1 else shape[0] >= 7):
                number = _part(view, row, at, size) if _may_be(view, row, at, size) else None
                span = judge(number) if number is not None else None
                if span is not None:
                    yield span
                    at += size - 1
                    break
        at += 1


def _may_be(view: View, row: Sequence[Group], at: int, size: int) -> bool:
    # Without a word in the text that tells what they are, most numbers of a table have nothing for them.
    start, end, digits = row[at][0], row[at + size - 1][1], row[at][2]
    if view.classes or digits[0] == "0" or view.text[max(0, start - 4) : start].rstrip(" (").endswith("+"):
        return True
    text = view.text
    if size == 1:  # a few kinds are told by their length alone, the others by how they are grouped
        return len(digits) > 11 or view.alone(start, end)
    if not at or text[row[at - 1][1] : start] != " " or not text[start:end].replace(" ", "").isdigit():
        return True
    return 12 <= sum([len(group[2]) for group in row[at : at + size]]) <= 19


def _part(view: View, row: Sequence[Group], at: int, size: int) -> Number | None:
    text = view.text
    edges = []
    if at:
        edges.append(text[row[at - 1][1] : row[at][0]])
    if at + size < len(row):
        edges.append(text[row[at + size - 1][1] : row[at + size][0]])
    number = Number(view, row[at : at + size])
    for edge in edges:
        sign = edge.strip(" \t\r\n()") or " "
        if sign != " " and (sign == number.joint or sign != "/" or number.joint == ""):
            return None  # a part of a longer code
        if number.joint == " " == sign and edge == " ":
            number.clean = False
    return number


def _torn(view: View, first: Sequence[Group], second: Sequence[Group], judge: Judge) -> Span | None:
    head, tail = first[-1], second[0]
    joined = (*first[:-1], (head[0], tail[1], head[2] + tail[2]), *second[1:])
    for groups in (joined, (*first, *second)):
        if 7 <= sum(len(group[2]) for group in groups) <= _MOST_DIGITS:
            number = Number(view, groups)
            number.torn = True
            if (span := judge(number)) is not None:
                return span
    return None


def _groups(text: str, start: int, end: int) -> list[Group]:
    found: list[Group] = []
    at = start
    while at < end:
        if text[at] not in _GROUP:
            at += 1
            continue
        begin = at
        while at < end and text[at] in _GROUP:
            at += 1
        found.append((begin, at, text[begin:at]))
    return found


def _rows(groups: Sequence[Group], text: str) -> list[list[Group]]:
    rows = [[groups[0]]]
    for before, group in pairwise(groups):
        gap = text[before[1] : group[0]]
        if "\n" in gap or "\t" in gap:
            rows.append([group])
        else:
            rows[-1].append(group)
    return rows


def _formed(parts: Sequence[str], gaps: Sequence[str]) -> tuple[tuple[int, ...], str]:
    # Digits one by one, `1 2 3 - 4 5`: what mostly stands between them means nothing.
    if len(parts) >= 6 and sum(len(part) > 1 for part in parts) <= len(parts) // 5:
        usual = max(set(gaps), key=gaps.count)
        lengths, real = [len(parts[0])], []
        for gap, part in zip(gaps, parts[1:], strict=True):
            if gap == usual:
                lengths[-1] += len(part)
            else:
                lengths.append(len(part))
                real.append(gap)
        return tuple(lengths), _joint(real)
    return tuple(map(len, parts)), _joint(gaps)


def _joint(gaps: Sequence[str]) -> str:
    joints = {gap.strip(" \t\r\n()") or " " for gap in gaps}
    return "" if not joints else joints.pop() if len(joints) == 1 else "?"
