"""Matching in linear time: `PatternSet` for our own patterns over bytes, `compile_custom` for patterns of a customer.

Patterns run on re2. Where its wheel is missing, or for what it cannot express, the `regex` module does it; customers'
patterns then have a time limit. What is looked for is said elsewhere.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import regex

try:
    import re2
except ImportError:  # no wheel for this platform or Python
    re2 = None

_Compiled = Any  # a pattern of re2 (which has no types) or of `regex`
_MEMORY = 64 << 20  # a set that runs out of it would find nothing, silently


class Match(Protocol):
    """One match: group 0 is all of it."""

    def start(self, group: int = 0, /) -> int:
        """Where the group begins; -1 if it took no part."""

    def end(self, group: int = 0, /) -> int:
        """Where the group ends."""

    def span(self, group: int = 0, /) -> tuple[int, int]:
        """Both."""


class PatternTimeout(Exception):
    """A customer's pattern needed too long for a text: the text counts as unchecked."""


def as_bytes(text: str) -> bytes:
    """One byte for each character: Latin-1 as it is, all others as `?`. So positions are the text's own."""
    return text.encode("latin-1", "replace")


class PatternSet:
    """Patterns over `as_bytes` texts. `hits` says in one pass which ones match at all; `find` where one does.

    Only what re2 can express: no look-around, no back references. `triggers` are simpler patterns that hit wherever
    the real ones do, for when those would make the one pass slow. A pattern by itself is compiled when it is first
    asked for: most never are, and all of them together would take a quarter of the start.
    """

    def __init__(self, patterns: Sequence[str], triggers: Sequence[str] | None = None) -> None:
        self._patterns = tuple(patterns)
        self._compiled: dict[int, _Compiled] = {}
        self._found = _set_of(triggers or patterns)

    def hits(self, data: bytes) -> Sequence[int]:
        """The numbers of the patterns that match somewhere, ascending."""
        return self._found(data)

    def find(self, number: int, data: bytes, start: int = 0, end: int | None = None) -> Iterator[Match]:
        """The matches of one pattern, from left to right, none overlapping another."""
        compiled = self._compiled.get(number)
        if compiled is None:  # two threads may both do it
            compiled = self._compiled[number] = _compile_bytes(self._patterns[number])
        found: Iterator[Match] = compiled.finditer(data, start, len(data) if end is None else end)
        return found


class TextPattern:
    """One pattern of ours over text as it is: letters of all scripts count."""

    def __init__(self, compiled: _Compiled) -> None:
        self._compiled = compiled

    def found_in(self, text: str) -> bool:
        """Does it match anywhere?"""
        return self._compiled.search(_searchable(text)) is not None

    def first(self, text: str) -> int | None:
        """Where its first match begins."""
        match = self._compiled.search(_searchable(text))
        return None if match is None else int(match.start())

    def spans(self, text: str, group: str = "") -> list[tuple[int, int]]:
        """Where it matches, or where its group stands."""
        number = self._compiled.groupindex[group] if group else 0
        return [match.span(number) for match in self._compiled.finditer(_searchable(text))]


class TextSet:
    """Several patterns of ours over text as it is: which ones match."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._found: Callable[[Any], Sequence[int]]
        if re2 is None:
            compiled = [regex.compile(_for_regex(pattern)) for pattern in patterns]
            self._found = lambda text: [number for number, pattern in enumerate(compiled) if pattern.search(text)]
            return
        found_by = re2.Set.SearchSet(_options(latin1=False))
        for pattern in patterns:
            found_by.Add(pattern)
        found_by.Compile()
        self._found = lambda text: sorted(found_by.Match(text) or ())

    def hits(self, text: str) -> Sequence[int]:
        """The numbers of the patterns that match somewhere, ascending."""
        return self._found(_storable(text))


class CustomPattern:
    """A customer's pattern. With re2 it cannot be slow; with `regex` it stops after `timeout` seconds."""

    def __init__(self, compiled: _Compiled, timeout: float | None) -> None:
        self._compiled = compiled
        self._timeout = timeout

    @property
    def linear(self) -> bool:
        """Does it need no time limit?"""
        return self._timeout is None

    def matches(self, text: str) -> bool:
        """Whether it matches anywhere, if only an empty stretch. Raises `PatternTimeout`."""
        if self._timeout is None:
            return self._compiled.search(_storable(text)) is not None
        try:
            found = self._compiled.search(_storable(text), timeout=self._timeout, concurrent=True)
        except TimeoutError:
            raise PatternTimeout(f"a pattern took longer than {self._timeout} s for {len(text)} characters") from None
        return found is not None

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where it matches; the group named `value`, if it has one, else all. Raises `PatternTimeout`."""
        text = _storable(text)
        group = self._compiled.groupindex.get("value", 0)
        if self._timeout is None:
            matches = self._compiled.finditer(text)
        else:
            matches = self._compiled.finditer(text, timeout=self._timeout, concurrent=True)
        try:
            return [span for match in matches if (span := match.span(group))[0] < span[1]]
        except TimeoutError:
            raise PatternTimeout(f"a pattern took longer than {self._timeout} s for {len(text)} characters") from None


def compile_text(pattern: str) -> TextPattern:
    """A pattern of ours; in the syntax that re2 and `regex` share."""
    if re2 is not None:
        return TextPattern(re2.compile(pattern, _options(latin1=False)))
    return TextPattern(regex.compile(_for_regex(pattern)))


def compile_custom(pattern: str, *, ignore_case: bool = False, timeout: float = 0.1) -> CustomPattern:
    """A customer's pattern: re2 if it can, else `regex` with a time limit. Raises `ValueError` if neither can."""
    if re2 is not None:
        options = _options(latin1=False)
        options.case_sensitive = not ignore_case
        options.max_mem = 8 << 20
        try:
            return CustomPattern(re2.compile(pattern, options), None)
        except re2.error:
            pass  # look-around, a back reference, or a mistake: the other engine will say which
    try:
        return CustomPattern(regex.compile(pattern, regex.IGNORECASE if ignore_case else 0), timeout)
    except regex.error as error:
        raise ValueError(f"the pattern {pattern!r} is wrong: {error}") from None


def _set_of(patterns: Sequence[str]) -> Callable[[bytes], Sequence[int]]:
    if re2 is None:
        compiled = [_compile_bytes(pattern) for pattern in patterns]
        return lambda data: [number for number, pattern in enumerate(compiled) if pattern.search(data)]
    found_by = re2.Set.SearchSet(_options(latin1=True))
    for pattern in patterns:
        found_by.Add(pattern.encode("latin-1"))
    found_by.Compile()
    return lambda data: sorted(found_by.Match(data) or ())


def _compile_bytes(pattern: str) -> _Compiled:
    if re2 is None:
        return regex.compile(_for_regex(pattern).encode("latin-1"))
    compiled: _Compiled = re2.compile(pattern.encode("latin-1"), _options(latin1=True))
    return compiled


def _for_regex(pattern: str) -> str:
    return pattern.replace(r"\z", r"\Z")


def _options(*, latin1: bool) -> _Compiled:
    options = re2.Options()
    options.max_mem = _MEMORY
    options.log_errors = False
    if latin1:
        options.encoding = re2.Options.Encoding.LATIN1
    return options


def _searchable(text: str) -> str | bytes:
    # To re2, ASCII is the same as bytes, and has no positions to translate.
    return text.encode() if re2 is not None and text.isascii() else _storable(text)


def _storable(text: str) -> str:
    # A lone surrogate cannot be encoded for re2; any other character in its place keeps the positions.
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= sign <= "\udfff" else sign for sign in text)
    return text

