"""What providers demand of JSON Schemas, and how a schema is made to fit."""

from typing import Any

_MAX_DEPTH = 64
# Keywords that services which promise an answer in the schema do not take, beside those of numbers and lengths.
_UNSUPPORTED = frozenset({
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "pattern",
    "maxItems", "uniqueItems", "minProperties", "maxProperties", "patternProperties", "propertyNames", "oneOf", "not",
    "if", "then", "else", "dependentRequired", "dependentSchemas", "unevaluatedProperties", "contains", "prefixItems",
})


def object_schema(schema: dict[str, Any] | None) -> dict[str, Any]:
    """A schema whose root is an object, for a tool's arguments."""
    if not schema:
        return {"type": "object", "properties": {}} if schema is None else {"type": "object"}
    if schema.get("type") == "object":
        return schema
    return {"type": "object", **{name: value for name, value in schema.items() if name != "type"}}


def closed(schema: Any, depth: int = 0) -> bool:  # noqa: ANN401 - any JSON value
    """Whether each object forbids further properties and nothing else stands in the way of a promised answer."""
    if depth > _MAX_DEPTH:
        return False
    if type(schema) is list:
        return all(closed(item, depth + 1) for item in schema)
    if type(schema) is not dict:
        return True
    if not _UNSUPPORTED.isdisjoint(schema):
        return False
    if (schema.get("type") == "object" or "properties" in schema) and schema.get("additionalProperties") is not False:
        return False
    for name, value in schema.items():
        if name in ("properties", "$defs", "definitions"):
            if type(value) is not dict or not all(closed(item, depth + 1) for item in value.values()):
                return False
        elif name in ("items", "anyOf", "allOf") and not closed(value, depth + 1):
            return False
    return True
