"""The store on SQLite, in the one process that owns the database file.

Most SQLite versions in use can lose commits when several connections write and checkpoint in WAL mode (fixed in
3.51.3). So one connection in one process does both, behind a lock on the data directory; all others only read.
"""

import asyncio
import contextlib
import logging
import os
import re
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

import aiosqlite

from gateway.store import OnChange, StoreConflict, StoreUnavailable
from gateway.store.changes import Changes
from gateway.store.database import Row, Transaction
from gateway.store.lock import Ownership
from gateway.store.migrate import migrate, migrations
from gateway.store.queries import Queries

T = TypeVar("T")

DATABASE: Final = "gateway.db"
BUSY_MS: Final = 5_000
_INSERT_SIZES: Final = (400, 100, 20, 5, 1)

_PARAMETER: Final = re.compile(r"\$(\d+)")
_READ: Final = (
    "PRAGMA query_only = ON", "PRAGMA wal_autocheckpoint = 0", "PRAGMA trusted_schema = OFF",
    "PRAGMA cache_size = -32768",  # kB: reports read much more than the two megabytes that are usual
)
_WRITE: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",  # an acknowledged commit survives power loss; the journal groups rows into few commits
    "PRAGMA foreign_keys = ON",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA journal_size_limit = 67108864",
)


class SqliteStore(Queries, Changes):
    """The store of the owning process. Make it with `open`."""

    def __init__(
        self, lock: Ownership, writer: "SqliteWriter", reading: "tuple[SqliteReader, SqliteReader, SqliteReader]",
        on_change: OnChange | None,
    ) -> None:
        Queries.__init__(self, *reading)
        Changes.__init__(self, writer, on_change)
        self._lock = lock
        self._connections: tuple[SqliteReader | SqliteWriter, ...] = (*reading, writer)

    @classmethod
    async def open(
        cls, data_dir: Path, *, on_change: OnChange | None = None, busy_ms: int = BUSY_MS
    ) -> "SqliteStore":
        """Take the lock (`OwnedElsewhere` if another process has it), bring the schema up to date, open."""
        lock = Ownership.acquire(data_dir)
        path = data_dir / DATABASE
        try:
            writer = await SqliteWriter.open(path, busy_ms)
            try:
                await migrate(writer, migrations())
            except BaseException:
                await writer.close()
                raise
        except BaseException:
            lock.release()
            raise
        return cls(lock, writer, readers(path), on_change)

    async def close(self) -> None:
        """See `Store.close`. The writer goes last: it takes the log into the database file."""
        for connection in self._connections:
            await connection.close()
        self._lock.release()


def readers(path: Path) -> "tuple[SqliteReader, SqliteReader, SqliteReader]":
    """For look-ups of requests, for reports, and for people's searches, each with a deadline of its own."""
    return SqliteReader(path), SqliteReader(path, deadline=60.0), SqliteReader(path, deadline=2.0)


class SqliteReader:
    """A read-only connection, opened at its first use and again after it failed to open."""

    def __init__(self, path: Path, *, deadline: float = 5.0) -> None:
        self._path = path
        self._deadline = deadline
        self._opening = asyncio.Lock()
        self._connection: aiosqlite.Connection | None = None
        self._closed = False

    async def rows(self, sql: str, *args: object) -> Sequence[Row]:
        """See `Reader.rows`. What takes longer than the deadline is interrupted."""
        connection = self._connection or await self._open()
        try:
            async with asyncio.timeout(self._deadline):
                return [tuple(row) for row in await connection.execute_fetchall(_sqlite(sql), args)]
        except TimeoutError:
            with contextlib.suppress(ValueError):  # closed meanwhile
                await connection.interrupt()
            raise StoreUnavailable(f"The database did not answer within {self._deadline:g} s.") from None
        except (sqlite3.Error, ValueError) as error:
            raise _unavailable(error) from error

    async def close(self) -> None:
        """Close; later reads fail."""
        self._closed = True
        async with self._opening:
            connection, self._connection = self._connection, None
            if connection is not None:
                await connection.close()

    async def _open(self) -> aiosqlite.Connection:
        async with self._opening:
            if self._closed:
                raise StoreUnavailable("The database is closed.")
            if self._connection is None:
                self._connection = await _connect(f"file:{quote(str(self._path))}?mode=ro", BUSY_MS, _READ)
            return self._connection


class SqliteWriter:
    """The one connection that writes and checkpoints. Transactions run one after another, to their end."""

    def __init__(self, connection: aiosqlite.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._file = _identity(path)
        self._turn = asyncio.Lock()
        self._running: set[asyncio.Task[Any]] = set()

    @classmethod
    async def open(cls, path: Path, busy_ms: int = BUSY_MS) -> "SqliteWriter":
        """Open the database file, made private if it is new."""
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise StoreUnavailable(f"The database {path} cannot be opened: {error.strerror}.") from error
        # Without an adapter of its own each flag and each missing value costs an exception inside the driver.
        sqlite3.register_adapter(bool, int)
        sqlite3.register_adapter(type(None), lambda none: none)
        return cls(await _connect(f"file:{quote(str(path))}?mode=rw", busy_ms, _WRITE), path)

    async def write(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """See `Writer.write`. A cancelled caller stops waiting; the transaction still ends by itself."""
        task = asyncio.get_running_loop().create_task(self._transaction(work), name="store-write")
        self._running.add(task)  # keeps the task alive when nobody waits for it any more
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Wait for what is running, then close."""
        while self._running:
            await asyncio.wait(self._running)
        await self._connection.close()

    async def _transaction(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        async with self._turn:
            self._check_file()
            try:
                await self._connection.execute_fetchall("BEGIN IMMEDIATE")
                try:
                    result = await work(_Statements(self._connection))
                    await self._connection.execute_fetchall("COMMIT")
                except BaseException:
                    await self._roll_back()
                    raise
            except sqlite3.IntegrityError as error:
                raise _conflict(error) from error
            except (sqlite3.Error, ValueError) as error:
                raise _unavailable(error) from error
        return result

    def _check_file(self) -> None:
        # SQLite would go on in the file that it has open, and what it writes there is lost with it.
        if self._file is None or _identity(self._path) != self._file:
            raise StoreUnavailable(
                f"The database {self._path} was deleted or replaced while the gateway ran; nothing was changed. "
                "Put the file back, or restart the gateway: it then uses the file that is there, or makes a new one."
            )

    async def _roll_back(self) -> None:
        # A full disk can make SQLite roll back by itself, and then there is nothing left to do.
        if self._connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                await self._connection.execute_fetchall("ROLLBACK")

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited has it; when nobody did, it is no "never retrieved" warning


class _Statements:
    """See `Transaction`."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def rows(self, sql: str, *args: object) -> Sequence[Row]:
        return [tuple(row) for row in await self._connection.execute_fetchall(_sqlite(sql), args)]

    async def many(self, sql: str, rows: Sequence[Row]) -> None:
        if rows:
            async with self._connection.executemany(_sqlite(sql), rows):
                pass

    async def guard(self, *, alone: bool = False) -> None:
        del alone  # one transaction at a time

    async def insert(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        # One statement for many rows: for each statement Python's lock changes hands, which under load costs more
        # than the row. Few sizes, so that their compiled form is found again.
        start = 0
        while start < len(rows):
            size = next(size for size in _INSERT_SIZES if size <= len(rows) - start)
            values = ", ".join([f"({', '.join('?' * len(columns))})"] * size)
            sql = f"INSERT INTO {table} ({', '.join(columns)}) VALUES {values}"  # noqa: S608 - names of ours
            given = tuple(chain.from_iterable(rows[start : start + size]))
            await self._connection.execute_fetchall(sql, given)
            start += size


async def _connect(uri: str, busy_ms: int, pragmas: Sequence[str]) -> aiosqlite.Connection:
    # At debug level aiosqlite would log the parameters of every statement, digests of keys among them.
    logging.getLogger("aiosqlite").setLevel(logging.INFO)
    try:
        connection = await aiosqlite.connect(uri, uri=True, timeout=busy_ms / 1000, isolation_level=None)
    except sqlite3.Error as error:
        raise _unavailable(error) from error
    try:
        for pragma in pragmas:
            await connection.execute_fetchall(pragma)
    except BaseException as error:
        await connection.close()
        if isinstance(error, sqlite3.Error):
            raise _unavailable(error) from error
        raise
    return connection


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _sqlite(sql: str) -> str:
    return _PARAMETER.sub(r"?\1", sql)


def _unavailable(error: Exception) -> StoreUnavailable:
    name = getattr(error, "sqlite_errorname", None) or ""
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StoreUnavailable("The database is locked by another process; nothing was changed. Try again.")
    if name.startswith("SQLITE_FULL"):
        return StoreUnavailable("The disk of the database is full; nothing was changed. Free some space.")
    return StoreUnavailable(f"The database cannot be used: {error}.")


def _conflict(error: sqlite3.IntegrityError) -> StoreConflict:
    if "FOREIGN" in str(error):
        return StoreConflict("This refers to a tenant or user that does not exist, or not in this tenant.")
    return StoreConflict("This id or address is already taken.")
