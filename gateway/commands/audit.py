"""`gateway audit`: who did what, whether the record is whole, and its export."""

import csv
import io
from collections.abc import AsyncIterator
from typing import Any, BinaryIO, Final

import click
import msgspec

from gateway.accounts.audit import AuditFilter, Verdict
from gateway.accounts.records import AuditEntry
from gateway.commands.accounts import Session, everything, run
from gateway.commands.options import Past, plain, print_json, print_table
from gateway.commands.place import Place, at_place
from gateway.reporting.exports import cell

_COLUMNS: Final = (
    "time", "tenant", "action", "severity", "actor_kind", "actor", "actor_name", "resource_type", "resource_id",
    "address", "agent", "request_id", "id", "detail",
)  # fmt: skip
_WHEN: Final = "2026-01-31 (UTC), 2026-01-31T12:00, or a span back from now such as 7d, 12h."
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _which(command: Any) -> Any:  # noqa: ANN401 - as click's own decorators
    """The options that say which entries; the command gets them as fields of an `AuditFilter`."""
    for option in reversed((
        click.option("--tenant", help="Only entries of this tenant."),
        click.option("--actor", help="Only what this user, service account or key did (its id)."),
        click.option("--action", multiple=True, help="Only these actions, such as login_failed; repeatable."),
        click.option("--severity", type=click.Choice(["info", "warning", "error", "critical"])),
        click.option("--resource-type", help="Such as user, api_key, tenant."),
        click.option("--resource-id", help="The id of what was changed."),
        click.option("--since", type=Past(), metavar="WHEN", help=_WHEN),
        click.option("--until", type=Past(), metavar="WHEN", help="Before this moment."),
        click.option("--search", help="A part of a name, id, action or detail."),
    )):  # fmt: skip
        command = option(command)
    return command


@click.group()
def audit() -> None:
    """The audit: list, verify, export."""


@audit.command(name="list")
@_which
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="At most so many.")
@_json
@at_place
def list_(place: Place, *, limit: int, as_json: bool, **which: Any) -> None:  # noqa: ANN401
    """List entries, newest first."""
    chosen = _filter(which)

    async def work(session: Session) -> list[AuditEntry]:
        return await everything(
            lambda cursor: session.accounts.audit.page(session.who, chosen, min(limit, 500), cursor), limit
        )

    found = [plain(entry) for entry in run(place, work)]
    if as_json:
        print_json(found)
        return
    rows = [
        (each["time"], each["tenant"], each["severity"], each["action"], each["actor_name"] or each["actor"] or "-",
         f"{each['resource_type']} {each['resource_id']}".strip() or "-", each["address"] or "-")
        for each in found
    ]  # fmt: skip
    print_table(("TIME", "TENANT", "SEVERITY", "ACTION", "WHO", "WHAT", "FROM"), rows)


@audit.command()
@click.option("--head", help="SEQ:MAC of an earlier check or log line: the entry must still be there as it was.")
@_json
@at_place
def verify(place: Place, *, head: str | None, as_json: bool) -> None:
    """Prove that no entry was changed, removed or put in. Exit status 1 names the first that is broken.

    Whoever can write the database can cut off the newest entries without a trace in it: note the head that is printed
    here (the gateway logs it every hour), and name it the next time.
    """

    async def work(session: Session) -> Verdict:
        return await session.accounts.audit.verify(head)

    verdict = run(place, work)
    if as_json:
        print_json(verdict)
    elif verdict.intact:
        click.echo(f"intact: {verdict.entries} entries; head {verdict.head_seq}:{verdict.head_mac}")
    else:
        click.echo(f"BROKEN at entry {verdict.broken_seq}: {verdict.reason}. {verdict.entries} entries before it hold.")
    if not verdict.intact:
        raise SystemExit(1)


@audit.command()
@_which
@click.option("--format", "form", type=click.Choice(["csv", "jsonl"]), default="jsonl", show_default=True)
@click.option("--json", "form", flag_value="jsonl", help="The same as --format jsonl.")
@click.option("--output", type=click.File("wb", atomic=True), default="-", help="A file; standard output by default.")
@at_place
def export(place: Place, *, form: str, output: BinaryIO, **which: Any) -> None:  # noqa: ANN401
    """Write one line for each entry, newest first. That it was exported is an entry too."""
    chosen = _filter(which)

    async def work(session: Session) -> None:
        await session.accounts.audit.exported(session.who, session.origin, chosen, form)
        if form == "csv":
            output.write(_csv_line(_COLUMNS))
        async for entry in _entries(session, chosen):
            found = plain(entry)
            output.write(_csv_line([_text(found[c]) for c in _COLUMNS]) if form == "csv" else _line(found))

    run(place, work)


async def _entries(session: Session, chosen: AuditFilter) -> AsyncIterator[AuditEntry]:
    """Page by page, so that memory does not grow with the export."""
    cursor: str | None = ""
    while cursor is not None:
        page = await session.accounts.audit.page(session.who, chosen, 500, cursor)
        for entry in page.items:
            yield entry
        cursor = page.next


def _filter(options: dict[str, Any]) -> AuditFilter:
    return AuditFilter(**{name: value for name, value in options.items() if value not in (None, ())})


def _line(found: dict[str, Any]) -> bytes:
    return msgspec.json.encode(found) + b"\n"


def _text(value: object) -> object:
    return cell(msgspec.json.encode(value).decode() if isinstance(value, dict) else value)


def _csv_line(values: Any) -> bytes:  # noqa: ANN401 - cells
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(values)
    return text.getvalue().encode()
