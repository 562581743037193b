"""A gateway for one question, built from its files while none is running: it serves nothing and changes nothing."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from gateway.accounts.bootstrap import load_master_secret
from gateway.boot import snapshot
from gateway.config import Config
from gateway.dispatch import Plugins, hooks_of
from gateway.metrics import Metrics
from gateway.money.journal import Journal
from gateway.money.policybook import PolicyBook
from gateway.money.seeding import aliases_of, seed
from gateway.runtime import Gateway
from gateway.shared_state import SharedState
from gateway.shared_state.memory import MemoryState
from gateway.store import Store
from gateway.store.opening import SQLITE, worker_store
from gateway.store.sqlite import DATABASE
from gateway.upstream import Upstream


@contextlib.asynccontextmanager
async def offline(config: Config) -> AsyncIterator[Gateway]:
    """The gateway of `config` with its plugins for authentication and dry runs started, and no others.

    Budgets stand as the ledger has them; rates and places are as if nobody had asked for anything.
    """
    data_dir = _data_dir(config)
    async with contextlib.AsyncExitStack() as opened:
        scratch = Path(opened.enter_context(TemporaryDirectory()))
        store = await _untouched(config, data_dir)
        opened.push_async_callback(store.close)
        journal = Journal(scratch, 0, fsync_ms=1000, max_bytes=1 << 20)  # of nothing: a `Gateway` has one
        opened.callback(journal.stop)
        upstream = Upstream()
        opened.push_async_callback(upstream.close)
        state = MemoryState()
        await _spend(config, state, store)
        gateway = Gateway(
            data_dir=data_dir, slot=0, secret=load_master_secret(config, data_dir), state=state, store=store,
            journal=journal, upstream=upstream, metrics=Metrics(scratch),
        )
        gateway.snapshot = snapshot(config)
        needed = Plugins([
            member for member in gateway.snapshot.plugins.members
            if member.role == "auth" or "explain" in hooks_of(*member.parts)
        ])
        await needed.startup(gateway)
        opened.push_async_callback(needed.shutdown, gateway)
        yield gateway


def _data_dir(config: Config) -> Path:
    path = Path(config.data_dir).absolute()
    kept = config.database != SQLITE or (path / DATABASE).exists()
    if not kept or not (config.secret or (path / "secret").exists()):
        raise click.ClickException(
            f"The gateway is not running, and {path} holds no gateway's data. Start the gateway once."
        )
    return path


async def _untouched(config: Config, data_dir: Path) -> Store:
    """The store, but a dry run is no use of a key."""

    async def forget(used: Mapping[str, int]) -> None:
        """See `Accounts.touch_keys`."""

    async def nobody(name: str) -> None:
        """No caller is cached here."""

    store = await worker_store(config, data_dir, nobody)
    store.touch_keys = forget  # type: ignore[method-assign]
    return store


async def _spend(config: Config, state: SharedState, store: Store) -> None:
    book = PolicyBook(store, state)
    await book.load()
    await seed(state, store, book, aliases_of(config), rolling=True)
