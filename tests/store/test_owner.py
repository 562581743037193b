"""Writes of other processes: through the owner's socket, acknowledged after the commit, refused while it is away."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import struct
import sys

import msgspec
import pytest
from waiting import until

from gateway.accounts.records import AuditEntry, Limits, NewUser, Tenant, User
from gateway.errors import NotFound, Stale
from gateway.money.ledger import AttemptRow, LedgerRow
from gateway.store import StoreConflict, StoreUnavailable
from gateway.store.lock import Ownership
from gateway.store.once import Once
from gateway.store.owner import SOCKET, OwnerServer, RemoteStore, open_store
from gateway.store.sqlite import DATABASE, SqliteStore
from gateway.store.work import Failed, Note, Remove, change

OWNER = """
import asyncio, pathlib, sys
from gateway.store.owner import OwnerServer
from gateway.store.sqlite import SqliteStore

async def main():
    data_dir = pathlib.Path(sys.argv[1])
    store = await SqliteStore.open(data_dir)
    await OwnerServer(store, data_dir).start()
    print("ready", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@contextlib.asynccontextmanager
async def owner_process(data_dir):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, str(data_dir), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert await process.stdout.readline() == b"ready\n"
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        process._transport.close()


@pytest.fixture
async def server(store, data_dir):
    server = OwnerServer(store, data_dir)
    await server.start()
    yield server
    await server.close()


@pytest.fixture
async def remote(server, data_dir):
    remote = await RemoteStore.open(data_dir)
    yield remote
    await remote.close()


async def test_every_write_goes_through_and_is_read_back_here(remote, store, owner, new_key):
    made = await remote.create_key(new_key(owner="u1"))
    assert made == await remote.find_key("k1") == await store.find_key("k1")
    assert (await remote.set_key_active("k1", False)).active is False
    assert (await remote.revoke_key("k1", 9, "acme")).revoked_at == 9
    assert await remote.revoke_key("k1", 9, "other") is None
    await remote.touch_keys({"k1": 30})
    await remote.touch_keys({})
    assert (await remote.find_key("k1")).last_used == 30
    assert await remote.create_tenant(Tenant(id="b", name="B", created=1)) == await remote.get_tenant("b")
    assert (await remote.set_tenant_active("b", False)).active is False
    user = User(id="u2", tenant="b", email="x@y", created=1)
    assert await remote.create_user(NewUser(user=user, password_hash="h")) == user
    assert (await remote.set_user_status("u2", "suspended")).status == "suspended"
    assert await remote.create_first(Tenant(id="c", name="C", created=1), NewUser(user=user), new_key("k9")) is False
    await remote.ping()


async def test_every_kind_of_step_goes_through_and_errors_keep_their_kind(remote, owner):
    user = {"id": "u1"}
    entry = AuditEntry(id="e1", ts_ms=1, tenant="acme", actor="u1", actor_kind="user", actor_name="Ann", action="login")
    failed = Failed("name", now=9, free=0, pause=5, longest=10, forgotten=100)
    changed = change(User, user, {"name": "Ann", "limits": Limits(models=("m",))}, version=1)
    await remote.commit([changed, Note(entry, b"k" * 32), failed], bump=True)
    found = await remote.one(User, **user)
    assert (found.name, found.limits.models, found.version) == ("Ann", ("m",), 2)
    assert [each.entry for each in await remote.audit_page({})] == [entry]
    assert (await remote.login_failures(("name",)))["name"][0] == 1
    with pytest.raises(Stale):
        await remote.commit([changed])
    with pytest.raises(NotFound):
        await remote.commit([Remove("users", {"id": "nobody"})])
    assert await remote.begin_once("n", "b", 1, 9) is None
    await remote.finish_once("n", Once("b", True, 201, {"a": "b"}, "{}"))
    assert (await remote.begin_once("n", "b", 2, 9)).status == 201
    await remote.drop_once("n")
    assert await remote.begin_once("n", "b", 3, 9) is None


async def test_the_ledger_goes_through_whole(remote):
    row = LedgerRow("r1", 5, "acme", "k1", model="m\u00fc", ttfb_us=3, attempts=(AttemptRow("p", "m", "ok"),))
    assert await remote.append("w3", 77, [row]) == 1
    assert await remote.append("w3", 77, [row]) == 0
    assert await remote.position("w3") == 77
    assert (await remote.usage_rows(0, 10)).items == (row,)
    await remote.forget("w3")
    assert await remote.position("w3") == 0


async def test_errors_keep_their_kind_and_the_connection_goes_on(remote, store, tenant, data_dir, new_key):
    with pytest.raises(StoreConflict, match="does not exist"):
        await remote.create_key(new_key(tenant="nowhere"))
    other = sqlite3.connect(data_dir / DATABASE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        await remote.create_key(new_key())
    other.execute("ROLLBACK")
    other.close()
    await remote.create_key(new_key())


async def test_calls_at_the_same_time_get_their_own_answers(remote, tenant, new_key):
    made = await asyncio.gather(*(remote.create_key(new_key(f"k{n}")) for n in range(20)))
    assert [key.id for key in made] == [f"k{n}" for n in range(20)]


async def test_a_cancelled_call_does_not_leave_its_answer_to_the_next(remote, tenant, new_key):
    for n in range(5):
        task = asyncio.ensure_future(remote.create_key(new_key(f"k{n}")))
        await asyncio.sleep(0.0005 * n)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (await remote.create_key(new_key(f"after{n}"))).id == f"after{n}"


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ({"name": "close", "args": []}, "no call 'close'"),
        ({"name": "_writer", "args": []}, "no call '_writer'"),
        ({"name": "revoke_key", "args": ["k1"]}, "did not understand"),
        ({"name": "revoke_key", "args": ["k1", "now", None]}, "did not understand"),
        ({"nonsense": 1}, "did not understand"),
        ([1], "did not understand"),
    ],
)
async def test_what_is_not_allowed_or_not_understood_is_answered_and_harmless(server, data_dir, call, says):
    reader, writer = await asyncio.open_unix_connection(str(data_dir / SOCKET))
    body = msgspec.json.encode(call)
    writer.write(struct.pack(">I", len(body)) + body)
    answer = msgspec.json.decode(await reader.readexactly(int.from_bytes(await reader.readexactly(4))))
    assert says in answer["message"]
    writer.close()
    await writer.wait_closed()


async def test_a_frame_that_is_too_long_closes_the_connection_alone(server, remote, tenant, data_dir):
    reader, writer = await asyncio.open_unix_connection(str(data_dir / SOCKET))
    writer.write(b"\xff\xff\xff\xff")
    assert await reader.read() == b""
    writer.close()
    await remote.touch_keys({"k": 1})


async def test_the_socket_is_private(server, data_dir):
    assert (data_dir / SOCKET).stat().st_mode & 0o777 == 0o600


async def test_a_data_directory_with_a_long_path_works(tmp_path):
    data_dir = tmp_path / ("long" * 30)
    store = await SqliteStore.open(data_dir)
    server = OwnerServer(store, data_dir)
    await server.start()
    remote = await RemoteStore.open(data_dir)
    await remote.create_tenant(Tenant(id="t", name="T", created=1))
    await remote.close()
    await server.close()
    await store.close()


async def test_without_its_owner_a_store_reads_and_refuses_to_write_until_it_is_back(data_dir, new_key):
    store = await SqliteStore.open(data_dir)
    await store.create_tenant(Tenant(id="acme", name="Acme", created=1))
    server = OwnerServer(store, data_dir)
    await server.start()
    remote = await RemoteStore.open(data_dir)
    await remote.create_key(new_key())
    await server.close()
    await store.close()

    with pytest.raises(StoreUnavailable, match="is not there"):
        await remote.create_key(new_key("k2"))
    assert (await remote.find_key("k1")).id == "k1"

    store = await SqliteStore.open(data_dir)
    server = OwnerServer(store, data_dir)
    await server.start()
    assert (await remote.create_key(new_key("k2"))).id == "k2"
    await remote.close()
    await server.close()
    await store.close()


async def test_an_owner_that_does_not_answer_is_unavailable_in_time(store, server, data_dir, new_key, tenant):
    remote = await RemoteStore.open(data_dir)
    remote._deadline = 0.1
    async with store._writer._turn:
        with pytest.raises(StoreUnavailable, match="did not answer"):
            await remote.create_key(new_key())
    remote._deadline = 60
    await remote.create_tenant(Tenant(id="t", name="T", created=1))
    await remote.close()


async def test_closing_answers_the_call_that_is_running(store, server, remote, tenant, new_key):
    async with store._writer._turn:
        running = asyncio.ensure_future(remote.create_key(new_key()))
        await until(lambda: server._serving and not server._idle)
        closing = asyncio.ensure_future(server.close())
        await asyncio.sleep(0.05)
        assert not closing.done()
    assert (await running).id == "k1"
    await closing


async def test_a_key_acknowledged_by_another_process_survives_its_kill(data_dir, new_key):
    async with owner_process(data_dir) as process:
        remote = await open_store(data_dir)
        assert isinstance(remote, RemoteStore)
        await remote.create_tenant(Tenant(id="acme", name="Acme", created=1))
        for n in range(20):
            await remote.create_key(new_key(f"k{n}"))
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
        with pytest.raises(StoreUnavailable):
            await remote.create_key(new_key("late"))

        store = await open_store(data_dir)  # the lock died with its process, the socket's file did not
        assert isinstance(store, SqliteStore)
        assert len((await store.list_keys(limit=100)).items) == 20
        server = OwnerServer(store, data_dir)
        await server.start()
        await remote.create_key(new_key("again"))
        await remote.close()
        await server.close()
        await store.close()


async def test_a_command_alone_owns_the_database_for_its_moment(data_dir):
    store = await open_store(data_dir)
    assert isinstance(store, SqliteStore)
    await store.close()
    Ownership.acquire(data_dir).release()


async def test_a_command_waits_for_a_gateway_that_is_starting_or_stopping(data_dir):
    lock = Ownership.acquire(data_dir)
    with pytest.raises(StoreUnavailable, match="owns the database"):
        await open_store(data_dir, patience=0.1)
    waiting = asyncio.ensure_future(open_store(data_dir))
    await asyncio.sleep(0.1)
    lock.release()
    store = await waiting
    assert isinstance(store, SqliteStore)
    await store.close()
