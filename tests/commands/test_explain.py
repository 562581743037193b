"""`gateway explain`: what it prints beside a running gateway and without one, and what it never prints."""

import asyncio
import contextlib
import http.server
import threading

import msgspec
import pytest
from click.testing import CliRunner
from ports import free_port

from gateway.commands.explain import explain
from gateway.config import Logging
from gateway.configfile import load
from gateway.observe import set_up
from gateway.serve import Alone

CONFIG = """\
server: {{port: {port}, drain_timeout: 0}}
data_dir: {directory}/data
providers: [{{name: demo, use: provider.demo}}]
models: [{{name: demo-large, aliases: [smart], targets: [demo/demo-large, demo/demo-small]}}]
plugins:
  - use: auth.api_keys
  - {{use: limiter.requests, with: {{per_key: 3}}}}
  - {{use: limiter.tokens, with: {{per_key: 2000}}}}
  - use: limiter.budget
  - {{use: guardrail.regex, name: hosts, with: {{patterns: [secret], action: block}}}}
  - use: sink.ledger
"""


class Home:
    """A directory with a configuration and the data of a gateway that ran once; `key` is its first key."""

    def __init__(self, directory, port):
        self.directory = directory
        self.file = directory / "config.yaml"
        self.file.write_text(CONFIG.format(directory=directory, port=port))
        self.port = port
        self.key = ""

    @contextlib.contextmanager
    def serving(self):
        """The gateway in a thread of its own."""
        ready, end = threading.Event(), threading.Event()

        async def serve():
            service = Alone(load(self.file).config)
            try:
                first = await service.start()
                self.key = self.key or first.key
                ready.set()
                await asyncio.to_thread(end.wait)
            finally:
                await service.drain(0)
                await service.close()

        thread = threading.Thread(target=asyncio.run, args=(serve(),))
        thread.start()
        try:
            assert ready.wait(10)
            yield self
        finally:
            end.set()
            thread.join()

    def run(self, *args, key=None, stdin=None):
        """`gateway explain` with the first key."""
        environ = {"GATEWAY_KEY": key or self.key, "GATEWAY_CONFIG": str(self.file)}
        result = CliRunner().invoke(explain, args, input=stdin, env=environ)
        assert self.key not in result.output
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    set_up(Logging(level="error"))
    made = Home(tmp_path_factory.mktemp("gateway"), free_port())
    with made.serving():
        pass
    return made


def test_beside_a_running_gateway_its_own_counters_are_shown(home):
    with home.serving():
        result = home.run("--model", "smart")
        told = msgspec.json.decode(home.run("--model", "smart", "--json").output)
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0] == f"gateway  running at http://127.0.0.1:{home.port}"
    assert lines[1] == "request  chat.completions, model smart (configured as demo-large)"
    assert lines[2] == "caller   key First key, tenant default"
    assert lines[3:8] == [
        "stages   auth.api_keys            authenticate",
        "         limiter.requests         pre_request",
        "         limiter.tokens           pre_request, on_usage",
        "         limiter.budget           before_attempt, after_attempt, on_usage",
        "         guardrail.regex (hosts)  pre_request, post_response",
    ]
    assert lines[9].startswith("limits   requests_per_minute  key First key  0 of 3 used; takes 1")
    assert lines[11].startswith("targets  demo/demo-large  $2.5 in, $10 out per 1M tokens    about ")
    assert lines[-1] == "verdict  answered by demo/demo-large, unless a stage refuses the text"
    assert (told["running"], told["would"], told["limits"][0]["used"]) == (True, "answer", 0)


def test_without_one_it_is_worked_out_from_the_files_and_says_so(home):
    before = {path.name: path.read_bytes() for path in (home.directory / "data").glob("*.db")}
    result = home.run("--model", "demo/demo-small")
    assert result.exit_code == 0
    assert result.output.splitlines()[0] == (
        f"gateway  not running at http://127.0.0.1:{home.port}: "
        "rate limits are shown unused, costs as the ledger has them"
    )
    assert "demo/demo-small  $0.15 in, $0.6 out" in result.output
    assert msgspec.json.decode(home.run("--model", "smart", "--json").output)["running"] is False
    assert before == {path.name: path.read_bytes() for path in (home.directory / "data").glob("*.db")}
    assert not list((home.directory / "data" / "journal").glob("*.journal"))


def test_a_request_comes_from_a_file_or_from_standard_input(home, tmp_path):
    file = tmp_path / "request.json"
    file.write_text('{"model": "smart", "max_tokens": 100, "messages": [{"role": "user", "content": "x"}]}')
    assert "model smart" in home.run(str(file)).output
    told = msgspec.json.decode(home.run("-", "--json", "--model", "demo-large", stdin=file.read_text()).output)
    assert (told["model"], told["targets"][0]["output_tokens_at_most"]) == ("demo-large", 100)


def test_a_refusal_is_the_verdict_and_the_exit_status(home):
    body = '{"model": "smart", "max_tokens": 5000, "messages": [{"role": "user", "content": "x"}]}'
    result = home.run("-", stdin=body)
    assert result.exit_code == 1
    assert result.output.splitlines()[-1] == "verdict  refused by limiter.tokens (tokens_per_minute)"
    result = home.run("--model", "smrt")
    assert result.exit_code == 1
    assert "verdict  refused with 404 model_not_found: The model `smrt` does not exist" in result.output
    assert "`smart`" in result.output


@pytest.mark.parametrize("running", [True, False])
def test_a_wrong_key_is_refused_in_the_gateways_words(home, running):
    wrong = "sk-gw-" + "a" * 61
    with home.serving() if running else contextlib.nullcontext():
        result = home.run("--model", "smart", key=wrong)
        other = home.run("--model", "smart", key="none-of-ours")
    assert result.exit_code == 1
    assert result.output.splitlines()[-1] == "verdict  refused with 401 invalid_api_key: Incorrect API key provided."
    assert wrong not in result.output
    assert "refused with 401 invalid_api_key" in other.output


def test_a_dry_run_is_no_use_of_the_key(home):
    from gateway.commands.keys import keys

    config = ["--config", str(home.file)]
    key = CliRunner().invoke(keys, ["create", "--name", "new", *config]).stdout.strip()
    result = home.run("--model", "smart", key=key)
    assert "key new" in result.output
    assert key not in result.output
    listed = CliRunner().invoke(keys, ["list", "--json", *config]).output
    assert [found["last_used"] for found in msgspec.json.decode(listed) if found["name"] == "new"] == [None]


@pytest.mark.parametrize(
    ("args", "key", "said"),
    [
        ((), None, "Name a model with --model, or a file with a request."),
        (("--model", "m"), "a\nb", "characters that no API key has"),
        (("-",), None, "not valid JSON"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(home, args, key, said):
    result = home.run(*args, key=key, stdin="{")
    assert result.exit_code != 0
    assert said in result.output


def test_a_key_is_needed():
    result = CliRunner().invoke(explain, ["--model", "m"], env={"GATEWAY_KEY": None})
    assert result.exit_code == 2
    assert "Missing option '--key'" in result.output


def test_a_directory_without_a_gateway_is_an_error_and_stays_as_it_was(home, tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text(home.file.read_text().replace(f"{home.directory}/data", f"{tmp_path}/none"))
    result = home.run("--model", "m", "--config", str(file))
    assert result.exit_code == 1
    assert "holds no gateway's data" in result.output
    assert not (tmp_path / "none").exists()


def test_a_file_with_mistakes_is_an_error_with_its_line(home, tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("plugins:\n  - use: auth.api_key\n")
    result = home.run("--model", "m", "--config", str(file))
    assert result.exit_code == 1
    assert f"{file}:2: $.plugins[0].use: no plugin `auth.api_key` is installed" in result.output


def test_another_program_at_the_address_is_not_taken_for_a_gateway(home, tmp_path):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as other:
        other.RequestHandlerClass.log_message = lambda *_: None
        thread = threading.Thread(target=other.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        file = tmp_path / "c.yaml"
        file.write_text(home.file.read_text().replace(str(home.port), str(other.server_port)))
        result = home.run("--model", "m", "--config", str(file))
        other.shutdown()
        thread.join()
    assert result.exit_code == 1
    assert "is no AI Gateway (status 501)" in result.output


def test_what_is_known_of_a_foreign_limit_is_shown(home):
    """A plugin of somebody else may say little, and may say it in its own words."""
    from gateway.commands.explain import _block, _limit

    rows = [_limit({"plugin": "limiter.x", "limit": "seats\x1b[2J", "would": "pass", "free": 3})]
    assert list(_block("limits", rows)) == ["limits   seats?[2J    free 3  pass"]
