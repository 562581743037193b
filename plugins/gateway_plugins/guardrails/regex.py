r"""Blocks, redacts or flags texts that match patterns of your own, in requests and replies, streamed or not.

    - use: guardrail.regex
      name: no-internal-hosts
      with: {patterns: ['\b[a-z0-9-]{1,63}\.corp\.example\b'], action: redact, replacement: "[HOST]"}

Patterns are those of the `regex` module, and time-limited: one that backtracks without end refuses the text (or lets
it pass, with `on_error: open`) but stalls nobody. A stream is held back by the length of the longest match. Where that
is not known (`+`, `*`, look-around), set `hold_back` to the most that a match and what it looks at can span, or to 0
to judge only complete answers, as patterns with `^` need it.
"""

import asyncio
import importlib
import time
from typing import Annotated, Literal

import msgspec
import regex
from msgspec import Meta

from gateway import Context, Redaction, Verdict

_LONG_TEXT = 16_384     # longer ones are searched in a thread
_LONG_MATCH = 4_096


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to look for, where, and what to do about it."""

    patterns: Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(min_length=1)]
    action: Literal["block", "redact", "warn"] = "block"
    replacement: Annotated[str, Meta(description="For `redact`: what stands in place of a match.")] = "[REDACTED]"
    apply_to: Literal["input", "output", "both"] = "both"
    ignore_case: bool = False
    category: Annotated[str, Meta(description="Named in the refusal or the warning.")] = ""
    hold_back: Annotated[
        Annotated[int, Meta(ge=0, le=100_000)] | None,
        Meta(description="Characters that a match can span; 0 buffers answers."),
    ] = None
    timeout: Annotated[float, Meta(gt=0, le=10, description="Seconds for one text, all patterns together.")] = 0.1


class Regex:
    """Any number of patterns with one action."""

    name = "guardrail.regex"

    def __init__(self, config: Config) -> None:
        flags = regex.IGNORECASE if config.ignore_case else 0
        try:
            self._patterns = [regex.compile(pattern, flags) for pattern in config.patterns]
        except regex.error as error:
            raise ValueError(f"a pattern is wrong: {error}") from None
        self.hold_back = _hold_back(config) if config.apply_to != "input" else 1
        self.apply_to = config.apply_to
        self._config = config

    async def check(self, text: str, context: Context) -> Verdict:  # noqa: ARG002
        """Search all patterns; a long text does not keep others waiting."""
        if len(text) <= _LONG_TEXT:
            return self._verdict(text, self._config.timeout)
        return await asyncio.to_thread(self._verdict, text, self._config.timeout * 10)

    def _verdict(self, text: str, seconds: float) -> Verdict:
        config, end = self._config, time.monotonic() + seconds
        found: list[Redaction] = []
        for pattern in self._patterns:
            left = max(0.001, end - time.monotonic())
            for match in pattern.finditer(text, timeout=left, concurrent=len(text) > _LONG_TEXT):
                if match.start() == match.end():
                    continue
                if config.action != "redact":
                    return Verdict(config.action, reason=config.category)
                found.append(Redaction(match.start(), match.end(), config.replacement))
        return Verdict("redact", redactions=tuple(found), reason=config.category) if found else Verdict()


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
