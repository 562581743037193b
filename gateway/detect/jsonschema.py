"""Whether a JSON value fits a JSON Schema (draft 2020-12: what people write; `format` and remote references are not).

Patterns run in linear time or under a time limit. A schema with a keyword's value of the wrong type is a `ValueError`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from gateway.detect.patterns import CustomPattern, compile_custom

Value = Any  # any JSON value
_MAX_DEPTH = 64
_TYPES: Mapping[str, Callable[[Value], bool]] = {
    "object": lambda value: type(value) is dict,
    "array": lambda value: type(value) is list,
    "string": lambda value: type(value) is str,
    "number": lambda value: type(value) in (int, float),
    "integer": lambda value: type(value) is int or (type(value) is float and value.is_integer()),
    "boolean": lambda value: type(value) is bool,
    "null": lambda value: value is None,
}


class Schema:
    """A schema ready for use. Raises `ValueError` where it is wrong."""

    def __init__(self, schema: Mapping[str, Any] | bool) -> None:
        self._root = schema
        self._patterns: dict[str, CustomPattern] = {}
        self._check(schema, 0)

    def fits(self, value: Value) -> bool:
        """Whether the value fits. What is nested deeper than 64 levels does not."""
        return self._fits(self._root, value, 0)

    def _check(self, schema: Any, depth: int) -> None:  # noqa: ANN401
        """Compile patterns, and refuse what is no schema."""
        if type(schema) is bool:
            return
        if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
            raise ValueError("a schema must be an object or true or false, and not nested too deeply")
        names = schema.get("type", ())
        if not all(name in _TYPES for name in ([names] if isinstance(names, str) else names)):
            raise ValueError(f"the schema names a type that JSON has not: {names}")
        for pattern in [schema.get("pattern"), *schema.get("patternProperties", {})]:
            if pattern is not None:
                self._patterns[pattern] = compile_custom(pattern)
        if (reference := schema.get("$ref")) is not None:
            self._resolved(reference)
        for name in ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas"):
            for each in schema.get(name, {}).values():
                self._check(each, depth + 1)
        for name in ("allOf", "anyOf", "oneOf", "prefixItems"):
            for each in schema.get(name, ()):
                self._check(each, depth + 1)
        for name in ("items", "additionalProperties", "propertyNames", "contains", "not", "if", "then", "else"):
            if name in schema:
                self._check(schema[name], depth + 1)

    def _resolved(self, reference: str) -> Any:  # noqa: ANN401
        found: Any = self._root
        if not reference.startswith("#"):
            raise ValueError(f"the schema refers to {reference!r}: only references into itself are known")
        for step in reference[1:].split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, Mapping) or key not in found:
                raise ValueError(f"the schema refers to {reference!r}, which it has not")
            found = found[key]
        return found

    def _fits(self, schema: Any, value: Value, depth: int) -> bool:  # noqa: ANN401
        if type(schema) is bool:
            return schema
        if depth > _MAX_DEPTH:
            return False
        if "$ref" in schema and not self._fits(self._resolved(schema["$ref"]), value, depth + 1):
            return False
        return (
            _is_of_type(schema, value)
            and ("const" not in schema or _same(value, schema["const"]))
            and ("enum" not in schema or any(_same(value, each) for each in schema["enum"]))
            and self._parts_fit(schema, value, depth)
            and self._combined(schema, value, depth)
        )

    def _parts_fit(self, schema: Mapping[str, Any], value: Value, depth: int) -> bool:
        if type(value) is dict:
            return self._object_fits(schema, value, depth)
        if type(value) is list:
            return self._array_fits(schema, value, depth)
        if type(value) is str:
            pattern = schema.get("pattern")
            return _in_bounds(len(value), schema, "minLength", "maxLength") and (
                pattern is None or self._patterns[pattern].matches(value)
            )
        if type(value) in (int, float):
            return _number_fits(schema, value)
        return True

    def _object_fits(self, schema: Mapping[str, Any], value: dict[str, Value], depth: int) -> bool:
        if not _in_bounds(len(value), schema, "minProperties", "maxProperties"):
            return False
        needed = [*schema.get("required", ())]
        needed += [name for key, names in schema.get("dependentRequired", {}).items() if key in value for name in names]
        if any(name not in value for name in needed):
            return False
        properties, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
        names, others = schema.get("propertyNames", True), schema.get("additionalProperties", True)
        for name, item in value.items():
            rules = [properties[name]] if name in properties else []
            rules += [rule for pattern, rule in patterns.items() if self._patterns[pattern].matches(name)]
            if not self._fits(names, name, depth + 1):
                return False
            if not all(self._fits(rule, item, depth + 1) for rule in rules or [others]):
                return False
        return True

    def _array_fits(self, schema: Mapping[str, Any], value: list[Value], depth: int) -> bool:
        if not _in_bounds(len(value), schema, "minItems", "maxItems"):
            return False
        if schema.get("uniqueItems") and any(_same(a, b) for n, a in enumerate(value) for b in value[:n]):
            return False
        first = schema.get("prefixItems", ())
        rules = [*first, *[schema.get("items", True)] * max(0, len(value) - len(first))]
        if not all(self._fits(rule, item, depth + 1) for rule, item in zip(rules, value, strict=False)):
            return False
        return "contains" not in schema or any(self._fits(schema["contains"], item, depth + 1) for item in value)

    def _combined(self, schema: Mapping[str, Any], value: Value, depth: int) -> bool:
        def fits(rule: Any) -> bool:  # noqa: ANN401
            return self._fits(rule, value, depth + 1)

        if "if" in schema and not fits(schema.get("then" if fits(schema["if"]) else "else", True)):
            return False
        return (
            all(fits(rule) for rule in schema.get("allOf", ()))
            and ("anyOf" not in schema or any(fits(rule) for rule in schema["anyOf"]))
            and ("oneOf" not in schema or sum(fits(rule) for rule in schema["oneOf"]) == 1)
            and ("not" not in schema or not fits(schema["not"]))
        )


def _is_of_type(schema: Mapping[str, Any], value: Value) -> bool:
    names = schema.get("type")
    if names is None:
        return True
    return any(_TYPES[name](value) for name in ([names] if isinstance(names, str) else names))


def _in_bounds(size: int, schema: Mapping[str, Any], least: str, most: str) -> bool:
    return bool(schema.get(least, 0) <= size <= schema.get(most, size))


def _number_fits(schema: Mapping[str, Any], value: float) -> bool:
    step = schema.get("multipleOf")
    return bool(
        schema.get("minimum", value) <= value <= schema.get("maximum", value)
        and ("exclusiveMinimum" not in schema or value > schema["exclusiveMinimum"])
        and ("exclusiveMaximum" not in schema or value < schema["exclusiveMaximum"])
        and (step is None or abs(value / step - round(value / step)) < 1e-9)
    )


def _same(one: Value, other: Value) -> bool:
    """JSON's equality: true is not 1."""
    return (type(one) is bool) == (type(other) is bool) and bool(one == other)
