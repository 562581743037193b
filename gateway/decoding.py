"""Plain values -> structs, with every mistake found and said for the person who wrote the file.

msgspec stops at the first mistake and may repeat the value; here each field is tried on its own, near names are
suggested and nothing from `${...}` is repeated.
"""

import enum
import re
import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec.structs import FieldInfo

from gateway.interpolation import Filled, hidden
from gateway.nearest import did_you_mean
from gateway.problems import Lines, Path, Problem, YamlValue
from gateway.secrets import Secret
from gateway.yamltree import plain_scalar

T = TypeVar("T")
TypeForm = Any  # a type as written in an annotation: a class, a union, `Annotated[...]`

_AT = re.compile(r"(.*?)(?: - at `(?:key in )?\$(.*)`)?", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[([0-9]+)\]|\[\.\.\.\]")
_KINDS = {
    "int": "a whole number", "float": "a number", "str": "text", "bool": "true or false",
    "object": "a mapping", "array": "a list", "null": "nothing (null)",
}  # fmt: skip


def decode(
    value: YamlValue, type_: type[T], path: Path, lines: Lines, problems: list[Problem], *, keep_filled: bool = False
) -> T | None:
    """`value` as `type_`, or `None` after adding to `problems` all that is wrong with it.

    A scalar that is one `${...}` becomes a number, a bool or null where the type takes no text. `keep_filled`
    leaves `Filled` in fields of type `Any`, for a later `decode`; elsewhere they become plain text.
    """
    trial = _Trial(lines, keep_filled)
    fixed = trial.value(value, type_, path)
    problems.extend(trial.problems)
    if trial.failed:
        return None
    try:
        return msgspec.convert(fixed, type_, dec_hook=_dec_hook)
    except msgspec.ValidationError as error:
        text, steps = _split(str(error))
        problems.append(lines.problem((*path, *steps), _without_values(text, value)))
        return None


def check(value: YamlValue, type_: type, path: Path, lines: Lines) -> list[Problem]:
    """What is wrong with the single fields of `value`, without making a `type_`."""
    trial = _Trial(lines, keep_filled=False)
    trial.value(value, type_, path)
    return trial.problems


def hide(text: str, value: YamlValue) -> str:
    """`text` without anything that came into `value` through `${...}`."""
    for filled in _fills(value):
        text = hidden(text, filled)
    return text


def plain(value: YamlValue, *, resolve: bool = False) -> YamlValue:
    """A copy of `value` with text in place of `Filled`; with `resolve`, with what whole ones mean in YAML."""
    if isinstance(value, Filled):
        return plain_scalar(str(value)) if resolve and value.whole else str(value)
    if isinstance(value, dict):
        return {key: plain(item, resolve=resolve) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item, resolve=resolve) for item in value]
    return value


class _Trial:
    """Tries a value field by field against a type."""

    def __init__(self, lines: Lines, keep_filled: bool) -> None:
        self.problems: list[Problem] = []
        self.failed = False
        self._lines = lines
        self._keep_filled = keep_filled

    def value(self, value: YamlValue, type_: TypeForm, path: Path) -> YamlValue:
        """`value` ready for `msgspec.convert`, if nothing failed."""
        inner = _bare(type_)
        if isinstance(value, dict):
            if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
                return self._struct(value, inner, path)
            if (item := _value_type(inner)) is not None:
                return {key: self.value(each, item, (*path, key)) for key, each in value.items()}
        if isinstance(value, list) and (item := _item_type(inner)) is not None:
            return [self.value(each, item, (*path, index)) for index, each in enumerate(value)]
        return self._leaf(value, type_, path)

    def _struct(self, value: dict[str, YamlValue], struct: type[msgspec.Struct], path: Path) -> dict[str, YamlValue]:
        fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
        tag = struct.__struct_config__.tag_field
        for name in value:
            if name not in fields and name != tag:
                self._report((*path, name), f"unknown field `{name}`{did_you_mean(name, fields)}")
        for name, field in fields.items():
            if name not in value and _required(field):
                self._report(path, f"the field `{name}` is missing")
        return {
            name: self.value(item, fields[name].type, (*path, name)) if name in fields else item
            for name, item in value.items()
        }

    def _leaf(self, value: YamlValue, type_: TypeForm, path: Path) -> YamlValue:
        if type_ is Any and self._keep_filled:
            return value
        fills = _fills(value)
        if any(filled.broken for filled in fills):
            self.failed = True  # already reported where it was read
            return value
        error: msgspec.ValidationError | None = None
        for resolve in (False, True) if fills else (False,):
            candidate = plain(value, resolve=resolve)
            try:
                msgspec.convert(candidate, type_, dec_hook=_dec_hook)
            except msgspec.ValidationError as refused:
                error = error or refused
            else:
                return candidate
        text, steps = _split(str(error))
        if "enum value" in text:
            text = _not_one_of(value, type_)
        elif text.startswith("expected text") and isinstance(value, int | float):
            text += "; put it in quotes"
        self._report((*path, *steps), _without_values(text, value))
        return value

    def _report(self, path: Path, text: str) -> None:
        self.failed = True
        self.problems.append(self._lines.problem(path, text))


def _dec_hook(type_: type, value: YamlValue) -> YamlValue:
    if type_ is Secret:
        if not isinstance(value, str):
            raise TypeError("expected text")
        return Secret(value)
    raise TypeError(f"options of type {type_.__name__} cannot be read from YAML")


def _bare(type_: TypeForm) -> TypeForm:
    """`type_` without `Annotated` and without `| None`."""
    origin: TypeForm = get_origin(type_)
    if origin is Annotated:
        return _bare(get_args(type_)[0])
    if origin in (Union, types.UnionType):
        members = [member for member in get_args(type_) if member is not types.NoneType]
        return _bare(members[0]) if len(members) == 1 else type_
    return type_


def _value_type(type_: TypeForm) -> TypeForm:
    origin, args = get_origin(type_), get_args(type_)
    return args[1] if isinstance(origin, type) and issubclass(origin, Mapping) and args[0] is str else None


def _item_type(type_: TypeForm) -> TypeForm:
    origin: TypeForm = get_origin(type_)
    args = get_args(type_)
    if origin is tuple:
        return args[0] if len(args) == 2 and args[1] is Ellipsis else None
    return args[0] if isinstance(origin, type) and issubclass(origin, Sequence | set | frozenset) else None


def _required(field: FieldInfo) -> bool:
    return field.default is msgspec.NODEFAULT and field.default_factory is msgspec.NODEFAULT


def _fills(value: YamlValue) -> list[Filled]:
    if isinstance(value, Filled):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [filled for item in items for filled in _fills(item)]


def _split(message: str) -> tuple[str, Path]:
    """A msgspec message as its text in our words, and its path."""
    match = _AT.fullmatch(message)
    text, where = (match[1], match[2] or "") if match else (message, "")
    steps: list[str | int] = []
    for step in _STEP.finditer(where):
        if step[1] is None and step[2] is None:
            break  # some member of a mapping: msgspec does not say which
        steps.append(step[1] if step[1] is not None else int(step[2]))
    if text.startswith("Expected "):
        text = re.sub(r"`(\w+)`", lambda kind: _KINDS.get(kind[1], kind[0]), text)
    return text[:1].lower() + text[1:], tuple(steps)


def _without_values(text: str, value: YamlValue) -> str:
    return text if text.startswith("expected ") else hide(text, value)


def _not_one_of(value: YamlValue, type_: TypeForm) -> str:
    options = [str(option) for option in _options(type_)]
    allowed = f"must be one of {', '.join(options)}"
    if isinstance(value, str) and not isinstance(value, Filled):
        return f"`{value}` is not allowed here: {allowed}{did_you_mean(value, options)}"
    return allowed


def _options(type_: TypeForm) -> list[Any]:
    origin: TypeForm = get_origin(type_)
    if origin is Literal:
        return list(get_args(type_))
    if isinstance(type_, type) and issubclass(type_, enum.Enum):
        return [member.value for member in type_]
    if type_ is int:
        return ["a whole number"]
    return [option for member in get_args(type_) for option in _options(member)]
