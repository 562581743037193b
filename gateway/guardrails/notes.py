"""What becomes of hits besides edits: refusals, warnings, the reply's header, the log, and marks for metrics."""

from collections.abc import Iterable, Sequence

import msgspec
import structlog

from gateway.errors import ContentBlocked, Unavailable
from gateway.exchange import Exchange
from gateway.guardrails.check import Hit

_log = structlog.get_logger("gateway.guardrails")
_MOST = 200
_SHOWN = ("block", "redact", "mask", "pseudonymise", "warn")


class Noted(msgspec.Struct, frozen=True):
    """A hit as audit sinks see it, in `exchange.internal["guardrail_hits"]`: never the text."""

    rule: str
    kind: str
    action: str
    direction: str
    part: str
    score: float


def decide(exchange: Exchange, hits: Iterable[Hit], direction: str, part: str = "content") -> None:
    """Note all hits. Raises `ContentBlocked` for a block, `Unavailable` where a check failed that fails closed."""
    hits = [hit for hit in hits if hit.action != "restore"]
    if not hits:
        return
    for hit in hits:
        if hit.action == "failed":
            _failed(exchange, hit, direction)
    found = [hit for hit in hits if hit.action != "failed"]
    note(exchange, found, direction, part)
    blocking = next((hit for hit in found if hit.action == "block"), None)
    if blocking is not None:
        exchange.reply_headers["x-gateway-guardrail"] = f"{blocking.check.name};action=block"
        raise _refusal(blocking, direction, part)
    for hit in found:
        if hit.action == "warn":
            warn(exchange, f"guardrail {hit.check.name}: {hit.kind or 'flagged'} ({direction})")
        if hit.action in _SHOWN:
            _show(exchange, f"{hit.check.name};action={hit.action}")


def note(
    exchange: Exchange, hits: Sequence[Hit], direction: str, part: str, *, shadow: str = "", late: bool = False
) -> set[tuple[str, str]]:
    """Log hits and mark them for metrics and audit. Those of a draft (`shadow` is its policy's name) do nothing else.

    `late` ones are no longer marked for metrics: their exchange may be over. Returns the marks: rule and action.
    """
    kinds: dict[tuple[str, str], set[str]] = {}
    kept: list[Noted] = exchange.internal.setdefault("guardrail_hits", []) if hits and not late else []
    for hit in hits:
        name = f"{shadow}/{hit.check.name}" if shadow else hit.check.name
        action = f"shadow-{hit.action}" if shadow else hit.action
        kinds.setdefault((name, action), set()).add(hit.kind)
        if len(kept) < _MOST:
            kept.append(Noted(name, hit.kind, action, direction, part, round(hit.score, 3)))
    for (name, action), found in kinds.items():
        _log.info(
            "guardrail hit", rule=name, action=action, kinds=sorted(found), direction=direction, part=part,
            request_id=exchange.id,
        )
    if late:
        _late(exchange, kept)
    elif kinds:
        exchange.internal.setdefault("triggered", set()).update(kinds)
    return set(kinds)


def _late(exchange: Exchange, kept: Sequence[Noted]) -> None:
    """For the audit: at the end of the exchange, or, if that was before, by what its sink left there."""
    tell = exchange.internal.get("late_hits")
    if tell is not None:
        tell(exchange, kept)
    elif kept:
        exchange.internal.setdefault("guardrail_hits", []).extend(kept)


def warn(exchange: Exchange, text: str) -> None:
    """Name it once in the reply's warnings."""
    if text not in exchange.warnings:
        exchange.warnings.append(text)


def _show(exchange: Exchange, entry: str) -> None:
    shown = exchange.reply_headers.get("x-gateway-guardrail", "")
    if entry not in shown.split(", ") and len(shown) < 400:
        exchange.reply_headers["x-gateway-guardrail"] = f"{shown}, {entry}" if shown else entry


def _failed(exchange: Exchange, hit: Hit, direction: str) -> None:
    check = hit.check
    # Not the error's text: it may quote what was checked.
    _log.error(
        "guardrail failed", guardrail=check.name, error=type(hit.error).__name__, on_error=check.on_error,
        request_id=exchange.id,
    )
    if check.on_error == "closed":
        raise Unavailable(f"The guardrail {check.name} cannot check this now. Try again later.") from hit.error
    warn(exchange, f"guardrail {check.name}: failed, not checked ({direction})")


def _refusal(hit: Hit, direction: str, part: str) -> ContentBlocked:
    name = hit.check.name
    what = "request" if direction == "input" else "answer"
    advice = "Remove it and send the request again." if what == "request" else "Rephrase the request."
    where = "a file in it cannot be checked, or has" if part == "file" else "its text has"
    said = hit.check.message or f"{where} something that the policy does not allow. {advice}"
    category = f" ({hit.kind})" if hit.kind else ""
    return ContentBlocked(
        f"The {what} was refused by the guardrail {name}{category}: {said}", guardrail=name, category=hit.kind
    )
