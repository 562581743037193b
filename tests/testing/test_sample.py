"""Instances of JSON schemas: they fit what models are asked for, and a recursive schema ends."""

import pytest

from gateway.testing.sample import sample


@pytest.mark.parametrize(("schema", "value"), [
    ({"type": "string"}, "demo value"),
    ({"type": "string", "maxLength": 3}, "dem"),
    ({"type": "string", "minLength": 12}, "demo value.."),
    ({"type": "string", "format": "date"}, "2025-01-01"),
    ({"type": "integer"}, 1),
    ({"type": "integer", "minimum": 7}, 7),
    ({"type": "integer", "maximum": -7}, -7),
    ({"type": "integer", "exclusiveMinimum": 7}, 8),
    ({"type": "integer", "minimum": 7, "multipleOf": 5}, 10),
    ({"type": "number", "exclusiveMaximum": 1}, 0.5),
    ({"type": "boolean"}, True),
    ({"type": "null"}, None),
    ({"type": ["null", "integer"]}, 1),
    ({"enum": ["x", "y"]}, "x"),
    ({"const": 0}, 0),
    ({"anyOf": [{"type": "null"}, {"type": "boolean"}]}, True),
    ({"allOf": [{"properties": {"a": {"type": "boolean"}}}, {"properties": {"b": {"const": 2}}}]}, {"a": True, "b": 2}),
    ({"type": "array", "items": {"type": "integer"}}, [1]),
    ({"type": "array", "items": {"type": "integer"}, "minItems": 3}, [1, 1, 1]),
    ({"type": "array", "items": {"type": "integer"}, "maxItems": 0}, []),
    ({"type": "array", "prefixItems": [{"const": 1}, {"const": 2}]}, [1, 2]),
    ({"type": "object"}, {}),
    ({"required": ["q"], "type": "object"}, {"q": "demo q"}),
    ({"$defs": {"a": {"const": 5}}, "$ref": "#/$defs/a"}, 5),
    (None, None), (True, "demo value"), ({"$ref": "#/nowhere"}, None),
])  # fmt: skip
def test_a_sample_fits_its_schema(schema: object, value: object) -> None:
    assert sample(schema) == value


def test_a_recursive_schema_ends() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}, "name": {"type": "string"}}}
    tree = {"$defs": {"node": {**node, "required": ["name"]}}, "$ref": "#/$defs/node"}
    assert sample(tree)["next"]["name"] == "demo name"
    endless = {"$defs": {"node": {**node, "required": ["next"]}}, "$ref": "#/$defs/node"}
    assert sample(endless)["next"]
