"""Gives a detector the action that its entry in YAML says, so that it runs wherever a judge of texts does."""

from collections.abc import Sequence

from gateway.config import Action
from gateway.guardrails.actions import label, masked
from gateway.hookspecs import Context, Detector, Finding, Redaction, Verdict

_PASS = Verdict()


class Acting:
    """A detector as a guardrail: findings at or above the threshold become its verdict."""

    def __init__(
        self, detector: Detector, action: Action | None = None, stage: str | None = None, threshold: float | None = None
    ) -> None:
        self.hold_back = detector.hold_back
        self.apply_to = stage or getattr(detector, "apply_to", "both")
        self._scan = detector.scan
        self._action: Action = getattr(detector, "action", "block") if action is None else action
        self._threshold = getattr(detector, "threshold", 0.5) if threshold is None else threshold

    async def check(self, text: str, context: Context) -> Verdict:
        """Scan the text, and say what is to be done about it."""
        found = [each for each in self._scan(text, context.part) if each.score >= self._threshold]
        if not found:
            return _PASS
        reason = found[0].kind
        if self._action in ("redact", "mask"):
            return Verdict("redact", reason=reason, redactions=tuple(self._redactions(text, found)))
        return Verdict("block" if self._action == "block" else "warn", reason=reason)

    def _redactions(self, text: str, found: Sequence[Finding]) -> list[Redaction]:
        mask = self._action == "mask"
        return [
            Redaction(each.start, each.end, masked(text[each.start : each.end]) if mask else label(each.kind))
            for each in found
        ]

