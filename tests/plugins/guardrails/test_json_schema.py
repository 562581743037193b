"""Answers that must be JSON of a shape, also in a fence."""

import pytest

from gateway import ContentBlocked
from gateway.testing import answered, exchange
from gateway_plugins.guardrails.json_schema import JsonSchema, Options

SCHEMA = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}, "additionalProperties": False}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('{"n": 1}', None), ('```json\n{"n": 1}\n```', None), ('{"n": "1"}', "schema"), ('{"n": 1, "m": 2}', "schema"),
        ("sure: {}", "not_json"), ("", None), ("[" * 5000, "not_json"),
    ],
)  # fmt: skip
def test_an_answer_must_fit(text, kind):
    found = JsonSchema(Options(schema=SCHEMA)).scan(text)
    assert [each.kind for each in found] == ([kind] if kind else [])


def test_other_parts_and_fences_are_judged_as_configured():
    assert not JsonSchema(Options()).scan("hmm", "reasoning")
    assert JsonSchema(Options(fences=False)).scan("```\n{}\n```")


async def test_a_stream_is_held_until_it_is_known_to_fit():
    assert await answered(JsonSchema(Options(schema=SCHEMA)), ['{"n"', ": 1}"], exchange()) == ["", "", '{"n": 1}', ""]
    with pytest.raises(ContentBlocked):
        await answered(JsonSchema(Options(schema=SCHEMA)), ['{"n"', ': "x"}'], exchange())


def test_a_wrong_schema_is_refused_at_the_start():
    with pytest.raises(ValueError, match="type"):
        JsonSchema(Options(schema={"type": "text"}))
