"""`gateway usage`: what was used and what it cost, as a table, JSON, CSV or JSON lines."""

import csv
import io
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, BinaryIO, Final, get_args

import click
import msgspec

from gateway.clock import now_ms
from gateway.commands.accounts import Session, run
from gateway.commands.place import Place, at_place
from gateway.commands.usage_explain import explain
from gateway.money import dollars
from gateway.money.ledger import COLUMNS, AttemptRow, LedgerRow
from gateway.money.rebuilding import rebuild as rebuilding
from gateway.store import GroupBy, Store, UsageGroup

_SPANS: Final = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}
_PAGE: Final = 500
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
_CSV_COLUMNS: Final = (*(name for name in COLUMNS if name != "ts_ms"), "attempts")
_WHEN = "2026-01-31 (UTC), 2026-01-31T12:00, or a span back from now such as 7d, 12h."


class GroupView(msgspec.Struct, frozen=True):
    """Usage added up, as `--json` shows it; `cost` is decimal dollars."""

    group: str
    requests: int
    succeeded: int
    input: int
    output: int
    cached: int
    cache_write: int
    reasoning: int
    cost: str
    unpriced: int
    estimated: int


class _Moment(click.ParamType[int]):
    name = "moment"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        text = str(value)
        span = re.fullmatch(r"([0-9]{1,6})([mhdw])", text)
        try:
            return now_ms() - int(span[1]) * _SPANS[span[2]] if span else _milliseconds(text)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no date such as 2026-01-31 and no span such as 7d, 12h", param, ctx)


@click.group()
def usage() -> None:
    """Usage and cost: summary, export, explain, rebuild."""


usage.add_command(explain)


@usage.command()
@at_place
def rebuild(place: Place) -> None:
    """Add up the ledger anew, for the reports by hour and day; the gateway may run meanwhile."""

    async def each_day(store: Store) -> int:
        total = 0
        async for day, rows, left in rebuilding(store):
            total += rows
            click.echo(f"{datetime.fromtimestamp(day * 86_400, UTC):%Y-%m-%d}: {rows} rows, {left} days left", err=True)
        return total

    click.echo(f"{place.run(each_day)} rows added up.")


@usage.command()
@click.option("--by", type=click.Choice(get_args(GroupBy)), help="Add up for each of these, not all together.")
@click.option("--since", type=_Moment(), default="30d", show_default=True, metavar="WHEN", help=_WHEN)
@click.option("--until", type=_Moment(), metavar="WHEN", help="Before this moment; now by default.")
@click.option("--tenant", help="Only this tenant.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@at_place
def summary(
    place: Place, *, by: GroupBy | None, since: int, until: int | None, tenant: str | None, as_json: bool
) -> None:
    """Add up requests, tokens and cost, the dearest first."""
    end = now_ms() + 1 if until is None else until
    groups = place.run(lambda store: store.usage_summary(since, end, by, tenant=tenant))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode([_view(group) for group in groups]), indent=2))
        return
    _print_table(by or "", groups)


@usage.command()
@click.option("--format", "form", type=click.Choice(["csv", "jsonl"]), default="csv", show_default=True)
@click.option("--json", "form", flag_value="jsonl", help="The same as --format jsonl.")
@click.option("--start", type=_Moment(), default="30d", show_default=True, metavar="WHEN", help=_WHEN)
@click.option("--end", type=_Moment(), metavar="WHEN", help="Before this moment; now by default.")
@click.option("--tenant", help="Only this tenant.")
@click.option("--output", type=click.File("wb", atomic=True), default="-", help="A file; standard output by default.")
@at_place
def export(
    place: Place, *, form: str, start: int, end: int | None, tenant: str | None, output: BinaryIO
) -> None:
    """Write one line for each request, oldest first."""
    encode = _csv if form == "csv" else _jsonl
    if form == "csv":
        output.write(_csv_lines([["time", *(("cost_dollars" if n == "cost" else n) for n in _CSV_COLUMNS)]]))
    until = now_ms() + 1 if end is None else end

    async def work(session: Session) -> None:
        detail = {"format": form, "tenant": tenant, "start": _iso(start), "end": _iso(until)}
        await session.accounts.audit.took(session.who, session.origin, "usage", detail)
        await _copy(session.accounts.book.store, start, until, tenant, encode, output)

    run(place, work)


async def _copy(
    store: Store, start: int, end: int, tenant: str | None, encode: Callable[[LedgerRow], bytes], output: BinaryIO
) -> None:
    """Page by page, so that memory does not grow with the export."""
    cursor: str | None = None
    while True:
        page = await store.usage_rows(start, end, cursor=cursor, limit=_PAGE, tenant=tenant)
        output.writelines(encode(row) for row in page.items)
        output.flush()
        if (cursor := page.next) is None:
            return


def _jsonl(row: LedgerRow) -> bytes:
    tree = msgspec.structs.asdict(row) | {"cost": dollars(row.cost), "time": _iso(row.ts_ms)}
    tree["attempts"] = [_attempt(attempt) for attempt in row.attempts]
    return msgspec.json.encode(tree) + b"\n"


def _attempt(attempt: AttemptRow) -> dict[str, Any]:  # any column value
    return msgspec.structs.asdict(attempt) | {"cost": dollars(attempt.cost)}


def _csv(row: LedgerRow) -> bytes:
    values = {**msgspec.structs.asdict(row), "cost": dollars(row.cost), "attempts": len(row.attempts)}
    return _csv_lines([[_iso(row.ts_ms), *(cell(values[name]) for name in _CSV_COLUMNS)]])


def cell(value: object) -> object:
    """A text that a spreadsheet would run as a formula gets a quote before it."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value
    return "" if value is None else value


def _csv_lines(rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


def _view(group: UsageGroup) -> GroupView:
    return GroupView(**{**msgspec.structs.asdict(group), "cost": dollars(group.cost)})


def _print_table(by: str, groups: Sequence[UsageGroup]) -> None:
    heads = (by.upper() or "ALL", "REQUESTS", "OK", "INPUT", "CACHED", "OUTPUT", "DOLLARS", "NOTES")
    rows = [heads, *(_line(group) for group in groups)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    for row in rows:
        numbers = (cell.rjust(width) for cell, width in zip(row[1:-1], widths[1:-1], strict=True))
        click.echo("  ".join([row[0].ljust(widths[0]), *numbers, row[-1]]).rstrip())


def _line(group: UsageGroup) -> tuple[str, ...]:
    notes = [f"{count} {what}" for what in ("unpriced", "estimated") if (count := getattr(group, what))]
    counts = (group.requests, group.succeeded, group.input, group.cached, group.output)
    name = "".join(c if c.isprintable() else "?" for c in group.group)
    return (name or "-", *map(str, counts), dollars(group.cost), ", ".join(notes))


def _iso(moment: int) -> str:
    return datetime.fromtimestamp(moment / 1000, tz=UTC).isoformat(timespec="milliseconds")


def _milliseconds(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
