"""`gateway plugins`: every installed plugin with its file, hooks, options, and its place in the order of calls."""

import inspect
import os
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click
import msgspec

from gateway import configfile
from gateway.commands import config_option, find_config
from gateway.dispatch import ROLES, hooks_of
from gateway.registry import PluginError, Registry, options_of


class Option(msgspec.Struct, frozen=True):
    """One option under `with`. `default` is JSON, or `None` when the option must be given."""

    name: str
    type: str
    default: str | None
    description: str = ""


class Use(msgspec.Struct, frozen=True):
    """One place in the configuration where a plugin is used; `order` counts from 1 over all roles."""

    name: str
    order: int
    on_error: str | None = None


class Listed(msgspec.Struct, frozen=True):
    """One installed plugin; `error` says why it cannot be imported."""

    id: str
    role: str
    file: str = ""
    about: str = ""
    hooks: tuple[str, ...] = ()
    used: tuple[Use, ...] = ()
    options: tuple[Option, ...] = ()
    error: str | None = None


@click.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def plugins(config: Path | None, as_json: bool) -> None:
    """List the installed plugins, and which of them the configuration uses in which order."""
    listed = listing(find_config(config))
    if as_json:
        click.echo(msgspec.json.encode(listed))
        return
    for plugin in listed:
        click.echo("\n".join(_lines(plugin)) + "\n")


def listing(config: Path | None) -> list[Listed]:
    """The installed plugins: first those in use, in the order of their calls, then the others by ID."""
    registry = Registry()
    uses = _uses(config) if config else {}
    listed = [_listed(registry, id_, tuple(uses.get(id_, ()))) for id_ in registry.ids()]
    return sorted(listed, key=lambda plugin: (plugin.used[0].order if plugin.used else len(uses) * 1000, plugin.id))


def _uses(path: Path) -> dict[str, list[Use]]:
    # The file may have mistakes (a variable that is not set here): what can be read is enough for the list.
    file = configfile.inspect(configfile.read_bytes(path), str(path), os.environ)
    providers = [(entry.use, entry.name, None) for _, entry in file.providers if not configfile.is_off(entry)]
    entries = providers + [(entry.use, entry.name or entry.use, entry.on_error) for _, entry in file.plugins]
    entries = [entry for entry in entries if entry[0].partition(".")[0] in ROLES]
    entries.sort(key=lambda entry: ROLES.index(entry[0].partition(".")[0]))
    uses: dict[str, list[Use]] = {}
    for order, (id_, name, on_error) in enumerate(entries, start=1):
        uses.setdefault(id_, []).append(Use(name=name, order=order, on_error=on_error))
    return uses


def _listed(registry: Registry, id_: str, used: tuple[Use, ...]) -> Listed:
    role = id_.partition(".")[0]
    try:
        cls = registry.load(id_)
        file = os.path.relpath(inspect.getfile(cls))
    except (PluginError, OSError, TypeError, ValueError) as error:
        return Listed(id=id_, role=role, used=used, error=str(error))
    parts: list[object] = [cls]
    if role == "guardrail":
        from gateway.guardrails.stage import GuardrailStage

        parts.append(GuardrailStage)
    options = options_of(cls)
    return Listed(
        id=id_,
        role=role,
        file=min(file, inspect.getfile(cls), key=len),
        about=(inspect.getdoc(cls) or "").partition("\n")[0],
        hooks=hooks_of(*parts),
        used=used,
        options=tuple(_options(options)) if options else (),
    )


def _options(struct: type[msgspec.Struct]) -> Iterator[Option]:
    for field in msgspec.structs.fields(struct):
        default: object = field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        yield Option(
            name=field.encode_name,
            type=_type_text(field.type),
            default=None if default is msgspec.NODEFAULT else _default_text(default),
            description=_description(field.type),
        )


def _default_text(value: object) -> str:
    return msgspec.json.encode(value, enc_hook=str).decode()  # a secret's text is `***`


def _description(type_: Any) -> str:  # noqa: ANN401 - an annotation
    origin: Any = get_origin(type_)
    if origin is Annotated:
        inner, *metas = get_args(type_)
        own = next((meta.description for meta in metas if isinstance(meta, msgspec.Meta) and meta.description), "")
        return own or _description(inner)
    if origin in (Union, UnionType):
        return next((text for member in get_args(type_) if (text := _description(member))), "")
    return ""


def _type_text(type_: Any) -> str:  # noqa: ANN401 - an annotation
    origin: Any = get_origin(type_)
    args = get_args(type_)
    if origin is Annotated:
        return _type_text(args[0])
    if origin is Literal:
        return " | ".join(str(option) for option in args)
    if origin in (Union, UnionType):
        return " | ".join(_type_text(member) for member in args)
    if origin is not None:
        inner = ", ".join(_type_text(member) for member in args if member is not Ellipsis)
        return f"{getattr(origin, '__name__', origin)}[{inner}]"
    return "null" if type_ is NoneType else getattr(type_, "__name__", str(type_))


def _lines(plugin: Listed) -> Iterator[str]:
    yield f"{plugin.id}  {click.style(plugin.about, dim=True)}".rstrip()
    if plugin.error:
        yield f"  error: {plugin.error}"
        return
    used = ", ".join(
        f"{use.order}. {use.name}" + (f" (on_error: {use.on_error})" if use.on_error else "") for use in plugin.used
    )
    yield f"  file: {plugin.file}"
    yield f"  role: {plugin.role}; hooks: {', '.join(plugin.hooks) or 'none'}"
    yield f"  order: {used or 'not in the configuration'}"
    for option in plugin.options:
        value = "required" if option.default is None else f"= {option.default}"
        about = f"  # {option.description}" if option.description else ""
        yield f"  with.{option.name}: {option.type} {value}{about}"
