"""`gateway keys`: API keys, beside a running gateway or without one."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar, get_args

import click
import msgspec

from gateway.accounts.apikeys import SCOPES, KeyFilter, NewKey
from gateway.accounts.keys import parse
from gateway.accounts.records import Key, Logging, ServiceAccount, Tenant, User, standing
from gateway.clock import now_ms
from gateway.commands.accounts import Session, everything, run
from gateway.commands.options import (
    Future,
    Name,
    OrNone,
    Span,
    changed_limit_options,
    changes_of,
    given,
    limit_options,
    limits_of,
    plain,
    print_fields,
    print_json,
    print_table,
)
from gateway.commands.place import Place, at_place
from gateway.commands.policies import changed_policy_option, check_policy, policy_option
from gateway.errors import NotFound
from gateway.store import Store

R = TypeVar("R", bound=msgspec.Struct)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def keys() -> None:
    """API keys: create, list, show, update, rotate, revoke."""


@keys.command()
@click.option("--name", type=Name(), help="What people call the key.")
@click.option("--tenant", default="default", show_default=True, help="Id of the tenant it belongs to.")
@click.option("--owner", help="E-mail address or id of the user it belongs to, instead of a tenant.")
@click.option("--service-account", help="Id of the service account it belongs to, instead of a tenant.")
@click.option("--environment", default="", help="For example production or test; recorded with each request.")
@click.option("--expires", "expires_at", type=Future(), metavar="DATE|SPAN", help="2027-01-31 (UTC), 30d, 12h.")
@click.option("--scope", "scopes", multiple=True, type=click.Choice(SCOPES), help="All it may be used for; repeatable.")
@click.option("--logging", type=click.Choice(get_args(Logging)), help="Instead of what the tenant has.")
@policy_option
@limit_options
@_json
@at_place
def create(
    place: Place, *, name: str | None, tenant: str, owner: str | None, service_account: str | None,
    scopes: tuple[str, ...], as_json: bool, **options: Any,  # noqa: ANN401
) -> None:  # fmt: skip
    """Create a key and print it: it is shown this once, and stored nowhere."""
    check_policy(place, options["guardrail_policy"])
    new = NewKey(name=name or "", scopes=scopes or None, limits=limits_of(options), **options)

    async def work(session: Session) -> tuple[str, dict[str, Any]]:
        who, origin, service = session.who, session.origin, session.accounts.keys
        if owner is not None:
            text, key = await service.create(who, origin, new, user=await session.user(owner))
        elif service_account is not None:
            account = await session.accounts.service_accounts.get(who, service_account)
            text, key = await service.create(who, origin, new, account=account)
        else:
            text, key = await service.create_unowned(who, origin, new, tenant)
        return text, (await _views(session, [key]))[0]

    text, view = run(place, work)
    if as_json:
        print_json({"key": text, **view})
        return
    click.echo(text)
    click.echo(f"Keep it: it is not shown again. To revoke it: gateway keys revoke {view['id']}", err=True)


@keys.command(name="list")
@click.option("--tenant", help="Only keys of this tenant.")
@click.option("--team", help="Only keys of this team (its id).")
@click.option("--owner", "user", help="Only keys of this user: an address or an id.")
@click.option("--environment", help="Only keys with this environment.")
@click.option("--usable/--unusable", default=None, help="Only keys that are active, or only others.")
@click.option("--search", default="", help="A part of the name or prefix.")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=10_000, show_default=True, help="At most so many.")
@_json
@at_place
def list_(place: Place, *, limit: int, user: str | None, as_json: bool, **which: Any) -> None:  # noqa: ANN401
    """List keys, newest first, revoked and expired ones included."""

    async def work(session: Session) -> list[dict[str, Any]]:
        owner = None if user is None else (await session.user(user)).id
        chosen = KeyFilter(user=owner, **which)
        found = await everything(
            lambda cursor: session.accounts.keys.page(session.who, chosen, min(limit, 500), cursor), limit
        )
        return await _views(session, found)

    views = run(place, work)
    if as_json:
        print_json(views)
        return
    columns = ("id", "prefix", "name", "tenant", "state")
    rows = [(*(view[column] for column in columns), view["last_used"] or "never") for view in views]
    print_table(("ID", "KEY", "NAME", "TENANT", "STATE", "LAST USED"), rows)


@keys.command()
@click.argument("key")
@_json
@at_place
def show(place: Place, *, key: str, as_json: bool) -> None:
    """Show KEY: its id, or the key itself."""

    async def work(session: Session) -> dict[str, Any]:
        return (await _views(session, [await _found(session, _id(key))]))[0]

    found = run(place, work)
    (print_json if as_json else print_fields)(found)


@keys.command()
@click.argument("key")
@click.option("--name", type=Name(), help="What people call the key.")
@click.option("--environment", help="For example production or test; recorded with each request.")
@click.option("--expires", "expires_at", type=OrNone(Future()), metavar="DATE|SPAN", help="2027-01-31, 30d, none.")
@click.option("--scope", "scopes", multiple=True, type=click.Choice((*SCOPES, "none")), help="`none`: for all.")
@click.option("--logging", type=click.Choice((*get_args(Logging), "none")), help="`none`: what the tenant has.")
@click.option("--active/--inactive", default=None, help="Switch it on or off.")
@changed_policy_option
@changed_limit_options
@_json
@at_place
def update(place: Place, *, key: str, scopes: tuple[str, ...], as_json: bool, **options: Any) -> None:  # noqa: ANN401
    """Change KEY. It holds for the next request on every worker."""
    check_policy(place, options["guardrail_policy"])
    limits = changes_of(options)
    fields = given(options)
    if scopes:
        fields["scopes"] = None if scopes == ("none",) else scopes
    if not fields and not limits:
        raise click.UsageError("Nothing to change was named. See --help.")

    async def work(session: Session) -> dict[str, Any]:
        await _found(session, _id(key))
        after = await session.accounts.keys.update(session.who, session.origin, _id(key), fields, limits, None)
        return (await _views(session, [after]))[0]

    after = run(place, work)
    print_json(after) if as_json else click.echo(f"Changed {after['prefix']}: {', '.join((*fields, *limits))}.")


@keys.command()
@click.argument("key")
@click.option("--grace", type=Span(), default="24h", show_default=True, help="How long the old key still works.")
@_json
@at_place
def rotate(place: Place, *, key: str, grace: int, as_json: bool) -> None:
    """Make a new key with everything of KEY (its id, or the key itself), which works on for a while."""

    async def work(session: Session) -> tuple[str, dict[str, Any], Key]:
        await _found(session, _id(key))
        text, fresh, old = await session.accounts.keys.rotate(session.who, session.origin, _id(key), grace)
        return text, (await _views(session, [fresh]))[0], old

    text, view, old = run(place, work)
    ends = plain(old)["expires_at"]
    if as_json:
        print_json({"key": text, **view, "replaces": old.id, "old_expires_at": ends})
        return
    click.echo(text)
    click.echo(f"Keep it: it is not shown again. The old key {old.id} works until {ends}.", err=True)


@keys.command()
@click.argument("key", nargs=-1, required=True)
@click.option("--tenant", help="Only if it is a key of this tenant.")
@_json
@at_place
def revoke(place: Place, *, key: tuple[str, ...], tenant: str | None, as_json: bool) -> None:
    """Revoke each KEY for good: its id, or the key itself. Every worker refuses it within a second."""

    async def work(session: Session) -> list[dict[str, Any]]:
        mine = [await _found(session, _id(each)) for each in key]
        if any(tenant not in (None, each.tenant) for each in mine):
            raise click.ClickException("There is no such key in this tenant. `gateway keys list` shows the ids.")
        await session.accounts.keys.revoke_many(session.who, session.origin, [each.id for each in mine])
        return await _views(session, [await _found(session, each.id) for each in mine])

    views = run(place, work)
    if as_json:
        print_json(views[0] if len(views) == 1 else views)
        return
    for view in views:
        click.echo(f"Revoked {view['prefix']} ({view['id']}).")


def _id(key: str) -> str:
    parsed = parse(key)
    return key if parsed is None else parsed[0]


async def _found(session: Session, key: str) -> Key:
    try:
        return await session.accounts.keys.get(session.who, key)
    except NotFound:
        raise click.ClickException("There is no such key. `gateway keys list` shows the ids.") from None


async def _views(session: Session, found: Sequence[Key]) -> list[dict[str, Any]]:
    """Keys as they are shown: their owners by name, and how each stands. Never a digest: it is not in a `Key`."""
    store, now = session.accounts.book.store, now_ms()
    tenants = await _by_id(store, Tenant, {key.tenant for key in found})
    users = await _by_id(store, User, {key.owner for key in found})
    accounts = await _by_id(store, ServiceAccount, {key.service_account for key in found})
    views = []
    for key in found:
        user, account = users.get(key.owner or ""), accounts.get(key.service_account or "")
        about = {"owner": user.email if user else key.owner, "state": "tenant disabled"}
        if key.tenant in tenants:  # else it was deleted
            about["state"] = standing(key, tenants[key.tenant], user or account, now)
        views.append(plain(key) | about)
    return views


async def _by_id(store: Store, kind: type[R], ids: Iterable[str | None]) -> dict[str, R]:
    wanted = sorted({each for each in ids if each})
    found: dict[str, R] = {}
    for start in range(0, len(wanted), 500):
        page = await store.page(kind, {"id": tuple(wanted[start : start + 500])}, limit=500)
        found |= {str(getattr(record, "id", "")): record for record in page.items}
    return found
