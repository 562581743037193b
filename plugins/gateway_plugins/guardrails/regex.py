r"""Blocks, redacts or flags texts that match patterns of your own, in requests and replies, streamed or not.

    - use: guardrail.regex
      name: no-internal-hosts
      with: {patterns: ['\b[a-z0-9-]{1,63}\.corp\.example\b'], action: redact, replacement: "[HOST]"}

Patterns run on re2, in linear time; those with look-around or back references on the `regex` module, in a thread and
with a time limit: one that backtracks without end refuses the text (or lets it pass, with `on_error: open`) but stalls
nobody. A stream is held back by the length of the longest match. Where that
is not known (`+`, `*`, look-around), set `hold_back` to the most that a match and what it looks at can span, or to 0
to judge only complete answers, as patterns with `^` need it.
"""

import importlib
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gateway import Finding
from gateway.detect.patterns import compile_custom

_LONG_MATCH = 4_096


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to look for, where, and what to do about it."""

    patterns: Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(min_length=1)]
    action: Annotated[
        Literal["block", "redact", "warn"], Meta(description="Where the entry or the policy has no `action`.")
    ] = "block"
    replacement: Annotated[
        str | None, Meta(description="For `redact`: what stands in place of a match; without it a label by `category`.")
    ] = None
    apply_to: Literal["input", "output", "both"] = "both"
    ignore_case: bool = False
    category: Annotated[str, Meta(description="Named in the refusal, the warning or the label.")] = ""
    hold_back: Annotated[
        Annotated[int, Meta(ge=0, le=100_000)] | None,
        Meta(description="Characters that a match can span; 0 buffers answers."),
    ] = None
    timeout: Annotated[float, Meta(gt=0, le=10, description="Seconds for a pattern that re2 cannot run.")] = 0.1


class Regex:
    """Any number of patterns with one action."""

    name = "guardrail.regex"

    def __init__(self, config: Config) -> None:
        made = [
            compile_custom(pattern, ignore_case=config.ignore_case, timeout=config.timeout)
            for pattern in config.patterns
        ]
        self._patterns = made
        self.hold_back = _hold_back(config) if config.apply_to != "input" else 1
        self.apply_to = config.apply_to
        self.action = config.action
        self.replacement = config.replacement
        self.slow = not all(pattern.linear for pattern in made)
        self._kind = config.category

    def scan(self, text: str, part: str = "content") -> Sequence[Finding]:  # noqa: ARG002
        """All matches of all patterns."""
        return [Finding(*span, self._kind) for pattern in self._patterns for span in pattern.spans(text)]


def _hold_back(config: Config) -> int:
    """As configured, or the length of the longest match. Raises `ValueError` where a stream could not be judged."""
    # The standard library's own parser knows widths; it has no public name, so it is asked for at run time.
    parse = importlib.import_module("re._parser").parse
    longest = 1
    for pattern in config.patterns:
        try:
            tree = parse(pattern)
        except Exception:  # what only the `regex` module understands
            shape, width = "", _LONG_MATCH + 1
        else:
            shape, width = repr(tree), tree.getwidth()[1]
        if "AT_BEGINNING" in shape and config.hold_back != 0:
            raise ValueError(f"{pattern!r} looks for the beginning of a text: set hold_back to 0, or apply_to to input")
        if config.hold_back is None and (width > _LONG_MATCH or "ASSERT" in shape):
            raise ValueError(f"how much {pattern!r} can span is not known: set hold_back to a length, or to 0")
        longest = max(longest, width)
    return longest if config.hold_back is None else config.hold_back
