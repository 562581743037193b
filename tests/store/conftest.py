"""A data directory, a store that owns it, and records to put into it."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from postgres_server import postgres

from gateway.accounts.records import Limits, NewKey, NewUser, Tenant, User
from gateway.store import Store
from gateway.store.postgres import PostgresStore
from gateway.store.sqlite import SqliteStore

EVERY_DATABASE = {"test_store.py", "test_append.py", "test_rollups.py", "test_work.py", "test_retention.py"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What every store must do is tried on both databases; the other files are about SQLite and its owner."""
    if "store" in metafunc.fixturenames:
        both = metafunc.definition.path.name in EVERY_DATABASE
        metafunc.parametrize("store", ["sqlite", "postgres"] if both else ["sqlite"], indirect=True)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
async def store(request: pytest.FixtureRequest, data_dir: Path) -> AsyncIterator[Store]:
    opened: Store
    if request.param == "sqlite":
        opened = await SqliteStore.open(data_dir, busy_ms=100)
    else:
        opened = await PostgresStore.open(postgres().new_database(), instance="i", data_dir=data_dir)
    yield opened
    await opened.close()


@pytest.fixture
async def tenant(store: SqliteStore) -> Tenant:
    return await store.create_tenant(Tenant(id="acme", name="Acme", created=1, limits=Limits(concurrency=9)))


@pytest.fixture
async def owner(store: SqliteStore, tenant: Tenant) -> User:
    user = User(id="u1", tenant="acme", email="Ann@Acme.example", created=2)
    return await store.create_user(NewUser(user=user, password_hash="scrypt$…"))


@pytest.fixture
def new_key() -> Callable[..., NewKey]:
    def make(key_id: str = "k1", **fields: object) -> NewKey:
        values = {"tenant": "acme", "prefix": "sk-gw-k1…abcd", "digest": "d" * 64, "created": 3} | fields
        return NewKey(id=key_id, **values)  # type: ignore[arg-type]

    return make
