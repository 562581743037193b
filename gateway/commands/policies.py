"""The option `--guardrail-policy` of commands about tenants, teams and keys: a name that the configuration has."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from gateway.accounts.records import StoredPolicy
from gateway.commands.place import Place
from gateway.config import Guardrails
from gateway.configfile import ConfigError, load
from gateway.guardrails.book import known
from gateway.nearest import did_you_mean

F = TypeVar("F", bound=Callable[..., Any])  # click's decorators take and return any function
_HELP: Final = "Name of a guardrail policy."


def policy_option(command: F) -> F:
    """The policy of something new."""
    return click.option("--guardrail-policy", help=_HELP)(command)


def changed_policy_option(command: F) -> F:
    """The policy of something that exists."""
    return click.option("--guardrail-policy", help=f"{_HELP} `none` for that of the level above.")(command)


def check_policy(place: Place, name: str | None) -> None:
    """Refuse a name that neither the configuration nor the database has: requests would be refused for it.

    Where the file cannot be read here (a variable of its providers is not set in this shell), it is taken as it is.
    """
    if name in (None, "none"):
        return
    try:
        settings = Guardrails() if place.file is None else load(place.file).config.guardrails
    except ConfigError:
        click.echo(f"The configuration cannot be read here: whether it has the policy {name} is not checked.", err=True)
        return
    policies = [entry.name for entry in known(settings).values() if entry.shadow_of is None]
    if name in policies:
        return
    stored = place.run(lambda store: store.page(StoredPolicy, {}, limit=500)).items
    policies += [policy.name for policy in stored if policy.shadow_of is None]
    if name not in policies:
        text = f"there is no guardrail policy {name!r}{did_you_mean(str(name), policies)}: there are"
        raise click.BadParameter(f"{text} {', '.join(policies)}", param_hint="--guardrail-policy")
