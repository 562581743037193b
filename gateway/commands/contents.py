"""`gateway contents`: logged requests and answers, beside a running gateway or without one. Reading is in the audit."""

from typing import Any

import click
import msgspec

from gateway.accounts.contents import ContentFilter, Document
from gateway.accounts.principal import Principal
from gateway.accounts.records import Content
from gateway.commands.accounts import Session, everything, run
from gateway.commands.options import Past, one_line, plain, print_json, print_table
from gateway.commands.place import Place, at_place

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def contents() -> None:
    """Logged requests and answers: list, show."""


@contents.command(name="list")
@click.option("--tenant", help="Only of this tenant.")
@click.option("--key", help="Only of this key (its id).")
@click.option("--user", help="Only of this user (id) or service account.")
@click.option("--model", help="Only of this model.")
@click.option("--since", type=Past(), metavar="WHEN", help="2026-01-31 (UTC), or a span back from now such as 7d, 12h.")
@click.option("--until", type=Past(), metavar="WHEN", help="Before this moment.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="At most so many.")
@_json
@at_place
def list_(place: Place, *, limit: int, as_json: bool, **which: Any) -> None:  # noqa: ANN401
    """List what is kept, newest first: never a word of it."""
    chosen = ContentFilter(**which)

    async def work(session: Session) -> list[Content]:
        who = _reader(session)
        return await everything(
            lambda cursor: session.accounts.contents.page(who, chosen, min(limit, 500), cursor), limit
        )

    found = [plain(content) for content in run(place, work)]
    if as_json:
        print_json(found)
        return
    rows = [
        (each["id"], each["created"], each["tenant"], each["key_id"], each["model"],
         "content" if each["metadata"].get("content") else "metadata")
        for each in found
    ]  # fmt: skip
    print_table(("REQUEST", "TIME", "TENANT", "KEY", "MODEL", "KEPT"), rows)


@contents.command()
@click.argument("request")
@_json
@at_place
def show(place: Place, *, request: str, as_json: bool) -> None:
    """Show what was said in REQUEST (its id). That it was read is in the audit."""

    async def work(session: Session) -> tuple[Content, Document | None]:
        return await session.accounts.contents.read(_reader(session), session.origin, request)

    content, document = run(place, work)
    if as_json:
        said = {} if document is None else msgspec.json.decode(msgspec.json.encode(document))
        print_json(plain(content) | said)
        return
    if document is None:
        click.echo("Only metadata is kept of it.", err=True)
        return
    text = document.request_text or msgspec.json.format(bytes(document.request), indent=2).decode()
    click.echo("\n".join(map(one_line, text.splitlines())))
    for each in document.answer:
        click.echo(f"--- {each.part}" + (f" (choice {each.choice})" if each.choice else ""))
        click.echo("\n".join(map(one_line, each.text.splitlines())))


def _reader(session: Session) -> Principal:
    """Whoever can read the master secret can open what is sealed with it; what they open is on record."""
    return msgspec.structs.replace(session.who, content_access=True)
