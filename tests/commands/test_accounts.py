"""`gateway users | teams | tenants | audit` and keys of people: what is printed and stored, and that it is on record."""

import asyncio
import contextlib
import csv
import hashlib
import io
import sqlite3

import msgspec
import pytest
from click.testing import CliRunner
from postgres_server import postgres

from gateway.accounts.bootstrap import load_master_secret
from gateway.accounts.passwords import Passwords
from gateway.accounts.records import NewUser, Tenant, User
from gateway.cli import cli
from gateway.config import Config
from gateway.store.opening import command_store

SECRET = "a master secret of forty characters......"


@pytest.fixture(params=["sqlite", "postgres"])
def place(request, tmp_path, monkeypatch):
    """A configuration with a tenant and an owner, on each database."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GATEWAY_CONFIG", raising=False)
    monkeypatch.setattr(Passwords, "_derive", _quick)
    database = "sqlite" if request.param == "sqlite" else postgres().new_database()
    file = tmp_path / "config.yaml"
    file.write_text(f"data_dir: {tmp_path}/data\nsecret: {SECRET}\ndatabase: {database}\n")
    config = Config(data_dir=str(tmp_path / "data"), secret=SECRET, database=database)
    load_master_secret(config, tmp_path / "data")

    async def fill() -> None:
        from gateway.store.opening import own_store

        async def nobody(name: str) -> None:
            pass

        store = await own_store(config, tmp_path / "data", nobody)
        await store.create_tenant(Tenant(id="default", name="Default", created=1))
        owner = User(id="u1", tenant="default", email="ann@acme.example", role="owner", created=1)
        await store.create_user(NewUser(user=owner))
        await store.close()

    asyncio.run(fill())
    return config


async def _quick(self, password, salt, n, r, p):
    return hashlib.sha256(salt + password.encode()).digest()


@pytest.fixture
def run(place):
    def run(*args: str, fails: bool = False, given: str | None = None):
        result = CliRunner().invoke(cli, [*args], input=given)
        assert (result.exit_code != 0) == fails, (result.output, result.exception)
        return result

    return run


@pytest.fixture
def told(run):
    """The same, with what it prints as JSON."""
    return lambda *args, **options: msgspec.json.decode(run(*args, "--json", **options).stdout)


def test_a_user_from_creation_to_deletion(run, told, place):
    made = told("users", "create", "Bob@Acme.example", "--name", "Bob", "--role", "member", "--cost-monthly", "12.5")
    assert (made["email"], made["must_change"], made["cost_monthly"]) == ("bob@acme.example", True, "12.5")
    assert len(made["password"]) == 24
    assert made["password"] not in run("users", "show", "bob@acme.example").output
    assert [user["email"] for user in told("users", "list", "--search", "bo")] == ["bob@acme.example"]
    after = told("users", "update", "bob@acme.example", "--role", "viewer", "--cost-monthly", "none")
    assert (after["role"], after["cost_monthly"]) == ("viewer", None)
    assert told("users", "disable", made["id"])["status"] == "inactive"
    assert told("users", "enable", made["id"])["status"] == "active"
    assert told("users", "reset-password", made["id"])["password"] != made["password"]
    run("users", "delete", made["id"], "--yes")
    assert "no user" in run("users", "show", made["id"], fails=True).output
    actions = [entry["action"] for entry in told("audit", "list")]
    assert actions == ["user_deleted", "password_reset", *["user_updated"] * 3, "user_created"]


def test_a_password_from_standard_input_is_the_persons_own_and_must_be_a_good_one(run, told):
    assert "at least 12" in run("users", "create", "b@x.y", "--password-stdin", given="short\n", fails=True).output
    made = told("users", "create", "b@x.y", "--password-stdin", given="a violet bicycle\n")
    assert "password" not in made
    assert made["must_change"] is False


def test_a_team_and_a_key_of_its_member(run, told):
    team = told("teams", "create", "Research", "--requests-per-minute", "7")
    run("teams", "add", team["id"], "ann@acme.example")
    assert told("teams", "show", team["id"])["members"] == ["ann@acme.example"]
    assert told("teams", "update", team["id"], "--requests-per-minute", "none")["requests_per_minute"] is None
    key = told("keys", "create", "--owner", "ann@acme.example", "--scope", "chat", "--name", "mine")
    assert (key["owner"], key["scopes"], key["state"]) == ("ann@acme.example", ["chat"], "active")
    assert [each["id"] for each in told("keys", "list", "--team", team["id"])] == [key["id"]]
    assert told("keys", "list", "--owner", "ann@acme.example", "--unusable") == []
    run("teams", "remove", team["id"], "ann@acme.example")
    run("teams", "delete", team["id"], "--yes")
    assert told("teams", "list") == []


def test_a_rotated_key_and_its_successor_work_until_the_grace_is_over(told):
    old = told("keys", "create", "--name", "ci", "--concurrency", "3")
    new = told("keys", "rotate", old["id"], "--grace", "1h")
    assert (new["name"], new["concurrency"], new["replaces"]) == ("ci", 3, old["id"])
    assert new["key"] != old["key"]
    states = {key["id"]: (key["state"], key["expires_at"]) for key in told("keys", "list")}
    assert states == {old["id"]: ("active", new["old_expires_at"]), new["id"]: ("active", None)}


def test_a_key_is_changed_shown_and_revoked_with_others(run, told):
    one, two = told("keys", "create"), told("keys", "create")
    after = told("keys", "update", one["id"], "--model", "a/*", "--cost-daily", "1", "--scope", "models", "--inactive")
    assert (after["models"], after["cost_daily"], after["scopes"]) == (["a/*"], "1", ["models"])
    assert after["state"] == "disabled"
    assert told("keys", "show", one["key"])["id"] == one["id"]
    assert "Nothing to change" in run("keys", "update", one["id"], fails=True).output
    run("keys", "revoke", one["id"], two["key"])
    assert {key["state"] for key in told("keys", "list")} == {"revoked"}
    assert "revoked, for good" in run("keys", "update", one["id"], "--active", fails=True).output


def test_a_tenant_with_limits_providers_and_policies(run, told):
    made = told("tenants", "create", "Acme GmbH", "--provider", "up", "--cost-monthly", "100", "--audit-days", "30")
    assert made["id"].startswith("acme-gmbh-")
    assert (made["providers"], made["cost_monthly"], made["audit_days"]) == (["up"], "100", 30)
    after = told("tenants", "update", made["id"], "--provider", "none", "--logging", "metadata", "--model", "m")
    assert (after["providers"], after["logging"], after["models"]) == (None, "metadata", ["m"])
    assert "no time zone" in run("tenants", "update", made["id"], "--time-zone", "Mars", fails=True).output
    key = told("keys", "create", "--tenant", made["id"])
    run("tenants", "disable", made["id"])
    assert told("keys", "show", key["id"])["state"] == "tenant disabled"
    run("tenants", "enable", made["id"])
    assert {tenant["id"] for tenant in told("tenants", "list", "--active")} == {"default", made["id"]}
    detail = told("audit", "list", "--action", "tenant_updated")[0]["detail"]
    assert detail == {"providers": [["up"], None], "logging": ["off", "metadata"], "models": [None, ["m"]]}


def test_the_audit_says_who_did_it_and_verifies(run, told):
    told("tenants", "create", "A")
    told("keys", "create", "--name", "=cmd")
    (entry,) = told("audit", "list", "--action", "api_key_created")
    assert (entry["actor_kind"], entry["resource_type"], entry["detail"]["name"]) == ("operator", "api_key", "=cmd")
    verdict = told("audit", "verify")
    assert (verdict["intact"], verdict["entries"]) == (True, 2)
    head = f"{verdict['head_seq']}:{verdict['head_mac']}"
    told("tenants", "create", "B")
    run("audit", "verify", "--head", head)
    assert "not the entry" in run("audit", "verify", "--head", f"2:{'0' * 64}", fails=True).output
    assert "missing" in run("audit", "verify", "--head", f"9:{'0' * 64}", fails=True).output


def test_an_export_has_every_entry_and_is_one_itself(run, told):
    for name in "abc":
        told("tenants", "create", name)
    lines = run("audit", "export", "--format", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(lines)))
    assert [row["action"] for row in rows] == ["data_export", *["tenant_created"] * 3]
    assert msgspec.json.decode(rows[1]["detail"])["name"] == "c"
    lines = run("audit", "export", "--action", "data_export").stdout.splitlines()
    assert [msgspec.json.decode(line)["detail"]["format"] for line in lines] == ["jsonl", "csv"]


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("UPDATE audit SET actor_name = 'somebody' WHERE seq = 2", "entry 2: its content was changed"),
        ("UPDATE audit SET detail = '{}' WHERE seq = 3", "entry 3: its content was changed"),
        ("DELETE FROM audit WHERE seq = 2", "entry 3: the entries from 2 to 2 are missing"),
        ("DELETE FROM audit WHERE seq = 4", "entry 4: the entries after 3 are missing"),
        ("UPDATE audit SET mac = digest WHERE seq = 1", "entry 1: its link"),
    ],
)
def test_the_first_broken_entry_is_named(run, told, place, change, says):
    for name in "abcd":
        told("tenants", "create", name)
    with contextlib.closing(sqlite3.connect(f"{place.data_dir}/gateway.db")) as database, database:
        database.execute(change)
    result = run("audit", "verify", fails=True)
    assert (result.exit_code, says in result.output) == (1, True), result.output


def test_what_does_not_exist_is_an_error_that_says_so(run):
    for command in (["users", "show", "x"], ["tenants", "show", "x"], ["teams", "show", "x"], ["keys", "show", "x"],
                    ["users", "disable", "no@body"], ["teams", "create", "x", "--tenant", "x"]):  # fmt: skip
        result = run(*command, fails=True)
        assert "here is no" in result.output
        assert result.exit_code == 1


def test_no_secret_is_in_the_database(run, told, place):
    texts = [told("users", "create", "b@x.y")["password"], told("keys", "create")["key"][18:61], SECRET]

    async def everything() -> str:
        from pathlib import Path

        store = await command_store(place, Path(place.data_dir))
        found = [await store._reports.rows(f"SELECT * FROM {table}") for table in ("users", "api_keys", "audit", "audit_head")]
        await store.close()
        return repr(found)

    held = asyncio.run(everything())
    assert not [text for text in texts if text in held]


def test_policies_are_chosen_by_names_that_the_configuration_has(run, told):
    refused = run("tenants", "update", "default", "--guardrail-policy", "stricct", fails=True)
    assert "did you mean" in refused.output
    assert "permissive" in refused.output
    assert told("tenants", "update", "default", "--guardrail-policy", "strict")["guardrail_policy"] == "strict"
    team = told("teams", "create", "Research", "--guardrail-policy", "finance")
    assert told("teams", "update", team["id"], "--guardrail-policy", "none")["guardrail_policy"] is None
    key = told("keys", "create", "--guardrail-policy", "default")
    assert key["guardrail_policy"] == "default"
    assert told("keys", "update", key["id"], "--guardrail-policy", "none")["guardrail_policy"] is None
    for command in (("teams", "create", "X"), ("keys", "create"), ("keys", "update", key["id"])):
        assert "no guardrail policy" in run(*command, "--guardrail-policy", "nothing", fails=True).output


def test_a_key_is_rotated_once(run, told):
    old = told("keys", "create")
    new = told("keys", "rotate", old["id"], "--grace", "1h")
    assert f"the key {new['id']} takes its place" in run("keys", "rotate", old["id"], fails=True).output
    assert told("keys", "rotate", new["id"])["expires_at"] is None


def test_every_command_about_accounts_speaks_json(run, told):
    import click

    for name in ("users", "teams", "tenants", "keys", "audit", "db"):
        group = cli.get_command(click.Context(cli), name)
        for command in group.commands.values():
            assert any("--json" in param.opts for param in command.params), command.name
    team = told("teams", "create", "T")["id"]
    assert told("teams", "add", team, "ann@acme.example") == {"team": team, "members": ["ann@acme.example"]}
    assert told("teams", "remove", team, "ann@acme.example")["members"] == []
    assert told("teams", "delete", team, "--yes") == {"deleted": team}
    made = told("users", "create", "c@x.example")
    assert told("users", "delete", "c@x.example", "--yes") == {"deleted": made["id"]}
    lines = run("audit", "export", "--json").output.splitlines()
    assert {"user_deleted", "data_export"} <= {msgspec.json.decode(line)["action"] for line in lines}
