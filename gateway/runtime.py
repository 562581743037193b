"""What a process and a configuration consist of: `Gateway` lives as long as the process, `Snapshot` until a reload.

Here are only the values; `boot.py` builds them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.catalogue import Catalogue
from gateway.conditions import Conditions
from gateway.config import Config
from gateway.errors import Unavailable

if TYPE_CHECKING:
    from gateway.exchange import Caller
    from gateway.hookspecs import Reply
    from gateway.metrics import Metrics
    from gateway.money.journal import Journal
    from gateway.money.prices import PriceBook
    from gateway.registry import Plugins
    from gateway.router import Router
    from gateway.shared_state import SharedState
    from gateway.store import Store
    from gateway.upstream import Peer, Upstream


class Gateway:
    """What plugins get at `startup`: the process's stores, and where its files are."""

    def __init__(
        self, *, data_dir: Path, slot: int, secret: bytes, state: "SharedState", store: "Store", journal: "Journal",
        upstream: "Upstream", metrics: "Metrics",
    ) -> None:
        self.data_dir = data_dir
        self.slot = slot              # this worker's number, from 0
        self.secret = secret          # master secret; derive one key for each purpose with `gateway.secrets.derive`
        self.state = state
        self.store = store
        self.journal = journal
        self.upstream = upstream
        self.metrics = metrics
        self.conditions = Conditions(metrics)  # what targets told of their limits, and which are ready
        self.catalogue = Catalogue(upstream)   # the models that providers list themselves
        self.snapshot: Snapshot       # the current configuration; an exchange keeps the one it began with
        self.draining = False
        # Asks a configured model: set where requests are served. See `gateway.inner`.
        self.ask: Callable[[Caller, Mapping[str, Any]], Awaitable[Reply]] = _nobody


async def _nobody(caller: "Caller", body: Mapping[str, Any]) -> "Reply":  # noqa: ARG001
    raise Unavailable("No models can be asked here.")


class Use:
    """Counts the exchanges that run under a snapshot; `idle` is set when it is retired and the last one left."""

    def __init__(self) -> None:
        self.running = 0
        self.idle = asyncio.Event()
        self._retired = False

    def enter(self) -> None:
        """An exchange begins."""
        self.running += 1

    def leave(self) -> None:
        """An exchange has ended."""
        self.running -= 1
        if self._retired and not self.running:
            self.idle.set()

    def retire(self) -> None:
        """No new exchange will come."""
        self._retired = True
        if not self.running:
            self.idle.set()


class Snapshot(msgspec.Struct, frozen=True, eq=False):
    """One configuration and all that follows from it; swapped whole, never changed. `peers` are by provider name."""

    config: Config
    plugins: "Plugins"
    router: "Router"
    prices: "PriceBook"
    peers: "Mapping[str, Peer]"
    use: Use
