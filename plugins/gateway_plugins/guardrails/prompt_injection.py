"""Finds prompt injection, said outright or hidden in a document, a tool's result, a code or another language.

    - use: guardrail.prompt_injection
      with: {threshold: 0.5}

What it catches, what not, and how often it errs: docs/guardrails/prompt-injection.md.
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from gateway import Finding
from gateway.detect.injection import Injections


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How sure it must be."""

    threshold: Annotated[float, Meta(ge=0, le=1, description="Findings with a lower score do not count.")] = 0.5


class PromptInjection:
    """Rules in thirty languages, other readings of the text, and a small linear model."""

    Config = Options
    name = "guardrail.prompt_injection"
    hold_back = 0  # a sentence's sense is known at its end

    def __init__(self, options: Options) -> None:
        self.threshold = options.threshold
        self._injections = Injections()

    def scan(self, text: str, part: str = "content") -> Sequence[Finding]:
        """See `Detector.scan`. Weak findings too: `threshold` says what counts.

        The kinds are those of the rules, `obfuscated`, `indirect` for what stands where no instruction belongs, and
        `likely` for the model's word. What tools and documents say is judged more strictly.
        """
        return self._injections.findings(text, part)
