"""Policies ready for use: their rules as checks, of one policy or of several that hold together.

Where several hold, a guardrail that stands in more than one of them runs once, with what is strictest of each. Which
policies hold for a request is in `book.py`.
"""

from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from importlib.resources import files
from typing import Any

import msgspec

from gateway.config import Action, PluginEntry, PolicyEntry
from gateway.guardrails.chain import Chain
from gateway.guardrails.check import STRENGTH, Check

Make = Callable[[str, dict[str, Any]], Any]


def shipped() -> dict[str, PolicyEntry]:
    """The policies that come with the gateway, by name."""
    text = files("gateway.guardrails").joinpath("shipped.yaml").read_bytes()
    return {entry.name: entry for entry in msgspec.yaml.decode(text, type=list[PolicyEntry])}


def hash_of(entry: PolicyEntry) -> str:
    """Twelve hex digits that change with what a policy does."""
    return blake2b(msgspec.json.encode(entry.rules, order="sorted"), digest_size=6).hexdigest()


class Policy:
    """Checks for both directions. `names` are the policies that it is made of, in the order in which they came."""

    def __init__(self, names: Sequence[str], checks: Iterable[Check]) -> None:
        self.names = tuple(names)
        self.checks = tuple(checks)
        self.input = Chain(check for check in self.checks if check.on_input)
        self.output = Chain(check for check in self.checks if check.on_output and not check.only_pseudonymises)
        self.background_input = Chain(_foreground(check for check in self.checks if check.on_input))
        self.background_output = Chain(_foreground(check for check in self.checks if check.on_output))
        self.pseudonymises = any(check.pseudonymises for check in self.input.checks)
        self.file_checks = tuple(check for check in self.checks if hasattr(check.guardrail, "unreadable"))
        self.shadows: tuple[Policy, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether it does nothing at all."""
        return not self.checks and not self.shadows


class Rules:
    """Makes the checks of policies; a guardrail with the same options is made once, whoever uses it."""

    def __init__(self, make: Make, parent: "Rules | None" = None) -> None:
        self.make = make
        self.made: dict[tuple[str, bytes], Any] = {}
        self._parent = parent

    @property
    def guardrails(self) -> Sequence[Any]:
        """All that were made, in that order."""
        return list(self.made.values())

    def checks(self, policies: Iterable[PolicyEntry]) -> list[Check]:
        """The checks of policies that hold together. Raises what `make` raises."""
        merged: dict[tuple[str, bytes], PluginEntry] = {}
        for policy in policies:
            for rule in policy.rules:
                key = key_of(rule)
                rule = self._filled(key, rule)  # noqa: PLW2901
                merged[key] = _stricter(merged[key], rule) if key in merged else rule
        return [
            Check(rule.name or rule.use, self.guardrail(key, rule), rule, on_error=rule.on_error)
            for key, rule in merged.items()
        ]

    def guardrail(self, key: tuple[str, bytes], rule: PluginEntry) -> Any:  # noqa: ANN401 - of the plugin's class
        """The guardrail of a rule, the parent's if that has it; made if there is none yet."""
        made = self._parent.made.get(key) if self._parent is not None else None
        if made is None:
            made = self.made.get(key)
        if made is None:
            made = self.made[key] = self.make(rule.use, rule.with_)
        return made

    def _filled(self, key: tuple[str, bytes], rule: PluginEntry) -> PluginEntry:
        """With the guardrail's own settings where the rule has none, so that rules can be compared."""
        made = self.guardrail(key, rule)
        threshold = rule.threshold if rule.threshold is not None else getattr(made, "threshold", 0.5)
        return msgspec.structs.replace(
            rule, stage=rule.stage or getattr(made, "apply_to", "both"), threshold=float(threshold),
            action=rule.action or (getattr(made, "action", "block") if hasattr(made, "scan") else None),
        )


def key_of(rule: PluginEntry) -> tuple[str, bytes]:
    """What makes a guardrail another one: its plugin and options."""
    return rule.use, msgspec.json.encode(rule.with_, order="sorted")


def _stricter(one: PluginEntry, other: PluginEntry) -> PluginEntry:
    kinds = {*one.actions, *other.actions}
    actions = {
        kind: _stronger(one.actions.get(kind, one.action), other.actions.get(kind, other.action)) for kind in kinds
    }
    return msgspec.structs.replace(
        one,
        stage=one.stage if one.stage == other.stage else "both",
        action=_stronger(one.action, other.action),
        actions={kind: action for kind, action in actions.items() if action is not None},
        threshold=min(one.threshold or 0.0, other.threshold or 0.0),
        message=one.message or other.message,
        async_=one.async_ and other.async_,
        stream="buffer" if "buffer" in (one.stream, other.stream) else "window",
        window=max(one.window, other.window),
        on_error="open" if one.on_error == other.on_error == "open" else "closed",
    )


def _stronger(one: Action | None, other: Action | None) -> Action | None:
    if one is None or other is None:  # a judge decides for itself, as strictly as it does
        return one or other
    return max(one, other, key=STRENGTH.index)


def _foreground(checks: Iterable[Check]) -> list[Check]:
    return [check.at_once() for check in checks if check.background]
