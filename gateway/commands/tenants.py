"""`gateway tenants`: organisations, beside a running gateway or without one."""

from typing import Any, get_args

import click
import msgspec

from gateway.accounts.records import Logging, Tenant
from gateway.commands.accounts import Session, everything, run
from gateway.commands.options import (
    Name,
    OrNone,
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

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def tenants() -> None:
    """Tenants: create, list, show, update, disable, enable."""


@tenants.command()
@click.argument("name", type=Name())
@click.option("--provider", "providers", multiple=True, help="A provider that may serve it; repeatable.")
@policy_option
@click.option("--logging", type=click.Choice(get_args(Logging)), help="What is kept of requests; off by default.")
@click.option("--time-zone", help="Such as Europe/Berlin; UTC by default.")
@click.option("--audit-days", type=click.IntRange(min=1), help="How long the audit is kept.")
@click.option("--content-days", type=click.IntRange(min=1), help="How long logged content is kept.")
@click.option("--usage-days", type=click.IntRange(min=1), help="How long the rows of usage are kept.")
@limit_options
@_json
@at_place
def create(place: Place, *, name: str, providers: tuple[str, ...], as_json: bool, **options: Any) -> None:  # noqa: ANN401
    """Create the tenant NAME. Its id comes from the name."""
    check_policy(place, options["guardrail_policy"])
    limits = limits_of(options)
    fields = {"name": name, "limits": limits, **given(options), **({"providers": providers} if providers else {})}

    async def work(session: Session) -> Tenant:
        return await session.accounts.tenants.create(session.who, session.origin, fields)

    tenant = run(place, work)
    print_json(plain(tenant)) if as_json else click.echo(tenant.id)


@tenants.command(name="list")
@click.option("--search", default="", help="A part of the name or id.")
@click.option("--active/--inactive", default=None, help="Only those.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=1000, show_default=True, help="At most so many.")
@_json
@at_place
def list_(place: Place, *, search: str, active: bool | None, limit: int, as_json: bool) -> None:
    """List tenants, newest first."""

    async def work(session: Session) -> list[Tenant]:
        return await everything(
            lambda cursor: session.accounts.tenants.page(
                session.who, search=search, active=active, limit=min(limit, 500), cursor=cursor
            ),
            limit,
        )

    found = [plain(tenant) for tenant in run(place, work)]
    if as_json:
        print_json(found)
        return
    columns = ("id", "name", "active", "cost_monthly", "requests_per_minute", "logging", "created")
    print_table([column.upper().replace("_", " ") for column in columns], [[t[c] for c in columns] for t in found])


@tenants.command()
@click.argument("tenant")
@_json
@at_place
def show(place: Place, *, tenant: str, as_json: bool) -> None:
    """Show TENANT (its id)."""

    async def work(session: Session) -> Tenant:
        return await session.accounts.tenants.get(session.who, tenant)

    found = plain(run(place, work))
    (print_json if as_json else print_fields)(found)


@tenants.command()
@click.argument("tenant")
@click.option("--name", type=Name())
@click.option("--provider", "providers", multiple=True, help="Providers that may serve it; `none` for all.")
@changed_policy_option
@click.option("--logging", type=click.Choice(get_args(Logging)), help="What is kept of requests.")
@click.option("--time-zone", help="Such as Europe/Berlin.")
@click.option("--audit-days", type=OrNone(click.IntRange(min=1)), help="How long the audit is kept, or `none`.")
@click.option("--content-days", type=OrNone(click.IntRange(min=1)), help="How long logged content is kept, or `none`.")
@click.option("--usage-days", type=OrNone(click.IntRange(min=1)), help="How long usage is kept, or `none`.")
@changed_limit_options
@_json
@at_place
def update(place: Place, *, tenant: str, providers: tuple[str, ...], as_json: bool, **options: Any) -> None:  # noqa: ANN401
    """Change TENANT. It holds for the next request on every worker."""
    check_policy(place, options["guardrail_policy"])
    limits = changes_of(options)
    fields = given(options)
    if providers:
        fields["providers"] = None if providers == ("none",) else providers
    _updated(place, tenant, fields, limits, as_json=as_json)


@tenants.command()
@click.argument("tenant")
@_json
@at_place
def disable(place: Place, *, tenant: str, as_json: bool) -> None:
    """Switch TENANT off: every worker refuses its keys within a second, and nobody of it signs in."""
    _updated(place, tenant, {"active": False}, {}, as_json=as_json)


@tenants.command()
@click.argument("tenant")
@_json
@at_place
def enable(place: Place, *, tenant: str, as_json: bool) -> None:
    """Switch TENANT on again."""
    _updated(place, tenant, {"active": True}, {}, as_json=as_json)


def _updated(
    place: Place, tenant: str, fields: dict[str, Any], limits: dict[str, Any], *, as_json: bool
) -> None:
    if not fields and not limits:
        raise click.UsageError("Nothing to change was named. See --help.")

    async def work(session: Session) -> Tenant:
        # The operator stands above all tenants, so also above the one that owners belong to.
        who = msgspec.structs.replace(session.who, home="")
        return await session.accounts.tenants.update(who, session.origin, tenant, fields, limits, None)

    after = run(place, work)
    print_json(plain(after)) if as_json else click.echo(f"Changed {after.id}: {', '.join((*fields, *limits))}.")
