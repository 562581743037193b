"""Numbered migrations, forward only. Each is one transaction with its number: a killed start goes on where it was."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from gateway.store import SchemaError
from gateway.store.database import Reader, Transaction, Writer

_FILES: Final = Path(__file__).parent / "migrations"


class Migration(msgspec.Struct, frozen=True):
    """The statements of one file `NNNN_name.sql`."""

    number: int
    name: str
    statements: tuple[str, ...]


def migrations(directory: Path = _FILES) -> tuple[Migration, ...]:
    """All migrations in order; their numbers are 1, 2, 3, …"""
    found = tuple(
        Migration(int(path.stem[:4]), path.stem, _statements(path.read_text("utf-8")))
        for path in sorted(directory.glob("[0-9][0-9][0-9][0-9]_*.sql"))
    )
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"migrations in {directory} are not numbered 1, 2, 3, … without gaps")
    return found


async def schema_version(database: Reader) -> int:
    """The number of the last migration that was applied."""
    rows = await database.rows("SELECT value FROM meta WHERE name = 'schema'")
    return int(rows[0][0]) if rows else 0


async def migrate(database: Writer, known: Sequence[Migration]) -> int:
    """Apply what is missing and return the schema's number. `SchemaError` when the database is newer than we are."""
    version = await database.write(_prepare)
    check(version, known, newer_only=True)
    for migration in known[version:]:
        version = await database.write(lambda tx, migration=migration: _apply(tx, migration))  # type: ignore[misc]
    return version


def check(version: int, known: Sequence[Migration], *, newer_only: bool = False) -> None:
    """Refuse a database whose schema is not ours, in words that say what to do."""
    if version > len(known):
        raise SchemaError(
            f"The database has schema {version}, but this version of the gateway knows only up to {len(known)}: "
            "it was used by a newer version. Start that version, or restore the backup from before the upgrade."
        )
    if version < len(known) and not newer_only:
        raise SchemaError(
            f"The database has schema {version}, but this version of the gateway needs {len(known)}: "
            "the process that owns it runs an older version. Restart it."
        )


async def _prepare(tx: Transaction) -> int:
    await tx.rows("CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
    return await schema_version(tx)


async def _apply(tx: Transaction, migration: Migration) -> int:
    for statement in migration.statements:
        await tx.rows(statement)
    await tx.rows(
        "INSERT INTO meta (name, value) VALUES ('schema', $1) "
        "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        str(migration.number),
    )
    return migration.number


def _statements(text: str) -> tuple[str, ...]:
    """Statements end with a semicolon at the end of a line; lines that begin with `--` are comments."""
    lines = [line for line in text.splitlines() if not line.startswith("--")]
    return tuple(part.strip(" \n;") for part in "\n".join(lines).split(";\n") if part.strip(" \n;"))
