"""What is known of targets before they are asked: the rate limits that they told, and whether they are ready.

A target that is known to be used up until its reset, or whose server is not ready, is asked after the others: what is
known may be old, so that it is still better than nobody. Each process knows what it heard itself. Headers are read in
`ratelimits.py`; a server's readiness is told by its provider.
"""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from gateway.errors import UpstreamError, UpstreamRefused
from gateway.ratelimits import Limit, limits_in, tells, wait_of

if TYPE_CHECKING:
    from gateway.exchange import Exchange, Target
    from gateway.metrics import Metrics
    from gateway.reply import UpstreamReply

_MOST = 1_000      # targets that are remembered
_LONGEST = 3600.0  # seconds for which a target counts as used up
_AGAIN = 1.0       # seconds between two readings of what a target tells all the time


class Condition(msgspec.Struct, frozen=True):
    """What is known of a target, or with an empty `model` of a provider's server.

    `reason` says why it is asked last, for `seconds` more (`None`: until it is ready); empty where it is not.
    """

    provider: str
    model: str
    reason: str = ""
    seconds: float | None = None
    limits: tuple[Limit, ...] = ()


class Conditions:
    """All that one process knows."""

    def __init__(self, metrics: "Metrics") -> None:
        self._metrics = metrics
        self._away: dict[str, str] = {}                            # provider -> why it is not ready
        self._ready: set[str] = set()                              # providers that were found ready
        self._until: dict[tuple[str, str], float] = {}             # used up until then
        self._limits: dict[tuple[str, str], tuple[Limit, ...]] = {}
        self._read: dict[tuple[str, str], float] = {}

    def sorted(self, targets: "tuple[tuple[Target, str], ...]") -> "tuple[tuple[Target, str], ...]":
        """The targets to ask, each with its dialect: those that cannot answer now come last."""
        if len(targets) < 2 or not (self._away or self._until):
            return targets
        now = time.monotonic()
        poor = [pair for pair in targets if self._is_poor(pair[0], now)]
        if not poor or len(poor) == len(targets):
            return targets
        return (*(pair for pair in targets if pair not in poor), *poor)

    def heard(self, exchange: "Exchange", target: "Target", reply: "UpstreamReply") -> None:
        """A target answered. What a tenant's own credential is told says nothing of the others."""
        headers = reply.headers
        if not tells(headers) or exchange.credential is not None or not (reply.status < 300 or reply.status == 429):
            return
        key, now = (target.provider.name, target.model), time.monotonic()
        if self._read.get(key, 0.0) + _AGAIN > now and not _is_used_up(headers):
            return
        if key not in self._read and len(self._read) >= _MOST:
            return
        self._read[key] = now
        limits = self._limits[key] = limits_in(headers)
        for limit in limits:
            self._metrics.upstream_limit(*key, limit.unit, limit.limit, limit.remaining)
        waits = [limit.reset for limit in limits if limit.remaining == 0 and limit.reset]
        if waits:
            self._until[key] = now + min(max(waits), _LONGEST)

    def refused(self, exchange: "Exchange", target: "Target", error: UpstreamError) -> UpstreamError:
        """The same error; for now, 429 or 503, where it says until when."""
        if isinstance(error, UpstreamRefused) and error.status in (429, 503, 529) and exchange.credential is None:
            key, wait = (target.provider.name, target.model), wait_of(error)
            if wait and (key in self._until or len(self._until) < _MOST):
                self._until[key] = time.monotonic() + min(wait, _LONGEST)
        return error

    def ready(self, provider: str, why_not: str = "") -> None:
        """A provider's server was found ready, or why it is not."""
        if why_not:
            self._away[provider] = why_not
        else:
            self._away.pop(provider, None)
        self._ready.add(provider)
        self._metrics.upstream_ready.labels(provider).set(0 if why_not else 1)

    def forget(self, provider: str) -> None:
        """A provider is no more looked after."""
        self._away.pop(provider, None)
        self._ready.discard(provider)

    def known(self) -> Sequence[Condition]:
        """All that is known, by provider and model."""
        now = time.monotonic()
        found = [Condition(name, "", self._away.get(name, "")) for name in self._ready]
        for key in self._limits.keys() | self._until.keys():
            left = self._until.get(key, 0.0) - now
            reason, seconds = ("its rate limit is used up", round(left, 3)) if left > 0 else ("", None)
            found.append(Condition(*key, reason, seconds, self._limits.get(key, ())))
        return sorted(found, key=lambda each: (each.provider, each.model))

    def _is_poor(self, target: "Target", now: float) -> bool:
        name = target.provider.name
        if name in self._away:
            return True
        key = (name, target.model)
        until = self._until.get(key)
        if until is None:
            return False
        if until <= now:
            del self._until[key]
            return False
        return True


def _is_used_up(headers: Mapping[str, str]) -> bool:
    return any(limit.remaining == 0 for limit in limits_in(headers))
