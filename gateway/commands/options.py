"""What the commands of accounts share: types of options, limits, and how records are printed."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, TypeVar

import click
import msgspec

from gateway.accounts.records import Limits
from gateway.clock import now_ms
from gateway.money import NANO, dollars

SPANS: Final = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}
MAX_NAME: Final = 128
_FAR: Final = 253_402_300_799_000  # the end of the year 9999
_MOMENTS: Final = frozenset({
    "created", "updated", "expires_at", "last_login", "last_used", "revoked_at", "used_at", "ts_ms",
})  # fmt: skip

F = TypeVar("F", bound=Callable[..., Any])  # click's decorators take and return any function


class Dollars(click.ParamType[int]):
    """An amount such as 12.50, as nano-dollars."""

    name = "dollars"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """See click."""
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text := str(value)):
            self.fail(f"{value!r} is no amount of dollars such as 12.50 (at most nine decimals)", param, ctx)
        return int(Decimal(text) * NANO)


class Span(click.ParamType[int]):
    """A span such as 30d or 12h, as milliseconds."""

    name = "span"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """See click."""
        span = re.fullmatch(r"([0-9]{1,6})([smhdw])", str(value))
        if span is None:
            self.fail(f"{value!r} is no span such as 30d, 12h, 45m", param, ctx)
        return int(span[1]) * SPANS[span[2]]


class Future(click.ParamType[int]):
    """A date, or a span from now on, as Unix milliseconds."""

    name = "moment"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """See click."""
        text = str(value)
        now, span = now_ms(), re.fullmatch(r"([0-9]{1,6})([smhdw])", text)
        try:
            moment = now + int(span[1]) * SPANS[span[2]] if span else milliseconds(text)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is neither a date such as 2027-01-31 nor a span such as 30d, 12h", param, ctx)
        if not now < moment <= _FAR:
            self.fail(f"{value!r} is not in the future", param, ctx)
        return moment


class Past(click.ParamType[int]):
    """A date, or a span back from now, as Unix milliseconds."""

    name = "moment"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """See click."""
        if isinstance(value, int):
            return value
        span = re.fullmatch(r"([0-9]{1,6})([smhdw])", str(value))
        try:
            return now_ms() - int(span[1]) * SPANS[span[2]] if span else milliseconds(str(value))
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no date such as 2026-01-31 and no span such as 7d, 12h", param, ctx)


class Name(click.ParamType[str]):
    """One line of text with a letter in it."""

    name = "text"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """See click."""
        text = str(value)
        if not text.strip():
            self.fail("a name needs a letter at least; leave the option out for none", param, ctx)
        if len(text) > MAX_NAME:
            self.fail(f"a name has at most {MAX_NAME} characters, not {len(text)}", param, ctx)
        if not text.isprintable():
            self.fail("a name is one line, without control characters", param, ctx)
        return text


class OrNone(click.ParamType[Any]):
    """A value of another type, or the word `none`, which takes a limit away."""

    def __init__(self, of: click.ParamType[Any]) -> None:
        self._of = of
        self.name = f"{of.name}|none"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> object:
        """See click."""
        return msgspec.UNSET if value == "none" else self._of.convert(value, param, ctx)


_LIMITS: Final = (
    ("requests-per-minute", click.IntRange(min=1), "Limit of requests in any minute."),
    ("tokens-per-minute", click.IntRange(min=1), "Limit of tokens in any minute."),
    ("concurrency", click.IntRange(min=1), "Limit of requests at a time."),
    ("cost-daily", Dollars(), "Dollars a UTC day, such as 12.50."),
    ("cost-monthly", Dollars(), "Dollars a calendar month."),
)


def limit_options(command: F) -> F:
    """The limits of something new; the command gets them with `limits_of`."""
    command = click.option(
        "--model", "models", multiple=True, help="A model that may be used, or a wildcard; repeatable."
    )(command)
    for name, kind, text in reversed(_LIMITS):
        command = click.option(f"--{name}", type=kind, help=text)(command)
    return command


def changed_limit_options(command: F) -> F:
    """The limits of something that exists: `none` takes one away. The command gets them with `changes_of`."""
    command = click.option(
        "--model", "models", multiple=True, help="Models that may be used instead of before; `none` for all."
    )(command)
    for name, kind, text in reversed(_LIMITS):
        command = click.option(f"--{name}", type=OrNone(kind), help=f"{text} `none`: no limit.")(command)
    return command


def limits_of(options: dict[str, Any]) -> Limits:
    """Takes the limits out of a command's options."""
    found = {name: options.pop(name) for name in Limits.__struct_fields__}
    return Limits(**{**found, "models": tuple(found["models"]) or None})


def changes_of(options: dict[str, Any]) -> dict[str, Any]:
    """Takes the limits that are to be changed out of a command's options."""
    found = {name: options.pop(name) for name in Limits.__struct_fields__}
    models = found.pop("models")
    changes = {name: None if value is msgspec.UNSET else value for name, value in found.items() if value is not None}
    if models:
        changes["models"] = None if models == ("none",) else tuple(models)
    return changes


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given; `none` is `None`."""
    found = {name: value for name, value in options.items() if value is not None}
    return {
        name: None if value is msgspec.UNSET or (value == "none" and name != "name") else value
        for name, value in found.items()
    }


def plain(record: msgspec.Struct) -> dict[str, Any]:
    """A record as `--json` shows it: limits beside the rest, moments as text, costs as decimal dollars."""
    found: dict[str, Any] = {}
    for name, value in msgspec.structs.asdict(record).items():
        if isinstance(value, msgspec.Struct):
            found |= plain(value)
        elif name in _MOMENTS:
            found["time" if name == "ts_ms" else name] = iso(value)
        elif name.startswith("cost_"):
            found[name] = None if value is None else dollars(value)
        else:
            found[name] = value
    return found


def print_json(value: object) -> None:
    """Indented, for people too."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def print_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Aligned columns, one line each, whatever the values hold."""
    lines = [tuple(heads), *(tuple(one_line(cell) for cell in row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_fields(found: Mapping[str, Any]) -> None:
    """One line for each field that has a value."""
    shown = {name: value for name, value in found.items() if value not in (None, "", (), [])}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        text = ", ".join(map(str, value)) if isinstance(value, tuple | list) else value
        click.echo(f"{name.replace('_', ' ').ljust(width)}  {one_line(text)}")


def one_line(value: object) -> str:
    """A value as it may stand in a terminal, whoever stored it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "".join(each if each.isprintable() else "?" for each in ("-" if value is None else str(value)))


def iso(moment: int | None) -> str | None:
    """A stored time as text."""
    return None if moment is None else datetime.fromtimestamp(moment / 1000, tz=UTC).isoformat(timespec="seconds")


def milliseconds(text: str) -> int:
    """The opposite; UTC where the text names no zone."""
    moment = datetime.fromisoformat(text)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
