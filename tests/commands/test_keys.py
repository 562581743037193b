"""`gateway keys`: what is printed, what is stored, and that a running gateway hears of it."""

import asyncio
import contextlib
import sqlite3
import threading
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from gateway.accounts import keys as format_
from gateway.accounts.bootstrap import load_master_secret
from gateway.accounts.records import Limits, NewUser, Tenant, User
from gateway.clock import now_ms
from gateway.commands.keys import keys
from gateway.config import Config
from gateway.store.owner import OwnerServer
from gateway.store.sqlite import SqliteStore


def filled(data_dir: Path) -> bytes:
    async def fill() -> None:
        store = await SqliteStore.open(data_dir)
        await store.create_tenant(Tenant(id="default", name="Default", created=1))
        await store.create_user(NewUser(user=User(id="u1", tenant="default", email="ann@acme.example", created=1)))
        await store.close()

    master = load_master_secret(Config(), data_dir)
    asyncio.run(fill())
    return master


def stored(data_dir: Path, key_id: str):
    async def find():
        store = await SqliteStore.open(data_dir)
        record = await store.find_key(key_id)
        await store.close()
        return record

    return asyncio.run(find())


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # away from any configuration that is found by itself
    monkeypatch.delenv("GATEWAY_CONFIG", raising=False)
    return tmp_path / "data"


@pytest.fixture
def run(data_dir):
    def run(*args: str, fails: bool = False):
        result = CliRunner().invoke(keys, [*args, "--data-dir", str(data_dir)])
        assert (result.exit_code != 0) == fails, result.output
        return result

    return run


def test_a_created_key_is_printed_alone_and_works_with_the_gateways_secret(run, data_dir):
    master = filled(data_dir)
    result = run("create", "--name", "first")
    key = result.stdout.strip()
    key_id, secret = format_.parse(key)
    record = stored(data_dir, key_id)
    assert format_.matches(record.digest, format_.digest(format_.pepper(master), secret))
    assert (record.name, record.tenant.id, record.limits, record.expires_at) == ("first", "default", Limits(), None)
    assert key_id in result.stderr
    assert key not in run("list").output


def test_every_option_is_stored(run, data_dir):
    filled(data_dir)
    made = msgspec.json.decode(run(
        "create", "--json", "--owner", "Ann@acme.example", "--environment", "test", "--expires", "2099-01-31",
        "--requests-per-minute", "60", "--tokens-per-minute", "1000", "--concurrency", "4", "--cost-daily", "12.5",
        "--cost-monthly", "0.000000001", "--model", "a/*", "--model", "b",
    ).stdout)  # fmt: skip
    record = stored(data_dir, made["id"])
    assert record.limits == Limits(
        requests_per_minute=60, tokens_per_minute=1000, concurrency=4, cost_daily=12_500_000_000, cost_monthly=1,
        models=("a/*", "b"),
    )
    assert record.expires_at == int(datetime(2099, 1, 31, tzinfo=UTC).timestamp() * 1000)
    assert (record.owner.id, record.environment) == ("u1", "test")
    assert format_.parse(made["key"])[0] == made["id"]
    assert (made["cost_daily"], made["cost_monthly"], made["state"]) == ("12.5", "0.000000001", "active")


def test_a_span_counts_from_now(run, data_dir):
    filled(data_dir)
    made = msgspec.json.decode(run("create", "--json", "--expires", "30d").stdout)
    left = datetime.fromisoformat(made["expires_at"]).timestamp() * 1000 - now_ms()
    assert 29.99 * 86_400_000 < left <= 30 * 86_400_000
    made = msgspec.json.decode(run("create", "--json", "--expires", "3600s").stdout)
    assert datetime.fromisoformat(made["expires_at"]).timestamp() * 1000 - now_ms() <= 3_600_000


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--cost-daily", "-1", "no amount of dollars"),
        ("--cost-daily", "1e3", "no amount of dollars"),
        ("--cost-monthly", "0.0000000001", "no amount of dollars"),
        ("--expires", "soon", "neither a date"),
        ("--expires", "2001-01-01", "not in the future"),
        ("--expires", "999999w", "not in the future"),
        ("--concurrency", "0", "0 is not in the range"),
        ("--tenant", "nowhere", "does not exist"),
        ("--owner", "bob@acme.example", "no user with the address"),
        ("--owner", "nobody", "no user with this id"),
    ],
)
def test_a_wrong_value_is_an_error_that_says_so_and_makes_no_key(run, data_dir, option, value, says):
    filled(data_dir)
    assert says in run("create", option, value, fails=True).output
    assert run("list", "--json").stdout.strip() == "[]"


def test_the_list_shows_state_and_never_digest_or_secret(run, data_dir):
    filled(data_dir)
    key = run("create", "--name", "one").stdout.strip()
    key_id, secret = format_.parse(key)
    digest = stored(data_dir, key_id).digest
    run("revoke", key_id)
    text, as_json = run("list").output, run("list", "--json").output
    assert "revoked" in text
    assert msgspec.json.decode(as_json)[0]["state"] == "revoked"
    for output in (text, as_json):
        assert format_.shown(key) in output
        assert secret not in output
        assert digest not in output
    assert run("list", "--tenant", "other", "--json").stdout.strip() == "[]"


def test_a_long_list_is_complete(run, data_dir, monkeypatch):
    filled(data_dir)

    async def fill() -> None:
        store = await SqliteStore.open(data_dir)
        for n in range(501):
            _, record = format_.issue(b"p" * 32, tenant="default", created=n)
            await store.create_key(record)
        await store.close()

    monkeypatch.setattr("gateway.store.sqlite._WRITE", ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = OFF"))
    asyncio.run(fill())
    assert len(msgspec.json.decode(run("list", "--json").stdout)) == 501


def test_revoking_takes_the_id_or_the_key_itself_and_does_not_repeat_the_key(run, data_dir):
    filled(data_dir)
    for use_id in (True, False):
        key = run("create").stdout.strip()
        key_id = format_.parse(key)[0]
        result = run("revoke", key_id if use_id else key)
        assert key not in result.output
        assert stored(data_dir, key_id).revoked_at is not None


def test_revoking_an_unknown_key_or_another_tenants_is_an_error(run, data_dir):
    filled(data_dir)
    key_id = format_.parse(run("create").stdout.strip())[0]
    assert "no such key" in run("revoke", "nobody", fails=True).output
    assert "no such key" in run("revoke", key_id, "--tenant", "other", fails=True).output
    assert stored(data_dir, key_id).revoked_at is None


def test_a_wrong_directory_is_an_error_and_stays_as_it_was(run, data_dir):
    assert "holds no gateway's data" in run("list", fails=True).output
    assert not data_dir.exists()


def test_the_configuration_names_directory_and_secret(tmp_path, data_dir, monkeypatch):
    filled(data_dir)
    file = tmp_path / "gateway.yaml"
    secret = "another master secret of 40 characters!!"
    file.write_text(f"data_dir: {data_dir}\nsecret: {secret}\n")
    key = CliRunner().invoke(keys, ["create", "--config", str(file)]).stdout.strip()
    key_id, presented = format_.parse(key)
    assert stored(data_dir, key_id).digest == format_.digest(format_.pepper(secret.encode()), presented)
    file.write_text("data_dri: x\n")
    monkeypatch.setenv("GATEWAY_CONFIG", str(file))
    result = CliRunner().invoke(keys, ["list"])
    assert result.exit_code == 1
    assert "data_dri" in result.output


@contextlib.contextmanager
def gateway(data_dir: Path):
    """A process's half of the story: the owner with its socket, in a thread; yields what it was told."""
    told: list[str] = []
    ready, end = threading.Event(), threading.Event()

    async def on_change(topic: str) -> None:
        told.append(topic)

    async def own() -> None:
        store = await SqliteStore.open(data_dir, on_change=on_change)
        server = OwnerServer(store, data_dir)
        await server.start()
        ready.set()
        await asyncio.to_thread(end.wait)
        await server.close()
        await store.close()

    thread = threading.Thread(target=asyncio.run, args=(own(),))
    thread.start()
    try:
        assert ready.wait(5)
        yield told
    finally:
        end.set()
        thread.join()


def test_beside_a_running_gateway_changes_go_through_it_and_it_hears_of_them(run, data_dir):
    filled(data_dir)
    with gateway(data_dir) as told:
        key = run("create", "--name", "beside").stdout.strip()
        assert told == []
        assert "beside" in run("list").output
        run("revoke", key)
        assert told == ["auth"]
    assert stored(data_dir, format_.parse(key)[0]).revoked_at is not None


@pytest.mark.parametrize(
    ("name", "said"), [("", "letter"), (" ", "letter"), ("a" * 129, "128"), ("a\nb", "one line"), ("\x1b[2J", "one line")]
)
def test_a_name_that_would_tear_the_list_is_refused(run, data_dir, name, said):
    filled(data_dir)
    result = run("create", "--name", name, fails=True)
    assert (result.exit_code, said in result.stderr) == (2, True)
    assert len(run("list").stdout.splitlines()) == 1


def test_a_name_with_a_line_break_that_is_already_stored_is_listed_on_one_line(run, data_dir):
    filled(data_dir)
    run("create")
    with contextlib.closing(sqlite3.connect(data_dir / "gateway.db")) as database, database:
        database.execute("UPDATE api_keys SET name = ?", ("a\nb",))
    assert "a?b" in run("list").stdout.splitlines()[1]


def test_variables_that_only_the_gateway_has_are_not_needed(data_dir):
    filled(data_dir)
    file = data_dir.parent / "gateway.yaml"
    text = "data_dir: {}\nproviders:\n- {{name: up, use: provider.openai, with: {{api_key: '${{NOT_SET_HERE}}'}}}}\n"
    file.write_text(text.format("data"))
    result = CliRunner().invoke(keys, ["list", "--config", str(file)])
    assert (result.exit_code, result.stdout.split()[0]) == (0, "ID")
    file.write_text(text.format("${NOT_SET_HERE}"))
    result = CliRunner().invoke(keys, ["list", "--config", str(file)])
    assert (result.exit_code, "NOT_SET_HERE is not set" in result.stderr) == (1, True)
