"""The models that providers themselves list: asked for when a list is wanted, kept, and asked for again in between.

What a provider is asked, and how its answer reads, is told by its `list_models`. A failure keeps the old list.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import structlog

from gateway.errors import GatewayError
from gateway.hookspecs import HttpRequest, Provider
from gateway.tasks import Tasks

if TYPE_CHECKING:
    from gateway.upstream import Peer, Upstream

Send = Callable[[HttpRequest], Awaitable[tuple[int, bytes]]]
WAIT = 3.0            # seconds that who wants a list waits for the first one
MOST = 5_000          # models of one provider
_MAX_ANSWER = 8 * 1024 * 1024
_FRESH = 600.0        # seconds that a list is good for
_PAUSE = 60.0         # seconds after a failure
_TOTAL = 20.0         # seconds that all pages of a list may take
_log = structlog.get_logger("gateway.catalogue")


class Catalogue:
    """The lists of one process, by provider name."""

    def __init__(self, upstream: "Upstream") -> None:
        self._upstream = upstream
        self._names: dict[str, tuple[str, ...]] = {}
        self._next: dict[str, float] = {}
        self._began: dict[str, float] = {}  # when it was asked for the first time
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._tasks = Tasks()

    def names(self, provider: str) -> tuple[str, ...]:
        """What the provider listed last; nothing before the first answer."""
        return self._names.get(provider, ())

    async def look(
        self, providers: Mapping[str, Provider], peers: "Mapping[str, Peer]", wait: float = WAIT
    ) -> None:
        """Ask again where a list is too old. Only for the first answer of a provider, wait: until `wait` seconds
        after it was asked, so that one that does not answer is waited for once and not by everybody.
        """
        now, missing, until = time.monotonic(), [], 0.0
        for name, provider in providers.items():
            if not getattr(provider, "discovers", False):
                continue
            if now >= self._next.get(name, 0.0) and name not in self._asking:
                work = self._ask(name, provider, peers[name])
                self._asking[name] = self._tasks.spawn(work, f"models of {name}")
            if name in self._asking and name not in self._next:
                missing.append(self._asking[name])
                until = max(until, self._began.setdefault(name, now) + wait)
        if until > now:
            await asyncio.wait(missing, timeout=until - now)

    async def close(self) -> None:
        """End what runs."""
        await self._tasks.close()

    async def _ask(self, name: str, provider: Any, peer: "Peer") -> None:  # noqa: ANN401 - one with `list_models`
        async def send(request: HttpRequest) -> tuple[int, bytes]:
            reply = await self._upstream.send(peer, request)
            return reply.status, await reply.body(_MAX_ANSWER)

        try:
            async with asyncio.timeout(_TOTAL):
                found = await provider.list_models(send)
        except (GatewayError, ValueError, TimeoutError) as error:
            self._next[name] = time.monotonic() + _PAUSE
            why = getattr(error, "message", "") or str(error) or "it took too long"
            _log.warning("a provider did not list its models", provider=name, reason=why)
        else:
            self._next[name] = time.monotonic() + _FRESH
            self._names[name] = tuple(dict.fromkeys(found))[:MOST]
        finally:
            self._asking.pop(name, None)
