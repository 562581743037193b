"""The commands of `gateway`, one module each, imported only when it is used. Here: which file they are about."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

DEFAULTS = ("config.yaml", "config.example.yaml")

F = TypeVar("F", bound=Callable[..., Any])  # click's decorators take and return any function


def config_option(command: F) -> F:
    """The option `--config FILE`, given to the command as `config: Path | None`."""
    option = click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        help="The configuration file: else $GATEWAY_CONFIG, ./config.yaml, ./config.example.yaml.",
    )
    return option(command)


def find_config(given: Path | None, environ: Mapping[str, str] = os.environ) -> Path | None:
    """The file to use: as given, else as the environment says, else the first default that exists."""
    if given is not None:
        return given
    if named := environ.get("GATEWAY_CONFIG"):
        return Path(named)
    return next((path for name in DEFAULTS if (path := Path(name)).is_file()), None)


def need_config(given: Path | None, environ: Mapping[str, str] = os.environ) -> Path:
    """As `find_config`, for commands that cannot go on without one."""
    path = find_config(given, environ)
    if path is None:
        raise click.ClickException(
            "no configuration: name a file with --config or $GATEWAY_CONFIG, or put config.yaml here"
        )
    return path
