"""What a process and a configuration consist of: `Gateway` lives as long as the process, `Snapshot` until a reload.

Here are only the values; `boot.py` builds them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from gateway.config import Config

if TYPE_CHECKING:
    from gateway.money.journal import Journal
    from gateway.money.prices import PriceBook
    from gateway.registry import Plugins
    from gateway.router import Router
    from gateway.shared_state import SharedState
    from gateway.store import Store
    from gateway.upstream import Upstream


class Gateway:
    """What plugins get at `startup`: the process's stores, and where its files are."""

    def __init__(
        self, *, data_dir: Path, slot: int, secret: bytes, state: "SharedState", store: "Store", journal: "Journal",
        upstream: "Upstream",
    ) -> None:
        self.data_dir = data_dir
        self.slot = slot              # this worker's number, from 0
        self.secret = secret          # master secret; derive one key for each purpose with `gateway.secrets.derive`
        self.state = state
        self.store = store
        self.journal = journal
        self.upstream = upstream
        self.snapshot: Snapshot       # the current configuration; an exchange keeps the one it began with
        self.draining = False


class Snapshot(msgspec.Struct, frozen=True, eq=False):
    """One configuration and all that follows from it; swapped whole, never changed."""

    config: Config
    plugins: "Plugins"
    router: "Router"
    prices: "PriceBook"
