"""What a policy would do to one text: for those who write policies, and for replays of drafts. Nothing is noted."""

import time
from collections.abc import Sequence

import msgspec

from gateway.clock import now_ms
from gateway.dialects.openai_chat import Chat
from gateway.exchange import Caller, Exchange
from gateway.guardrails.check import Hit
from gateway.guardrails.edits import StandIn
from gateway.guardrails.files import PART, without_edits
from gateway.guardrails.policy import Policy
from gateway.guardrails.texts import edited, read_text


class Place(msgspec.Struct, frozen=True):
    """A stretch of the text, from `start` to before `end`, and what it is."""

    start: int
    end: int
    kind: str
    score: float


class Triggered(msgspec.Struct, frozen=True):
    """A guardrail that found something; `error` tells that it failed instead."""

    guardrail: str
    action: str
    kinds: tuple[str, ...]
    spans: tuple[Place, ...]
    error: str = ""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome. Of a text that is blocked, `processed_text` is empty."""

    policy: tuple[str, ...]
    is_input: bool
    original_text: str
    processed_text: str
    blocked: bool
    message: str
    warnings: tuple[str, ...]
    triggered_guardrails: tuple[Triggered, ...]
    actions_taken: tuple[str, ...]
    latency_ms: float


async def trial(
    policy: Policy, text: str, *, is_input: bool = True, part: str = "content", caller: Caller | None = None,
    stand_in: StandIn | None = None,
) -> Trial:
    """Run a policy on a text. Raises what a judge refuses with."""
    exchange = Exchange("trial", "guardrails.test", Chat(), {}, now_ms())
    exchange.caller = caller
    began = time.perf_counter()
    reading = read_text(text, part)
    chain = policy.input if is_input else policy.output
    (hits,) = await chain.examine([reading.place], exchange, "input" if is_input else "output")
    if part == PART:
        hits = tuple(without_edits(hits, policy.file_checks))
    blocking = next((hit for hit in hits if _refuses(hit)), None)
    after = "" if blocking else edited(reading, hits, stand_in if is_input else None)
    seconds = time.perf_counter() - began
    return Trial(
        policy=policy.names, is_input=is_input, original_text=text, processed_text=after,
        blocked=blocking is not None, message=blocking.check.message if blocking else "",
        warnings=tuple(dict.fromkeys(_warning(hit) for hit in hits if hit.action in ("warn", "failed"))),
        triggered_guardrails=_triggered(hits), actions_taken=tuple(dict.fromkeys(hit.action for hit in hits)),
        latency_ms=round(seconds * 1000, 3),
    )  # fmt: skip


def _refuses(hit: Hit) -> bool:
    return hit.action == "block" or (hit.action == "failed" and hit.check.on_error == "closed")


def _warning(hit: Hit) -> str:
    return f"{hit.check.name}: {'failed' if hit.action == 'failed' else hit.kind or 'flagged'}"


def _triggered(hits: Sequence[Hit]) -> tuple[Triggered, ...]:
    groups: dict[tuple[str, str], list[Hit]] = {}
    for hit in hits:
        groups.setdefault((hit.check.name, hit.action), []).append(hit)
    return tuple(
        Triggered(
            name, action, tuple(dict.fromkeys(hit.kind for hit in group if hit.kind)),
            tuple(Place(hit.start, hit.end, hit.kind, round(hit.score, 3)) for hit in group if hit.action != "failed"),
            next((type(hit.error).__name__ for hit in group if hit.error is not None), ""),
        )
        for (name, action), group in groups.items()
    )  # fmt: skip
