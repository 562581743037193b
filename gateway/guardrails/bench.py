"""How long a policy takes, on a text of one's own or on ordinary prose, whole and in pieces as a stream."""

import statistics
import time
from collections.abc import Callable, Sequence

import msgspec

from gateway.clock import now_ms
from gateway.dialects.openai_chat import Chat
from gateway.events import Finish, Text
from gateway.exchange import Exchange
from gateway.guardrails.policy import Policy
from gateway.guardrails.stream import ReplyGuard

_PROSE = (
    "The report describes twelve projects and 3 milestones; the team said that deliveries in Lyon, Oslo and Porto went "
    "well in May. Please summarise what customers wrote and compare it with the 4,200 orders of last year. "
)
_CHUNK = 24


class Speed(msgspec.Struct, frozen=True):
    """Milliseconds at the median and at the 99th percentile."""

    name: str
    p50_ms: float
    p99_ms: float


class Benched(msgspec.Struct, frozen=True, kw_only=True):
    """The measurements. `chain` is all detectors together; `stream` is what a chunk of a stream costs on average."""

    policy: tuple[str, ...]
    characters: int
    rounds: int
    guardrails: tuple[Speed, ...]
    chain: Speed
    stream_us_per_chunk: float
    first_chunk_held_back: int


async def bench(policy: Policy, text: str = "", *, characters: int = 4096, rounds: int = 200) -> Benched:
    """Measure the detectors of a policy; judges cost what their service costs, and are left out."""
    text = text or (_PROSE * (characters // len(_PROSE) + 1))[:characters]
    texts = [f"{number} {text}" for number in range(rounds)]  # no two the same: nothing is remembered
    chain = policy.input
    each = tuple(
        _speed(check.name, [_timed(check.hits, one) for one in texts]) for check in chain.detectors
    )
    whole = [_timed(chain.scan, one) for one in texts]
    per_chunk, held = await _stream(policy, text)
    return Benched(
        policy=policy.names, characters=len(text), rounds=rounds, guardrails=each, chain=_speed("chain", whole),
        stream_us_per_chunk=per_chunk, first_chunk_held_back=held,
    )


def _timed(run: Callable[[str, str], object], text: str) -> float:
    began = time.perf_counter()
    run(text, "content")
    return time.perf_counter() - began


def _speed(name: str, seconds: Sequence[float]) -> Speed:
    ordered = sorted(seconds)
    last = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return Speed(name, round(statistics.median(ordered) * 1000, 4), round(last * 1000, 4))


async def _stream(policy: Policy, text: str) -> tuple[float, int]:
    """Microseconds a chunk, and how many chunks came before the first one left."""
    chunks = [text[at : at + _CHUNK] for at in range(0, len(text), _CHUNK)]
    seconds, held = [], 0
    for _ in range(20):
        guard = ReplyGuard(policy.output, Exchange("bench", "bench", Chat(), {}, now_ms()), lambda _hits, _part: None)
        left = 0
        began = time.perf_counter()
        for number, chunk in enumerate(chunks):
            out = list(await guard.feed(Text(chunk)))
            if out and not left:
                held = number
            left += len(out)
        await guard.feed(Finish("stop"))
        seconds.append(time.perf_counter() - began)
    return round(statistics.median(seconds) / max(1, len(chunks)) * 1e6, 2), held
