"""The one writer, reached from other processes through a Unix socket in the data directory.

`OwnerServer` runs beside the `SqliteStore` of the owning process; `RemoteStore` is the store of everybody else: it
reads the file itself and sends each write to the owner, which acknowledges after the commit.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import structlog

from gateway.accounts.records import KeyRecord, NewKey, NewUser, Status, Tenant, User
from gateway.errors import GatewayError
from gateway.money.ledger import LedgerRow
from gateway.store import OnChange, Store, StoreUnavailable, wire
from gateway.store.lock import OwnedElsewhere
from gateway.store.migrate import check, migrations, schema_version
from gateway.store.once import Once
from gateway.store.queries import Queries
from gateway.store.sqlite import DATABASE, SqliteStore, readers
from gateway.store.work import Step

SOCKET: Final = "owner.sock"
_LONG: Final = 600.0  # seconds for a call that works through a day of the ledger
_MAX_ADDRESS: Final = 100  # the kernel's limit is 104 to 108 bytes
_log = structlog.get_logger("gateway.store.owner")


class OwnerServer:
    """Serves the writes of other processes. Only the owner of the data directory may start one."""

    def __init__(self, store: Store, data_dir: Path) -> None:
        self._store = store
        self._data_dir = data_dir
        self._server: asyncio.Server | None = None
        self._idle: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._closing = False

    async def start(self) -> None:
        """Listen. A socket left by a killed owner is replaced: holding the lock proves that it is dead."""
        (self._data_dir / SOCKET).unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        with _address(self._data_dir) as address:
            listener.bind(address)
        (self._data_dir / SOCKET).chmod(0o600)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener)

    async def close(self) -> None:
        """Stop listening, answer the calls that are running, close all connections; the caller closes the store."""
        if self._server is None:
            return
        self._closing = True
        self._server.close()
        for writer in list(self._idle):
            writer.close()
        if self._serving:
            await asyncio.wait(self._serving, timeout=10)
        await self._server.wait_closed()
        (self._data_dir / SOCKET).unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._serving.add(task)
        try:
            while not self._closing:
                self._idle.add(writer)
                frame = await wire.read(reader)
                self._idle.discard(writer)
                await wire.write(writer, await self._answer(frame))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the other side is gone
        except ValueError as error:
            _log.warning("a connection to the owner's socket was closed", reason=str(error))
        finally:
            self._serving.discard(task)
            self._idle.discard(writer)
            writer.close()

    async def _answer(self, frame: bytes) -> wire.Answer:
        try:
            call = msgspec.json.decode(frame, type=wire.Call)
            types = wire.CALLS.get(call.name)
            if types is None:
                return wire.Answer(error="unavailable", message=f"The owner of the database has no call {call.name!r}.")
            args = msgspec.json.decode(call.args, type=types[0])
            return wire.Answer(msgspec.Raw(msgspec.json.encode(await getattr(self._store, call.name)(*args))))
        except GatewayError as error:
            return wire.refusal(error)
        except msgspec.MsgspecError as error:
            return wire.Answer(error="unavailable", message=f"The owner of the database did not understand: {error}.")
        except Exception:
            _log.exception("a write for another process failed")
            return wire.Answer(error="unavailable", message="The owner of the database failed; its log says why.")


class RemoteStore(Queries):
    """The store of a process that does not own the database. Make it with `open`."""

    def __init__(self, data_dir: Path, *, deadline: float = 10.0) -> None:
        path = data_dir / DATABASE
        self._readers = readers(path)
        super().__init__(*self._readers)
        self._data_dir = data_dir
        self._deadline = deadline
        self._turn = asyncio.Lock()
        self._stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    @classmethod
    async def open(cls, data_dir: Path, *, beside_owner: bool = False) -> "RemoteStore":
        """Open, and refuse a database of another version. `beside_owner` asks for the owner to be there (`OSError`)."""
        store = cls(data_dir)
        try:
            if beside_owner:
                await store._connected()
            check(await schema_version(store._readers[0]), migrations())
        except BaseException:
            await store.close()
            raise
        return store

    async def create_key(self, new: NewKey) -> KeyRecord:
        """See `Accounts.create_key`."""
        return await self._call("create_key", new)  # type: ignore[no-any-return]

    async def revoke_key(self, key_id: str, at_ms: int, tenant: str | None = None) -> KeyRecord | None:
        """See `Accounts.revoke_key`."""
        return await self._call("revoke_key", key_id, at_ms, tenant)  # type: ignore[no-any-return]

    async def set_key_active(self, key_id: str, active: bool, tenant: str | None = None) -> KeyRecord | None:
        """See `Accounts.set_key_active`."""
        return await self._call("set_key_active", key_id, active, tenant)  # type: ignore[no-any-return]

    async def touch_keys(self, used: Mapping[str, int]) -> None:
        """See `Accounts.touch_keys`."""
        if used:
            await self._call("touch_keys", dict(used))

    async def create_tenant(self, tenant: Tenant) -> Tenant:
        """See `Accounts.create_tenant`."""
        return await self._call("create_tenant", tenant)  # type: ignore[no-any-return]

    async def set_tenant_active(self, tenant_id: str, active: bool) -> Tenant | None:
        """See `Accounts.set_tenant_active`."""
        return await self._call("set_tenant_active", tenant_id, active)  # type: ignore[no-any-return]

    async def create_user(self, new: NewUser) -> User:
        """See `Accounts.create_user`."""
        return await self._call("create_user", new)  # type: ignore[no-any-return]

    async def set_user_status(self, user_id: str, status: Status, tenant: str | None = None) -> User | None:
        """See `Accounts.set_user_status`."""
        return await self._call("set_user_status", user_id, status, tenant)  # type: ignore[no-any-return]

    async def create_first(self, tenant: Tenant, user: NewUser, key: NewKey) -> bool:
        """See `Accounts.create_first`."""
        return await self._call("create_first", tenant, user, key)  # type: ignore[no-any-return]

    async def append(self, journal: str, position: int, rows: Sequence[LedgerRow]) -> int:
        """See `LedgerStore.append`."""
        return await self._call("append", journal, position, rows)  # type: ignore[no-any-return]

    async def forget(self, journal: str) -> None:
        """See `LedgerStore.forget`."""
        await self._call("forget", journal)

    async def rebuild_day(self, day: int, since: dict[str, int]) -> int:
        """See `UsageStore.rebuild_day`."""
        return await self._call("rebuild_day", day, since, deadline=_LONG)  # type: ignore[no-any-return]

    async def rebuilt(self) -> None:
        """See `UsageStore.rebuilt`."""
        await self._call("rebuilt")

    async def commit(self, steps: Sequence[Step], bump: bool = False) -> int:
        """See `AccountStore.commit`."""
        return await self._call("commit", steps, bump)  # type: ignore[no-any-return]

    async def begin_once(self, name: str, body: str, now: int, expires: int) -> Once | None:
        """See `AccountStore.begin_once`."""
        return await self._call("begin_once", name, body, now, expires)  # type: ignore[no-any-return]

    async def finish_once(self, name: str, once: Once) -> None:
        """See `AccountStore.finish_once`."""
        await self._call("finish_once", name, once)

    async def extend_once(self, name: str, expires: int) -> None:
        """See `AccountStore.extend_once`."""
        await self._call("extend_once", name, expires)

    async def drop_once(self, name: str) -> None:
        """See `AccountStore.drop_once`."""
        await self._call("drop_once", name)

    async def close(self) -> None:
        """See `Store.close`."""
        self._hang_up()
        for reader in self._readers:
            await reader.close()

    async def _call(self, name: str, *args: object, deadline: float = 0.0) -> Any:  # noqa: ANN401 - of the call's type
        call = wire.Call(name, msgspec.Raw(msgspec.json.encode(args)))
        patience = deadline or self._deadline
        async with self._turn:
            try:
                async with asyncio.timeout(patience):
                    reader, writer = await self._connected()
                    await wire.write(writer, call)
                    frame = await wire.read(reader)
            except BaseException as error:
                self._hang_up()  # an answer may still come: this connection cannot be used for the next call
                if isinstance(error, TimeoutError):
                    raise StoreUnavailable(
                        f"The owner of the database did not answer within {patience:g} s; "
                        "the change may still be made."
                    ) from error
                if isinstance(error, OSError | EOFError | ValueError):
                    raise StoreUnavailable(
                        f"The process that owns the database in {self._data_dir} is not there: nothing can be "
                        "changed until it is back."
                    ) from error
                raise
        return wire.result(name, frame)

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._stream is not None and self._stream[0].at_eof():  # the owner was replaced meanwhile
            self._hang_up()
        if self._stream is None:
            with _address(self._data_dir) as address:
                self._stream = await asyncio.open_unix_connection(address, limit=1 << 20)
        return self._stream

    def _hang_up(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream[1].close()


async def open_store(data_dir: Path, *, on_change: OnChange | None = None, patience: float = 5.0) -> Store:
    """The store for a command: beside a running gateway through its owner, else as the owner for this moment.

    `patience` is how long a gateway that is just starting or stopping is waited for.
    """
    give_up = asyncio.get_running_loop().time() + patience
    while True:
        try:
            return await SqliteStore.open(data_dir, on_change=on_change)
        except OwnedElsewhere:
            with contextlib.suppress(OSError):  # the owner is about to listen, or about to go
                return await RemoteStore.open(data_dir, beside_owner=True)
            if asyncio.get_running_loop().time() > give_up:
                raise
        await asyncio.sleep(0.05)


@contextlib.contextmanager
def _address(data_dir: Path) -> Iterator[str]:
    """The socket's path; where that is longer than an address may be, one through the open directory."""
    path = str(data_dir / SOCKET)
    if len(os.fsencode(path)) <= _MAX_ADDRESS:
        yield path
        return
    if not Path("/proc/self/fd").is_dir():
        raise StoreUnavailable(f"The path {path} is too long for a socket: choose a data_dir of under 90 characters.")
    descriptor = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET}"
    finally:
        os.close(descriptor)
