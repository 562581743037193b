"""Opens the store that the configuration names: SQLite in the data directory, or PostgreSQL.

The driver of PostgreSQL is imported only where it is used.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from gateway.config import Config
from gateway.instance import instance
from gateway.store import OnChange, Store, StoreUnavailable
from gateway.store.owner import RemoteStore, open_store
from gateway.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from gateway.store.postgres import PostgresStore

SQLITE = "sqlite"


async def own_store(config: Config, data_dir: Path, on_change: OnChange) -> Store:
    """For the process that owns `data_dir`: the schema is brought up to date."""
    if config.database == SQLITE:
        return await SqliteStore.open(data_dir, on_change=on_change)
    return await _postgres().open(
        config.database, instance=instance(data_dir), data_dir=data_dir, on_change=on_change
    )


async def worker_store(config: Config, data_dir: Path, on_change: OnChange) -> Store:
    """For a worker beside the owner."""
    if config.database == SQLITE:
        return await RemoteStore.open(data_dir)
    return await _postgres().open(config.database, instance=instance(data_dir), on_change=on_change)


async def command_store(config: Config, data_dir: Path) -> Store:
    """For a command, whether the gateway runs or not."""
    if config.database == SQLITE:
        return await open_store(data_dir)
    return await _postgres().open(config.database, instance=instance(data_dir))


def _postgres() -> "type[PostgresStore]":
    try:
        from gateway.store.postgres import PostgresStore
    except ModuleNotFoundError as error:
        raise StoreUnavailable(
            "`database` names PostgreSQL, and its driver is not installed: pip install 'ai-gateway[postgres]'."
        ) from error
    return PostgresStore
