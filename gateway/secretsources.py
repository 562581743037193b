"""Secrets from elsewhere: what `${vault:…}` and the like stand for, asked of `secret` plugins while a file is read.

Sources are plugins of the same file, with options of their own (from variables and files, not from one another). What
they give travels beside the environment: a worker gets it with the configuration and asks nobody.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
import structlog

from gateway.config import PluginEntry
from gateway.decoding import decode, hide
from gateway.hookspecs import NoSecret, SecretSource
from gateway.interpolation import Absent
from gateway.problems import ConfigError, Lines, YamlValue
from gateway.yamltree import Tree

SHORTEST: Final = 1.0  # second between two looks
_log = structlog.get_logger("gateway.secretsources")


class Fetched(msgspec.Struct, frozen=True):
    """What sources gave, by reference (`vault:path#field`), and after how many seconds to ask again (0: never)."""

    values: Mapping[str, str] = {}
    refresh: float = 0.0

    def __repr__(self) -> str:
        return f"Fetched({len(self.values)} secrets)"


def fetch(tree: Tree) -> Fetched:
    """Ask the sources in a file for all that the file refers to. What they lack comes as `Absent`, with the reason."""
    sources, broken = _sources(tree.value)
    found: dict[str, str] = {}
    refresh: list[float] = []
    for scheme in dict.fromkeys(each.partition(":")[0] for each in tree.references):
        wanted = tuple(each for each in dict.fromkeys(tree.references) if each.startswith(f"{scheme}:"))
        source = sources.get(scheme)
        if source is None:
            reason = broken.get(scheme) or f"no secret source `{scheme}` stands in this file: add it under `plugins`"
            found |= dict.fromkeys(wanted, Absent(reason))
            continue
        found |= _asked(source, scheme, wanted)
        refresh += [max(source.refresh, SHORTEST)] if source.refresh > 0 else []
    return Fetched(found, min(refresh, default=0.0))


def _asked(source: SecretSource, scheme: str, wanted: tuple[str, ...]) -> dict[str, str]:
    names = {each.removeprefix(f"{scheme}:"): each for each in wanted}
    try:
        given = source.read(tuple(names))
    except Exception as error:
        _log.exception("defect: a secret source failed", source=scheme)
        return dict.fromkeys(wanted, Absent(f"the secret source `{scheme}` failed: {type(error).__name__}"))
    found: dict[str, str] = {}
    for name, whole in names.items():
        value = given.get(name, NoSecret(f"the secret source `{scheme}` gave nothing for it"))
        found[whole] = Absent(value.reason, may_default=value.absent) if isinstance(value, NoSecret) else value
    return found


def _sources(value: YamlValue) -> tuple[dict[str, SecretSource], dict[str, str]]:
    """The sources of a file by scheme, and what is wrong with those that are."""
    from gateway.registry import Registry

    registry = Registry()
    made: dict[str, SecretSource] = {}
    broken: dict[str, str] = {}
    for entry in _entries(value):
        scheme = entry.name or entry.use.partition(".")[2]
        try:
            plugin = registry.make(entry.use, entry.with_)
        except ConfigError as error:
            text = "; ".join(problem.text for problem in error.problems) or "a value of its options is missing"
            broken[scheme] = f"the secret source `{entry.use}` is wrong: {hide(text, entry.with_)}"
            continue
        if isinstance(plugin, SecretSource):
            made[scheme] = plugin
    return made, broken


def _entries(value: YamlValue) -> Iterable[PluginEntry]:
    given: Any = value.get("plugins") if isinstance(value, dict) else None
    for item in given if isinstance(given, list) else ():
        use = item.get("use") if isinstance(item, dict) else None
        if isinstance(use, str) and use.startswith("secret."):
            entry = decode(item, PluginEntry, (), Lines(), [], keep_filled=True)
            if entry is not None:
                yield entry

