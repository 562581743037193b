"""Bodies and queries become structs, or one error that names every wrong field."""

from typing import Annotated, Literal

import msgspec
import pytest
from msgspec import UNSET, Meta, UnsetType

from gateway.admin.fields import Line, read_body, read_query
from gateway.errors import InvalidFields, InvalidRequest


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits."""

    models: tuple[str, ...] = ()


class Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A body."""

    name: Line
    role: Literal["a", "b"] = "a"
    limits: Inner = Inner()
    email: str | UnsetType | None = UNSET


class Query(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A query."""

    limit: Annotated[int, Meta(ge=1, le=5)] = 3
    active: bool | None = None
    since: int = msgspec.field(default=0, name="from")


def paths(error):
    return [path for path, _ in error.value.fields]


def test_all_wrong_fields_are_named_at_once():
    with pytest.raises(InvalidFields) as error:
        read_body(b'{"name": "", "role": "c", "limits": {"models": [1]}, "nmae": 1}', Body)
    assert sorted(paths(error)) == ["limits.models[0]", "name", "nmae", "role"]
    with pytest.raises(InvalidFields, match="name: is missing") as error:
        read_body(b"{}", Body)
    assert paths(error) == ["name"]


def test_what_is_not_given_and_what_is_null_are_different():
    assert read_body(b'{"name": "x"}', Body).email is UNSET
    assert read_body(b'{"name": "x", "email": null}', Body).email is None


@pytest.mark.parametrize("raw", [b"[]", b"{", b'{"name": "\xff"}', b'{"name": 1, "name": 2}', b'"x"', b"{} {}"])
def test_what_is_no_json_object_is_another_error(raw):
    with pytest.raises(InvalidRequest) as error:
        read_body(raw, Body)
    assert error.value.status == 400


@pytest.mark.parametrize("text", ["\x00", "a\nb", "a\x7f", "a" * 201])
def test_a_line_has_no_control_characters_and_an_end(text):
    with pytest.raises(InvalidFields):
        read_body(msgspec.json.encode({"name": text}), Body)


def test_a_query_is_read_from_text():
    assert read_query({"limit": "5", "active": "true", "from": "7"}, Query) == Query(5, True, 7)
    assert read_query({"active": "false"}, Query) == Query(3, False)
    assert read_query({}, Query) == Query()


def test_wrong_query_fields_are_named_at_once():
    with pytest.raises(InvalidFields) as error:
        read_query({"limit": "9", "active": "", "lmit": "1", "since": "1"}, Query)
    assert sorted(paths(error)) == ["active", "limit", "lmit", "since"]
    assert "limit" in dict(error.value.fields)["lmit"]
