"""The store in the owning process: accounts, tenant scope, and a database that is locked, full, slow or closed."""

import asyncio
import sqlite3

import pytest

from gateway.accounts.records import Limits, NewUser, Tenant, User
from gateway.errors import InvalidRequest
from gateway.store import StoreConflict, StoreUnavailable
from gateway.store.lock import OwnedElsewhere
from gateway.store.sqlite import DATABASE, SqliteReader, SqliteStore

LIMITS = Limits(
    requests_per_minute=1, tokens_per_minute=2, concurrency=3, cost_daily=4, cost_monthly=1 << 60, models=("a/*", "ü")
)


async def test_a_key_comes_back_whole_with_its_tenant_and_owner(store, tenant, owner, new_key):
    made = await store.create_key(
        new_key(owner="u1", name="n", environment="test", expires_at=99, limits=LIMITS)
    )
    found = await store.find_key("k1")
    assert found == made
    assert (found.tenant, found.owner.email, found.limits) == (tenant, "ann@acme.example", LIMITS)
    assert (found.active, found.revoked_at, found.last_used, found.expires_at) == (True, None, None, 99)
    assert found.name == "n"
    assert found.environment == "test"


async def test_an_unknown_key_is_none(store):
    assert await store.find_key("nobody") is None
    assert await store.find_key("' OR 1=1 --") is None


async def test_a_key_needs_a_tenant_and_an_owner_of_that_tenant(store, owner, new_key):
    await store.create_tenant(Tenant(id="other", name="Other", created=1))
    for wrong in ({"tenant": "nowhere"}, {"owner": "nobody"}, {"tenant": "other", "owner": "u1"}):
        with pytest.raises(StoreConflict, match="does not exist"):
            await store.create_key(new_key(**wrong))
    assert await store.find_key("k1") is None


async def test_ids_and_addresses_are_unique(store, owner, new_key):
    await store.create_key(new_key())
    with pytest.raises(StoreConflict, match="already taken"):
        await store.create_key(new_key())
    with pytest.raises(StoreConflict, match="already taken"):
        await store.create_user(NewUser(user=User(id="u2", tenant="acme", email="ANN@acme.example", created=1)))
    with pytest.raises(StoreConflict, match="already taken"):
        await store.create_tenant(Tenant(id="acme", name="x", created=1))


async def test_revoking_is_for_good_and_keeps_the_first_time(store, tenant, new_key):
    await store.create_key(new_key())
    assert (await store.revoke_key("k1", 50)).revoked_at == 50
    assert (await store.revoke_key("k1", 60)).revoked_at == 50
    assert (await store.find_key("k1")).revoked_at == 50
    assert await store.revoke_key("k2", 50) is None


async def test_a_tenant_reaches_only_its_own_keys_and_users(store, owner, new_key):
    await store.create_tenant(Tenant(id="other", name="Other", created=1))
    await store.create_key(new_key())
    assert await store.revoke_key("k1", 50, "other") is None
    assert await store.set_key_active("k1", False, "other") is None
    assert await store.set_user_status("u1", "suspended", "other") is None
    assert (await store.find_key("k1")).revoked_at is None
    assert (await store.list_keys("other")).items == ()
    assert (await store.set_key_active("k1", False, "acme")).active is False
    assert (await store.set_user_status("u1", "suspended", "acme")).status == "suspended"
    assert await store.count_users("other") == 0
    assert await store.count_users() == 1


async def test_lists_go_page_by_page_without_losing_or_repeating(store, tenant, new_key):
    for n in range(7):
        await store.create_key(new_key(f"k{n}", created=n // 3))
    found, cursor = [], None
    while True:
        page = await store.list_keys("acme", limit=2, cursor=cursor)
        found += [key.id for key in page.items]
        if (cursor := page.next) is None:
            break
    assert found == ["k6", "k5", "k4", "k3", "k2", "k1", "k0"]
    await store.create_tenant(Tenant(id="b", name="B", created=1))
    first = await store.list_tenants(limit=1)
    assert [first.items[0].id, (await store.list_tenants(cursor=first.next)).items[0].id] == ["acme", "b"]
    with pytest.raises(InvalidRequest):
        await store.list_keys(cursor="'; DROP TABLE api_keys")


async def test_last_used_only_goes_forward(store, tenant, new_key):
    await store.create_key(new_key())
    await store.touch_keys({"k1": 20, "unknown": 5})
    await store.touch_keys({"k1": 10})
    await store.touch_keys({})
    assert (await store.find_key("k1")).last_used == 20


async def test_users_are_found_in_any_case_and_give_no_password(store, owner):
    user = await store.find_user(" ANN@ACME.example ")
    assert user == await store.find_user("ann@acme.example")
    assert not hasattr(user, "password_hash")
    assert await store.password_hash("u1") == "scrypt$…"
    assert await store.password_hash("u2") is None
    assert await store.find_user("bob@acme.example") is None


async def test_the_first_tenant_user_and_key_are_made_together_and_once(store, new_key):
    tenant = Tenant(id="acme", name="Acme", created=1)
    user = NewUser(user=User(id="u1", tenant="acme", email="a@b", created=1, role="owner"))
    with pytest.raises(StoreConflict):
        await store.create_first(tenant, user, new_key(owner="somebody else"))
    assert await store.count_users() == 0
    assert await store.get_tenant("acme") is None
    assert await store.create_first(tenant, user, new_key(owner="u1")) is True
    assert await store.create_first(tenant, user, new_key("k2", owner="u1")) is False
    assert await store.find_key("k2") is None


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


async def test_the_settings_that_safety_rests_on_are_on(store):
    async def settings(connection, *names):
        return [value for name in names for (value,) in await connection.execute_fetchall(f"PRAGMA {name}")]

    writer = store._writer._connection
    assert await settings(writer, "journal_mode", "synchronous", "foreign_keys", "trusted_schema") == ["wal", 2, 1, 0]
    await store.ping()
    reader = store._lookups._connection
    assert await settings(reader, "query_only", "wal_autocheckpoint", "trusted_schema") == [1, 0, 0]


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
