"""What administrators may write as a policy: mistakes with their fields, and no way to other addresses or credentials.

Guardrails that ask a service outside are configured in the file, with address and credential; a stored policy uses one
of them by its name.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from gateway.accounts.records import StoredPolicy
from gateway.config import Config, PluginEntry, PolicyEntry
from gateway.guardrails.book import Book
from gateway.judge import ServiceOptions
from gateway.nearest import did_you_mean
from gateway.problems import ConfigError
from gateway.secrets import Secret

Wrong = tuple[str, str]  # a field's path, and what is wrong with it
Options = Callable[[str], type[msgspec.Struct] | None]
_BROKEN: Final = PluginEntry(use="guardrail.unusable")


class Drafts:
    """Reads and checks policies of the database against one configuration."""

    def __init__(self, config: Config, options: Options, book: Book) -> None:
        self._options = options
        self._book = book
        rules = [rule for policy in config.guardrails.policies for rule in policy.rules]
        entries = [entry for entry in (*config.plugins, *rules) if entry.use.startswith("guardrail.")]
        self._configured: Mapping[tuple[str, str], Mapping[str, Any]] = {
            (entry.use, entry.name or entry.use): entry.with_ for entry in reversed(entries)
        }

    def entry(self, stored: StoredPolicy) -> PolicyEntry:
        """A stored policy as the file would have it. Raises `ValueError` if it has what this release does not know."""
        try:
            rules = msgspec.convert(stored.rules, tuple[PluginEntry, ...])
        except msgspec.ValidationError as error:
            raise ValueError(str(error)) from None
        return PolicyEntry(
            name=stored.name, description=stored.description, version=stored.label, shadow_of=stored.shadow_of,
            rules=tuple(self._completed(rule) for rule in rules),
        )  # fmt: skip

    def unusable(self, name: str) -> PolicyEntry:
        """What stands for a policy that cannot be read: whoever is under it is refused."""
        return PolicyEntry(name=name, rules=(_BROKEN,))

    def mistakes(self, entry: PolicyEntry, seen: Book) -> list[Wrong]:
        """All that is wrong with a policy beside the others that its tenant sees (`seen`). Makes its guardrails."""
        wrong = [found for number, rule in enumerate(entry.rules) for found in self._wrong(f"rules[{number}]", rule)]
        names: dict[str, int] = {}
        for number, rule in enumerate(entry.rules):
            name = rule.name or rule.use
            if names.setdefault(name, number) != number:
                wrong.append((f"rules[{number}].name", f"is the name of rules[{names[name]}] too"))
        live = entry.shadow_of
        if live is not None and (live not in seen.entries or seen.entries[live].shadow_of is not None):
            wrong.append(("shadow_of", f"there is no policy {live!r} in force{did_you_mean(live, seen.entries)}"))
        elif live == entry.name:
            wrong.append(("shadow_of", "is the policy itself"))
        return wrong

    def _wrong(self, path: str, rule: PluginEntry) -> Sequence[Wrong]:
        if not rule.use.startswith("guardrail."):
            return [(f"{path}.use", f"`{rule.use[:64]}` is no guardrail")]
        if self._is_outside(rule.use):
            return self._wrong_outside(path, rule)
        try:
            made = self._book.rules.make(rule.use, rule.with_)
        except ConfigError as error:
            return [(path + problem.path.removeprefix("$"), problem.text) for problem in error.problems]
        except ValueError as error:
            return [(f"{path}.with", str(error))]
        acting = {rule.action, *rule.actions.values(), getattr(made, "action", None)}
        if "pseudonymise" in acting and rule.stage == "output":
            return [(f"{path}.action", "`pseudonymise` is for requests: answers have nothing to restore")]
        return []

    def _wrong_outside(self, path: str, rule: PluginEntry) -> Sequence[Wrong]:
        if rule.with_:
            return [(f"{path}.with", f"`{rule.use}` asks a service: its options are set in the configuration file")]
        if (rule.use, rule.name or rule.use) not in self._configured:
            known = sorted(name for use, name in self._configured if use == rule.use)
            here = f"there {'are' if len(known) > 1 else 'is'} {', '.join(known)}" if known else "it has none"
            return [(f"{path}.name", f"must be that of a `{rule.use}` in the configuration file: {here}")]
        return []

    def _completed(self, rule: PluginEntry) -> PluginEntry:
        """With the options of the file, where the guardrail is one of the file's."""
        if rule.with_ or not self._is_outside(rule.use):
            return rule
        given = self._configured.get((rule.use, rule.name or rule.use))
        return rule if given is None else msgspec.structs.replace(rule, with_=dict(given))

    def _is_outside(self, use: str) -> bool:
        """Whether a guardrail has an address or a credential among its options."""
        try:
            options = self._options(use)
        except Exception:  # not installed: making it will say so
            return False
        return options is not None and (
            issubclass(options, ServiceOptions)
            or any("Secret" in repr(field.type) or field.type is Secret for field in msgspec.structs.fields(options))
        )
