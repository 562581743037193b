"""The store in the owning process: accounts, tenant scope, and a database that is locked, full, slow or closed."""

import asyncio
import sqlite3

import pytest

from gateway.accounts.records import Tenant
from gateway.store import StoreUnavailable
from gateway.store.lock import OwnedElsewhere
from gateway.store.sqlite import _WRITE as AS_SHIPPED
from gateway.store.sqlite import DATABASE, SqliteReader, SqliteStore


async def test_changes_that_a_cached_caller_may_hold_are_told_after_the_commit(data_dir, new_key):
    told: list[tuple[str, bool]] = []

    async def on_change(topic: str) -> None:
        record = await store.find_key("k1")
        told.append((topic, record.revoked_at is not None))

    store = await SqliteStore.open(data_dir, on_change=on_change)
    await store.create_tenant(Tenant(id="acme", name="Acme", created=1))
    await store.create_key(new_key())
    assert told == []
    await store.revoke_key("k1", 5)
    assert told == [("auth", True)]
    await store.set_tenant_active("acme", False)
    await store.set_user_status("nobody", "active")
    await store.set_key_active("k1", True)
    assert len(told) == 4
    await store.close()


async def test_a_second_owner_of_the_same_data_is_refused(store, data_dir):
    with pytest.raises(OwnedElsewhere):
        await SqliteStore.open(data_dir)


async def test_files_are_private(store, tenant, data_dir):
    assert {path.stat().st_mode & 0o077 for path in data_dir.iterdir()} == {0}


async def test_a_locked_database_is_unavailable_for_writes_only_and_recovers(store, tenant, data_dir, new_key):
    other = sqlite3.connect(data_dir / DATABASE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked") as caught:
        await store.create_key(new_key())
    assert (caught.value.status, caught.value.retry_after) == (503, 1)
    assert await store.get_tenant("acme") == tenant
    other.execute("ROLLBACK")
    other.close()
    assert (await store.create_key(new_key())).id == "k1"


async def test_a_full_disk_is_unavailable_and_recovers_without_a_restart(store, tenant, new_key):
    await _pragma(store, "max_page_count = 1")  # SQLite takes the present size for it: the file cannot grow
    with pytest.raises(StoreUnavailable, match="full"):
        await _fill(store, new_key)
    kept = len((await store.list_keys(limit=1000)).items)
    await store.ping()
    await _pragma(store, "max_page_count = 100000")
    await store.create_key(new_key("after"))
    assert len((await store.list_keys(limit=1000)).items) == kept + 1


async def _fill(store: SqliteStore, new_key) -> None:
    for n in range(100):
        await store.create_key(new_key(f"k{n}", name="x" * 10_000))


async def _pragma(store: SqliteStore, text: str) -> None:
    await store._writer._connection.execute_fetchall(f"PRAGMA {text}")


async def test_a_failing_transaction_leaves_nothing_and_the_next_one_works(store, tenant, new_key):
    async def work(tx):
        await tx.rows("UPDATE tenants SET name = 'broken'")
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        await store._writer.write(work)
    assert (await store.get_tenant("acme")).name == "Acme"
    await store.create_key(new_key())


async def test_a_cancelled_caller_does_not_cut_a_transaction(store, tenant, new_key):
    for n in range(20):
        task = asyncio.ensure_future(store.create_key(new_key(f"k{n}")))
        await asyncio.sleep(0.0002 * n)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await store.create_key(new_key("last"))
    assert await store.find_key("last") is not None


async def test_a_closed_store_is_unavailable_and_no_crash(data_dir, new_key):
    store = await SqliteStore.open(data_dir)
    await store.ping()
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.ping()
    with pytest.raises(StoreUnavailable):
        await store.create_key(new_key())


async def test_a_reader_cannot_write_and_is_stopped_at_its_deadline(store, tenant, data_dir):
    reader = SqliteReader(data_dir / DATABASE, deadline=0.1)
    with pytest.raises(StoreUnavailable, match="readonly"):
        await reader.rows("DELETE FROM tenants")
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    with pytest.raises(StoreUnavailable, match=r"within 0\.1 s"):
        await reader.rows(endless)
    assert await reader.rows("SELECT id FROM tenants") == [("acme",)]
    await reader.close()


async def test_a_reader_waits_for_a_database_that_is_not_there_yet(data_dir, tmp_path):
    data_dir.mkdir(mode=0o700)
    reader = SqliteReader(data_dir / DATABASE)
    with pytest.raises(StoreUnavailable):
        await reader.rows("SELECT 1")
    store = await SqliteStore.open(data_dir)
    assert await reader.rows("SELECT count(*) FROM users") == [(0,)]
    await reader.close()
    await store.close()


async def test_a_file_that_is_no_database_is_a_clear_error(data_dir):
    data_dir.mkdir(mode=0o700)
    (data_dir / DATABASE).write_bytes(b"something else entirely" * 100)
    with pytest.raises(StoreUnavailable, match="not a database"):
        await SqliteStore.open(data_dir)


async def test_the_settings_that_safety_rests_on_are_on(data_dir, monkeypatch):
    monkeypatch.setattr("gateway.store.sqlite._WRITE", AS_SHIPPED)
    store = await SqliteStore.open(data_dir)

    async def settings(connection, *names):
        return [value for name in names for (value,) in await connection.execute_fetchall(f"PRAGMA {name}")]

    writer = store._writer._connection
    assert await settings(writer, "journal_mode", "synchronous", "foreign_keys", "trusted_schema") == ["wal", 2, 1, 0]
    await store.ping()
    reader = store._lookups._connection
    assert await settings(reader, "query_only", "wal_autocheckpoint", "trusted_schema") == [1, 0, 0]
    await store.close()


@pytest.mark.parametrize("replaced", [False, True], ids=["deleted", "replaced"])
async def test_nothing_is_written_to_a_file_that_is_no_longer_the_database(store, tenant, data_dir, new_key, replaced):
    path, aside = data_dir / DATABASE, data_dir / "aside"
    path.rename(aside)
    if replaced:
        path.write_bytes(aside.read_bytes())
    with pytest.raises(StoreUnavailable, match="deleted or replaced"):
        await store.create_key(new_key())
    aside.rename(path)
    await store.create_key(new_key())
