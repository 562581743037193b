"""What a reload may change, and what the terminal shows."""

import shlex

import msgspec
import pytest

from gateway.accounts.bootstrap import FirstRun
from gateway.banner import banner
from gateway.config import Config, Journal, ModelEntry, Server
from gateway.service import Refused, check_reloadable

FIRST = FirstRun("admin@localhost", "pass word", "sk-gw-abc")


@pytest.mark.parametrize(
    ("new", "named"),
    [
        (Config(server=Server(port=1)), "server.port cannot"),
        (Config(server=Server(workers="auto", host="::")), "server.host, server.workers cannot"),
        (Config(data_dir="elsewhere"), "data_dir cannot"),
        (Config(journal=Journal(fsync_ms=1)), "journal.fsync_ms cannot"),
        (Config(secret="s" * 32), "secret cannot"),
    ],
)
def test_what_only_a_restart_can_change_is_named(new, named):
    with pytest.raises(Refused, match=named) as refused:
        check_reloadable(Config(), new)
    assert "sss" not in str(refused.value)


def test_everything_else_may_change():
    check_reloadable(Config(), Config(watch=True, max_attempts=1, models=(ModelEntry(name="m", targets=("a/b",)),)))


def test_the_banner_of_a_first_start_has_lines_that_scripts_can_find():
    text = banner("http://127.0.0.1:8000", Config(), FIRST)
    lines = text.splitlines()
    for line in ("email: admin@localhost", "password: pass word", "key: sk-gw-abc"):
        assert line in lines
    assert "http://127.0.0.1:8000/api/v1" in lines[0]


def test_any_later_start_shows_one_line():
    assert banner("http://127.0.0.1:8000", Config(), None).count("\n") == 1


@pytest.mark.parametrize(
    ("names", "model"),
    [(("other", "demo-small"), "demo-small"), (("gpt-*", "it's"), "it's"), (("gpt-*",), "demo-small")],
)
def test_the_curl_line_asks_a_model_that_is_there(names, model):
    config = Config(models=tuple(ModelEntry(name=name, targets=("a/b",)) for name in names))
    lines = banner("http://h", config, FIRST).splitlines()
    words = shlex.split(next(line for line in lines if line.startswith("curl")))
    assert msgspec.json.decode(words[-1])["model"] == model
