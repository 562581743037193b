"""Model name -> targets: configured names, aliases, wildcards, and `provider/model`; and what `/models` lists.

Pure: built once from a configuration, asked for each request. Trying the targets is the pipeline's.
"""

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import msgspec

from gateway.config import Config, ModelEntry
from gateway.errors import Forbidden, UnknownModel
from gateway.exchange import Caller, Target
from gateway.hookspecs import Provider
from gateway.nearest import nearest

if TYPE_CHECKING:
    from gateway.money.prices import PriceBook


class Resolved(msgspec.Struct, frozen=True, eq=False):
    """Where a name leads: `name` is the configured one (bounded, for metrics), `targets` in the order to try."""

    name: str
    targets: tuple[Target, ...]
    entry: ModelEntry | None = None


class Listed(msgspec.Struct, frozen=True, eq=False):
    """One line of `/models`."""

    name: str
    target: Target
    entry: ModelEntry | None = None


class Router:
    """All names of one configuration."""

    def __init__(self, config: Config, providers: Mapping[str, Provider], prices: "PriceBook") -> None:
        self._providers = providers
        self._prices = prices
        self._direct = config.direct_models
        self._limit = config.max_attempts
        self._exact: dict[str, Resolved] = {}
        self._patterns: list[ModelEntry] = []
        self._known: dict[str, Resolved] = {}
        for entry in config.models:
            self._add(entry)
        self._patterns.sort(key=lambda entry: len(entry.name), reverse=True)

    def resolve(self, name: str, caller: Caller) -> Resolved:
        """The targets of `name` for this caller. Raises `UnknownModel` with the nearest names, or `Forbidden`."""
        found = self._exact.get(name) or self._known.get(name) or self._by_pattern(name)
        if found is None or not found.targets:
            raise self._unknown(name, caller)
        if not _allowed(caller, name, found.name):
            raise Forbidden(
                f"This key may not use the model `{name[:128]}`. GET /models lists what it may use.",
                code="model_not_allowed", param="model",
            )
        return found

    def listed(self, caller: Caller) -> Iterator[Listed]:
        """What this caller may use, without duplicates."""
        seen: set[str] = set()
        for line in self._lines():
            if line.name not in seen and _allowed(caller, line.name, line.name):
                seen.add(line.name)
                yield line

    def _lines(self) -> Iterator[Listed]:
        for name, resolved in self._exact.items():
            if resolved.targets:
                yield Listed(name, resolved.targets[0], resolved.entry)
        for entry in self._patterns:
            yield from self._expanded(entry)
        if self._direct:
            for provider in self._providers.values():
                for model in self._models_of(provider):
                    name = f"{provider.name}/{model}"
                    yield Listed(name, self._target(provider, model))

    def _expanded(self, entry: ModelEntry) -> Iterator[Listed]:
        """The known models behind a wildcard's first target."""
        provider_name, _, pattern = entry.targets[0].partition("/")
        provider = self._providers.get(provider_name)
        if provider is None or "*" not in pattern:
            return
        for model in self._models_of(provider):
            if (rest := _rest(pattern, model)) is not None:
                yield Listed(entry.name.replace("*", rest, 1), self._target(provider, model, entry), entry)

    def _models_of(self, provider: Provider) -> Sequence[str]:
        names: list[str] = []
        for pattern in provider.models():
            if "*" not in pattern:
                names.append(pattern)
            else:
                known = self._prices.known(getattr(provider, "price_book", None) or "")
                names.extend(model for model in known if fnmatchcase(model, pattern))
        return names

    def _add(self, entry: ModelEntry) -> None:
        if "*" in entry.name:
            self._patterns.append(entry)
            return
        targets = [self._parse(target, "", entry) for target in entry.targets]
        resolved = Resolved(entry.name, tuple(target for target in targets if target is not None), entry)
        for name in (entry.name, *entry.aliases):
            self._exact[name] = resolved

    def _by_pattern(self, name: str) -> Resolved | None:
        for entry in self._patterns:
            rest = _rest(entry.name, name)
            if rest is not None:
                targets = [self._parse(target, rest, entry) for target in entry.targets]
                return self._keep(name, Resolved(entry.name, tuple(t for t in targets if t is not None), entry))
        if not self._direct:
            return None
        target = self._parse(name, "", None)
        return None if target is None else self._keep(name, Resolved(f"{target.provider.name}/*", (target,)))

    def _keep(self, name: str, resolved: Resolved) -> Resolved:
        """Remember a few thousand resolved names: clients use the same ones, and made-up ones must not pile up."""
        if len(self._known) >= 4096:
            self._known.clear()
        self._known[name] = resolved
        return resolved

    def _parse(self, text: str, rest: str, entry: ModelEntry | None) -> Target | None:
        """`provider/model` or `provider:model` as a target; `None` if no such provider is on, or it lacks the model."""
        cut = min((i for i in (text.find("/"), text.find(":")) if i > 0), default=0)
        provider = self._providers.get(text[:cut])
        model = text[cut + 1 :].replace("*", rest, 1) if entry is not None else text[cut + 1 :]
        if provider is None or not model:
            return None
        if entry is None and not any(fnmatchcase(model, pattern) for pattern in provider.models()):
            return None
        return self._target(provider, model, entry)

    def _target(self, provider: Provider, model: str, entry: ModelEntry | None = None) -> Target:
        kind = getattr(provider, "price_book", None) or ""
        price = self._prices.find(provider.name, model, kind)
        facts = self._prices.facts(kind, model)
        own = getattr(provider, "facts", {}).get(model)
        return Target(
            provider, model, price,
            context_length=(entry and entry.context_length) or getattr(own or facts, "context_length", None),
            max_output=(entry and entry.max_output_tokens) or getattr(own or facts, "max_output", None),
            free=price is not None and price.input == price.output == 0,
        )

    def _unknown(self, name: str, caller: Caller) -> UnknownModel:
        names = [line.name for line in self.listed(caller)]
        near = nearest(name, names, 3)
        hint = f" Did you mean {', '.join(f'`{n}`' for n in near)}?" if near else " GET /models lists what there is."
        return UnknownModel(f"The model `{name[:128]}` does not exist or is switched off.{hint}", param="model")


def _allowed(caller: Caller, *names: str) -> bool:
    """Whether every level of the caller allows one of the names; a level's wildcards are shell patterns."""
    return all(
        level.models is None or any(fnmatchcase(name, pattern) for pattern in level.models for name in names)
        for level in caller.levels
    )


def _rest(pattern: str, name: str) -> str | None:
    """What stands for the `*` of `pattern` in `name`; `None` where it does not match."""
    head, _, tail = pattern.partition("*")
    if len(name) < len(head) + len(tail) or not name.startswith(head) or not name.endswith(tail):
        return None
    return name[len(head) : len(name) - len(tail)]
