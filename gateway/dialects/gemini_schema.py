"""JSON Schema and Gemini's own `Schema` (a part of OpenAPI 3.0), one made from the other.

What `Schema` can say in full goes out as `Schema`, which every model takes; anything richer goes out as JSON Schema,
in the fields for that (`parametersJsonSchema`, `responseJsonSchema`), with the few spellings that they refuse changed.
Source: ai.google.dev/api/caching#Schema, ai.google.dev/api/generate-content#GenerationConfig.
"""

from functools import lru_cache
from typing import Any

import msgspec

from gateway.dialects.gemini_fields import TYPES, camel, word
from gateway.errors import InvalidRequest
from gateway.jsonbody import MAX_DEPTH

Json = dict[str, Any]

_LONGEST_REMEMBERED = 8 * 1024
_PLAIN = frozenset({"description", "title", "default", "minimum", "maximum", "pattern", "required"})
_COUNTS = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})
_TYPES = frozenset({"string", "number", "integer", "boolean", "array", "object", "null"})
_FORMATS = {"string": {"date-time"}, "number": {"float", "double"}, "integer": {"int32", "int64"}}
_MAPS = ("properties", "$defs", "definitions", "patternProperties")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE = ("items", "additionalProperties", "not", "contains", "propertyNames")


def to_schema(schema: Json, depth: int = 0) -> Json | None:
    """Gemini's `Schema` that says exactly this, or `None` if there is none."""
    made: Json = {}
    if depth > MAX_DEPTH:
        return None
    for name, value in schema.items():
        if name in _PLAIN:
            made[name] = value
        elif name in _COUNTS:
            made[name] = str(value)  # 64-bit integers are strings in the JSON of protocol buffers
        elif name == "nullable" and type(value) is bool:
            made[name] = value
        elif name not in _SPECIAL or not _SPECIAL[name](made, schema, value, depth):
            return None
    return made


def remembered(schema: Json) -> Json:
    """`to_json_schema`, worked out once for a schema: clients send the same tools again and again."""
    raw = msgspec.json.encode(schema)
    if len(raw) > _LONGEST_REMEMBERED:
        return to_json_schema(schema)
    made: Json = msgspec.json.decode(_worked_out(raw))  # a new one for each request, which may change it
    return made


@lru_cache(512)
def _worked_out(raw: bytes) -> bytes:
    return msgspec.json.encode(to_json_schema(msgspec.json.decode(raw)))


def to_json_schema(schema: Json, depth: int = 0) -> Json:
    """The JSON Schema that says what Gemini's `Schema` says."""
    if depth > MAX_DEPTH:
        raise InvalidRequest("A schema is nested too deeply.", param="tools")
    given = camel(schema)
    made: Json = {}
    for name, value in given.items():
        if name == "type":
            made["type"] = word(value, TYPES).lower()
        elif name == "properties" and type(value) is dict:
            made[name] = {key: _below(value[key], depth) for key in _ordered(value, given.get("propertyOrdering"))}
        elif name in ("items", "additionalProperties"):
            made[name] = _below(value, depth)
        elif name == "anyOf" and type(value) is list:
            made[name] = [_below(item, depth) for item in value]
        elif name in _COUNTS and type(value) is str and value.isdecimal() and len(value) < 19:
            made[name] = int(value)
        elif name == "example":
            made["examples"] = [value]
        elif name in ("defs", "ref"):
            made["$" + name] = _defs(value, depth) if name == "defs" else value
        elif name not in ("nullable", "propertyOrdering") and (name, value) != ("format", "enum"):
            made[name] = value
    return _nullable(made) if given.get("nullable") is True else made


def accepted(schema: Any, depth: int = 0) -> Any:  # noqa: ANN401 - a schema may be a boolean
    """A JSON Schema as Gemini's fields for it take it: no `const`, no `$schema`, nothing beside a `$ref`.

    What else it does not know it ignores by its own account, so that the rest stays as it is.
    """
    if depth > MAX_DEPTH:
        raise InvalidRequest("A schema is nested too deeply.", param="tools")
    if type(schema) is not dict:
        return {} if schema is True else schema
    made: Json = {}
    for name, value in schema.items():
        if name in _MAPS and type(value) is dict:
            made[name] = {key: accepted(item, depth + 1) for key, item in value.items()}
        elif name in _LISTS and type(value) is list:
            made[name] = [accepted(item, depth + 1) for item in value]
        elif name in _SINGLE and type(value) is dict:
            made[name] = accepted(value, depth + 1)
        elif name == "const":
            made["enum"] = [value]
        elif name != "$schema":
            made[name] = value
    if "$ref" in made and any(not name.startswith("$") for name in made):
        reference = {"$ref": made.pop("$ref")}
        made["anyOf"] = [*made.get("anyOf", ()), reference]
    return made


def _type(made: Json, schema: Json, value: Any, depth: int) -> bool:  # noqa: ANN401, ARG001
    names = value if type(value) is list else [value]
    kinds = [name for name in names if name != "null"]
    if len(kinds) > 1 or not all(type(name) is str and name in _TYPES for name in names):
        return False
    if len(kinds) < len(names) and kinds:
        made["nullable"] = True
    made["type"] = (kinds[0] if kinds else "null").upper()
    return True


def _format(made: Json, schema: Json, value: Any, depth: int) -> bool:  # noqa: ANN401, ARG001
    kind = schema.get("type")
    made["format"] = value
    return type(kind) is str and type(value) is str and value in _FORMATS.get(kind, ())


def _enum(made: Json, schema: Json, value: Any, depth: int) -> bool:  # noqa: ANN401, ARG001
    made["enum"] = value
    return schema.get("type") == "string" and type(value) is list and all(type(item) is str for item in value)


def _properties(made: Json, schema: Json, value: Any, depth: int) -> bool:  # noqa: ANN401, ARG001
    if type(value) is not dict or not value:  # an object without properties is refused there
        return False
    found = {name: to_schema(item, depth + 1) if type(item) is dict else None for name, item in value.items()}
    made["properties"] = found
    return all(item is not None for item in found.values())


def _items(made: Json, schema: Json, value: Any, depth: int) -> bool:  # noqa: ANN401, ARG001
    made["items"] = to_schema(value, depth + 1) if type(value) is dict else None
    return made["items"] is not None


def _any_of(made: Json, schema: Json, value: Any, depth: int) -> bool:  # noqa: ANN401, ARG001
    if type(value) is not list:
        return False
    made["anyOf"] = [to_schema(item, depth + 1) if type(item) is dict else None for item in value]
    return all(item is not None for item in made["anyOf"])


def _skip(made: Json, schema: Json, value: Any, depth: int) -> bool:  # noqa: ANN401, ARG001
    return True


_SPECIAL = {
    "type": _type, "format": _format, "enum": _enum, "properties": _properties, "items": _items, "anyOf": _any_of,
    "$schema": _skip,
}


def ordered(schema: Json) -> Json:
    """A `Schema` for an answer, whose properties come in the order given: without that, older models sort them."""
    made = dict(schema)
    if type(made.get("properties")) is dict:
        made["properties"] = {name: ordered(item) for name, item in made["properties"].items()}
        made["propertyOrdering"] = list(made["properties"])
    if type(made.get("items")) is dict:
        made["items"] = ordered(made["items"])
    if type(made.get("anyOf")) is list:
        made["anyOf"] = [ordered(item) for item in made["anyOf"]]
    return made


def _below(value: Any, depth: int) -> Any:  # noqa: ANN401
    return to_json_schema(value, depth + 1) if type(value) is dict else value


def _defs(value: Any, depth: int) -> Any:  # noqa: ANN401
    return {name: _below(item, depth) for name, item in value.items()} if type(value) is dict else value


def _ordered(properties: Json, order: Any) -> list[str]:  # noqa: ANN401
    first = [name for name in order if type(name) is str and name in properties] if type(order) is list else []
    return list(dict.fromkeys([*first, *properties]))


def _nullable(made: Json) -> Json:
    if type(made.get("type")) is str and made["type"] != "null":
        made["type"] = [made["type"], "null"]
    elif type(made.get("anyOf")) is list:
        made["anyOf"].append({"type": "null"})
    if type(made.get("enum")) is list and None not in made["enum"]:
        made["enum"] = [*made["enum"], None]
    return made
