"""`${VAR}`, `${VAR:-default}`, `${file:/path}`, `${source:name}` and `$$` in the scalars of a configuration file.

What comes in this way may be a secret: it travels as `Filled`, so that no error text repeats it. What a secret source
gave (`secretsources.py`) stands in the environment under its whole reference, such as `vault:path#field`.
"""

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Self

MAX_FILE = 64 * 1024

_TOKEN = re.compile(r"\$\$|\$\{([^}]*)\}|\$\{")
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_REFERENCE = re.compile(r"[a-z][a-z0-9_-]*:[^-+?=\s]\S*")


class Filled(str):
    """A scalar with something from outside in it.

    `whole` says that it was exactly one `${...}` (its text may then stand for a number); `values` are the
    pieces that came from outside; `broken` says that a piece is missing, which is already reported.
    """

    __slots__ = ("broken", "values", "whole")

    whole: bool
    values: tuple[str, ...]
    broken: bool


class CannotFillError(ValueError):
    """A `${...}` cannot be replaced; the text says which and why, never a value."""


class NotFetchedError(CannotFillError):
    """A reference to a secret source that was not asked yet."""

    def __init__(self, reference: str) -> None:
        super().__init__(f"the secret `${{{reference}}}` has not been fetched")
        self.reference = reference


class Absent(str):
    """Stands in an environment for a secret that could not be had; its text says why.

    With `may_default` there is no such secret, so that `:-` counts; else it could not be asked for.
    """

    __slots__ = ("may_default",)

    may_default: bool

    def __new__(cls, reason: str, *, may_default: bool = False) -> Self:
        """Why, and whether a default helps."""
        made = super().__new__(cls, reason)
        made.may_default = may_default
        return made


def is_reference(expression: str) -> bool:
    """Whether this names a secret of a source: `scheme:name`."""
    return _REFERENCE.fullmatch(expression) is not None and not expression.startswith("file:")


def fill(text: str, environ: Mapping[str, str]) -> str:
    """`text` with everything replaced: the same text if there was nothing, a `Filled` if a value came in."""
    if "$" not in text:
        return text
    values: list[str] = []

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        if match[1] is None:
            raise CannotFillError("`${` without `}`; write `$${` for the characters themselves")
        values.append(_value(match[1], environ))
        return values[-1]

    filled = _TOKEN.sub(replace, text)
    only = _TOKEN.fullmatch(text)
    return _filled(filled, whole=only is not None and bool(values), values=values) if values else filled


def broken() -> Filled:
    """Stands for a scalar that could not be filled."""
    return _filled("", whole=False, values=[], is_broken=True)


def hidden(text: str, filled: Filled) -> str:
    """`text` without the values in `filled`."""
    for value in filled.values:
        if value:
            text = text.replace(value, "***").replace(repr(value)[1:-1], "***")
    return text


def _filled(text: str, *, whole: bool, values: list[str], is_broken: bool = False) -> Filled:
    result = Filled(text)
    result.whole, result.values, result.broken = whole, tuple(values), is_broken
    return result


def _value(expression: str, environ: Mapping[str, str]) -> str:
    if expression.startswith("file:") and not expression.startswith("file:-"):
        return _file(expression.removeprefix("file:"))
    reference, given, fallback = expression.partition(":-")
    if is_reference(reference):
        return _fetched(reference, fallback if given else None, environ)
    match = _VARIABLE.fullmatch(expression)
    if match is None:
        raise CannotFillError(f"`${{{expression}}}` names no variable; write `$${{` for the characters themselves")
    name, default = match[1], match[2]
    value = environ.get(name, "")
    if not value and default is not None:
        return default
    if name not in environ:
        raise CannotFillError(f"the variable {name} is not set (`${{{name}:-}}` allows that)")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise CannotFillError(f"the variable {name} is not UTF-8") from None
    return value


def _fetched(reference: str, default: str | None, environ: Mapping[str, str]) -> str:
    value = environ.get(reference)
    if value is None:
        raise NotFetchedError(reference)
    if not isinstance(value, Absent):
        return value
    if default is not None and value.may_default:
        return default
    raise CannotFillError(str(value))


def _file(name: str) -> str:
    path = Path(name)
    if not path.is_absolute() or "\0" in name:
        raise CannotFillError(f"`${{file:{name}}}` needs an absolute path")
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe or a terminal would block the start
            raise CannotFillError(f"{name} is not a regular file")
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise CannotFillError(f"cannot read {name}: {error.strerror or os.strerror(error.errno or 0)}") from None
    if len(data) > MAX_FILE:
        raise CannotFillError(f"{name} is larger than {MAX_FILE // 1024} KiB")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise CannotFillError(f"{name} is not UTF-8 text") from None
    return text.removesuffix("\n").removesuffix("\r")
