"""Looking after a database: how it stands, a copy of it while it is used, and taking a copy back while it is not."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from gateway.clock import now_ms
from gateway.store import SchemaError, StoreUnavailable
from gateway.store.lock import Ownership
from gateway.store.migrate import migrations
from gateway.store.sqlite import DATABASE

COUNTED: Final = ("tenants", "users", "api_keys", "exchanges")
_HEADER: Final = b"SQLite format 3\x00"


class Standing(msgspec.Struct, frozen=True):
    """`schema` is the database's, `known` this version's; `rows` by table, `bytes` of the whole database."""

    kind: str
    schema: int
    known: int
    rows: Mapping[str, int]
    bytes: int

    @property
    def state(self) -> str:
        """In a word what is to be done."""
        if self.schema == self.known:
            return "up to date"
        return "needs `gateway db migrate`" if self.schema < self.known else "made by a newer version"


def sqlite_standing(data_dir: Path) -> Standing:
    """How the database of a data directory stands. Raises `StoreUnavailable` where there is none."""
    path = _existing(data_dir)
    with _reading(path) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        rows = {name: _count(connection, name) for name in COUNTED if name in tables}
        return Standing("sqlite", _schema(connection), len(migrations()), rows, path.stat().st_size)


def sqlite_backup(data_dir: Path, target: Path) -> int:
    """Copy the database as it is at one moment, also while the gateway runs; returns the copy's size in bytes.

    The copy appears under its name when it is complete; a file that is there is not replaced.
    """
    if target.exists():
        raise StoreUnavailable(f"{target} is there already; nothing was written.")
    partial = target.with_name(target.name + ".partial")
    try:
        os.close(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600))
        with _reading(_existing(data_dir)) as source, contextlib.closing(sqlite3.connect(partial)) as copy:
            source.backup(copy, pages=4096, sleep=0.01)
            copy.execute("PRAGMA journal_mode = DELETE")
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.rename(target)
    except (OSError, sqlite3.Error) as error:
        partial.unlink(missing_ok=True)
        raise StoreUnavailable(f"The backup to {target} failed: {error}.") from error
    return target.stat().st_size


def sqlite_restore(data_dir: Path, source: Path) -> Path | None:
    """Put a backup in the database's place; returns where the old one is kept.

    Raises `OwnedElsewhere` while a gateway runs, and `StoreUnavailable`, with nothing changed, for a file that is no
    whole database of this or an earlier version.
    """
    lock = Ownership.acquire(data_dir)
    try:
        _check_backup(source)
        path, kept = data_dir / DATABASE, None
        fresh = path.with_name(DATABASE + ".restoring")
        shutil.copyfile(source, fresh)
        fresh.chmod(0o600)
        if path.exists():
            kept = path.with_name(f"{DATABASE}.before-restore-{now_ms()}")
            _fold(path)
            path.rename(kept)
        for suffix in ("-wal", "-shm"):
            path.with_name(DATABASE + suffix).unlink(missing_ok=True)
        fresh.rename(path)
    except OSError as error:
        raise StoreUnavailable(f"The backup cannot be restored: {error}.") from error
    finally:
        lock.release()
    return kept


def postgres_backup(url: str, target: Path) -> int:
    """Run `pg_dump`; returns the file's size in bytes."""
    if target.exists():
        raise StoreUnavailable(f"{target} is there already; nothing was written.")
    _run("pg_dump", url, "--format=custom", "--no-owner", f"--file={target}")
    target.chmod(0o600)
    return target.stat().st_size


def postgres_restore(url: str, source: Path) -> None:
    """Run `pg_restore`: everything or nothing."""
    _run("pg_restore", url, "--clean", "--if-exists", "--no-owner", "--single-transaction", str(source), into=True)


def _run(program: str, url: str, *arguments: str, into: bool = False) -> None:
    """Credentials go by the environment: arguments are seen by everybody on the machine."""
    if shutil.which(program) is None:
        raise StoreUnavailable(f"{program} is not installed here (Debian: postgresql-client).")
    parts = urlsplit(url)
    given = {
        "PGHOST": parts.hostname or "", "PGPORT": str(parts.port or 5432), "PGUSER": unquote(parts.username or ""),
        "PGPASSWORD": unquote(parts.password or ""), "PGDATABASE": parts.path.lstrip("/"),
        "PGSSLMODE": parse_qs(parts.query).get("sslmode", [""])[0],
    }
    environ = {**os.environ, **{name: value for name, value in given.items() if value}}
    target = [f"--dbname={given['PGDATABASE']}"] if into else []
    done = subprocess.run(  # noqa: S603 - no shell, and a program of the database's
        [program, *target, *arguments], env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        check=False,
    )
    if done.returncode:
        raise StoreUnavailable(f"{program} failed: {done.stderr.strip()[:500]}")


def _check_backup(source: Path) -> None:
    try:
        with source.open("rb") as file:
            if file.read(16) != _HEADER:
                raise StoreUnavailable(f"{source} is no SQLite database; nothing was changed.")
        with _reading(source) as connection:
            (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            schema = _schema(connection)
    except (OSError, sqlite3.Error) as error:
        raise StoreUnavailable(f"{source} cannot be read as a backup: {error}. Nothing was changed.") from error
    if verdict != "ok" or not schema:
        raise StoreUnavailable(f"{source} is no whole database of a gateway ({verdict}); nothing was changed.")
    if schema > len(migrations()):
        raise SchemaError(
            f"{source} has schema {schema}, but this version of the gateway knows only up to {len(migrations())}. "
            "Use the version that made it, or a newer one."
        )


def _fold(path: Path) -> None:
    """Take what waits in the write-ahead log into the file, so that the file alone is all of it."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _existing(data_dir: Path) -> Path:
    path = data_dir / DATABASE
    if not path.exists():
        raise StoreUnavailable(f"{data_dir} holds no gateway's database.")
    return path


def _schema(connection: sqlite3.Connection) -> int:
    try:
        found = connection.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
    except sqlite3.OperationalError:
        return 0
    return int(found[0]) if found else 0


def _count(connection: sqlite3.Connection, table: str) -> int:
    return int(connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])  # noqa: S608 - a name of ours


def _reading(path: Path) -> "contextlib.closing[sqlite3.Connection]":
    return contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5))
