"""Migrations: fresh, resumed after a failure, newer than us, and damaged sets of files."""

import sqlite3
from pathlib import Path

import pytest

from gateway.store import SchemaError
from gateway.store.migrate import check, migrate, migrations, schema_version
from gateway.store.owner import RemoteStore
from gateway.store.sqlite import DATABASE, SqliteStore, SqliteWriter


def _write(directory: Path, **files: str) -> Path:
    directory.mkdir(exist_ok=True)
    for name, text in files.items():
        (directory / f"{name.removeprefix('m')}.sql").write_text(text)
    return directory


@pytest.fixture
async def database(tmp_path):
    writer = await SqliteWriter.open(tmp_path / "some.db", 100)
    yield writer
    await writer.close()


async def _version(database: SqliteWriter) -> int:
    return await database.write(schema_version)


async def test_a_fresh_database_gets_every_migration_and_a_second_start_none(database):
    known = migrations()
    assert await migrate(database, known) == len(known) >= 1
    assert await migrate(database, known) == len(known)


async def test_a_failed_migration_leaves_nothing_and_the_next_start_goes_on_there(database, tmp_path):
    directory = _write(
        tmp_path / "m", m0001_a="-- first\nCREATE TABLE a (x TEXT);\n",
        m0002_b="CREATE TABLE b (x TEXT);\nINSERT INTO nowhere VALUES (1);",
    )
    with pytest.raises(Exception, match="nowhere"):
        await migrate(database, migrations(directory))
    assert await _version(database) == 1

    _write(directory, m0002_b="CREATE TABLE b (x TEXT);\n\nINSERT INTO b VALUES ('y');\n")
    assert await migrate(database, migrations(directory)) == 2
    assert await database.write(lambda tx: tx.rows("SELECT x FROM b")) == [("y",)]


async def test_a_newer_schema_is_refused_in_words_that_say_what_to_do(data_dir):
    store = await SqliteStore.open(data_dir)
    await store.close()
    with sqlite3.connect(data_dir / DATABASE) as raw:
        raw.execute("UPDATE meta SET value = '99' WHERE name = 'schema'")
    raw.close()

    with pytest.raises(SchemaError, match=r"schema 99.*only up to [0-9]+.*newer version"):
        await SqliteStore.open(data_dir)
    with pytest.raises(SchemaError, match="newer version"):
        await RemoteStore.open(data_dir)
    with sqlite3.connect(data_dir / DATABASE) as raw:  # the refusal released the lock and changed nothing
        assert raw.execute("SELECT value FROM meta").fetchall() == [("99",)]
    raw.close()


def test_a_reader_refuses_a_schema_that_its_owner_has_not_reached():
    with pytest.raises(SchemaError, match="older version"):
        check(0, migrations())


def test_numbers_without_a_gap_are_demanded(tmp_path):
    with pytest.raises(ValueError, match="without gaps"):
        migrations(_write(tmp_path / "m", m0001_a="SELECT 1;", m0003_c="SELECT 1;"))


def test_comments_and_the_last_semicolon_are_no_statements(tmp_path):
    (only,) = migrations(_write(tmp_path / "m", m0001_a="-- a;\nSELECT 1;\n\n-- b\nSELECT\n  2;\n\n"))
    assert only.statements == ("SELECT 1", "SELECT\n  2")
