"""Screens for violence, adult content, hate, harassment, self-harm and requests for help with crimes.

    - use: guardrail.moderation
      with: {threshold: 0.5, thresholds: {sexual: 0.7}, categories: [hate, sexual, self_harm]}

What it catches, what not, and how often it errs: docs/guardrails/moderation.md.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gateway import Finding
from gateway.detect.linear import load
from gateway.detect.phrases import plain

Category = Literal["hate", "harassment", "sexual", "violence", "self_harm", "illegal"]
_ALL: tuple[Category, ...] = ("hate", "harassment", "sexual", "violence", "self_harm", "illegal")
Share = Annotated[float, Meta(ge=0, le=1)]


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to look for, and how sure it must be."""

    categories: Annotated[tuple[Category, ...], Meta(min_length=1)] = _ALL
    threshold: Annotated[Share, Meta(description="Findings with a lower score do not count.")] = 0.5
    thresholds: Annotated[dict[Category, Share], Meta(description="Another threshold for a category.")] = {}


class Moderation:
    """A small linear model with an output for each category."""

    Config = Options
    name = "guardrail.moderation"
    hold_back = 0  # the whole text is judged

    def __init__(self, options: Options) -> None:
        limits: dict[str, float] = {
            category: options.thresholds.get(category, options.threshold) for category in options.categories
        }
        self.threshold = min(limits.values())
        # With one threshold for all, weak findings are reported as well: a policy may have another.
        self._limits: Mapping[str, float] = limits if options.thresholds else dict.fromkeys(limits, 0.0)
        self._model = load("moderation", signals=True)

    def scan(self, text: str, part: str = "content") -> Sequence[Finding]:  # noqa: ARG002
        """See `Detector.scan`. A finding of the whole text for each category, however weak if all share a threshold."""
        if not text:
            return []
        scores = self._model.scores(plain(text).text)
        return [
            Finding(0, len(text), category, scores[category])
            for category, limit in self._limits.items()
            if scores[category] >= limit
        ]
