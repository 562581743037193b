"""The schema of the configuration file."""

from pathlib import Path

import msgspec
import pytest

from gateway.config import Config, decode
from gateway.configfile import parse

ROOT = Path(__file__).resolve().parent.parent


def test_an_empty_configuration_is_valid_and_all_defaults():
    assert decode({}) == Config()
    assert Config().server.workers == 1


def test_values_are_frozen():
    with pytest.raises(AttributeError):
        Config().server.port = 1


def test_unknown_fields_are_refused_at_every_depth():
    with pytest.raises(msgspec.ValidationError, match=r"unknown field `prot` - at `\$.server`"):
        decode({"server": {"prot": 1}})


@pytest.mark.parametrize(
    "tree",
    [
        {"server": {"port": 65536}},
        {"server": {"workers": 0}},
        {"timeouts": {"idle": 0}},
        {"secret": "short"},
        {"timeouts": {"idle": float("nan")}},
        {"max_attempts": 4},
        {"models": [{"name": "a", "targets": []}]},
        {"providers": [{"name": "with space", "use": "x"}]},
        {"prices": [{"model": "a/b", "input": "1e3", "output": "1"}]},
        {"prices": [{"model": "a/b", "input": 1, "output": "1"}]},
    ],
)
def test_values_out_of_range_are_refused(tree):
    with pytest.raises(msgspec.ValidationError):
        decode(tree)


def test_the_example_file_decodes():
    """`config.example.yaml` is right with nothing set in the environment."""
    config = parse((ROOT / "config.example.yaml").read_bytes(), "config.example.yaml", {})
    assert config.providers
    assert config.models
    assert config.plugins
