"""`gateway usage export`: the ledger as a file, every request or sums of them."""

import time
from typing import BinaryIO, get_args

import click

from gateway.clock import now_ms
from gateway.commands.accounts import Session, run
from gateway.commands.moments import WHEN, Moment
from gateway.commands.place import Place, at_place
from gateway.reporting.exports import Format, arrow, iso, objects_as, rows_as
from gateway.reporting.periods import Period
from gateway.reporting.tables import FOCUS, focus_rows, grouped_rows, read_groups
from gateway.store import Store
from gateway.store.reports import Which

_GROUPS = "Add up, by some of hour, day, week, month, model, provider, key, user, team, tenant: day,model."


@click.command()
@click.option("--format", "form", type=click.Choice(get_args(Format)), default="csv", show_default=True)
@click.option("--json", "form", flag_value="jsonl", help="The same as --format jsonl.")
@click.option("--start", type=Moment(), default="30d", show_default=True, metavar="WHEN", help=WHEN)
@click.option("--end", type=Moment(), metavar="WHEN", help="Before this moment; now by default.")
@click.option("--tenant", help="Only this tenant.")
@click.option("--group-by", default="", help=_GROUPS)
@click.option("--progress", is_flag=True, help="Say on standard error how far it is.")
@click.option("--output", type=click.File("wb", atomic=True), default="-", help="A file; standard output by default.")
@at_place
def export(
    place: Place, *, form: Format, start: int, end: int | None, tenant: str | None, group_by: str, progress: bool,
    output: BinaryIO,
) -> None:
    """Write one line for each request, oldest first; or sums; or the columns of FOCUS."""
    when = Period(max(0, start), now_ms() + 1 if end is None else end)

    async def work(session: Session) -> None:
        detail = {
            "format": form, "tenant": tenant, "start": iso(when.start), "end": iso(when.end), "group_by": group_by
        }
        await session.accounts.audit.took(session.who, session.origin, "usage", detail)
        store = session.accounts.book.store
        await _copy(store, form, when, Which(tenant=tenant), group_by, _Progress(progress), output)

    run(place, work)


class _Progress:
    """Says every second how far it is."""

    def __init__(self, on: bool) -> None:
        self._on = on
        self._began = self._said = time.monotonic()
        self.whole = self._rows = 0

    def more(self, rows: int) -> None:
        """So many rows were written."""
        self._rows += rows
        if self._on and time.monotonic() - self._said >= 1:
            self.say()

    def say(self) -> None:
        """One line."""
        self._said = time.monotonic()
        rate = self._rows / max(0.001, self._said - self._began)
        share = f" of {self.whole} ({self._rows / self.whole:.0%})" if self.whole else ""
        click.echo(f"{self._rows}{share} rows, {rate:.0f} rows/s", err=True)

    def end(self) -> None:
        """The last line."""
        if self._on:
            self.say()


async def _copy(
    store: Store, form: Format, when: Period, which: Which, group_by: str, progress: _Progress, output: BinaryIO
) -> None:
    """Part by part, so that memory does not grow with the export."""
    if form == "parquet":
        arrow()
    if form == "focus":
        parts = objects_as("csv", FOCUS, await focus_rows(store, which, when))
    elif group_by:
        parts = objects_as(form, *await grouped_rows(store, which, when, *read_groups(group_by)))
    else:
        progress.whole = sum(each.requests for each in await store.usage_sums(which, when.start, when.end))
        parts = rows_as(form, store, which, when.start, when.end, on_rows=progress.more)
    async for part in parts:
        output.write(part)
    output.flush()
    progress.end()
