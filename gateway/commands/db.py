"""`gateway db`: how the database stands, bringing its schema up to date, backup and restore."""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from gateway.commands.options import print_json
from gateway.commands.place import Place, at_place
from gateway.errors import GatewayError
from gateway.store import upkeep
from gateway.store.opening import SQLITE, own_store
from gateway.store.upkeep import Standing

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def db() -> None:
    """The database: status, migrate, backup, restore."""


@db.command()
@_json
@at_place
def status(place: Place, *, as_json: bool) -> None:
    """Show which schema the database has, and how much is in it. Changes nothing."""
    with _errors():
        standing = _standing(place)
    if as_json:
        shown = {**msgspec.structs.asdict(standing), "state": standing.state}
        click.echo(msgspec.json.encode(shown))
        return
    click.echo(f"{standing.kind}, schema {standing.schema} of {standing.known}: {standing.state}")
    click.echo(f"{standing.bytes / 1e6:.1f} MB: " + ", ".join(f"{n} {name}" for name, n in standing.rows.items()))


@db.command()
@_json
@at_place
def migrate(place: Place, *, as_json: bool) -> None:
    """Bring the schema up to date, as each start does. Refused while a gateway uses this data."""

    async def nobody(name: str) -> None:
        """No worker is there to be told."""

    async def run() -> None:
        await (await own_store(place.config, place.data_dir, nobody)).close()

    with _errors():
        asyncio.run(run())
        standing = _standing(place)
    if as_json:
        print_json({"schema": standing.schema, "state": standing.state})
    else:
        click.echo(f"schema {standing.schema}: {standing.state}")


@db.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_json
@at_place
def backup(place: Place, *, file: Path, as_json: bool) -> None:
    """Write all of the database as it is now to FILE, also while the gateway runs.

    Keep the master secret (`secret` in the data directory or the configuration) with it: keys are of no use without.
    """
    with _errors():
        if place.config.database == SQLITE:
            size = upkeep.sqlite_backup(place.data_dir, file)
        else:
            size = upkeep.postgres_backup(place.config.database, file)
    print_json({"file": str(file), "bytes": size}) if as_json else click.echo(f"{file}: {size / 1e6:.1f} MB")


@db.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--yes", is_flag=True, help="Do not ask.")
@_json
@at_place
def restore(place: Place, *, file: Path, yes: bool, as_json: bool) -> None:
    """Put the backup FILE in the database's place. The gateway must not run; its start migrates an older schema."""
    if not yes:
        click.confirm(f"Replace the database by {file}?", abort=True)
    with _errors():
        if place.config.database == SQLITE:
            kept = upkeep.sqlite_restore(place.data_dir, file)
            _restored(kept, as_json=as_json)
            return
        used_by = asyncio.run(_gateways(place.config.database))
        if used_by:
            raise click.ClickException(f"{used_by} connections of gateways are open: stop them first.")
        upkeep.postgres_restore(place.config.database, file)
        _restored(None, as_json=as_json)


def _restored(kept: Path | None, *, as_json: bool) -> None:
    if as_json:
        print_json({"restored": True, "old_database": None if kept is None else str(kept)})
    else:
        click.echo("restored" + (f"; the old database is {kept}" if kept else ""))


def _standing(place: Place) -> Standing:
    if place.config.database == SQLITE:
        return upkeep.sqlite_standing(place.data_dir)
    from gateway.store.postgres import standing

    return asyncio.run(standing(place.config.database))


async def _gateways(url: str) -> int:
    from gateway.store.postgres import APPLICATION, Database

    database = Database(url)
    try:
        sql = "SELECT COUNT(*) FROM pg_stat_activity WHERE application_name = $1 AND pid <> pg_backend_pid()"
        return int((await database.rows(5.0, sql, APPLICATION))[0][0])
    finally:
        await database.close()


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """The store's errors as the command's."""
    try:
        yield
    except GatewayError as error:
        raise click.ClickException(error.message) from error
