"""What JSON Schema says of values."""

import time

import pytest

from gateway.detect.jsonschema import Schema

TREE = {"$ref": "#/$defs/node", "$defs": {"node": {
    "type": "object", "properties": {"next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]}}, "required": ["next"],
}}}  # fmt: skip


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": ["string", "null"]}, ["a", None], [1, True, []]),
        ({"type": "integer"}, [1, 2.0, -3], [1.5, True, "1"]),
        ({"type": "number", "minimum": 1, "exclusiveMaximum": 3}, [1, 2.9], [0.9, 3]),
        ({"multipleOf": 0.1}, [0.3, 1, "x"], [0.35]),
        ({"enum": [1, "a", None]}, [1, "a", None], [True, 2]),
        ({"const": {"a": [1]}}, [{"a": [1]}], [{"a": [2]}]),
        ({"minLength": 2, "maxLength": 3, "pattern": "^a"}, ["ab", "abc", 7], ["a", "abcd", "ba"]),
        ({"items": {"type": "string"}, "minItems": 1, "uniqueItems": True}, [["a"], {}], [[], [1], ["a", "a"]]),
        ({"prefixItems": [{"type": "integer"}], "items": False}, [[1], []], [[1, 2], ["a"]]),
        ({"contains": {"const": 3}}, [[1, 3]], [[1, 2]]),
        ({"required": ["a"], "maxProperties": 2}, [{"a": 1}], [{}, {"a": 1, "b": 2, "c": 3}]),
        ({"patternProperties": {"^x": {"type": "integer"}}, "additionalProperties": False}, [{"x1": 1}], [{"y": 1}, {"x": "a"}]),
        ({"propertyNames": {"maxLength": 1}}, [{"a": 1}], [{"ab": 1}]),
        ({"dependentRequired": {"a": ["b"]}}, [{"a": 1, "b": 2}, {"c": 1}], [{"a": 1}]),
        ({"oneOf": [{"type": "integer"}, {"minimum": 5}]}, [1, 5.5], [5, 4.5]),
        ({"allOf": [{"type": "string"}, {"minLength": 1}], "not": {"const": "x"}}, ["a"], ["", "x", 1]),
        ({"if": {"required": ["a"]}, "then": {"required": ["b"]}}, [{"a": 1, "b": 1}, {}], [{"a": 1}]),
        (TREE, [{"next": None}, {"next": {"next": None}}], [{}, {"next": {"next": 1}}]),
        ({}, [1, None, {}], []),
    ],
)  # fmt: skip
def test_values_fit_or_not(schema, good, bad):
    made = Schema(schema)
    assert all(made.fits(value) for value in good)
    assert not any(made.fits(value) for value in bad)


@pytest.mark.parametrize(
    "schema", [{"type": "int"}, {"$ref": "#/nowhere"}, {"$ref": "https://x.example/s"}, {"pattern": "("}, {"items": 7}]
)
def test_a_schema_that_is_wrong_is_refused(schema):
    with pytest.raises(ValueError, match=r"."):
        Schema(schema)


def test_a_schema_without_end_and_a_hard_pattern_end():
    assert not Schema({"$ref": "#"}).fits(1)
    started = time.process_time()
    Schema({"pattern": "^(a+)+$"}).fits("a" * 5000 + "b")
    assert time.process_time() - started < 1
