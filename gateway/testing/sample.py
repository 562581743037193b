"""An instance of a JSON schema: deterministic, valid for the keywords that models are asked for, and small.

Not a validator. `pattern`, `if` and `not` are passed over; a recursive schema ends where it may.
"""

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

_DEPTH = 8      # below it, what is optional is left out
_BOTTOM = 40    # a schema that demands more depth than this gets null
_FORMATS = (
    ("date-time", "2025-01-01T00:00:00Z"), ("date", "2025-01-01"), ("time", "00:00:00Z"),
    ("email", "demo@example.com"), ("uuid", "00000000-0000-4000-8000-000000000000"), ("uri", "https://example.com/"),
    ("hostname", "example.com"), ("ipv4", "192.0.2.1"), ("ipv6", "2001:db8::1"), ("duration", "PT1H"),
)


def sample(schema: object, name: str = "value") -> object:
    """A value that fits `schema`; `name` flavours its strings."""
    return _sample(schema, name, schema if isinstance(schema, dict) else {}, 0)


def _sample(schema: object, name: str, root: Schema, depth: int) -> object:
    if not isinstance(schema, dict) or depth > _BOTTOM:
        return f"demo {name}" if schema is True else None
    if "const" in schema:
        return schema["const"]
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return schema["enum"][0]
    if isinstance(schema.get("$ref"), str):
        return _sample(_resolved(schema["$ref"], root), name, root, depth + 1)
    for keyword in ("anyOf", "oneOf"):
        if isinstance(schema.get(keyword), list) and schema[keyword]:
            return _sample(_simplest(schema[keyword], depth), name, root, depth + 1)
    if isinstance(schema.get("allOf"), list):
        return _sample(_merged(schema, root), name, root, depth + 1)
    return _typed(schema, name, root, depth)


def _typed(schema: Schema, name: str, root: Schema, depth: int) -> object:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if kind is None:
        kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
    if kind == "object":
        return _object(schema, root, depth)
    if kind == "array":
        return _array(schema, name, root, depth)
    if kind == "string":
        return _string(schema, name)
    if kind in ("integer", "number"):
        return _number(schema, whole=kind == "integer")
    return True if kind == "boolean" else None


def _object(schema: Schema, root: Schema, depth: int) -> dict[str, Any]:
    properties = schema.get("properties") or {}
    required = schema.get("required") or ()
    names = list(properties) if depth < _DEPTH else []
    names += [name for name in required if name not in names]
    return {name: _sample(properties.get(name, True), name, root, depth + 1) for name in names}


def _array(schema: Schema, name: str, root: Schema, depth: int) -> list[Any]:
    first = [_sample(item, name, root, depth + 1) for item in schema.get("prefixItems") or ()]
    least = schema.get("minItems", 1 if depth < _DEPTH and not first else 0)
    more = min(least, schema.get("maxItems", least), 100) - len(first)
    return first + [_sample(schema.get("items", True), name, root, depth + 1) for _ in range(more)]


def _string(schema: Schema, name: str) -> str:
    text = next((value for form, value in _FORMATS if schema.get("format") == form), f"demo {name}")
    return text.ljust(min(schema.get("minLength", 0), 10_000), ".")[: schema.get("maxLength")]


def _number(schema: Schema, *, whole: bool) -> int | float:
    step = schema.get("multipleOf") or 1
    value: int | float = schema.get("minimum", min(1, schema.get("maximum", 1)))
    if (above := schema.get("exclusiveMinimum")) is not None:
        value = above + (1 if whole else 0.5)
    if (below := schema.get("exclusiveMaximum")) is not None and value >= below:
        value = below - (1 if whole else 0.5)
    if whole or "multipleOf" in schema:
        value = -(-value // step) * step
    return int(value) if whole else value


def _simplest(options: list[object], depth: int) -> object:
    """The first that is not null; deep down, the first that ends."""
    if depth >= _DEPTH:
        for option in options:
            if isinstance(option, dict) and option.get("type") in ("null", "string", "number", "integer", "boolean"):
                return option
    return next((one for one in options if not (isinstance(one, dict) and one.get("type") == "null")), options[0])


def _merged(schema: Schema, root: Schema) -> Schema:
    merged: dict[str, Any] = {key: value for key, value in schema.items() if key != "allOf"}
    for part in schema["allOf"]:
        part = _resolved(part["$ref"], root) if isinstance(part, dict) and "$ref" in part else part  # noqa: PLW2901
        if isinstance(part, dict):
            properties = {**merged.get("properties", {}), **part.get("properties", {})}
            required = [*merged.get("required", ()), *part.get("required", ())]
            merged = {**merged, **part, "required": required}
            if properties:
                merged["properties"] = properties
    return merged


def _resolved(reference: str, root: Schema) -> object:
    found: object = root
    for step in reference.removeprefix("#").split("/")[1:]:
        found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
    return found
