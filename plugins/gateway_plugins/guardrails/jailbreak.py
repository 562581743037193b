"""Finds jailbreaks: personas without rules, developer modes, fiction as a cloak, orders never to refuse.

    - use: guardrail.jailbreak
      with: {threshold: 0.5}

What it catches, what not, and how often it errs: docs/guardrails/jailbreak.md.
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from gateway import Finding
from gateway.detect.linear import load
from gateway.detect.phrases import plain


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How sure it must be."""

    threshold: Annotated[float, Meta(ge=0, le=1, description="Findings with a lower score do not count.")] = 0.5


class Jailbreak:
    """A small linear model over words and some thirty signals."""

    Config = Options
    name = "guardrail.jailbreak"
    hold_back = 0  # the whole text is judged

    def __init__(self, options: Options) -> None:
        self.threshold = options.threshold
        self._model = load("jailbreak", signals=True)

    def scan(self, text: str, part: str = "content") -> Sequence[Finding]:  # noqa: ARG002
        """See `Detector.scan`. One finding, `jailbreak`, of the whole text, however weak."""
        return [Finding(0, len(text), "jailbreak", self._model.scores(plain(text).text)["jailbreak"])] if text else []
