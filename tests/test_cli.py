"""The command line, as people and scripts use it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import click
import msgspec
import pytest
from click.testing import CliRunner

import gateway.cli
from gateway.cli import COMMANDS, cli, main
from gateway.commands import find_config
from gateway.commands.schema import document
from gateway.registry import Registry

ROOT = Path(__file__).resolve().parent.parent
BAD = "watch: maybe\nplugins:\n  - use: auth.api_key\n"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run `gateway` with these arguments in an empty directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GATEWAY_CONFIG", raising=False)
    return lambda *arguments: CliRunner().invoke(cli, arguments)


def test_help_comes_at_once():
    """In a fresh process, in less than half a second, and without importing what a command needs."""
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "gateway", "--help"], capture_output=True, text=True, check=True)
        best = min(best, time.perf_counter() - began)
    assert best < 1.5  # a third of this on an idle machine
    assert all(f"\n  {name}" in done.stdout for name in COMMANDS)


def test_help_imports_neither_msgspec_nor_the_server():
    code = "import sys, gateway.cli as c\ntry: c.main()\nexcept SystemExit: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    assert {"msgspec", "aiohttp", "yaml", "pluggy", "structlog"}.isdisjoint(done.stdout.split())


def test_the_table_says_what_the_commands_say():
    """Help needs no import because the table repeats each command's first line."""
    context = click.Context(cli)
    for name, text in COMMANDS.items():
        command = cli.get_command(context, name)
        assert command.name == name
        assert command.get_short_help_str(limit=200) == text


def test_the_version_is_printed(run):
    assert run("--version").output.startswith("gateway, version ")


def test_an_unknown_command_gets_the_nearest_name(run):
    result = run("chek")
    assert result.exit_code == 2
    assert "there is no command `chek`; did you mean `check`" in result.output


def test_check_says_that_a_good_file_is_good(run, tmp_path):
    (tmp_path / "c.yaml").write_text(
        "providers:\n  - {name: a, use: provider.openai_compatible, with: {base_url: http://127.0.0.1:1/v1}}\n"
        "  - {name: b, use: provider.openai, when: '${NONE:-}'}\n"
        "models: [{name: m, targets: [a/x, b/y]}]\n"
    )
    result = run("check", "c.yaml")
    assert result.stdout == "c.yaml: ok (1 provider, 1 model, 0 plugins; 1 switched off)\n"
    assert result.stderr == "c.yaml: warning: no auth plugin: every request will be refused with 401\n"
    assert result.exit_code == 0


def test_check_names_a_target_that_its_provider_lacks(run, tmp_path):
    (tmp_path / "c.yaml").write_text(
        "providers:\n  - {name: demo, use: provider.demo}\n"
        "  - {name: any, use: provider.openai_compatible, with: {base_url: http://127.0.0.1:1/v1}}\n"
        "models:\n  - {name: m, targets: [any/x, demo/demo-smal]}\n  - {name: 'd-*', targets: ['demo/demo-*']}\n"
        "plugins: [{use: auth.api_keys}]\n"
    )
    result = run("check", "c.yaml")
    assert result.exit_code == 1
    assert result.output.startswith("c.yaml:5: $.models[0].targets[1]: the provider `demo` has no model `demo-smal`")
    assert "did you mean `demo-small`" in result.output
    assert len(result.output.splitlines()) == 1


def test_check_prints_every_problem_with_file_line_and_path(run, tmp_path):
    (tmp_path / "c.yaml").write_text(BAD)
    result = run("check", "c.yaml")
    assert result.exit_code == 1
    assert result.output == (
        "c.yaml:1: $.watch: expected true or false, got text\n"
        "c.yaml:3: $.plugins[0].use: no plugin `auth.api_key` is installed; did you mean `auth.api_keys`?\n"
    )


def test_check_speaks_json(run, tmp_path):
    (tmp_path / "config.yaml").write_text(BAD)
    result = run("check", "--json")
    report = msgspec.json.decode(result.output)
    assert result.exit_code == 1
    assert report["ok"] is False
    assert report["problems"][0] == {
        "file": "config.yaml", "line": 1, "path": "$.watch", "text": "expected true or false, got text",
    }  # fmt: skip


def test_check_of_no_file_says_so(run):
    assert "no configuration" in run("check").output
    assert "none.yaml: $: cannot be read: No such file or directory" in run("check", "none.yaml").output


def test_the_file_is_the_one_given_then_the_environments_then_a_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config(None, {}) is None
    Path("config.example.yaml").touch()
    assert find_config(None, {}) == Path("config.example.yaml")
    Path("config.yaml").touch()
    assert find_config(None, {}) == Path("config.yaml")
    assert find_config(None, {"GATEWAY_CONFIG": "/e.yaml"}) == Path("/e.yaml")
    assert find_config(Path("g.yaml"), {"GATEWAY_CONFIG": "/e.yaml"}) == Path("g.yaml")


def test_plugins_lists_each_with_file_hooks_order_and_options(run, tmp_path):
    (tmp_path / "c.yaml").write_text(
        "watch: maybe\nproviders: [{name: up, use: provider.openai_compatible}]\n"
        "plugins: [{use: provider.x}, {use: auth.api_keys}, {use: auth.api_keys, name: second, on_error: open}]\n"
    )
    listed = {
        plugin["id"]: plugin for plugin in msgspec.json.decode(run("plugins", "--config", "c.yaml", "--json").output)
    }
    assert next(iter(listed)) == "auth.api_keys"
    assert sorted(listed) == list(Registry().ids())
    auth = listed["auth.api_keys"]
    assert auth["used"] == [
        {"name": "auth.api_keys", "order": 1, "on_error": None}, {"name": "second", "order": 2, "on_error": "open"},
    ]  # fmt: skip
    assert "authenticate" in auth["hooks"]
    assert auth["file"].endswith("gateway_plugins/auth/api_keys.py")
    options = {option["name"]: option for option in listed["provider.openai_compatible"]["options"]}
    assert options["base_url"]["default"] is None
    assert options["api_key"]["type"] == "Secret | null"
    text = run("plugins", "--config", "c.yaml").output
    assert "order: 1. auth.api_keys, 2. second (on_error: open)" in text
    assert "with.base_url: str required" in text


def test_every_built_in_plugin_can_be_imported(run):
    assert [plugin for plugin in msgspec.json.decode(run("plugins", "--json").output) if plugin["error"]] == []


def test_the_schema_ties_options_to_the_plugin(run):
    schema = msgspec.json.decode(run("schema").output)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    entry = schema["$defs"]["ProviderEntry"]
    assert "provider.openai" in entry["properties"]["use"]["anyOf"][0]["enum"]
    chosen = {rule["if"]["properties"]["use"]["const"]: rule["then"]["properties"]["with"] for rule in entry["allOf"]}
    options = schema["$defs"][chosen["provider.openai"]["$ref"].removeprefix("#/$defs/")]
    assert options["properties"]["api_key"]["description"]
    assert "auth.api_keys" not in chosen


def test_every_reference_of_the_schema_leads_somewhere():
    schema = document(Registry())

    def references(value):
        if isinstance(value, dict):
            yield from ([value["$ref"]] if isinstance(value.get("$ref"), str) else [])
            value = list(value.values())
        for item in value if isinstance(value, list) else ():
            yield from references(item)

    found = set(references(schema))
    assert found
    assert {ref.removeprefix("#/$defs/") for ref in found} <= set(schema["$defs"])


def test_a_number_in_the_schema_may_come_from_a_variable():
    port = document(Registry())["$defs"]["Server"]["properties"]["port"]
    assert port["default"] == 8000
    assert {"type": "string", "pattern": r"\$\{.+\}"} in port["anyOf"]


def failing(error):
    def fail(**_):
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(98, "Address already in use"), "Error: [Errno 98] Address already in use\n"),
        (ValueError("key sk-gw-0123456789abcdef0123 is odd"), "Error: ValueError: key *** is odd\nThis is a defect"),
    ],
)
def test_errors_are_for_people_and_hold_no_key(error, said, monkeypatch, capsys):
    monkeypatch.delenv("GATEWAY_DEBUG", raising=False)
    monkeypatch.setattr(gateway.cli.cli, "main", failing(error))
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    err = capsys.readouterr().err
    assert err.startswith(said)
    assert "Traceback" not in err


def test_debug_shows_the_traceback(monkeypatch):
    monkeypatch.setenv("GATEWAY_DEBUG", "1")
    monkeypatch.setattr(gateway.cli.cli, "main", failing(ValueError("x")))
    with pytest.raises(ValueError, match="x"):
        main()


def test_a_plugin_adds_commands(run, tmp_path, monkeypatch):
    """Another name than a built-in one is asked of the plugins that the file configures."""

    class Plugins:
        def commands(self, group):
            group.add_command(click.Command("greet", callback=lambda: click.echo("hello")))

    monkeypatch.setattr(Registry, "build", lambda *_: Plugins())
    (tmp_path / "config.yaml").write_text("watch: false")
    assert run("greet").output == "hello\n"
    (tmp_path / "config.yaml").write_text(BAD)
    result = run("greet")
    assert "`gateway check config.yaml` says why" in result.output
    assert "there is no command `greet`" in result.output


def test_a_bad_file_ends_a_command_without_a_traceback(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(BAD)
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "check", str(path)], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout.count("\n") == 2
    assert done.stderr == ""
