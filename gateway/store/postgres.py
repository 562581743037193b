"""The store on PostgreSQL: every process has connections of its own, and several gateways may share a database.

The statements are those of `queries.py` and `changes.py`. A change of what cached callers hold is told to the other
gateways by NOTIFY (`listen`).
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import asyncpg
import structlog

from gateway.accounts.records import NewKey, NewUser, Tenant
from gateway.store import OnChange, StoreConflict, StoreUnavailable
from gateway.store.changes import Changes
from gateway.store.database import Row, Transaction
from gateway.store.lock import Ownership
from gateway.store.migrate import check, migrate, migrations, schema_version
from gateway.store.queries import Queries
from gateway.store.upkeep import COUNTED, Standing

T = TypeVar("T")

APPLICATION: Final = "ai-gateway"
CHANNEL: Final = "gateway_changes"

_CONNECT: Final = 3.0        # seconds until a connection stands
_LOOKUP: Final = 5.0         # seconds for a statement of a request
_REPORT: Final = 60.0        # seconds for a statement of a report
_SEARCH: Final = 2.0         # seconds for a statement of a search
_MIGRATING: Final = 0x6777_6D69  # the advisory lock of those who migrate
_ROLLUPS: Final = 0x6777_726F    # the advisory lock of those who add to the roll-ups
_TRIES: Final = 4            # of a transaction that met another one's
_COPY_FROM: Final = 50       # rows from which COPY is quicker than INSERT
_SILENT: Final = 30.0        # seconds until a silent listening connection is tried
_MEET = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
_log = structlog.get_logger("gateway.store.postgres")


class PostgresStore(Queries, Changes):
    """The store of one process. Make it with `open`. `instance` names this gateway's journals among all gateways'."""

    def __init__(self, database: "Database", instance: str, on_change: OnChange | None, lock: Ownership | None) -> None:
        Queries.__init__(self, *(_Reader(database, seconds) for seconds in (_LOOKUP, _REPORT, _SEARCH)))
        Changes.__init__(self, _Writer(database), self._tell)
        self._database = database
        self._instance = instance
        self._heard = on_change
        self._lock = lock

    @classmethod
    async def open(
        cls, url: str, *, instance: str = "", data_dir: Path | None = None, on_change: OnChange | None = None
    ) -> "PostgresStore":
        """Connect. With `data_dir` this process owns that directory, and brings the schema up to date."""
        lock = Ownership.acquire(data_dir) if data_dir is not None else None
        database = Database(url)
        try:
            if lock is not None:
                await migrate(_Migrator(database), migrations())
            else:
                check(await schema_version(_Reader(database, _LOOKUP)), migrations())
        except BaseException:
            await database.close()
            if lock is not None:
                lock.release()
            raise
        return cls(database, instance, on_change, lock)

    async def position(self, journal: str) -> int:
        """See `LedgerStore.position`."""
        return await super().position(self._named(journal))

    async def append(self, journal: str, position: int, rows: Sequence[Any]) -> int:
        """See `LedgerStore.append`."""
        return await super().append(self._named(journal), position, rows)

    async def forget(self, journal: str) -> None:
        """See `LedgerStore.forget`."""
        await super().forget(self._named(journal))

    async def create_first(self, tenant: Tenant, user: NewUser, key: NewKey) -> bool:
        """See `Accounts.create_first`. Of two gateways that start on an empty database one is the first."""
        try:
            return await super().create_first(tenant, user, key)
        except StoreConflict:
            if await self.count_users():
                return False
            raise

    async def touch_keys(self, used: Mapping[str, int]) -> None:
        """See `Accounts.touch_keys`. In one order, so that two gateways do not wait for each other."""
        await super().touch_keys(dict(sorted(used.items())))

    async def listen(self) -> None:
        """Hear of other gateways' changes, for ever: also of those missed while the connection was lost."""
        while True:
            try:
                await self._listen_once()
            except (StoreUnavailable, OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
                reason = str(error) or type(error).__name__
                _log.warning("changes of other gateways are not heard of now", reason=reason)
            await asyncio.sleep(1.0)

    async def close(self) -> None:
        """See `Store.close`."""
        await self._database.close()
        if self._lock is not None:
            self._lock.release()

    def _named(self, journal: str) -> str:
        return f"{self._instance}/{journal}" if self._instance else journal

    async def _tell(self, name: str) -> None:
        if self._heard is not None:
            await self._heard(name)
        await self._database.rows(_LOOKUP, f"SELECT pg_notify('{CHANNEL}', $1)", name)

    async def _listen_once(self) -> None:
        connection = await self._database.connect()
        heard: asyncio.Queue[str] = asyncio.Queue()
        try:
            await connection.add_listener(CHANNEL, lambda *args: heard.put_nowait(str(args[-1])))
            heard.put_nowait("auth")  # whatever happened until now
            while True:
                try:
                    async with asyncio.timeout(_SILENT):
                        name = await heard.get()
                except TimeoutError:
                    await connection.fetch("SELECT 1", timeout=_LOOKUP)
                    continue
                if self._heard is not None:
                    await self._heard(name)
        finally:
            connection.terminate()


async def standing(url: str) -> Standing:
    """How the database stands, in a connection of its own."""
    database = Database(url)
    try:
        tables = {row[0] for row in await database.rows(_LOOKUP, "SELECT tablename FROM pg_tables")}
        rows = {
            name: int((await database.rows(_REPORT, f"SELECT COUNT(*) FROM {name}"))[0][0])  # noqa: S608 - ours
            for name in COUNTED if name in tables
        }
        schema = await schema_version(_Reader(database, _LOOKUP)) if "meta" in tables else 0
        size = (await database.rows(_LOOKUP, "SELECT pg_database_size(current_database())"))[0][0]
        return Standing("postgresql", schema, len(migrations()), rows, int(size))
    finally:
        await database.close()


class Database:
    """A few connections to one database, made when they are first needed and again after they were lost."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()
        self._closed = False

    async def rows(self, timeout: float, sql: str, *args: object) -> list[Row]:
        """All rows of one statement. Raises `StoreUnavailable`, `StoreConflict`."""
        with _errors():
            async with asyncio.timeout(timeout), (await self._open()).acquire() as connection:
                return [tuple(row) for row in await connection.fetch(sql, *args)]

    async def transaction(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run `work` in a transaction, again if it met another one's."""
        with _errors():
            for turn in range(_TRIES):
                try:
                    async with (
                        asyncio.timeout(_REPORT),
                        (await self._open()).acquire() as connection,
                        connection.transaction(),
                    ):
                        return await work(_Statements(connection))
                except _MEET:
                    if turn == _TRIES - 1:
                        raise
        raise AssertionError("unreachable")

    async def connect(self) -> "asyncpg.Connection":
        """A connection beside the others, for its caller to close."""
        with _errors():
            return await asyncpg.connect(self._url, timeout=_CONNECT)

    async def close(self) -> None:
        """Let running statements end, then close."""
        self._closed = True
        async with self._opening:
            pool, self._pool = self._pool, None
        if pool is not None:
            try:
                async with asyncio.timeout(_LOOKUP):
                    await pool.close()
            except TimeoutError:
                pool.terminate()

    async def _open(self) -> "asyncpg.Pool":
        if self._pool is not None:
            return self._pool
        async with self._opening:
            if self._closed:
                raise StoreUnavailable("The database is closed.")
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._url, min_size=0, max_size=6, timeout=_CONNECT, max_inactive_connection_lifetime=300,
                    server_settings={"application_name": APPLICATION},
                )
            return self._pool


class _Reader:
    """See `Reader`."""

    def __init__(self, database: Database, timeout: float) -> None:
        self._database = database
        self._timeout = timeout

    async def rows(self, sql: str, *args: object) -> Sequence[Row]:
        return await self._database.rows(self._timeout, sql, *args)


class _Writer:
    """See `Writer`. A cancelled caller stops waiting; the transaction still ends by itself, before the next begins."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turn = asyncio.Lock()
        self._running: set[asyncio.Task[Any]] = set()

    async def write(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        task = asyncio.get_running_loop().create_task(self._transaction(work), name="store-write")
        self._running.add(task)  # keeps the task alive when nobody waits for it any more
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    async def _transaction(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        async with self._turn:
            return await self._database.transaction(work)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited has it; when nobody did, it is no "never retrieved" warning


class _Migrator(_Writer):
    """A writer whose transactions run one after another over all gateways: two that start at once do not collide."""

    async def write(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        async def alone(tx: Transaction) -> T:
            await tx.rows("SELECT pg_advisory_xact_lock($1)", _MIGRATING)
            return await work(tx)

        return await super().write(alone)


class _Statements:
    """See `Transaction`."""

    def __init__(self, connection: "asyncpg.Connection") -> None:
        self._connection = connection

    async def rows(self, sql: str, *args: object) -> Sequence[Row]:
        return [tuple(row) for row in await self._connection.fetch(sql, *args)]

    async def many(self, sql: str, rows: Sequence[Row]) -> None:
        if rows:
            await self._connection.executemany(sql, sorted(rows) if _sortable(rows) else rows)

    async def guard(self, *, alone: bool = False) -> None:
        kind = "" if alone else "_shared"
        await self._connection.fetch(f"SELECT pg_advisory_xact_lock{kind}($1)", _ROLLUPS)

    async def insert(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        if len(rows) >= _COPY_FROM:
            await self._connection.copy_records_to_table(table, columns=columns, records=rows)
        elif rows:
            places = ", ".join(f"${n}" for n in range(1, len(columns) + 1))
            sql = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})"  # noqa: S608 - names of ours
            await self._connection.executemany(sql, rows)


def _sortable(rows: Sequence[Row]) -> bool:
    """Rows are changed in one order where they can be ordered: transactions then do not wait in a circle."""
    return all(isinstance(row[0], str) for row in rows) and not any(value is None for row in rows for value in row)


@contextlib.contextmanager
def _errors() -> Any:  # noqa: ANN401 - a context manager
    """The driver's errors in the store's words. Their texts hold no values of ours that are secret."""
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        raise StoreConflict("This id or address is already taken.") from error
    except asyncpg.ForeignKeyViolationError as error:
        raise StoreConflict(
            "This refers to a tenant or user that does not exist, or not in this tenant."
        ) from error
    except TimeoutError:
        raise StoreUnavailable("The database did not answer in time; what was asked may have been done.") from None
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise StoreUnavailable(f"The database cannot be used: {str(error) or type(error).__name__}.") from error
