"""`gateway db`: nothing is lost by a backup, a restore or an upgrade, and a wrong file changes nothing."""

import asyncio
import shutil
import sqlite3

import msgspec
import pytest
from click.testing import CliRunner
from postgres_server import postgres

from gateway.accounts.records import Tenant
from gateway.cli import cli
from gateway.store.lock import Ownership
from gateway.store.migrate import migrations
from gateway.store.postgres import PostgresStore
from gateway.store.sqlite import DATABASE, SqliteStore


@pytest.fixture
def place(tmp_path):
    """A configuration file on SQLite, and its data directory."""
    file = tmp_path / "c.yaml"
    file.write_text(f"data_dir: {tmp_path / 'data'}\n")
    return file, tmp_path / "data"


def run(file, *arguments, code=0):
    done = CliRunner().invoke(cli, ["db", *arguments, "--config", str(file)])
    assert done.exit_code == code, done.output
    return done.output


def with_store(data_dir, work):
    async def go():
        store = await SqliteStore.open(data_dir)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(go())


def tenants(data_dir):
    async def names(store):
        return [tenant.id for tenant in (await store.list_tenants()).items]

    return with_store(data_dir, names)


def add(data_dir, name):
    with_store(data_dir, lambda store: store.create_tenant(Tenant(id=name, name=name, created=1)))


def test_a_new_place_has_no_database_until_it_is_migrated(place):
    file, _ = place
    assert "holds no gateway's database" in run(file, "status", code=1)
    assert f"schema {len(migrations())}: up to date" in run(file, "migrate")
    told = msgspec.json.decode(run(file, "status", "--json"))
    assert (told["kind"], told["schema"], told["state"]) == ("sqlite", len(migrations()), "up to date")
    assert told["rows"]["tenants"] == 0


def test_a_backup_is_all_of_it_and_comes_back_also_while_the_store_is_open(place, tmp_path):
    file, data_dir = place
    add(data_dir, "before")
    copy = tmp_path / "copy.db"

    async def while_open(store):
        await store.create_tenant(Tenant(id="just-now", name="x", created=1))
        return await asyncio.to_thread(run, file, "backup", str(copy))

    with_store(data_dir, while_open)
    assert copy.stat().st_mode & 0o777 == 0o600
    add(data_dir, "after")
    said = run(file, "restore", str(copy), "--yes")
    assert tenants(data_dir) == ["before", "just-now"]
    kept = said.rpartition("is ")[2].strip()
    with sqlite3.connect(kept) as old:
        assert ("after",) in old.execute("SELECT id FROM tenants").fetchall()
    old.close()


def test_a_backup_never_replaces_a_file(place, tmp_path):
    file, data_dir = place
    add(data_dir, "a")
    (tmp_path / "there").write_text("precious")
    assert "is there already" in run(file, "backup", str(tmp_path / "there"), code=1)
    assert (tmp_path / "there").read_text() == "precious"


def test_a_restore_is_refused_while_a_gateway_runs(place, tmp_path):
    file, data_dir = place
    add(data_dir, "a")
    run(file, "backup", str(tmp_path / "copy"))
    lock = Ownership.acquire(data_dir)
    try:
        assert "owns the database" in run(file, "restore", str(tmp_path / "copy"), "--yes", code=1)
        assert "owns the database" in run(file, "migrate", code=1)
    finally:
        lock.release()


@pytest.mark.parametrize("damage", ["text", "cut", "foreign", "newer"])
def test_a_file_that_is_no_backup_changes_nothing(place, tmp_path, damage):
    file, data_dir = place
    add(data_dir, "a")
    copy = tmp_path / "copy"
    run(file, "backup", str(copy))
    if damage == "text":
        copy.write_text("not a database at all")
    elif damage == "cut":
        copy.write_bytes(copy.read_bytes()[:8192])
    elif damage == "foreign":
        copy.unlink()
        with sqlite3.connect(copy) as other:
            other.execute("CREATE TABLE t (x)")
        other.close()
    else:
        with sqlite3.connect(copy) as newer:
            newer.execute("UPDATE meta SET value = '999' WHERE name = 'schema'")
        newer.close()
    said = run(file, "restore", str(copy), "--yes", code=1)
    assert "Nothing was changed" in said or "nothing was changed" in said or "knows only up to" in said
    assert tenants(data_dir) == ["a"]


def test_without_yes_it_asks(place, tmp_path):
    file, data_dir = place
    add(data_dir, "a")
    run(file, "backup", str(tmp_path / "copy"))
    assert "Aborted" in run(file, "restore", str(tmp_path / "copy"), code=1)


def test_the_same_on_postgresql(tmp_path):
    if shutil.which("pg_dump") is None:
        pytest.skip("pg_dump is not installed: `apt-get install postgresql`")
    url = postgres().new_database()
    file = tmp_path / "c.yaml"
    file.write_text(f"data_dir: {tmp_path / 'data'}\ndatabase: {url}\n")
    assert "needs `gateway db migrate`" in run(file, "status")
    assert "up to date" in run(file, "migrate")

    async def change(name):
        store = await PostgresStore.open(url)
        await store.create_tenant(Tenant(id=name, name=name, created=1))
        await store.close()

    asyncio.run(change("before"))
    run(file, "backup", str(tmp_path / "dump"))
    asyncio.run(change("after"))

    async def with_gateway():
        store = await PostgresStore.open(url)
        said = await asyncio.to_thread(run, file, "restore", str(tmp_path / "dump"), "--yes", code=1)
        await store.close()
        return said

    assert "stop them first" in asyncio.run(with_gateway())
    run(file, "restore", str(tmp_path / "dump"), "--yes")

    async def names():
        store = await PostgresStore.open(url)
        found = [tenant.id for tenant in (await store.list_tenants()).items]
        await store.close()
        return found

    assert asyncio.run(names()) == ["before"]
    assert DATABASE not in [path.name for path in (tmp_path / "data").iterdir()]
