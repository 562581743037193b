"""`gateway users`: people of a tenant, beside a running gateway or without one."""

import sys
from typing import Any, get_args

import click

from gateway.accounts.records import Status, User
from gateway.accounts.roles import ROLES
from gateway.accounts.users import NewPerson, UserFilter
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

_STATUSES = [status for status in get_args(Status) if status != "deleted"]
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def users() -> None:
    """People: create, list, show, update, disable, enable, reset-password, delete."""


@users.command()
@click.argument("email")
@click.option("--name", type=Name(), help="What people call them.")
@click.option("--role", type=click.Choice(ROLES), default="member", show_default=True)
@click.option("--tenant", default="default", show_default=True, help="Id of their tenant.")
@click.option("--content-access", is_flag=True, help="May read logged prompts and answers.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input; else one is made.")
@limit_options
@_json
@at_place
def create(
    place: Place, *, email: str, name: str | None, tenant: str, password_stdin: bool, as_json: bool,
    **options: Any,  # noqa: ANN401
) -> None:  # fmt: skip
    """Create the user EMAIL. A password that is made here is printed once, and must be changed at the first login."""
    password = sys.stdin.readline().rstrip("\r\n") if password_stdin else None
    limits = limits_of(options)
    new = NewPerson(email=email, name=name or "", password=password, limits=limits, **options)

    async def work(session: Session) -> tuple[User, str | None]:
        return await session.accounts.users.create(session.who, session.origin, new, tenant)

    user, made = run(place, work)
    if as_json:
        print_json(plain(user) | ({"password": made} if made else {}))
        return
    click.echo(made or user.id)
    if made:
        click.echo(f"The password of {user.email} for the first login. It is not shown again.", err=True)


@users.command(name="list")
@click.option("--tenant", help="Only users of this tenant.")
@click.option("--team", help="Only members of this team (its id).")
@click.option("--role", type=click.Choice(ROLES))
@click.option("--status", type=click.Choice(_STATUSES))
@click.option("--search", default="", help="A part of the name or address.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=1000, show_default=True, help="At most so many.")
@_json
@at_place
def list_(place: Place, *, limit: int, as_json: bool, **which: Any) -> None:  # noqa: ANN401
    """List users, newest first."""
    chosen = UserFilter(**which)

    async def work(session: Session) -> list[User]:
        return await everything(
            lambda cursor: session.accounts.users.page(session.who, chosen, min(limit, 500), cursor), limit
        )

    found = [plain(user) for user in run(place, work)]
    if as_json:
        print_json(found)
        return
    columns = ("id", "email", "name", "tenant", "role", "status", "last_login")
    print_table([column.upper().replace("_", " ") for column in columns], [[u[c] for c in columns] for u in found])


@users.command()
@click.argument("user")
@_json
@at_place
def show(place: Place, *, user: str, as_json: bool) -> None:
    """Show USER: an id or an address."""

    async def work(session: Session) -> User:
        return await session.user(user)

    found = plain(run(place, work))
    (print_json if as_json else print_fields)(found)


@users.command()
@click.argument("user")
@click.option("--email")
@click.option("--name", type=Name())
@click.option("--role", type=click.Choice(ROLES))
@click.option("--status", type=click.Choice(_STATUSES))
@click.option("--content-access/--no-content-access", default=None, help="May read logged prompts and answers.")
@changed_limit_options
@_json
@at_place
def update(place: Place, *, user: str, as_json: bool, **options: Any) -> None:  # noqa: ANN401
    """Change USER. Another role or status holds for the next request of each of their keys, and ends their sessions."""
    limits = changes_of(options)
    _updated(place, user, given(options), limits, as_json=as_json)


@users.command()
@click.argument("user")
@_json
@at_place
def disable(place: Place, *, user: str, as_json: bool) -> None:
    """Switch USER off: no login, and every worker refuses their keys within a second."""
    _updated(place, user, {"status": "inactive"}, {}, as_json=as_json)


@users.command()
@click.argument("user")
@_json
@at_place
def enable(place: Place, *, user: str, as_json: bool) -> None:
    """Switch USER on again."""
    _updated(place, user, {"status": "active"}, {}, as_json=as_json)


@users.command()
@click.argument("user")
@_json
@at_place
def reset_password(place: Place, *, user: str, as_json: bool) -> None:
    """Give USER a password that works once, and end their sessions."""

    async def work(session: Session) -> tuple[User, str]:
        found = await session.user(user)
        return await session.accounts.users.reset_password(session.who, session.origin, found.id)

    found, password = run(place, work)
    if as_json:
        print_json(plain(found) | {"password": password})
        return
    click.echo(password)
    click.echo(f"The new password of {found.email}. It must be changed at the next login.", err=True)


@users.command()
@click.argument("user")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_json
@at_place
def delete(place: Place, *, user: str, yes: bool, as_json: bool) -> None:
    """Delete USER: keys revoked, sessions ended, address free again. The ledger and the audit keep the id."""
    if not yes:
        click.confirm(f"Delete {user} for good?", abort=True)

    async def work(session: Session) -> str:
        found = await session.user(user)
        await session.accounts.users.delete(session.who, session.origin, found.id, None)
        return found.id

    gone = run(place, work)
    print_json({"deleted": gone}) if as_json else click.echo(f"Deleted {user}.")


def _updated(
    place: Place, user: str, fields: dict[str, Any], limits: dict[str, Any], *, as_json: bool
) -> None:
    if not fields and not limits:
        raise click.UsageError("Nothing to change was named. See --help.")

    async def work(session: Session) -> User:
        found = await session.user(user)
        return await session.accounts.users.update(session.who, session.origin, found.id, fields, limits, None)

    after = plain(run(place, work))
    if as_json:
        print_json(after)
        return
    click.echo(f"Changed {after['email']}: {', '.join((*fields, *limits))}.")
