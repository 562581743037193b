"""Checks JSON against the published SDKs' own types (TypedDicts): every key known, every value of its type."""

import collections.abc
import types
import typing

import typing_extensions

_LISTS = (list, collections.abc.Iterable, collections.abc.Sequence)


def problems(value, kind, where="body"):
    """What in `value` does not fit the type; empty if all does."""
    kind = stripped(kind)
    if kind in (object, typing.Any):
        return []
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Literal, typing_extensions.Literal):
        return [] if value in args else [f"{where}: {value!r} is none of {args}"]
    if origin in (typing.Union, types.UnionType):
        return either(value, args, where)
    if typing_extensions.is_typeddict(kind):
        return fields(value, kind, where)
    if origin in (dict, collections.abc.Mapping) or kind is dict:
        return [] if isinstance(value, dict) else [f"{where}: {value!r} is no object"]
    if origin in _LISTS or getattr(origin, "__name__", "") == "SequenceNotStr":
        if not isinstance(value, list):
            return [f"{where}: {value!r} is no array"]
        return [told for number, item in enumerate(value) for told in problems(item, args[0], f"{where}[{number}]")]
    if kind is float:
        return [] if type(value) in (int, float) else [f"{where}: {value!r} is no number"]
    if kind in (str, int, bool):
        return [] if type(value) is kind else [f"{where}: {value!r} is not {kind.__name__}"]
    if kind in (None, type(None)):
        return [] if value is None else [f"{where}: {value!r} is not null"]
    return [] if isinstance(kind, type) and isinstance(value, kind) else [f"{where}: {value!r} is not {kind}"]


def stripped(kind):
    """Without Required, NotRequired, Annotated."""
    while typing.get_origin(kind) in (typing.Annotated, typing_extensions.Required, typing_extensions.NotRequired):
        kind = typing.get_args(kind)[0]
    return kind


def either(value, kinds, where):
    """The problems with the alternative that fits best."""
    found = [problems(value, kind, where) for kind in kinds]
    if not all(found):
        return []
    told = [
        each for each, kind in zip(found, kinds, strict=True)
        if isinstance(value, dict) and typing_extensions.is_typeddict(stripped(kind)) and not any(".type:" in line for line in each)
    ]
    return min(told or found, key=len)


def fields(value, kind, where):
    """A TypedDict: required keys are there, no others than its own."""
    if not isinstance(value, dict):
        return [f"{where}: {value!r} is no object"]
    hints = typing_extensions.get_type_hints(kind, include_extras=True)
    # `__required_keys__` is wrong where annotations are strings, as they are in these packages.
    needed = [name for name, hint in hints.items() if typing.get_origin(hint) is typing_extensions.Required]
    found = [f"{where}: {name} is missing" for name in needed if name not in value]
    extra = getattr(kind, "__pydantic_config__", {}).get("extra") == "allow"
    for name, item in value.items():
        if name in hints:
            found += problems(item, hints[name], f"{where}.{name}")
        elif not extra:
            found.append(f"{where}.{name}: unknown")
    return found
