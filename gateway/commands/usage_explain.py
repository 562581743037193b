"""`gateway usage explain`: one request and what it cost, line by line."""

from collections.abc import Iterator

import click
import msgspec

from gateway.commands.place import Place, at_place
from gateway.money.charges import AttemptShown, Charge, charge


@click.command()
@click.argument("request_id")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@at_place
def explain(place: Place, *, request_id: str, as_json: bool) -> None:
    """Show what one request cost, and why: REQUEST_ID is the answer's x-request-id."""
    row = place.run(lambda store: store.usage_row(request_id))
    if row is None:
        raise click.ClickException(
            f"The ledger has no request {request_id[:128]!r}. Its id is in the answer's header x-gateway-request-id, "
            "or where there is none x-request-id; a running request has no row yet."
        )
    told = charge(row)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(told), indent=2))
    else:
        click.echo("\n".join(_lines(told)))


def _lines(told: Charge) -> Iterator[str]:
    status = f", HTTP {told.http_status}" if told.http_status else ""
    yield f"{told.id}  {told.time.isoformat(timespec='milliseconds')}"
    yield f"  outcome   {told.outcome}{status}{f', {_safe(told.error)}' if told.error else ''}"
    whose = ", ".join(f"{what} {_safe(who)}" for what, who in _whose(told) if who)
    yield f"  charged   {whose}"
    yield f"  asked     {_safe(told.model)} ({told.endpoint}{', streamed' if told.streamed else ''})"
    for number, attempt in enumerate(told.attempts, 1):
        yield from _attempt(number, attempt)
    yield f"  cost      ${told.cost}{f'  (prices {told.price_version})' if told.price_version else ''}"
    for note in told.notes:
        yield f"  note      {note}"
    if told.attempts and not told.lines_add_up:
        yield "  note      The row was written before bills were kept line by line."


def _attempt(number: int, told: AttemptShown) -> Iterator[str]:
    tier = "" if told.service_tier == "standard" else f", {_safe(told.service_tier)}"
    yield f"  attempt {number} {told.provider}/{_safe(told.model)}: {told.outcome}, {told.duration_ms:g} ms{tier}"
    for line in told.lines:
        yield f"            {line.quantity:>12,} {line.description} x ${line.price} per {line.per} = ${line.amount}"


def _whose(told: Charge) -> list[tuple[str, str]]:
    key = f"{told.key} ({told.key_name})" if told.key_name else told.key
    return [("tenant", told.tenant), ("team", told.team), ("user", told.owner), ("key", key)]


def _safe(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
