"""vLLM: constraints keep working under their new name, everything else travels."""

import json

import pytest

from gateway import InvalidRequest, Target
from gateway.testing import ProviderContract, exchange
from gateway_plugins.providers.vllm import VLLM, Options


def made(**options):
    return VLLM(Options(base_url="http://127.0.0.1:8200/v1", **options))


def sent(plugin, **fields):
    return json.loads(plugin.encode(exchange(**fields), Target(plugin, "m")).body)


class TestVLLM(ProviderContract):
    async def make(self) -> VLLM:
        return made()


class TestVLLMAsIs(ProviderContract):
    async def make(self) -> VLLM:
        return made(guided_decoding="as_is")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"guided_choice": ["a", "b"]}, {"choice": ["a", "b"]}), ({"guided_regex": "[a-z]"}, {"regex": "[a-z]"}),
        ({"guided_json": {"type": "object"}, "guided_whitespace_pattern": " "},
         {"json": {"type": "object"}, "whitespace_pattern": " "}),
        ({"guided_grammar": "root ::= x", "guided_json": None}, {"grammar": "root ::= x"}),
        ({"guided_choice": ["a"], "structured_outputs": None}, {"choice": ["a"]}),
    ],
)  # fmt: skip
def test_older_constraints_get_their_new_name(fields, expected):
    """A server that ignores the old names silently would answer without the constraint."""
    assert sent(made(), **fields)["structured_outputs"] == expected
    assert {name: sent(made(guided_decoding="as_is"), **fields)[name] for name in fields} == fields


@pytest.mark.parametrize("fields", [{}, {"guided_json": None}, {"structured_outputs": {"regex": "x"}}])
def test_where_there_is_nothing_to_rename_nothing_changes(fields):
    plugin = made()
    asked = exchange(**fields)
    assert plugin.encode(asked, Target(plugin, "demo-small")).body is asked.request.raw


def test_both_names_at_once_are_refused():
    with pytest.raises(InvalidRequest) as caught:
        sent(made(), guided_regex="x", structured_outputs={"regex": "y"})
    assert caught.value.param == "structured_outputs"
    assert sent(made(guided_decoding="as_is"), guided_regex="x", structured_outputs={"regex": "y"})


def test_its_own_parameters_travel():
    fields = {"top_k": 5, "min_p": 0.1, "chat_template_kwargs": {"enable_thinking": False}, "include_reasoning": True}
    assert sent(made(), **fields).items() >= fields.items()


@pytest.mark.parametrize("value", [7, "x", [], True])
def test_wrong_types_are_the_servers_business(value):
    """A constraint of a wrong type is renamed like any other; nothing fails here."""
    assert sent(made(), guided_json=value)["structured_outputs"] == {"json": value}
