"""The price book: what a token costs at which provider, and a few facts about models.

Three layers, the first that knows a model wins: `prices:` of the configuration, prices that a provider plugin
declares, and the table that ships with the release (`prices.json`, written by `contrib/prices/build.py`).
Nothing is fetched. Prices are integer pico-dollars per token: one dollar per million tokens is 1,000,000.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Protocol, Self

import msgspec

from gateway.exchange import Price
from gateway.money.tariffs import Rates, Rates4, Spec, dated_price, shipped_price, stated_price

_COMPACT_DATE = re.compile(r"-(20\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=$|[-:@])")
_REMEMBERED = 4096


class ModelFacts(msgspec.Struct, frozen=True):
    """What the price book knows of a model beside its price; `None` where it does not."""

    context_length: int | None = None
    max_output: int | None = None


class NamedRates(Rates, Protocol):
    """Rates for `provider/model`, as in the configuration."""

    @property
    def model(self) -> str:
        """`provider/model`; a trailing `*` stands for any rest."""

    @property
    def since(self) -> str | None:
        """The day (UTC) from which it holds."""


class PriceBook:
    """Finds prices. Immutable: a reload builds a new one."""

    def __init__(self, overrides: Iterable[NamedRates] = (), *, shipped: bytes | None = None) -> None:
        self._overrides = _Layer(_stated(overrides))
        self._declared: dict[str, _Layer] = {}
        self._shipped = msgspec.json.decode(_shipped() if shipped is None else shipped, type=_Book)
        self._tables: dict[str, _Table] = {}
        self._found: dict[tuple[str, str, str | None], Price | None] = {}

    @property
    def version(self) -> str:
        """The version of the shipped table."""
        return self._shipped.version

    def with_declared(self, provider: str, declared: Mapping[str, Rates]) -> Self:
        """A book that also knows the prices which the plugin of `provider` declares for its models."""
        prices = ((f"{provider}/{name}", stated_price(rates, "declared", name)) for name, rates in declared.items())
        book = copy(self)
        book._declared = {**self._declared, provider: _Layer(prices)}
        book._found = {}
        return book

    def find(self, provider: str, model: str, kind: str | None) -> Price | None:
        """The price of `model` at the configured `provider`, whose name in the shipped table is `kind`."""
        key = (provider, model, kind)
        if key not in self._found:
            if len(self._found) >= _REMEMBERED:  # names may come from clients: forget rather than grow
                self._found.clear()
            self._found[key] = self._search(provider, model, kind)
        return self._found[key]

    def facts(self, kind: str | None, model: str) -> ModelFacts | None:
        """Facts of a model of the shipped table."""
        row = self._row(kind, model)
        return ModelFacts(context_length=row.context) if row else None

    def known(self, kind: str | None) -> Sequence[str]:
        """The model names of a provider of the shipped table that have a price."""
        table = self._table(kind)
        return table.names if table else ()

    def _search(self, provider: str, model: str, kind: str | None) -> Price | None:
        full = f"{provider}/{model}"
        declared = self._declared.get(provider)
        found = self._overrides.find(full) or (declared.find(full) if declared else None)
        if found is not None:
            return found
        row = self._row(kind, model)
        if row is None or row.rates is None:
            return None
        return shipped_price(row.rates, self.version)

    def _row(self, kind: str | None, model: str) -> "_Row | None":
        name = model.lower()
        for spelling in dict.fromkeys((name, _COMPACT_DATE.sub(r"-\1-\2-\3", name))):
            for source in self._sources(kind):
                if (row := source.match(spelling)) is not None:
                    return row
        return None

    def _sources(self, kind: str | None) -> "Iterable[_Table]":
        if (table := self._table(kind)) is None:
            return ()
        others = (self._table(other) for other in table.fallback)
        return (table, *(other for other in others if other is not None))

    def _table(self, kind: str | None) -> "_Table | None":
        """Decoded when first asked for: a gateway uses a few of some fifty providers."""
        if kind is None or kind not in self._shipped.providers:
            return None
        if kind not in self._tables:
            self._tables[kind] = msgspec.json.decode(self._shipped.providers[kind], type=_Table)
        return self._tables[kind]


class _Layer:
    """Prices by full name and by prefix; the longest prefix wins."""

    def __init__(self, entries: Iterable[tuple[str, Price]]) -> None:
        given = dict(entries)
        self._exact = {name: price for name, price in given.items() if not name.endswith("*")}
        prefixes = ((name[:-1], price) for name, price in given.items() if name.endswith("*"))
        self._prefixes = sorted(prefixes, key=lambda entry: -len(entry[0]))

    def find(self, name: str) -> Price | None:
        if (price := self._exact.get(name)) is not None:
            return price
        return next((price for prefix, price in self._prefixes if name.startswith(prefix)), None)


class _Row(msgspec.Struct, frozen=True, array_like=True):
    """A model of the shipped table."""

    id: str
    rates: Rates4 | Spec | None
    context: int | None
    rules: list[str]


class _Table(msgspec.Struct, frozen=True, dict=True):
    """One provider of the shipped table; of several models that match, the first counts."""

    fallback: list[str]
    models: list[_Row]

    @cached_property
    def exact(self) -> dict[str, int]:
        """Full name -> index of the first model that has it."""
        found: dict[str, int] = {}
        for index, row in enumerate(self.models):
            for rule in row.rules:
                if rule[0] == "=":
                    found.setdefault(rule[1:], index)
        return found

    @cached_property
    def patterns(self) -> list[tuple[int, str, str]]:
        """The other rules in order: index of the model, how, what."""
        rules = ((index, rule) for index, row in enumerate(self.models) for rule in row.rules)
        return [(index, rule[0], rule[1:]) for index, rule in rules if rule[0] != "="]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The models that have a price and whose own name leads to them."""
        return tuple(
            row.id for row in self.models
            if row.rates is not None and not row.id.endswith(("-", ".")) and self.match(row.id.lower()) is row
        )

    def match(self, name: str) -> _Row | None:
        best = self.exact.get(name, len(self.models))
        for index, how, what in self.patterns:
            if index >= best:
                break
            if _matches(how, what, name):
                best = index
        return self.models[best] if best < len(self.models) else None


class _Book(msgspec.Struct, frozen=True):
    """`prices.json`; the providers stay undecoded until they are needed."""

    version: str
    date: str
    providers: dict[str, msgspec.Raw]


def _stated(entries: Iterable[NamedRates]) -> Iterable[tuple[str, Price]]:
    """The configuration's prices; several entries of one model follow each other in time."""
    of_model: dict[str, list[tuple[str | None, Rates]]] = {}
    for entry in entries:
        of_model.setdefault(entry.model, []).append((entry.since, entry))
    return ((name, dated_price(dated, "config", name)) for name, dated in of_model.items())


def _shipped() -> bytes:
    return Path(__file__).with_name("prices.json").read_bytes()


def _matches(how: str, what: str, name: str) -> bool:
    if how == "^":
        return name.startswith(what)
    if how == "$":
        return name.endswith(what)
    if how == "*":
        return what in name
    return re.search(what, name) is not None
