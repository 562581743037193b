"""Makes a `Price` from what a file says: the shipped table's compact form, or an entry of the configuration.

Finding the entry for a model is `prices.py`; picking the price that holds for one request is `cost.py`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Protocol

import msgspec

from gateway.exchange import Price

Rates4 = tuple[int, int, int, int]

_PICO = 1_000_000              # dollars per million tokens -> pico-dollars per token
_PICO_PER_DOLLAR = 10**12
_UNITS = (
    "cache_write_1h", "audio_input", "audio_cached", "audio_output", "image_input", "image_cached", "image_output",
    "reasoning",
)
_EACH = (  # option, unit, parts of it that are billed
    ("per_request", "request", 1), ("per_search", "searches", 1), ("per_image", "images", 1),
    ("per_minute", "audio_ms", 60_000), ("per_million_characters", "characters", 1_000_000),
)


class Spec(msgspec.Struct, frozen=True):
    """A price of the shipped table, in pico-dollars: `r` input, output, cached, cache write; `u` rates of other units;
    `t` the same for prompts over so many tokens; `v` other service tiers; `l` from a moment on (Unix milliseconds)."""

    r: Rates4
    u: dict[str, int] = {}
    t: tuple[tuple[int, "Spec"], ...] = ()
    v: dict[str, "Spec"] = {}
    l: tuple[tuple[int, "Spec | Rates4"], ...] = ()  # noqa: E741


class Rates(Protocol):
    """Dollars per million tokens as decimal strings: `config.PriceEntry`, or what a provider declares.

    Further attributes of `config.Tariff` count where they are there.
    """

    @property
    def input(self) -> str:
        """Plain input tokens."""

    @property
    def output(self) -> str:
        """Output tokens, reasoning included."""

    @property
    def cached_input(self) -> str | None:
        """Input tokens read from a cache; as `input` where not given."""

    @property
    def cache_write(self) -> str | None:
        """Input tokens written to a cache; as `input` where not given."""


def shipped_price(spec: Spec | Rates4, version: str) -> Price:
    """The price of a row of the shipped table."""
    if not isinstance(spec, Spec):
        into, out, cached, written = spec
        return Price(into, out, cached, written, version)
    into, out, cached, written = spec.r
    return Price(
        into, out, cached, written, version, units=spec.u,
        tiers=tuple((above, shipped_price(each, version)) for above, each in spec.t),
        variants={name: shipped_price(each, version) for name, each in spec.v.items()},
        later=tuple((since, shipped_price(each, version)) for since, each in spec.l),
    )


def stated_price(rates: Rates, source: str, name: str) -> Price:
    """The price of one entry. Raises `ValueError` that names the model."""
    price = _stated(rates, rates, name)
    return _marked(price, f"{source}-{_mark(price)}")


def dated_price(entries: Sequence[tuple[str | None, Rates]], source: str, name: str) -> Price:
    """One price of several entries of a model, each with the day (UTC, `2026-01-31`) from which it holds."""
    ordered = sorted(entries, key=lambda entry: entry[0] or "")
    first, *rest = ((_start(day), stated_price(rates, source, name)) for day, rates in ordered)
    if not rest:
        return first[1]
    return msgspec.structs.replace(first[1], later=tuple(rest))


def _stated(rates: object, base: Rates, name: str) -> Price:
    """`rates` may leave out what `base` says: a service tier or a longer prompt differs in some of it."""

    def pico(field: str) -> int | None:
        text = getattr(rates, field, None)
        text = getattr(base, field, None) if text is None else text
        return None if text is None else _pico(text, name)

    into, out = pico("input") or 0, pico("output") or 0
    cached, written = pico("cached_input"), pico("cache_write")
    found = ((unit, pico(unit)) for unit in _UNITS)
    units = {unit: rate for unit, rate in found if rate is not None}
    shares = 3600 * getattr(base, "parallel", 1)
    for field, unit, parts in (*_EACH, ("per_hour", "second", shares)):
        text = getattr(rates, field, None) or getattr(base, field, None)
        if text is not None:
            units[unit] = int(Decimal(text) * _PICO_PER_DOLLAR / parts)
    tiers = sorted((tier.above, _stated(tier, base, name)) for tier in getattr(rates, "tiers", ()))
    variants: Mapping[str, object] = getattr(rates, "variants", {})
    return Price(
        into, out, into if cached is None else cached, into if written is None else written, "",
        units=MappingProxyType(units), tiers=tuple(tiers),
        variants=MappingProxyType({tier: _stated(other, base, name) for tier, other in variants.items()}),
    )


def _marked(price: Price, version: str) -> Price:
    return msgspec.structs.replace(
        price, version=version, tiers=tuple((above, _marked(each, version)) for above, each in price.tiers),
        variants={name: _marked(each, version) for name, each in price.variants.items()},
    )


def _mark(price: Price) -> str:
    """Eight hex digits that change with any rate."""

    def flat(each: Price) -> object:
        return [
            each.input, each.output, each.cached, each.cache_write, sorted(each.units.items()),
            [(above, flat(tier)) for above, tier in each.tiers],
            sorted((name, flat(variant)) for name, variant in each.variants.items()),
        ]

    return hashlib.sha256(msgspec.json.encode(flat(price))).hexdigest()[:8]


def _start(day: str | None) -> int:
    if day is None:
        return 0
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1000)


def _pico(text: str, name: str) -> int:
    value = Decimal(text) * _PICO
    if value < 0 or value != int(value):
        raise ValueError(f"price of {name}: {text!r} is negative or has more than six decimals")
    return int(value)
