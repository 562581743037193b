"""Plugins by ID: finds them through entry points, imports only those configured, builds and checks them.

An ID is `<role>.<file stem>`. Plugins are never found by path or address: third parties install a package with an
entry point in the group `ai_gateway.plugins`. How hooks are called is in `dispatch.py`.
"""

import inspect
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

import msgspec

from gateway.config import Acting, Config, ModelEntry, PluginEntry, ProviderEntry
from gateway.configfile import Entries, Inspected, is_off
from gateway.decoding import check, decode, hide
from gateway.dispatch import ROLES, Member, OnFailure, PluginError, Plugins
from gateway.guardrails.building import guardrails
from gateway.hookcheck import mistakes
from gateway.hookspecs import Provider
from gateway.nearest import did_you_mean
from gateway.problems import ConfigError, Lines, Path, Problem
from gateway.secrets import scrub

__all__ = ["GROUP", "Member", "PluginError", "Plugins", "Registry", "options_of"]

GROUP = "ai_gateway.plugins"
_WILD = frozenset("*?[")
_GUARDRAIL_SETTINGS = tuple(field.name for field in msgspec.structs.fields(Acting))


class Registry:
    """The installed plugins. Nothing of a plugin is imported before `load` or `build` asks for it."""

    def __init__(self, entries: Iterable[EntryPoint] | None = None) -> None:
        self._entries: dict[str, dict[str, EntryPoint]] = {}
        for entry in entry_points(group=GROUP) if entries is None else entries:
            self._entries.setdefault(entry.name, {})[entry.value] = entry

    def ids(self) -> Sequence[str]:
        """The IDs of all installed plugins, sorted."""
        return sorted(self._entries)

    def load(self, id: str) -> type:  # noqa: A002
        """Import a plugin's class. Raises `PluginError` if it is unknown or cannot be imported."""
        entry = self._entry(id)
        try:
            cls = entry.load()
        except Exception as error:
            raise PluginError(f"the plugin `{id}` ({entry.value}) cannot be imported: {_said(error)}") from error
        if not isinstance(cls, type):
            raise PluginError(f"the plugin `{id}` ({entry.value}) is no class")
        return cls

    def build(self, config: Config, lines: Lines | None = None, on_failure: OnFailure | None = None) -> Plugins:
        """All plugins of a configuration, made and checked but not started. Raises `ConfigError`.

        `lines` (from `configfile.Loaded`) gives the errors their lines. `on_failure` is told of each failure that is
        passed over or hidden from the client: the plugin's name and the hook's.
        """
        building = _Building(self, lines or Lines())
        members = building.members(
            tuple((("providers", index), entry) for index, entry in enumerate(config.providers)),
            tuple((("plugins", index), entry) for index, entry in enumerate(config.plugins)),
        )
        building.check_targets(members, config.models)
        building.check_default(config)
        members += building.brought(members)
        if building.problems:
            raise ConfigError(building.problems)
        members.append(Member("guardrails", "guardrails", "guardrail", (guardrails(self, config, building, members),)))
        if building.problems:
            raise ConfigError(building.problems)
        trace = os.environ.get("GATEWAY_TRACE_PLUGINS") == "1"
        return Plugins(members, on_failure=on_failure, trace=trace)

    def examine(self, inspected: Inspected) -> list[Problem]:
        """What is wrong with the plugins of a file, also where other parts of it are wrong."""
        building = _Building(self, inspected.lines)
        members = building.members(inspected.providers, inspected.plugins)
        if inspected.config is not None:
            building.check_targets(members, inspected.config.models)
            building.check_default(inspected.config)
            guardrails(self, inspected.config, building, members)
        building.check_off(inspected.providers)
        return building.problems

    def make(self, id: str, options: dict[str, Any]) -> object:  # noqa: A002
        """One plugin with these options, checked but not started. Raises `ConfigError`."""
        building = _Building(self, Lines())
        member = building.member((), PluginEntry(use=id, with_=options), id)
        if member is None:
            raise ConfigError(building.problems)
        return member.plugin

    def options(self, id: str) -> type[msgspec.Struct] | None:  # noqa: A002
        """The struct of a plugin's options. Raises `PluginError`."""
        return options_of(self.load(id))

    def _entry(self, id: str) -> EntryPoint:  # noqa: A002
        found = self._entries.get(id)
        if found is None:
            raise PluginError(f"no plugin `{id}` is installed{did_you_mean(id, self._entries)}")
        if len(found) > 1:
            raise PluginError(f"several installed plugins are called `{id}`: {', '.join(sorted(found))}")
        return next(iter(found.values()))


def options_of(cls: type) -> type[msgspec.Struct] | None:
    """The struct of a plugin's options: `Config` in the class or in its module, or inherited; `None` if it has none."""
    module = sys.modules.get(cls.__module__)
    near = getattr(module, "Config", None)
    for found in (vars(cls).get("Config"), near, getattr(cls, "Config", None)):
        if isinstance(found, type) and issubclass(found, msgspec.Struct):
            if found is near and found.__module__ != cls.__module__:
                continue  # imported there for another purpose
            return found
    return None


class _Building:
    """One build: entries become members, mistakes become problems."""

    def __init__(self, registry: Registry, lines: Lines) -> None:
        self.problems: list[Problem] = []
        self._registry = registry
        self._lines = lines

    def members(self, providers: Entries[ProviderEntry], plugins: Entries[PluginEntry]) -> list[Member]:
        """One member for each entry that is switched on and right."""
        made: list[Member | None] = []
        for path, provider in providers:
            if is_off(provider):
                self._role(path, provider.use, provider=True)
            else:
                made.append(self.member(path, provider, provider.name))
        for path, plugin in plugins:
            made.append(self.member(path, plugin, plugin.name or plugin.use))
        return [member for member in made if member is not None]

    def brought(self, members: Sequence[Member]) -> list[Member]:
        """What these plugins bring along (`brings`, a tuple of IDs) and the file does not have itself."""
        have = {member.id for member in members}
        wanted = [id_ for member in members for id_ in getattr(member.plugin, "brings", ()) if id_ not in have]
        made = [self.member((), PluginEntry(use=id_), id_) for id_ in dict.fromkeys(wanted)]
        return [member for member in made if member is not None]

    def check_off(self, providers: Entries[ProviderEntry]) -> None:
        """The options of switched-off providers, where these can be imported."""
        for path, provider in providers:
            if is_off(provider) and provider.use in self._registry.ids():
                cls = self._load(path, provider.use)
                options = options_of(cls) if cls else None
                if options is not None:
                    self.problems += check(provider.with_, options, (*path, "with"), self._lines)

    def check_targets(self, members: Iterable[Member], models: Iterable[ModelEntry]) -> None:
        """Targets that their provider does not have, where it names all that it has."""
        have = {each.name: cast("Provider", each.parts[0]).models() for each in members if each.role == "provider"}
        for index, model in enumerate(models):
            for nth, target in enumerate(model.targets):
                provider, _, name = target.partition("/")
                known = have.get(provider, ("*",))
                if not any(_WILD & set(each) for each in (*known, name)) and name not in known:
                    text = f"the provider `{provider}` has no model `{name}`{did_you_mean(name, known)}"
                    self.report(("models", index, "targets", nth), text)

    def check_default(self, config: Config) -> None:
        """`default_provider` must be in the file."""
        names = [entry.name for entry in config.providers]
        if config.default_provider is not None and config.default_provider not in names:
            hint = did_you_mean(config.default_provider, names)
            self.report(("default_provider",), f"there is no provider `{config.default_provider}`{hint}")

    def member(self, path: Path, entry: ProviderEntry | PluginEntry, name: str) -> Member | None:
        """The plugin of one entry; `None` if it has mistakes."""
        role = self._role(path, entry.use, provider=isinstance(entry, ProviderEntry))
        cls = self._load(path, entry.use) if role else None
        instance = self._instance(path, cls, entry.with_) if cls else None
        if role is None or cls is None or instance is None:
            return None
        on_error = entry.on_error if isinstance(entry, PluginEntry) else None
        values: Mapping[str, object] = {"name": name, "id": entry.use, "role": role, "on_error": on_error}
        try:
            for attribute, value in values.items():
                setattr(instance, attribute, value)
        except AttributeError as error:
            self.report((*path, "use"), f"the plugin `{entry.use}` ({_file(cls)}) cannot be named: {error}")
            return None
        found = mistakes(instance, role)
        for text in found:
            self.report((*path, "use"), f"the plugin `{entry.use}` ({_file(cls)}) is wrong: {text}")
        if found:
            return None
        if isinstance(entry, PluginEntry) and not self._settled(path, entry, role):
            return None
        return Member(name=name, id=entry.use, role=role, parts=(instance,), on_error=on_error)

    def _settled(self, path: Path, entry: PluginEntry, role: str) -> bool:
        """Whether settings that only guardrails have stand with a guardrail."""
        if role == "guardrail":
            return True
        given = [name for name in _GUARDRAIL_SETTINGS if getattr(entry, name) != getattr(Acting(), name)]
        for name in given:
            self.report((*path, name), f"`{name}` is a setting of guardrails: `{entry.use}` has none")
        return not given

    def _role(self, path: Path, id: str, *, provider: bool) -> str | None:  # noqa: A002
        role = id.partition(".")[0]
        if id not in self._registry.ids():
            self.report((*path, "use"), f"no plugin `{id}` is installed{did_you_mean(id, self._registry.ids())}")
        elif role not in ROLES:
            self.report((*path, "use"), f"`{id}` starts with no role; roles are {', '.join(ROLES)}")
        elif provider and role != "provider":
            self.report((*path, "use"), f"`{id}` is no provider: it belongs under `plugins`")
        elif role == "provider" and not provider:
            self.report((*path, "use"), f"`{id}` is a provider: it belongs under `providers`")
        else:
            return role
        return None

    def _load(self, path: Path, id: str) -> type | None:  # noqa: A002
        try:
            return self._registry.load(id)
        except PluginError as error:
            self.report((*path, "use"), str(error))
            return None

    def _instance(self, path: Path, cls: type, given: dict[str, Any]) -> object | None:
        options = options_of(cls)
        if options is None:
            for name in given:
                self.report((*path, "with", name), f"unknown field `{name}`: this plugin has no options")
            return None if given else self._made(path, cls, given)
        try:
            config = decode(given, options, (*path, "with"), self._lines, self.problems)
        except TypeError as error:  # the plugin's own struct is wrong
            self.report((*path, "use"), f"the options of {_file(cls)} cannot be read: {_said(error)}")
            return None
        return None if config is None else self._made(path, cls, given, config)

    def _made(self, path: Path, cls: type, given: dict[str, Any], *arguments: object) -> object | None:
        try:
            instance: object = cls(*arguments)
        except Exception as error:
            text = str(error) if isinstance(error, ValueError) else f"{_file(cls)} cannot be made: {_said(error)}"
            self.report((*path, "with") if given else path, hide(text, given))
            return None
        return instance

    def report(self, path: Path, text: str) -> None:
        """A mistake at this place of the file."""
        self.problems.append(self._lines.problem(path, text))


def _file(cls: type) -> str:
    try:
        return inspect.getfile(cls)
    except (OSError, TypeError):
        return cls.__module__


def _said(error: BaseException) -> str:
    text = scrub(str(error).encode(errors="replace")).decode()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
