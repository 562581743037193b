"""One guardrail with what its entry says of it: turns what it finds into hits, each with an action.

A `Detector` is asked plainly, a `Guardrail` (a judge) is awaited. Failures become hits too: what they mean is decided
where the others are.
"""

import re
from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, Literal

import msgspec

from gateway.config import Acting, Action
from gateway.errors import GatewayError
from gateway.hookspecs import Context, Detector, Finding, Guardrail, Redaction, Verdict

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.:/-]{0,63}")
Doing = Action | Literal["restore", "failed"]
_DEFAULT = Acting()
STRENGTH: tuple[Action, ...] = ("monitor", "warn", "pseudonymise", "mask", "redact", "block")


class Hit(msgspec.Struct, frozen=True):
    """A stretch of a text, what it is, and what is done about it.

    `text` is the replacement where the guardrail gave one. `whole` is a judgement of all that it saw. `error` goes
    with the action `failed`.
    """

    start: int
    end: int
    kind: str
    score: float
    action: Doing
    check: "Check"
    text: str | None = None
    whole: bool = False
    error: BaseException | None = None


class Check:
    """A guardrail ready for use."""

    def __init__(
        self, name: str, guardrail: Detector | Guardrail, entry: Acting = _DEFAULT, *,
        on_error: Literal["open", "closed"] | None = None,
    ) -> None:
        given: Any = guardrail
        self.name = name
        self.guardrail = guardrail
        self.on_error = on_error or "closed"
        self.message = entry.message
        self.background = entry.async_
        self.hold_back = guardrail.hold_back
        self.window = entry.window if entry.stream == "window" and not self.hold_back else 0
        self.settled: Callable[[str], int] | None = getattr(guardrail, "settled", None)
        self.repeatable = isinstance(guardrail, Detector) or bool(getattr(guardrail, "repeatable", False))
        stage = entry.stage or getattr(guardrail, "apply_to", "both")
        self.on_input, self.on_output = stage in ("input", "both"), stage in ("output", "both")
        self._actions = entry.actions
        self._given = entry.action
        self.action: Action = entry.action or getattr(given, "action", None) or "block"
        own_threshold = getattr(given, "threshold", 0.5)
        self._threshold = float(own_threshold if entry.threshold is None else entry.threshold)
        self._replacement: str | None = getattr(given, "replacement", None)
        self.scan = guardrail.scan if isinstance(guardrail, Detector) else None
        self._pseudonymises = "pseudonymise" in (self.action, *entry.actions.values())

    @property
    def pseudonymises(self) -> bool:
        """Whether some of its findings are replaced by stand-ins."""
        return self._pseudonymises

    @property
    def only_pseudonymises(self) -> bool:
        """Whether replies have nothing for it: stand-ins are for what models read."""
        return {self.action, *self._actions.values()} == {"pseudonymise"}

    def at_once(self) -> "Check":
        """The same check as one that is not in the background."""
        check = copy(self)
        check.background = False
        return check

    def hits(self, text: str, part: str) -> list[Hit]:
        """What a detector finds in `text`, with actions."""
        assert self.scan is not None
        try:
            found = self.scan(text, part)
            return [self._hit(each, len(text)) for each in found if each.score >= self._threshold] if found else []
        except Exception as error:
            return [self._failed(error)]

    async def judge(self, text: str, context: Context) -> list[Hit]:
        """What a judge says of `text`. Raises its `GatewayError`s: a judge may refuse in its own words."""
        assert isinstance(self.guardrail, Guardrail)
        try:
            verdict = await self.guardrail.check(text, context)
            if verdict.findings:
                return [self._hit(each, len(text)) for each in verdict.findings if each.score >= self._threshold]
            return [] if verdict.action == "pass" else self._judged(text, verdict)
        except GatewayError:
            raise
        except Exception as error:
            return [self._failed(error)]

    def _hit(self, found: Finding, length: int) -> Hit:
        action = self._actions.get(found.kind, self.action) if self._actions else self.action
        start, end = max(0, found.start), min(length, found.end)
        text = self._replacement if action == "redact" else None
        return Hit(start, end, found.kind, found.score, action, self, text, whole=end - start == length)

    def _judged(self, text: str, verdict: Verdict) -> list[Hit]:
        spans, kind = _spans(text, verdict), _category(verdict.reason, text)
        if spans:
            action: Action = self._actions.get(verdict.reason) or self._given or "redact"
            return [
                Hit(r.start, r.end, kind, 1.0, action, self, r.text if action == "redact" else None) for r in spans
            ]
        if verdict.action == "redact":
            return []
        action = "warn"
        if verdict.action == "block" or self._given == "monitor":
            action = self._actions.get(verdict.reason) or self._given or "block"
        return [Hit(0, len(text), kind, 1.0, action, self, whole=True)]

    def _failed(self, error: BaseException) -> Hit:
        return Hit(0, 0, "", 0.0, "failed", self, error=error)


def _category(reason: str, text: str) -> str:
    """A judge's reason, if it is a plain name that does not stand in the text."""
    return reason if _PLAIN.fullmatch(reason) and reason.casefold() not in text.casefold() else ""


def _spans(text: str, verdict: Verdict) -> Sequence[Redaction]:
    """What a verdict replaces; a new text says it by where it differs from the old."""
    if verdict.action != "redact":
        return ()
    if verdict.redactions:
        clipped = [Redaction(max(0, r.start), min(len(text), r.end), r.text) for r in verdict.redactions]
        return [each for each in clipped if each.start < each.end]
    return difference(text, verdict.text) if verdict.text is not None else ()


def difference(old: str, new: str) -> Sequence[Redaction]:
    """The one stretch in which two texts differ."""
    if old == new:
        return ()
    shorter = min(len(old), len(new))
    start = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), shorter)
    room = shorter - start
    backwards = zip(reversed(old), reversed(new), strict=False)
    tail = min(room, next((i for i, (a, b) in enumerate(backwards) if a != b), room))
    return (Redaction(start, len(old) - tail, new[start : len(new) - tail]),)
