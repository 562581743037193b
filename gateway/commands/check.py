"""`gateway check`: every mistake of a configuration file, without starting anything or touching the network."""

import os
from pathlib import Path

import click
import msgspec

from gateway.commands import need_config
from gateway.configfile import Inspected, inspect, is_off, read_bytes, warnings
from gateway.problems import ConfigError, Problem, in_order
from gateway.registry import Registry


class Report(msgspec.Struct, frozen=True):
    """What `--json` prints."""

    file: str
    ok: bool
    problems: tuple[Problem, ...]
    warnings: tuple[str, ...] = ()


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(file: Path | None, as_json: bool) -> None:
    """Find the mistakes in a configuration file, without starting."""
    path = need_config(file)
    inspected, problems = examine(path)
    doubts = () if inspected.config is None else tuple(warnings(inspected.config))
    if as_json:
        report = Report(file=str(path), ok=not problems, problems=problems, warnings=doubts)
        click.echo(msgspec.json.encode(report))
    elif problems:
        for problem in problems:
            click.echo(str(problem))
    else:
        click.echo(f"{path}: ok ({_summary(inspected)})")
    if not as_json:
        for doubt in doubts:
            click.echo(f"{path}: warning: {doubt}", err=True)
    if problems:
        raise SystemExit(1)


def examine(path: Path) -> tuple[Inspected, tuple[Problem, ...]]:
    """A file and all its problems, those of plugins and their options included."""
    try:
        source = read_bytes(path)
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    inspected = inspect(source, str(path), os.environ)
    found = [*inspected.problems, *Registry().examine(inspected)]
    return inspected, in_order(found)


def _summary(inspected: Inspected) -> str:
    config = inspected.config
    assert config is not None  # there was no problem
    off = sum(is_off(provider) for provider in config.providers)
    counts = {"provider": len(config.providers) - off, "model": len(config.models), "plugin": len(config.plugins)}
    said = [f"{count} {what}{'' if count == 1 else 's'}" for what, count in counts.items()]
    return ", ".join(said) + (f"; {off} switched off" if off else "")
