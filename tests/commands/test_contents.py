"""`gateway contents`: what is kept is listed without a word of it, and read on record."""

import asyncio

import msgspec
import pytest
from click.testing import CliRunner

from gateway.accounts.bootstrap import load_master_secret
from gateway.accounts.contents import Document, Said, sealer, stored
from gateway.accounts.records import Content, Tenant
from gateway.cli import cli
from gateway.config import Config
from gateway.store.sqlite import SqliteStore


@pytest.fixture
def run(tmp_path):
    data = tmp_path / "data"

    async def fill():
        store = await SqliteStore.open(data)
        await store.create_tenant(Tenant(id="default", name="Default", created=1))
        seal = sealer(load_master_secret(Config(data_dir=str(data)), data))
        for number in range(2):
            content = Content(
                id=f"req_{number}", tenant="default", key_id="k", owner="u", model="m", created=1_790_000_000_000 + number,
                metadata={"content": not number},
            )  # fmt: skip
            document = None if number else Document(
                request=msgspec.Raw(b'{"messages":[{"content":"the secret plan"}]}'),
                answer=(Said("a fine\x1b[31m plan"), Said('{"a":1}', part="arguments")),
            )  # fmt: skip
            await store.commit([stored(seal, content, document)])
        await store.close()

    asyncio.run(fill())

    def run(*args, fails=False):
        result = CliRunner().invoke(cli, [*args, "--data-dir", str(data)])
        assert (result.exit_code != 0) == fails, (result.output, result.exception)
        return result.output

    return run


def test_a_list_has_no_word_of_what_was_said(run):
    text = run("contents", "list")
    assert [line.split()[0] for line in text.splitlines()] == ["REQUEST", "req_1", "req_0"]
    assert "plan" not in text
    (found,) = msgspec.json.decode(run("contents", "list", "--limit", "1", "--json"))
    assert (found["id"], found["metadata"]) == ("req_1", {"content": False})
    assert msgspec.json.decode(run("contents", "list", "--user", "nobody", "--json")) == []


def test_one_is_shown_as_a_terminal_can_take_it_and_that_is_on_record(run):
    text = run("contents", "show", "req_0")
    assert "the secret plan" in text
    assert "--- arguments" in text
    assert "\x1b" not in text
    found = msgspec.json.decode(run("contents", "show", "req_0", "--json"))
    assert found["request"]["messages"] == [{"content": "the secret plan"}]
    assert found["answer"][0]["text"] == "a fine\x1b[31m plan"
    assert "Only metadata" in run("contents", "show", "req_1")
    assert "no logged exchange" in run("contents", "show", "nothing", fails=True)
    entries = msgspec.json.decode(run("audit", "list", "--action", "content_read", "--json"))
    assert [entry["resource_id"] for entry in entries] == ["req_1", "req_0", "req_0"]
