"""Reads bodies and queries into structs, and says everything that is wrong with them at once."""

import re
from collections.abc import Mapping
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from gateway.decoding import decode
from gateway.errors import InvalidFields
from gateway.jsonbody import read_object
from gateway.nearest import did_you_mean
from gateway.problems import Lines, Problem

_MISSING = re.compile(r"the field `([^`]{1,200})` is missing")
_PATTERN = "matching regex"

S = TypeVar("S", bound=msgspec.Struct)

# Text without control characters: what can be shown in one line, and stored in every database.
Line = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Search = Annotated[str, Meta(max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")]
Id = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]
PageSize = Annotated[int, Meta(ge=1, le=500, description="Items of one page.")]
Cursor = Annotated[
    str, Meta(pattern=r"^([0-9]{1,18}:[A-Za-z0-9._-]{1,64})?$", description="`next_cursor` of the page before.")
]


class NoQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A route without query fields."""


class NoBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A route that takes no body, or an empty object."""


def read_body(raw: bytes, struct: type[S]) -> S:
    """A body as `struct`. Raises `InvalidRequest` (400) for bad JSON, `InvalidFields` (422) with all wrong fields."""
    tree = read_object(raw if raw.strip() else b"{}")
    problems: list[Problem] = []
    made = decode(tree, struct, (), Lines(), problems)
    if made is None:
        raise InvalidFields(*(_said(_path(problem.path), problem.text) for problem in problems))
    return made


def read_query(query: Mapping[str, str], struct: type[S]) -> S:
    """A query as `struct`; numbers and `true` or `false` are read from text."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    wrong: list[tuple[str, str]] = []
    values = {}
    for name, text in query.items():
        if name not in fields:
            wrong.append((name[:64], f"unknown field{did_you_mean(name[:64], fields)}"))
        else:
            try:
                values[fields[name].name] = msgspec.convert(text, fields[name].type, strict=False)
            except msgspec.ValidationError as error:
                wrong.append(_said(name, str(error)))
    wrong += [
        (name, "is missing") for name, field in fields.items()
        if field.name not in values and name not in dict(wrong) and field.required
    ]  # fmt: skip
    if wrong:
        raise InvalidFields(*wrong)
    return struct(**values)


def _path(path: str) -> str:
    return path.removeprefix("$").removeprefix(".")[:200]


def _said(path: str, text: str) -> tuple[str, str]:
    """The path of the wrong field and what is wrong, for people: a missing one by its own path, no patterns."""
    if missing := _MISSING.fullmatch(text):
        return f"{path}.{missing[1]}" if path else missing[1], "is missing"
    if _PATTERN in text:
        return path, "does not have the form that this field takes"
    return path, (text[:1].lower() + text[1:])[:300]
