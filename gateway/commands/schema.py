"""`gateway schema`: the JSON Schema (2020-12) of the configuration file, with the options of every installed plugin.

Editors complete and check a file with it. Where a scalar has a rule, text with `${...}` is allowed as well.
"""

from collections.abc import Iterable
from typing import Any

import click
import msgspec

from gateway.config import Config
from gateway.registry import PluginError, Registry, options_of
from gateway.secrets import Secret

Schema = dict[str, Any]  # JSON: its members depend on what it describes

_FROM_OUTSIDE: Schema = {"type": "string", "pattern": r"\$\{.+\}"}
_NO_OPTIONS: Schema = {"type": "object", "maxProperties": 0}


@click.command()
def schema() -> None:
    """Print the JSON Schema of the configuration file, for editors."""
    click.echo(msgspec.json.format(msgspec.json.encode(document(Registry())), indent=2))


def document(registry: Registry) -> Schema:
    """The whole schema."""
    (root,), definitions = msgspec.json.schema_components([Config], ref_template="#/$defs/{name}")
    by_id: dict[str, Schema] = {}
    for id_ in registry.ids():
        try:
            options = options_of(registry.load(id_))
            by_id[id_], more = _named(id_, options) if options else (_NO_OPTIONS, {})
        except (PluginError, TypeError):
            by_id[id_] = {}  # it cannot be used here, or its options are wrong: `gateway check` says so
            continue
        definitions.update(more)
    for entry, provider in (("ProviderEntry", True), ("PluginEntry", False)):
        ids = [id_ for id_ in by_id if id_.startswith("provider.") is provider]
        definitions[entry] |= _choices({id_: by_id[id_] for id_ in ids})
        definitions[entry]["properties"]["use"] = {"type": "string", "enum": ids}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "AI Gateway configuration",
        **root,
        "$defs": {name: _fillable(definition) for name, definition in sorted(definitions.items())},
    }


def _named(id_: str, options: type[msgspec.Struct]) -> tuple[Schema, dict[str, Schema]]:
    """A plugin's options. All plugins call them `Config`: the ID keeps their definitions apart."""
    (root,), found = msgspec.json.schema_components(
        [options], ref_template=f"#/$defs/{id_}.{{name}}", schema_hook=_schema_hook
    )
    return root, {f"{id_}.{name}": definition for name, definition in found.items()}


def _schema_hook(type_: type) -> Schema:
    if type_ is Secret:
        return {"type": "string", "writeOnly": True}
    return {}


def _choices(options: dict[str, Schema]) -> Schema:
    """What stands under `with` follows from what stands after `use`."""
    return {
        "allOf": [
            {
                "if": {"properties": {"use": {"const": id_}}, "required": ["use"]},
                "then": {"properties": {"with": found}},
            }
            for id_, found in options.items()
        ]
    }


def _fillable(value: Any) -> Any:  # noqa: ANN401 - JSON
    """The same schema, where each number, bool, choice or text with a rule may also come from `${...}`."""
    if isinstance(value, list):
        return [_fillable(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get("type") in ("integer", "number", "boolean") or ("enum" in value or "pattern" in value):
        return _or_from_outside(value)
    return {key: item if key in ("if", "default") else _fillable(item) for key, item in value.items()}


def _or_from_outside(rule: Schema) -> Schema:
    outside: Iterable[str] = ("title", "description", "default")
    about = {key: rule[key] for key in outside if key in rule}
    return {**about, "anyOf": [{key: item for key, item in rule.items() if key not in about}, _FROM_OUTSIDE]}
