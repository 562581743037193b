"""`gateway usage`: what was used and what it cost. Its larger commands have files of their own."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import get_args

import click
import msgspec

from gateway.clock import now_ms
from gateway.commands.moments import WHEN, Moment
from gateway.commands.place import Place, at_place
from gateway.commands.usage_explain import explain
from gateway.commands.usage_export import export
from gateway.money import dollars
from gateway.money.rebuilding import rebuild as rebuilding
from gateway.store import GroupBy, Store, UsageGroup


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


@click.group()
def usage() -> None:
    """Usage and cost: summary, export, explain, rebuild."""


usage.add_command(explain)
usage.add_command(export)


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
@click.option("--since", type=Moment(), default="30d", show_default=True, metavar="WHEN", help=WHEN)
@click.option("--until", type=Moment(), metavar="WHEN", help="Before this moment; now by default.")
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
