"""`gateway keys`: create, list and revoke API keys, beside a running gateway or without one."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

import click
import msgspec

from gateway.accounts.bootstrap import load_master_secret
from gateway.accounts.keys import issue, parse, pepper
from gateway.accounts.records import KeyRecord, Limits, state
from gateway.clock import now_ms
from gateway.commands.place import Place, at_place
from gateway.money import NANO, dollars
from gateway.store import Store

_SPANS: Final = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}
MAX_NAME: Final = 128
_FAR: Final = 253_402_300_799_000  # the end of the year 9999


class KeyView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A key as `--json` shows it; `key` only once, when it is made. Costs are decimal dollars."""

    id: str
    key: str | None = None
    name: str
    prefix: str
    tenant: str
    owner: str | None
    environment: str
    state: str
    created: str
    expires_at: str | None
    last_used: str | None
    requests_per_minute: int | None
    tokens_per_minute: int | None
    concurrency: int | None
    cost_daily: str | None
    cost_monthly: str | None
    models: tuple[str, ...] | None


class _Dollars(click.ParamType[int]):
    name = "dollars"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text := str(value)):
            self.fail(f"{value!r} is no amount of dollars such as 12.50 (at most nine decimals)", param, ctx)
        return int(Decimal(text) * NANO)


class _Moment(click.ParamType[int]):
    name = "moment"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value)
        now, span = now_ms(), re.fullmatch(r"([0-9]{1,6})([mhdw])", text)
        try:
            moment = now + int(span[1]) * _SPANS[span[2]] if span else _iso_ms(text)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is neither a date such as 2027-01-31 nor a span such as 30d, 12h", param, ctx)
        if not now < moment <= _FAR:
            self.fail(f"{value!r} is not in the future", param, ctx)
        return moment


class _Name(click.ParamType[str]):
    name = "text"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if not text.strip():
            self.fail("a name needs a letter at least; leave the option out for a key without a name", param, ctx)
        if len(text) > MAX_NAME:
            self.fail(f"a name has at most {MAX_NAME} characters, not {len(text)}", param, ctx)
        if not text.isprintable():
            self.fail("a name is one line, without control characters", param, ctx)
        return text


@click.group()
def keys() -> None:
    """API keys: create, list, revoke."""


@keys.command()
@click.option("--name", type=_Name(), help="What people call the key.")
@click.option("--tenant", default="default", show_default=True, help="Id of the tenant it belongs to.")
@click.option("--owner", help="E-mail address or id of the user it belongs to.")
@click.option("--environment", default="", help="For example production or test; recorded with each request.")
@click.option("--expires", type=_Moment(), metavar="DATE|SPAN", help="2027-01-31 (UTC), 30d, 12h.")
@click.option("--requests-per-minute", type=click.IntRange(min=1), help="Limit of requests in any minute.")
@click.option("--tokens-per-minute", type=click.IntRange(min=1), help="Limit of tokens in any minute.")
@click.option("--concurrency", type=click.IntRange(min=1), help="Limit of requests at a time.")
@click.option("--cost-daily", type=_Dollars(), help="Dollars a UTC day, such as 12.50.")
@click.option("--cost-monthly", type=_Dollars(), help="Dollars a calendar month.")
@click.option("--model", "models", multiple=True, help="A model it may use, or a wildcard; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@at_place
def create(
    place: Place, *, name: str | None, tenant: str, owner: str | None, environment: str, expires: int | None,
    models: tuple[str, ...], as_json: bool, **limits: int | None,
) -> None:  # fmt: skip
    """Create a key and print it: it is shown this once, and stored nowhere."""

    async def work(store: Store) -> tuple[str, KeyRecord]:
        text, record = issue(
            pepper(load_master_secret(place.config, place.data_dir)),
            tenant=tenant, created=now_ms(), name=name or "", owner=await _owner(store, owner), environment=environment,
            expires_at=expires, limits=Limits(models=models or None, **limits),
        )  # fmt: skip
        return text, await store.create_key(record)

    text, record = place.run(work)
    if as_json:
        _print_json(_view(record, key=text))
        return
    click.echo(text)
    click.echo(f"Keep it: it is not shown again. To revoke it: gateway keys revoke {record.id}", err=True)


@keys.command(name="list")
@click.option("--tenant", help="Only keys of this tenant.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@at_place
def list_(place: Place, *, tenant: str | None, as_json: bool) -> None:
    """List keys, newest first, revoked and expired ones included."""

    async def work(store: Store) -> list[KeyRecord]:
        page = await store.list_keys(tenant, limit=500)
        found = list(page.items)
        while page.next is not None:
            page = await store.list_keys(tenant, limit=500, cursor=page.next)
            found += page.items
        return found

    views = [_view(record) for record in place.run(work)]
    if as_json:
        _print_json(views)
        return
    rows = [("ID", "KEY", "NAME", "TENANT", "STATE", "LAST USED")]
    rows += [
        (view.id, view.prefix, _one_line(view.name), view.tenant, view.state, view.last_used or "never")
        for view in views
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@keys.command()
@click.argument("key")
@click.option("--tenant", help="Only if it is a key of this tenant.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@at_place
def revoke(place: Place, *, key: str, tenant: str | None, as_json: bool) -> None:
    """Revoke KEY for good: its id, or the key itself. Every worker refuses it within a second."""
    parsed = parse(key)
    key_id = key if parsed is None else parsed[0]
    record = place.run(lambda store: store.revoke_key(key_id, now_ms(), tenant))
    if record is None:
        raise click.ClickException("There is no such key. `gateway keys list` shows the ids.")
    if as_json:
        _print_json(_view(record))
        return
    click.echo(f"Revoked {record.prefix} ({record.id}).")


def _one_line(name: str) -> str:
    """A name as it may stand in a terminal, whoever stored it."""
    return "".join(each if each.isprintable() else "?" for each in name)


async def _owner(store: Store, owner: str | None) -> str | None:
    if owner is None or "@" not in owner:
        return owner
    user = await store.find_user(owner)
    if user is None:
        raise click.ClickException(f"There is no user with the address {owner}.")
    return user.id


def _view(record: KeyRecord, key: str | None = None) -> KeyView:
    limits = record.limits
    return KeyView(
        id=record.id,
        key=key,
        name=record.name,
        prefix=record.prefix,
        tenant=record.tenant.id,
        owner=record.owner.email if record.owner else None,
        environment=record.environment,
        state=state(record, now_ms()),
        created=_iso(record.created) or "",
        expires_at=_iso(record.expires_at),
        last_used=_iso(record.last_used),
        requests_per_minute=limits.requests_per_minute,
        tokens_per_minute=limits.tokens_per_minute,
        concurrency=limits.concurrency,
        cost_daily=None if limits.cost_daily is None else dollars(limits.cost_daily),
        cost_monthly=None if limits.cost_monthly is None else dollars(limits.cost_monthly),
        models=limits.models,
    )


def _print_json(value: KeyView | list[KeyView]) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def _iso(moment: int | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment / 1000, tz=UTC).isoformat(timespec="seconds")


def _iso_ms(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
