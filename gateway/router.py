"""Model name -> targets: configured names, aliases, wildcards, and `provider/model`; and what `/models` lists.

Which meaning of a name wins: a configured name, an alias, the wildcard with the longest beginning, `provider/model` (or
`provider:model`), and last a bare `*`. Pure: built once from a configuration. Trying the targets is the pipeline's.
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
    from gateway.catalogue import Catalogue
    from gateway.money.prices import PriceBook

# Clients use the same names again and again; made-up ones must not pile up.
_REMEMBERED = 4096


class Resolved(msgspec.Struct, frozen=True, eq=False):
    """Where a name leads: `name` is the configured one (bounded, for metrics), `targets` in the order to try.

    `canonical` is the configured name with what its `*` stands for, or `provider/model`: what permissions are about.
    `askable` remembers by endpoint and dialect which of the targets can be asked, and in which dialect each.
    """

    name: str
    targets: tuple[Target, ...]
    entry: ModelEntry | None = None
    canonical: str = ""
    askable: dict[tuple[str, str], tuple[tuple[Target, str], ...]] = {}  # a new one for each

    @property
    def on_lossy(self) -> str:
        """What becomes of requests that a target cannot carry whole: `refuse` or `warn`."""
        return self.entry.on_lossy if self.entry is not None else "warn"


class Listed(msgspec.Struct, frozen=True, eq=False):
    """One line of `/models`."""

    name: str
    target: Target
    entry: ModelEntry | None = None
    canonical: str = ""
    providers: tuple[str, ...] = ()


class _Pattern(msgspec.Struct, frozen=True, eq=False):
    """A name with a `*`, as what stands before and behind it."""

    head: str
    tail: str
    entry: ModelEntry

    def rest(self, name: str) -> str | None:
        """What stands for the `*` in `name`; `None` where it does not match."""
        head, tail = len(self.head), len(self.tail)
        if len(name) < head + tail or not name.startswith(self.head) or not name.endswith(self.tail):
            return None
        return name[head : len(name) - tail]


class Router:
    """All names of one configuration."""

    def __init__(
        self, config: Config, providers: Mapping[str, Provider], prices: "PriceBook",
        catalogue: "Catalogue | None" = None,
    ) -> None:
        self._catalogue = catalogue
        self._lines_of: tuple[tuple[tuple[str, ...], ...], Sequence[Listed]] | None = None
        self._config = config
        self._providers = providers
        self._prices = prices
        self._refuse_unpriced = config.unpriced == "refuse"
        self._off = {entry.name for entry in config.providers if entry.name not in providers}
        self._exact: dict[str, Resolved] = {}
        self._known: dict[str, Resolved] = {}
        names = [(entry.name, entry) for entry in config.models]
        names += [(alias, entry) for entry in config.models for alias in entry.aliases]
        for name, entry in names:
            if "*" not in name and "*" not in entry.name and name not in self._exact:
                self._exact[name] = Resolved(entry.name, self._targets(entry, ""), entry, entry.name)
        patterns = [_pattern(name, entry) for name, entry in names if "*" in name]
        patterns.sort(key=lambda pattern: (len(pattern.head), len(pattern.tail)), reverse=True)
        self._patterns = [pattern for pattern in patterns if pattern.head or pattern.tail]
        self._any = next((pattern for pattern in patterns if not (pattern.head or pattern.tail)), None)

    def resolve(self, name: str, caller: Caller) -> Resolved:
        """The targets of `name` for this caller. Raises `UnknownModel` with the nearest names, or `Forbidden`."""
        found = self._exact.get(name) or self._known.get(name) or self._remember(name)
        if found is None:
            raise self._unknown(name, caller)
        if not _allowed(caller, name, found.canonical):
            raise Forbidden(
                f"This key may not use the model `{name[:128]}`. GET /models lists what it may use.",
                code="model_not_allowed", param="model",
            )
        if not found.targets:
            raise self._switched_off(name, [_cut(target)[0] for target in found.entry.targets] if found.entry else [])
        if self._refuse_unpriced:
            found = msgspec.structs.replace(found, targets=_priced(found.targets))
        if caller.providers is not None:
            return msgspec.structs.replace(found, targets=_permitted(found.targets, caller.providers), askable={})
        return found

    def permitted(self, name: str, caller: Caller) -> tuple[Target, ...]:
        """The targets of `name`; none where it leads nowhere for this caller."""
        try:
            return self.resolve(name, caller).targets
        except (UnknownModel, Forbidden):
            return ()

    def label(self, name: str) -> str:
        """What metrics call `name`: the configured name that it leads to, `other` for what a client made up."""
        found = self._exact.get(name) or self._known.get(name) or self._remember(name)
        return "other" if found is None else found.name

    def listed(self, caller: Caller) -> Iterator[Listed]:
        """What this caller may use, without duplicates."""
        return (
            line for line in self._lines
            if _allowed(caller, line.name, line.canonical)
            and (caller.providers is None or any(name in caller.providers for name in line.providers))
        )

    @property
    def _lines(self) -> Sequence[Listed]:
        """Every line, worked out again only where a provider lists other models than before."""
        told = tuple(map(self._told, self._providers))
        if self._lines_of is None or self._lines_of[0] != told:
            self._lines_of = (told, self._all_lines())
        return self._lines_of[1]

    def _told(self, provider: str) -> tuple[str, ...]:
        return self._catalogue.names(provider) if self._catalogue is not None else ()

    def _all_lines(self) -> Sequence[Listed]:
        """What a name leads to is what a request for it would get."""
        lines: dict[str, Listed] = {}
        for name in self._names():
            found = None if name in lines else self._exact.get(name) or self._find(name)
            if found is not None and found.targets and (not self._refuse_unpriced or _any_priced(found.targets)):
                providers = tuple(target.provider.name for target in found.targets)
                lines[name] = Listed(name, found.targets[0], found.entry, found.canonical, providers)
        return tuple(lines.values())

    def _names(self) -> Iterator[str]:
        yield from self._exact
        for entry in self._config.models:
            if "*" in entry.name:
                yield from self._expanded(entry)
        if self._config.direct_models:
            for provider in self._providers.values():
                yield from (f"{provider.name}/{model}" for model in self._models_of(provider))

    def _expanded(self, entry: ModelEntry) -> Iterator[str]:
        """The names that a wildcard is known to stand for, from the models of its targets' providers."""
        for target in entry.targets:
            name, wanted = _cut(target)
            provider = self._providers.get(name)
            if provider is None or "*" not in wanted:
                continue
            pattern = _pattern(wanted, entry)
            for model in self._models_of(provider):
                if (rest := pattern.rest(model)) is not None:
                    yield entry.name.replace("*", rest, 1)

    def _models_of(self, provider: Provider) -> Iterator[str]:
        for pattern in provider.models():
            if not _is_pattern(pattern):
                yield pattern
                continue
            known = self._told(provider.name) or self._prices.known(getattr(provider, "price_book", None))
            yield from (model for model in known if fnmatchcase(model, pattern))

    def _remember(self, name: str) -> Resolved | None:
        found = self._find(name)
        if found is not None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[name] = found
        return found

    def _find(self, name: str) -> Resolved | None:
        """What a name means that is not configured literally."""
        if "*" in name:
            return None
        for pattern in self._patterns:
            if (rest := pattern.rest(name)) is not None:
                return self._through(pattern, rest)
        if self._config.direct_models and (found := self._direct(name)) is not None:
            return found
        return self._through(self._any, name) if self._any is not None else None

    def _through(self, pattern: _Pattern, rest: str) -> Resolved:
        entry = pattern.entry
        return Resolved(entry.name, self._targets(entry, rest), entry, entry.name.replace("*", rest, 1))

    def _direct(self, name: str) -> Resolved | None:
        """`provider/model` or `provider:model`; `None` if no such provider is on, or it lacks the model."""
        provider_name, model = _cut(name)
        provider = self._providers.get(provider_name)
        if not model:
            return None
        if provider is None:
            off = provider_name in self._off
            return Resolved(f"{provider_name}/*", (), _off_entry(name), f"{provider_name}/{model}") if off else None
        if not _matches(model, provider.models()):
            return None
        target = self._target(provider, model, None)
        return Resolved(f"{provider_name}/*", (target,), None, f"{provider_name}/{model}")

    def _targets(self, entry: ModelEntry, rest: str) -> tuple[Target, ...]:
        """The entry's targets whose provider is switched on."""
        found = []
        for text in entry.targets:
            name, model = _cut(text)
            if (provider := self._providers.get(name)) is not None:
                found.append(self._target(provider, model.replace("*", rest, 1), entry))
        return tuple(found)

    def _target(self, provider: Provider, model: str, entry: ModelEntry | None) -> Target:
        kind = getattr(provider, "price_book", None)
        price = self._prices.find(provider.name, model, kind)
        own = getattr(provider, "facts", {}).get(model)
        facts = (entry, own, self._prices.facts(kind, model))
        return Target(
            provider, model, price,
            context_length=_first(facts, "context_length"),
            max_output=_first(facts, "max_output_tokens", "max_output"),
            free=price is not None and price.input == price.output == 0 and not price.units,
        )

    def _unknown(self, name: str, caller: Caller) -> UnknownModel:
        near = nearest(name, [line.name for line in self.listed(caller)], 3)
        hint = f" Did you mean {', '.join(f'`{n}`' for n in near)}?" if near else " GET /models lists what there is."
        return UnknownModel(f"The model `{name[:128]}` does not exist.{hint}", param="model")

    def _switched_off(self, name: str, providers: Sequence[str]) -> UnknownModel:
        names = list(dict.fromkeys(providers))
        which = f"provider{'s' if len(names) > 1 else ''} {' and '.join(f'`{each}`' for each in names)}"
        return UnknownModel(
            f"The model `{name[:128]}` is switched off, for its {which}: `when` is empty in the configuration.",
            param="model",
        )


def _pattern(name: str, entry: ModelEntry) -> _Pattern:
    head, _, tail = name.partition("*")
    return _Pattern(head, tail, entry)


def _off_entry(target: str) -> ModelEntry:
    return ModelEntry(name=target, targets=(target,))


def _cut(text: str) -> tuple[str, str]:
    """`provider/model` or `provider:model` at the first sign: models have both in their names, providers neither."""
    at = min((at for at in (text.find("/"), text.find(":")) if at > 0), default=0)
    return text[:at], text[at + 1 :]


def _first(sources: Sequence[object], *names: str) -> int | None:
    """The first number that one of the sources gives under one of the names."""
    found = (getattr(source, name, None) for source in sources for name in names)
    return next((number for number in found if number), None)


def _permitted(targets: Sequence[Target], providers: Sequence[str]) -> tuple[Target, ...]:
    """Those of a provider that this caller's tenant may use. Raises `Forbidden` where there are none."""
    found = tuple(target for target in targets if target.provider.name in providers)
    if not found:
        raise Forbidden(
            "The organisation of this key may not use a provider of this model. GET /models lists what it may use.",
            code="provider_not_allowed", param="model",
        )
    return found


def _any_priced(targets: Sequence[Target]) -> bool:
    return any(target.price is not None for target in targets)


def _priced(targets: Sequence[Target]) -> tuple[Target, ...]:
    """Those with a price. Raises `Forbidden` where there are none: what cannot be billed is not served."""
    found = tuple(target for target in targets if target.price is not None)
    if not found:
        names = " and ".join(f"`{target.provider.name}/{target.model[:128]}`" for target in targets)
        raise Forbidden(
            f"{names} has no price, and this gateway serves only what it can bill (`unpriced: refuse`). "
            'Its operator can set one under `prices:`; "0" is free on purpose.',
            code="model_not_priced", param="model",
        )
    return found


def _allowed(caller: Caller, name: str, canonical: str) -> bool:
    """Whether every level of the caller allows the name as asked, or the one that it stands for."""
    for level in caller.levels:
        models = level.models
        if models is None or name in models or canonical in models:
            continue
        if not (_matches(name, models) or _matches(canonical, models)):
            return False
    return True


def _matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether one of the names or shell patterns stands for `name`."""
    return name in patterns or any(_is_pattern(pattern) and fnmatchcase(name, pattern) for pattern in patterns)


def _is_pattern(name: str) -> bool:
    return "*" in name or "?" in name or "[" in name
