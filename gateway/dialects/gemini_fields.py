"""How Gemini's JSON is spelt: names in camel or snake case, enumerations as words or numbers, fields with their types.

Google's servers read both spellings and clients send both. Here is no meaning, only the reading of single fields.
Source: ai.google.dev/api (generateContent) and its protocol buffers' numbers.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from gateway.errors import InvalidRequest

NAME = "gemini.generate"

FINISH: Mapping[int, str] = MappingProxyType(dict(enumerate((
    "FINISH_REASON_UNSPECIFIED", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER", "LANGUAGE", "BLOCKLIST",
    "PROHIBITED_CONTENT", "SPII", "MALFORMED_FUNCTION_CALL", "IMAGE_SAFETY", "UNEXPECTED_TOOL_CALL",
    "TOO_MANY_TOOL_CALLS",
))))  # fmt: skip
BLOCK: Mapping[int, str] = MappingProxyType(dict(enumerate((
    "BLOCK_REASON_UNSPECIFIED", "SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "IMAGE_SAFETY",
))))  # fmt: skip
MODES: Mapping[int, str] = MappingProxyType(dict(enumerate(("MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"))))
TYPES: Mapping[int, str] = MappingProxyType(dict(enumerate((
    "TYPE_UNSPECIFIED", "STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL",
))))  # fmt: skip
LEVELS: Mapping[int, str] = MappingProxyType(dict(enumerate((
    "THINKING_LEVEL_UNSPECIFIED", "LOW", "HIGH", "MEDIUM", "MINIMAL",
))))  # fmt: skip
_KINDS = MappingProxyType({dict: "an object", list: "an array", str: "a string", bool: "a boolean"})


def camel(given: dict[str, Any]) -> dict[str, Any]:
    """The same object with every name in camel case, as Google's documents write it."""
    for name in given:
        if "_" in name:
            return {_camel(name): value for name, value in given.items()}
    return given


def word(value: object, names: Mapping[int, str]) -> str:
    """An enumeration's word; "" for what is none."""
    if type(value) is str:
        return value
    return names.get(value, str(value)) if type(value) is int else ""


def mapping(holder: dict[str, Any], name: str, path: str) -> dict[str, Any]:
    """The object in a field, with names in camel case; empty where there is none. `path` is for the error."""
    value = holder.get(name)
    if value is None:
        return {}
    if type(value) is not dict:
        raise wrong(path, dict)
    return camel(value)


def array(holder: dict[str, Any], name: str, path: str) -> list[Any]:
    """The list in a field; a single object stands for a list of one, as Google's parser has it."""
    value = holder.get(name)
    if value is None:
        return []
    if type(value) is dict:
        return [value]
    if type(value) is not list:
        raise wrong(path, list)
    return value


def text(holder: dict[str, Any], name: str, path: str) -> str:
    """The string in a field, "" where there is none."""
    value = holder.get(name)
    if value is None:
        return ""
    if type(value) is not str:
        raise wrong(path, str)
    return value


def flag(holder: dict[str, Any], name: str, path: str) -> bool | None:
    """The boolean in a field."""
    value = holder.get(name)
    if value is not None and type(value) is not bool:
        raise wrong(path, bool)
    return value


def number(holder: dict[str, Any], name: str, path: str) -> float | None:
    """The number in a field; JSON of protocol buffers may write it as a string."""
    value = holder.get(name)
    if value is None or type(value) is int or type(value) is float:
        return value
    if type(value) is str and len(value) < 32:
        try:
            return float(value)
        except ValueError:
            pass
    raise InvalidRequest(f"`{path}` must be a number.", param=path)


def whole(holder: dict[str, Any], name: str, path: str) -> int | None:
    """The integer in a field, also written as a string or as `12.0`."""
    value = number(holder, name, path)
    if value is None or type(value) is int:
        return value
    if value != value or abs(value) > 1 << 53 or value != int(value):
        raise InvalidRequest(f"`{path}` must be an integer.", param=path)
    return int(value)


def wrong(path: str, kind: type) -> InvalidRequest:
    """The error for a field of another type."""
    return InvalidRequest(f"`{path}` must be {_KINDS[kind]}.", param=path)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join([part[:1].upper() + part[1:] for part in rest]) if first else name
