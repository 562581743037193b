"""Finds confidential material: banners, privilege, embargoes, trade secrets, what is not public yet.

    - use: guardrail.confidential

What it catches and what not: docs/guardrails/financial-advice.md.
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from gateway import Finding
from gateway.detect.finance import Confidential as Marks


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How sure it must be."""

    threshold: Annotated[float, Meta(ge=0, le=1, description="Findings with a lower score do not count.")] = 0.5


class Confidential:
    """Marks of confidentiality, weighed against talk about confidentiality."""

    Config = Options
    name = "guardrail.confidential"
    hold_back = 0  # the whole text is judged

    def __init__(self, options: Options) -> None:
        self.threshold = options.threshold
        self._judge = Marks()

    def scan(self, text: str, part: str = "content") -> Sequence[Finding]:  # noqa: ARG002
        """See `Detector.scan`. One finding, `confidential`, of the whole text, however weak."""
        return [Finding(0, len(text), "confidential", self._judge.score(text))] if text else []
