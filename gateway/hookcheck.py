"""Whether a plugin keeps the contract: its hooks exist, take the right arguments, are async where they must be, and
its role has what it needs. A mistake found here would otherwise be a check that silently never runs.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pluggy

from gateway.dispatch import HOOKS, SYNC_HOOKS, argument_names, hooks_of
from gateway.hookspecs import PROJECT, Detector, Guardrail, Hooks, Provider, SecretSource
from gateway.nearest import did_you_mean

_OPTIONS = ("wrapper", "hookwrapper", "tryfirst", "trylast", "specname")


def mistakes(plugin: object, role: str) -> list[str]:
    """Everything in which `plugin` breaks the contract, as texts for its author."""
    found = [text for name, method in _methods(type(plugin)) for text in _method_mistakes(name, method)]
    return found or list(_role_mistakes(plugin, role)) or _as_pluggy_sees(plugin)


def _methods(cls: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    for name in dir(cls):
        method = inspect.getattr_static(cls, name)
        if inspect.isfunction(method):
            yield name, method


def _method_mistakes(name: str, method: Callable[..., Any]) -> Iterator[str]:
    options = getattr(method, f"{PROJECT}_impl", None)
    if options is None:
        if name in HOOKS:
            yield f"the method `{name}` has a hook's name but is not marked with `@hookimpl`"
        return
    if name not in HOOKS:
        if not options["optionalhook"]:
            yield f"the method `{name}` is marked with `@hookimpl` but is no hook{did_you_mean(name, HOOKS)}"
        return
    if given := [option for option in _OPTIONS if options[option]]:
        yield f"the hook `{name}` uses `{given[0]}` of `@hookimpl`: the order is set by role and YAML alone"
    if unknown := [argument for argument in argument_names(method)[1:] if argument not in HOOKS[name]]:
        expected = f"it has ({', '.join(HOOKS[name])})"
        hint = did_you_mean(unknown[0], HOOKS[name])
        yield f"the hook `{name}` has no argument `{unknown[0]}`: {expected}{hint}"
    if name in SYNC_HOOKS:
        if inspect.iscoroutinefunction(method):
            yield f"the hook `{name}` must be a plain `def`: it is not awaited"
    elif not inspect.iscoroutinefunction(method):
        yield f"the hook `{name}` must be `async def`"


def _role_mistakes(plugin: object, role: str) -> Iterator[str]:
    if role == "provider" and not isinstance(plugin, Provider):
        yield f"a provider needs {_missing(plugin, Provider)}"
    elif role == "guardrail":
        yield from _guardrail_mistakes(plugin)
    elif role != "provider":
        hooks = hooks_of(plugin)
        if role == "auth" and "authenticate" not in hooks:
            yield "an auth plugin needs the hook `authenticate`"
        elif role == "sink" and "on_usage" not in hooks:
            yield "a sink needs the hook `on_usage`"
        elif not hooks and not (role == "secret" and isinstance(plugin, SecretSource)):
            yield "it implements no hook"


def _guardrail_mistakes(plugin: object) -> Iterator[str]:
    if hasattr(plugin, "scan"):
        if not isinstance(plugin, Detector):
            yield f"a detector needs {_missing(plugin, Detector)}"
        elif inspect.iscoroutinefunction(plugin.scan):
            yield "a detector's `scan` must be a plain `def`: what waits for something has an `async def check` instead"
    elif not isinstance(plugin, Guardrail):
        yield f"a guardrail needs {_missing(plugin, Guardrail)}, or `scan`"
    elif not inspect.iscoroutinefunction(plugin.check):
        yield "a guardrail's `check` must be `async def`"


def _missing(plugin: object, protocol: type) -> str:
    names = {*getattr(protocol, "__annotations__", {}), *vars(protocol)}
    wanted = sorted(name for name in names if not name.startswith("_"))
    return ", ".join(f"`{name}`" for name in wanted if not hasattr(plugin, name))


def _as_pluggy_sees(plugin: object) -> list[str]:
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(Hooks)
    try:
        manager.register(plugin)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        return [str(error)]
    return []
