"""Reading the configuration file: text -> `Config`, with every problem named by file, line and YAML path.

The schema is `config.py`; YAML is read in `yamltree.py`; the options of plugins are decoded in `registry.py`.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path as FilePath
from typing import TypeVar

import msgspec

from gateway.config import Config, ModelEntry, PluginEntry, PriceEntry, ProviderEntry
from gateway.decoding import decode, hide
from gateway.nearest import did_you_mean
from gateway.problems import ConfigError, Lines, Path, Problem, YamlValue, in_order, shown
from gateway.secretsources import Fetched, fetch
from gateway.yamltree import MAX_BYTES, Tree
from gateway.yamltree import parse as parse_yaml

__all__ = [
    "ConfigError", "Inspected", "Lines", "Loaded", "Problem", "inspect", "load", "load_place", "parse", "read",
    "warnings",
]  # fmt: skip

E = TypeVar("E")
Entries = tuple[tuple[Path, E], ...]


class Loaded(msgspec.Struct, frozen=True, eq=False):
    """A good file: what it says, the bytes it was read from, where each thing stands in them, and what came from
    secret sources."""

    config: Config
    source: bytes
    lines: Lines
    fetched: Fetched = Fetched()


class Inspected(msgspec.Struct, frozen=True, eq=False):
    """A file with all its problems. `config` is `None` if there are any; the entries are those that are good."""

    config: Config | None
    problems: tuple[Problem, ...]
    lines: Lines
    fetched: Fetched = Fetched()
    providers: Entries[ProviderEntry] = ()
    plugins: Entries[PluginEntry] = ()


def load(path: str | FilePath, environ: Mapping[str, str] = os.environ) -> Loaded:
    """Read a file. Raises `ConfigError` with everything that is wrong with it."""
    return read(read_bytes(path), str(path), environ)


def read_bytes(path: str | FilePath) -> bytes:
    """The bytes of a file, for `read`, `parse` or `inspect`."""
    try:
        with FilePath(path).open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        text = f"cannot be read: {error.strerror or error}"
        raise ConfigError([Problem(file=str(path), line=0, path="$", text=text)]) from None


def read(source: bytes, origin: str, environ: Mapping[str, str]) -> Loaded:
    """As `load`, from bytes that were read before; `origin` is the file's name in error texts."""
    inspected = inspect(source, origin, environ)
    if inspected.config is None:
        raise ConfigError(inspected.problems)
    return Loaded(inspected.config, source, inspected.lines, inspected.fetched)


def load_place(path: str | FilePath, environ: Mapping[str, str] = os.environ) -> Config:
    """A file's `data_dir`, `secret` and `database` in an otherwise empty `Config`: mistakes elsewhere do not matter.

    For commands beside a gateway, in a shell that lacks the variables of its providers.
    """
    source = read_bytes(path)
    tree = parse_yaml(source, str(path), environ)
    wanted = ("data_dir", "secret", "database")
    if tree.references and any(each.path.removeprefix("$.") in wanted for each in tree.problems):
        tree, _ = _filled(source, str(path), environ)
    others = {field.encode_name for field in msgspec.structs.fields(Config)} - set(wanted)
    value = tree.value
    if isinstance(value, dict):  # what no configuration has stays in: it may be a misspelt `data_dir`
        value = {key: item for key, item in value.items() if key not in others}
    problems = [each for each in tree.problems if each.path.removeprefix("$.") in wanted]
    config = decode(value, Config, (), tree.lines, problems)
    if config is None or problems:
        raise ConfigError(in_order(problems))
    return config


def parse(source: bytes, origin: str, environ: Mapping[str, str]) -> Config:
    """As `read`, the configuration alone."""
    return read(source, origin, environ).config


def inspect(source: bytes, origin: str, environ: Mapping[str, str]) -> Inspected:
    """Find all problems instead of raising them."""
    try:
        tree, fetched = _filled(source, origin, environ)
    except ConfigError as error:
        return Inspected(config=None, problems=error.problems, lines=Lines(origin))
    reading = _Reading(tree.value, tree.lines)
    base = reading.base()
    providers = reading.entries("providers", ProviderEntry)
    models = reading.entries("models", ModelEntry)
    plugins = reading.entries("plugins", PluginEntry)
    prices = reading.entries("prices", PriceEntry)
    reading.check(providers, models, plugins, prices)
    unused = [f"{shown(path)}.with" for path, entry in providers if is_off(entry)]
    problems = [each for each in tree.problems if not each.path.startswith(tuple(unused))] + reading.problems
    config = None
    if not problems and base is not None:
        config = msgspec.structs.replace(
            base, providers=_values(providers), models=_values(models), plugins=_values(plugins), prices=_values(prices)
        )
    return Inspected(
        config=config, problems=in_order(problems), lines=tree.lines, fetched=fetched, providers=providers,
        plugins=plugins,
    )


def warnings(config: Config) -> list[str]:
    """What is no mistake, but hardly meant."""
    if any(plugin.use.startswith("auth.") for plugin in config.plugins):
        return []
    return ["no auth plugin: every request will be refused with 401"]


def is_off(entry: ProviderEntry) -> bool:
    """Whether a provider is switched off by an empty `when`."""
    return entry.when is not None and not entry.when.strip()


def _filled(source: bytes, origin: str, environ: Mapping[str, str]) -> tuple[Tree, Fetched]:
    """A file's values. Secret sources are asked only for what the environment lacks."""
    tree = parse_yaml(source, origin, environ)
    if not tree.references:
        return tree, Fetched()
    fetched = fetch(tree)
    return parse_yaml(source, origin, {**environ, **fetched.values}), fetched


def _values(entries: Entries[E]) -> tuple[E, ...]:
    return tuple(entry for _, entry in entries)


class _Reading:
    """One file on its way from values to structs; `problems` grows."""

    def __init__(self, value: YamlValue, lines: Lines) -> None:
        self.problems: list[Problem] = []
        self._value = value
        self._lines = lines

    def base(self) -> Config | None:
        """The configuration without the four lists, whose entries are decoded one by one."""
        rest = self._value
        if isinstance(rest, dict):
            lists = ("providers", "models", "plugins", "prices")
            rest = {key: item for key, item in rest.items() if not (key in lists and isinstance(item, list))}
        return decode(rest, Config, (), self._lines, self.problems)

    def entries(self, section: str, struct: type[E]) -> Entries[E]:
        """The good entries of a list, with their paths."""
        found: list[tuple[Path, E]] = []
        for index, item in enumerate(self._raw(section)):
            path: Path = (section, index)
            entry = decode(item, struct, path, self._lines, self.problems, keep_filled=True)
            if entry is not None:
                found.append((path, entry))
        return tuple(found)

    def check(
        self,
        providers: Entries[ProviderEntry],
        models: Entries[ModelEntry],
        plugins: Entries[PluginEntry],
        prices: Entries[PriceEntry],
    ) -> None:
        """What single entries cannot show: names that clash, and names that lead nowhere."""
        self._unique("provider", [((*path, "name"), entry.name) for path, entry in providers])
        self._unique("model", list(_model_names(models)))
        self._unique("plugin", [((*path, "name"), entry.name or entry.use) for path, entry in plugins])
        self._unique("price for", [((*path, "model"), _priced(entry)) for path, entry in prices])
        # Also entries with other mistakes count as known: one mistake, one message.
        known = [str(item["name"]) for item in self._raw("providers") if isinstance(item, dict) and "name" in item]
        for path, model in models:
            self._model(path, model, known)
        for path, price in prices:
            self._leads_to((*path, "model"), price.model, known)
            self._star((*path, "model"), price.model)
            if price.since is not None and not _is_day(price.since):
                self._report((*path, "since"), f"there is no day `{price.since}`")

    def _model(self, path: Path, model: ModelEntry, known: Sequence[str]) -> None:
        self._star((*path, "name"), model.name)
        for index, target in enumerate(model.targets):
            self._leads_to((*path, "targets", index), target, known)
            if "*" in target and not model.name.endswith("*"):
                self._report((*path, "targets", index), "a `*` here needs a `*` at the end of the model's name")

    def _leads_to(self, path: Path, target: str, known: Sequence[str]) -> None:
        provider, slash, model = target.partition("/")
        if not (provider and slash and model):
            self._report(path, f"`{target}` must be written `provider/model`")
        elif provider not in known:
            self._report(path, f"no provider is named `{provider}`{did_you_mean(provider, known)}")

    def _star(self, path: Path, name: str) -> None:
        if "*" in name[:-1]:
            self._report(path, f"in `{name}`, `*` may stand at the end only")

    def _unique(self, kind: str, named: Sequence[tuple[Path, str]]) -> None:
        first: dict[str, Path] = {}
        for path, name in named:
            if name in first:
                line = self._lines.at(first[name])
                self._report(path, f"the {kind} `{name}` is there twice, first on line {line}")
            first.setdefault(name, path)

    def _raw(self, section: str) -> list[YamlValue]:
        items = self._value.get(section) if isinstance(self._value, dict) else None
        return items if isinstance(items, list) else []

    def _report(self, path: Path, text: str) -> None:
        around = self._value
        for step in path[:2]:
            around = around[step]
        self.problems.append(self._lines.problem(path, hide(text, around)))


def _priced(entry: PriceEntry) -> str:
    """What a price is for: prices of one model may follow each other in time."""
    return entry.model if entry.since is None else f"{entry.model} from {entry.since} on"


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _model_names(models: Entries[ModelEntry]) -> Iterator[tuple[Path, str]]:
    for path, model in models:
        yield (*path, "name"), model.name
        for index, alias in enumerate(model.aliases):
            yield (*path, "aliases", index), alias
