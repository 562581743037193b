"""The command line: `gateway COMMAND`. A command's module is imported when it is used, so that help comes at once.

Errors are printed for the person who typed the command; GATEWAY_DEBUG=1 shows the traceback as well.
"""

import importlib
import os
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import NoReturn

import click

from gateway.nearest import did_you_mean

# What help shows, so that it needs no import; each is `gateway.commands.<name>:<name>`.
COMMANDS = MappingProxyType({
    "serve": "Start the gateway.",
    "check": "Find the mistakes in a configuration file, without starting.",
    "plugins": "List the installed plugins, and which of them the configuration uses in which order.",
    "explain": "Say what would happen to a request, without sending it.",
    "schema": "Print the JSON Schema of the configuration file, for editors.",
    "keys": "API keys: create, list, show, update, rotate, revoke.",
    "users": "People: create, list, show, update, disable, enable, reset-password, delete.",
    "teams": "Teams: create, list, show, update, delete, add, remove.",
    "tenants": "Tenants: create, list, show, update, disable, enable.",
    "budgets": "Budgets: create, list, show, update, delete.",
    "audit": "The audit: list, verify, export.",
    "contents": "Logged requests and answers: list, show.",
    "guardrails": "Guardrails: list, test, bench, replay.",
    "usage": "Usage and cost: summary, export, explain, rebuild.",
    "db": "The database: status, migrate, backup, restore.",
})


class Commands(click.Group):
    """Built-in commands by table, and commands of configured plugins when another name is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The built-in commands, in the order in which a newcomer needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """Import a built-in command, or ask the configured plugins for it."""
        if cmd_name not in COMMANDS:
            return _plugin_commands().get(cmd_name)
        module = importlib.import_module(f"gateway.commands.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the nearest name for one that does not exist."""
        name, rest = args[0], args[1:]
        command = self.get_command(ctx, name)
        if command is None:
            ctx.fail(f"there is no command `{name}`{did_you_mean(name, COMMANDS)}")
        return command.name, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        """The table, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ai-gateway", prog_name="gateway")
def cli() -> None:
    """AI Gateway: one OpenAI-compatible address in front of every model provider."""


def main() -> NoReturn:
    """Run the command line and exit."""
    try:
        cli.main(prog_name="gateway")
    except Exception as error:
        if os.environ.get("GATEWAY_DEBUG") == "1":
            raise
        click.echo(_for_people(error), err=True)
        sys.exit(1)
    sys.exit(0)


def _for_people(error: Exception) -> str:
    from gateway.dispatch import PluginError
    from gateway.errors import GatewayError
    from gateway.problems import ConfigError
    from gateway.secrets import scrub

    text = scrub(str(error).encode(errors="replace")).decode()
    if isinstance(error, ConfigError):
        return text
    if isinstance(error, PluginError | GatewayError | OSError):
        return f"Error: {text}"
    return f"Error: {type(error).__name__}: {text}\nThis is a defect; GATEWAY_DEBUG=1 shows where."


def _plugin_commands() -> Mapping[str, click.Command]:
    """The commands of the configured plugins; none where there is no file or it has mistakes."""
    from gateway.commands import find_config
    from gateway.configfile import load
    from gateway.problems import ConfigError
    from gateway.registry import Registry

    path = find_config(None)
    if path is None:
        return {}
    group = click.Group()
    try:
        loaded = load(path)
        Registry().build(loaded.config, loaded.lines).commands(group)
    except ConfigError:
        click.echo(f"The commands of plugins are not known: `gateway check {path}` says why.", err=True)
    return group.commands
