"""`gateway budgets`: hard limits on money as objects, beside a running gateway or without one."""

from typing import Any

import click

from gateway.commands.accounts import Session, everything, run
from gateway.commands.options import Dollars, Name, plain, print_fields, print_json, print_table
from gateway.commands.place import Place, at_place
from gateway.money import dollars
from gateway.money.policies import THRESHOLDS, BudgetPolicy

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_COLUMNS = ("id", "name", "tenant", "scope", "scope_id", "window", "limit", "action", "enabled")


@click.group()
def budgets() -> None:
    """Budgets: create, list, show, update, delete."""


def _what(command: Any) -> Any:  # noqa: ANN401 - a click command
    options = (
        click.option("--limit", "amount", type=Dollars(), help="Dollars in a window, such as 12.50."),
        click.option("--scope", type=click.Choice(["tenant", "team", "user", "key"]), help="Whose spending counts."),
        click.option("--scope-id", help="The id of that team, user or key."),
        click.option("--period", type=click.Choice(["hour", "day", "week", "month"]), help="How long a window is."),
        click.option("--rolling/--calendar", default=None, help="The last hour, day …, or that of the tenant's clock."),
        click.option("--action", type=click.Choice(["block", "warn", "tier_down"]), help="What happens at the limit."),
        click.option("--tier-down-to", help="The cheaper model of `--action tier_down`."),
        click.option("--model", "models", multiple=True, help="Only these models or wildcards count; repeatable."),
        click.option("--provider", "providers", multiple=True, help="Only these providers count; repeatable."),
        click.option("--threshold", "thresholds", type=click.IntRange(1, 1000), multiple=True,
                     help="Percent at which alerts are sent; repeatable."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@budgets.command()
@click.argument("name", type=Name())
@click.option("--tenant", default="default", show_default=True, help="Id of its tenant.")
@_what
@_json
@at_place
def create(place: Place, *, name: str, tenant: str, as_json: bool, **options: Any) -> None:  # noqa: ANN401
    """Create the budget NAME; for the whole tenant and a month unless options say otherwise."""
    fields = {"name": name, "period": "month", "thresholds": THRESHOLDS, **_given(options)}
    if "amount" not in fields:
        raise click.UsageError("Name its limit: --limit DOLLARS.")

    async def work(session: Session) -> BudgetPolicy:
        return await session.accounts.budgets.create(session.who, session.origin, fields, tenant)

    made = run(place, work)
    print_json(_plain(made)) if as_json else click.echo(made.id)


@budgets.command(name="list")
@click.option("--tenant", help="Only budgets of this tenant.")
@click.option("--search", default="", help="A part of the name.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=1000, show_default=True, help="At most so many.")
@_json
@at_place
def list_(place: Place, *, tenant: str | None, search: str, limit: int, as_json: bool) -> None:
    """List budgets, newest first."""

    async def work(session: Session) -> list[BudgetPolicy]:
        return await everything(
            lambda cursor: session.accounts.budgets.page(
                session.who, tenant=tenant, search=search, limit=min(limit, 500), cursor=cursor
            ),
            limit,
        )

    found = [_plain(each) for each in run(place, work)]
    if as_json:
        print_json(found)
        return
    heads = [column.upper().replace("_", " ") for column in _COLUMNS]
    print_table(heads, [[each[column] for column in _COLUMNS] for each in found])


@budgets.command()
@click.argument("budget")
@_json
@at_place
def show(place: Place, *, budget: str, as_json: bool) -> None:
    """Show BUDGET (its id)."""

    async def work(session: Session) -> BudgetPolicy:
        return await session.accounts.budgets.get(session.who, budget)

    (print_json if as_json else print_fields)(_plain(run(place, work)))


@budgets.command()
@click.argument("budget")
@click.option("--name", type=Name())
@click.option("--enabled/--disabled", default=None, help="Switch it on or off.")
@_what
@_json
@at_place
def update(place: Place, *, budget: str, as_json: bool, **options: Any) -> None:  # noqa: ANN401
    """Change BUDGET. One that counts something else from then on begins with what was spent of that."""
    fields = _given(options)
    if not fields:
        raise click.UsageError("Nothing to change was named. See --help.")

    async def work(session: Session) -> BudgetPolicy:
        return await session.accounts.budgets.update(session.who, session.origin, budget, fields, None)

    after = run(place, work)
    print_json(_plain(after)) if as_json else click.echo(f"Changed {after.name}: {', '.join(fields)}.")


@budgets.command()
@click.argument("budget")
@click.option("--yes", is_flag=True, help="Do not ask.")
@at_place
def delete(place: Place, *, budget: str, yes: bool) -> None:
    """Delete BUDGET: from then on it refuses nothing."""
    if not yes:
        click.confirm(f"Delete {budget} for good?", abort=True)

    async def work(session: Session) -> None:
        await session.accounts.budgets.delete(session.who, session.origin, budget, None)

    run(place, work)
    click.echo(f"Deleted {budget}.")


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given."""
    fields = {name: value for name, value in options.items() if value not in (None, ())}
    if "thresholds" in fields:
        fields["thresholds"] = tuple(sorted(set(fields["thresholds"])))
    return fields


def _plain(budget: BudgetPolicy) -> dict[str, Any]:
    found = plain(budget)
    del found["amount"], found["since"]
    return {**found, "limit": dollars(budget.amount), "window": budget.window_name}
