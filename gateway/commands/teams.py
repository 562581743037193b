"""`gateway teams`: teams of a tenant and their members, beside a running gateway or without one."""

from typing import Any

import click

from gateway.accounts.records import Team, User
from gateway.commands.accounts import Session, everything, run
from gateway.commands.options import (
    Name,
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
def teams() -> None:
    """Teams: create, list, show, update, delete, add, remove."""


@teams.command()
@click.argument("name", type=Name())
@click.option("--tenant", default="default", show_default=True, help="Id of its tenant.")
@policy_option
@limit_options
@_json
@at_place
def create(
    place: Place, *, name: str, tenant: str, guardrail_policy: str | None, as_json: bool, **options: Any  # noqa: ANN401
) -> None:
    """Create the team NAME."""
    check_policy(place, guardrail_policy)
    limits = limits_of(options)

    async def work(session: Session) -> Team:
        return await session.accounts.teams.create(
            session.who, session.origin, name, limits, tenant, guardrail_policy
        )

    team = run(place, work)
    print_json(plain(team)) if as_json else click.echo(team.id)


@teams.command(name="list")
@click.option("--tenant", help="Only teams of this tenant.")
@click.option("--search", default="", help="A part of the name.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=1000, show_default=True, help="At most so many.")
@_json
@at_place
def list_(place: Place, *, tenant: str | None, search: str, limit: int, as_json: bool) -> None:
    """List teams, newest first."""

    async def work(session: Session) -> list[Team]:
        return await everything(
            lambda cursor: session.accounts.teams.page(
                session.who, tenant=tenant, search=search, limit=min(limit, 500), cursor=cursor
            ),
            limit,
        )

    found = [plain(team) for team in run(place, work)]
    if as_json:
        print_json(found)
        return
    columns = ("id", "name", "tenant", "cost_monthly", "requests_per_minute", "created")
    print_table([column.upper().replace("_", " ") for column in columns], [[t[c] for c in columns] for t in found])


@teams.command()
@click.argument("team")
@_json
@at_place
def show(place: Place, *, team: str, as_json: bool) -> None:
    """Show TEAM (its id) with its members."""

    async def work(session: Session) -> tuple[Team, tuple[User, ...]]:
        service = session.accounts.teams
        return await service.get(session.who, team), await service.members(session.who, team)

    record, members = run(place, work)
    found = plain(record) | {"members": [member.email for member in members]}
    (print_json if as_json else print_fields)(found)


@teams.command()
@click.argument("team")
@click.option("--name", type=Name())
@changed_policy_option
@changed_limit_options
@_json
@at_place
def update(place: Place, *, team: str, as_json: bool, **options: Any) -> None:  # noqa: ANN401
    """Change TEAM. Its limits hold for all of its members and service accounts together."""
    check_policy(place, options["guardrail_policy"])
    limits = changes_of(options)
    fields = given(options)
    if not fields and not limits:
        raise click.UsageError("Nothing to change was named. See --help.")

    async def work(session: Session) -> Team:
        return await session.accounts.teams.update(session.who, session.origin, team, fields, limits, None)

    after = run(place, work)
    print_json(plain(after)) if as_json else click.echo(f"Changed {after.name}: {', '.join((*fields, *limits))}.")


@teams.command()
@click.argument("team")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_json
@at_place
def delete(place: Place, *, team: str, yes: bool, as_json: bool) -> None:
    """Delete TEAM. Its members and their keys stay."""
    if not yes:
        click.confirm(f"Delete {team} for good?", abort=True)

    async def work(session: Session) -> None:
        await session.accounts.teams.delete(session.who, session.origin, team, None)

    run(place, work)
    print_json({"deleted": team}) if as_json else click.echo(f"Deleted {team}.")


@teams.command()
@click.argument("team")
@click.argument("user")
@_json
@at_place
def add(place: Place, *, team: str, user: str, as_json: bool) -> None:
    """Put USER (an id or an address) into TEAM."""

    async def work(session: Session) -> list[str]:
        found = await session.user(user)
        await session.accounts.teams.add(session.who, session.origin, team, found.id)
        return await _members(session, team)

    members = run(place, work)
    print_json({"team": team, "members": members}) if as_json else click.echo(f"{user} is in {team}.")


@teams.command()
@click.argument("team")
@click.argument("user")
@_json
@at_place
def remove(place: Place, *, team: str, user: str, as_json: bool) -> None:
    """Take USER (an id or an address) out of TEAM."""

    async def work(session: Session) -> list[str]:
        found = await session.user(user)
        await session.accounts.teams.remove(session.who, session.origin, team, found.id)
        return await _members(session, team)

    members = run(place, work)
    print_json({"team": team, "members": members}) if as_json else click.echo(f"{user} is no longer in {team}.")


async def _members(session: Session, team: str) -> list[str]:
    return [member.email for member in await session.accounts.teams.members(session.who, team)]
