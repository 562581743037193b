"""Reads fields of a decoded request with checks: what is of the wrong type is an `InvalidRequest` that names it."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from gateway.errors import InvalidRequest

MAX_PARTS = 20_000
_A = TypeVar("_A")
_B = TypeVar("_B")


def every(items: Iterable[_A], param: str, read: Callable[[_A], _B]) -> list[_B]:
    """`read` for each of the items; an error is about `param[number]`, or a field in it."""
    found: list[_B] = []
    for item in items:
        try:
            found.append(read(item))
        except InvalidRequest as error:
            place(error, param, f"[{len(found)}]")
            raise
    return found


def place(error: InvalidRequest, param: str, at: str) -> None:
    """Say more exactly what an error is about: `at` in `param`, and in it what it already said of `param`."""
    said = error.param or ""
    shared = next((head for head in (param, param.rpartition(".")[0]) if head and said.startswith(head)), said)
    error.param = f"{param}{at}{said[len(shared):]}"


def text(holder: dict[str, Any], name: str, param: str, default: str = "") -> str:
    """A string; `default` where it is absent or null."""
    value = holder.get(name)
    if value is None:
        return default
    if type(value) is not str:
        raise InvalidRequest(f"`{name}` must be a string.", param=param)
    return value


def needed(holder: dict[str, Any], name: str, param: str) -> str:
    """A string that must be there and not be empty."""
    value = text(holder, name, param)
    if not value:
        raise InvalidRequest(f"`{name}` is missing.", param=param)
    return value


def mapping(holder: dict[str, Any], name: str, param: str) -> dict[str, Any]:
    """An object; empty where it is absent or null."""
    value = holder.get(name)
    if value is None:
        return {}
    if type(value) is not dict:
        raise InvalidRequest(f"`{name}` must be an object.", param=param)
    return value


def objects(value: Any, param: str) -> list[dict[str, Any]]:  # noqa: ANN401 - whatever the caller sent
    """An array of objects; empty for null."""
    if value is None:
        return []
    if type(value) is not list:
        raise InvalidRequest(f"`{param}` must be an array of objects.", param=param)
    for item in value:
        if type(item) is not dict:
            raise InvalidRequest(f"`{param}` must be an array of objects.", param=f"{param}[{value.index(item)}]")
    if len(value) > MAX_PARTS:
        raise InvalidRequest(f"`{param}` has more than {MAX_PARTS} entries.", param=param)
    return value


def entries(holder: dict[str, Any], name: str, read: Callable[[dict[str, Any]], _B]) -> tuple[_B, ...]:
    """What `read` makes of each object in the array `name`."""
    return tuple(every(objects(holder.get(name), name), name, read))


def integer(holder: dict[str, Any], name: str, least: int | None = None) -> int | None:
    """An integer of at least `least`, or `None`."""
    value = holder.get(name)
    if value is None:
        return None
    if type(value) is not int or (least is not None and value < least):
        more = "" if least is None else f" of at least {least}"
        raise InvalidRequest(f"`{name}` must be an integer{more}.", param=name)
    return value


def number(holder: dict[str, Any], name: str) -> float | None:
    """A number, as it was written, or `None`."""
    value = holder.get(name)
    if value is not None and type(value) not in (int, float):
        raise InvalidRequest(f"`{name}` must be a number.", param=name)
    return value


def boolean(holder: dict[str, Any], name: str) -> bool | None:
    """A boolean, or `None`."""
    value = holder.get(name)
    if value is not None and type(value) is not bool:
        raise InvalidRequest(f"`{name}` must be a boolean.", param=name)
    return value


def strings(value: Any, param: str) -> tuple[str, ...]:  # noqa: ANN401 - whatever the caller sent
    """A string or an array of strings."""
    if value is None:
        return ()
    if type(value) is str:
        return (value,)
    if type(value) is not list or not all(type(item) is str for item in value):
        raise InvalidRequest(f"`{param}` must be a string or an array of strings.", param=param)
    return tuple(value)
