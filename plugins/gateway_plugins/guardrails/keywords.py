"""Finds words and phrases of your own.

    - use: guardrail.keywords
      action: redact
      with:
        deny: {codename: [falcon, blue moon], rival: [Acme Corp]}
        allow: [peregrine falcon]

A denied phrase inside an allowed one does not count. Lists may have thousands of entries.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from gateway import Finding
from gateway.detect.patterns import compile_text

Phrase = Annotated[str, Meta(min_length=1, max_length=500)]


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is denied, by category, and in which phrases it is allowed."""

    deny: Annotated[
        Mapping[Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.:-]{0,63}$")], tuple[Phrase, ...]],
        Meta(min_length=1, description="Phrases by category; the category is named in refusals and labels."),
    ]
    allow: tuple[Phrase, ...] = ()
    ignore_case: bool = True
    whole_words: Annotated[bool, Meta(description="`cat` is not found in `concatenate`.")] = True


class Keywords:
    """A detector of phrases."""

    name = "guardrail.keywords"
    Config = Options

    def __init__(self, options: Options) -> None:
        self._words = options.whole_words
        self._fold = (lambda text: _blanks(text).casefold()) if options.ignore_case else _blanks
        self._kinds = {self._fold(phrase): kind for kind, phrases in options.deny.items() for phrase in phrases}
        if not self._kinds:
            raise ValueError("`deny` has no phrases")
        flags = "(?i)" if options.ignore_case else ""
        self._denied = compile_text(flags + _any_of(self._kinds))
        self._allowed = compile_text(flags + _any_of(map(_blanks, options.allow))) if options.allow else None
        longest = max(map(len, (*self._kinds, *options.allow)))
        self.hold_back = 2 * longest + 16  # blanks may be wider than one; an allowed phrase may begin before

    def scan(self, text: str, part: str = "content") -> Sequence[Finding]:  # noqa: ARG002
        """All denied phrases."""
        found = [span for span in self._denied.spans(text) if not self._words or _is_whole(text, *span)]
        if not found:
            return ()
        allowed = self._allowed.spans(text) if self._allowed is not None else []
        return [
            Finding(start, end, self._kinds.get(self._fold(text[start:end]), ""))
            for start, end in found
            if not any(first <= start and end <= last for first, last in allowed)
        ]


def _any_of(phrases: Iterable[str]) -> str:
    longest_first = sorted(phrases, key=len, reverse=True)
    return "(?:" + "|".join(r"\s{1,4}".join(map(re.escape, phrase.split(" "))) for phrase in longest_first) + ")"


def _blanks(text: str) -> str:
    return " ".join(text.split())


def _is_whole(text: str, start: int, end: int) -> bool:
    before, after = text[start - 1 : start], text[end : end + 1]
    return not (before.isalnum() and text[start].isalnum()) and not (after.isalnum() and text[end - 1].isalnum())
