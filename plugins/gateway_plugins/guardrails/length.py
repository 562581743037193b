"""Refuses texts that are too long or too short.

    - use: guardrail.length
      with: {max_characters: 20000, max_words: 3000}

Each text of a request counts alone. With `apply_to: output` answers are held back until they are complete.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gateway import Finding

Count = Annotated[int, Meta(ge=1)]


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The limits; those that are not set do not hold."""

    max_characters: Count | None = None
    max_words: Count | None = None
    max_lines: Count | None = None
    min_characters: Count | None = None
    apply_to: Literal["input", "output", "both"] = "input"


class Length:
    """A detector of texts that are too long (`too_long`) or too short (`too_short`)."""

    name = "guardrail.length"
    Config = Options
    hold_back = 0

    def __init__(self, options: Options) -> None:
        limits = (options.max_characters, options.max_words, options.max_lines, options.min_characters)
        if all(limit is None for limit in limits):
            raise ValueError("set a limit: max_characters, max_words, max_lines or min_characters")
        self._options = options
        self.apply_to = options.apply_to

    def scan(self, text: str, part: str = "content") -> Sequence[Finding]:
        """At most one finding, of the whole text."""
        if part == "tools":
            return ()
        limits = self._options
        if (
            _over(len(text), limits.max_characters)
            or _over(text.count("\n") + 1, limits.max_lines)
            or (limits.max_words is not None and len(text) > limits.max_words and len(text.split()) > limits.max_words)
        ):
            return [Finding(0, len(text), "too_long")]
        if limits.min_characters is not None and len(text.strip()) < limits.min_characters and part == "content":
            return [Finding(0, len(text), "too_short")]
        return ()


def _over(count: int, limit: int | None) -> bool:
    return limit is not None and count > limit
