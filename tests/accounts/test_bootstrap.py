"""The first start: what it makes, once, and that nothing of it can be read from the files afterwards."""

import asyncio

import pytest
import structlog

from gateway.accounts import bootstrap as first
from gateway.accounts import keys
from gateway.accounts.bootstrap import SecretError, bootstrap, load_master_secret
from gateway.accounts.passwords import Passwords
from gateway.config import Config
from gateway.store.sqlite import SqliteStore

MASTER = b"m" * 32


@pytest.fixture
def cheap(monkeypatch):
    monkeypatch.setattr(first, "Passwords", lambda master: Passwords(master, cost=1 << 4))


@pytest.fixture
async def store(tmp_path):
    store = await SqliteStore.open(tmp_path / "data")
    yield store
    await store.close()


async def test_the_first_start_makes_a_tenant_an_admin_and_a_key_that_work(store, cheap):
    made = await bootstrap(store, MASTER)
    assert made.email == "admin@localhost"
    assert len(made.password) >= 20
    admin = await store.find_user("admin@localhost")
    assert (admin.role, admin.tenant) == ("owner", "default")
    assert await Passwords(MASTER).verify(made.password, await store.password_hash(admin.id))
    key_id, secret = keys.parse(made.key)
    record = await store.find_key(key_id)
    assert keys.matches(record.digest, keys.digest(keys.pepper(MASTER), secret))
    assert (record.tenant.id, record.owner) == ("default", admin)


async def test_a_second_start_makes_and_prints_nothing(store, cheap):
    made = await bootstrap(store, MASTER)
    assert made is not None
    assert await bootstrap(store, MASTER) is None
    assert await store.count_users() == 1


async def test_two_first_starts_at_once_make_one_admin(store, cheap):
    made = await asyncio.gather(*(bootstrap(store, MASTER) for _ in range(3)))
    assert [one is None for one in made].count(False) == 1


async def test_no_secret_is_in_any_file_of_the_database(tmp_path, cheap):
    data_dir = tmp_path / "data"
    store = await SqliteStore.open(data_dir)
    made = await bootstrap(store, MASTER)
    texts, record = keys.issue(keys.pepper(MASTER), tenant="default", created=1)
    await store.create_key(record)
    secrets = [made.password, made.key, texts, keys.parse(made.key)[1], keys.parse(texts)[1], MASTER.decode()]

    def scan() -> None:
        for path in data_dir.iterdir():
            content = path.read_bytes()
            assert not [secret for secret in secrets if secret.encode() in content or secret[:20].encode() in content]

    scan()  # with the write-ahead log
    await store.close()
    scan()


def test_what_is_printed_once_shows_nowhere_by_accident():
    assert repr(first.FirstRun("a@b", "password", "key")) == "FirstRun(***)"
    assert str(first.FirstRun("a@b", "password", "key")) == "FirstRun(***)"


def test_a_master_secret_is_made_once_and_private(tmp_path):
    data_dir = tmp_path / "data"
    master = load_master_secret(Config(), data_dir)
    assert len(master) == 64
    assert load_master_secret(Config(), data_dir) == master
    assert data_dir.stat().st_mode & 0o777 == 0o700
    assert (data_dir / "secret").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in data_dir.iterdir()] == ["secret"]


def test_the_configured_secret_comes_first_and_makes_no_file(tmp_path):
    assert load_master_secret(Config(secret="s" * 32), tmp_path / "data") == b"s" * 32
    assert list((tmp_path / "data").iterdir()) == []


def test_a_secret_that_others_can_read_is_refused_with_the_remedy(tmp_path):
    load_master_secret(Config(), tmp_path / "data")
    (tmp_path / "data" / "secret").chmod(0o640)
    with pytest.raises(SecretError, match=r"mode 0640.*chmod 600"):
        load_master_secret(Config(), tmp_path / "data")


def test_a_lost_secret_is_loud(tmp_path):
    """Nothing else would say why every key is wrong all of a sudden."""
    load_master_secret(Config(), tmp_path)
    (tmp_path / "gateway.db").write_bytes(b"")
    (tmp_path / "secret").unlink()
    with structlog.testing.capture_logs() as logs:
        load_master_secret(Config(), tmp_path)
        load_master_secret(Config(), tmp_path)
    assert [each["event"].partition(":")[0] for each in logs] == ["the secret is gone"]


def test_a_secret_that_is_too_short_is_refused_and_never_replaced(tmp_path):
    load_master_secret(Config(), tmp_path / "data")
    (tmp_path / "data" / "secret").write_bytes(b"\n")
    with pytest.raises(SecretError, match="0 bytes; at least 32"):
        load_master_secret(Config(), tmp_path / "data")
    assert (tmp_path / "data" / "secret").read_bytes() == b"\n"


def test_a_secret_is_not_written_over_one_that_appeared_meanwhile(tmp_path):
    (tmp_path / "secret").write_text("x" * 40)
    first._create(tmp_path / "secret")
    assert (tmp_path / "secret").read_text() == "x" * 40
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]
