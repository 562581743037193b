"""Writes `gateway/money/prices.json`, the shipped price book, from the genai-prices package.

Run it before a release: `python contrib/prices/build.py [DATE]`. The gateway never imports genai-prices.
Kept are the prices per token on that date, by prompt length and service tier, and those announced for later days. Of
prices by the hour the dearest is taken, so that nobody is billed too little. Models billed by anything else are
listed without a price: a known name that is unpriced, rather than a wrong figure.
"""

import re
import sys
from datetime import UTC, date, datetime, time
from decimal import ROUND_HALF_UP, Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from genai_prices import types
from genai_prices.data import providers

TARGET = Path(__file__).parents[2] / "gateway" / "money" / "prices.json"
UNITS = ("input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok")
# Parts of the usage with a rate of their own (`gateway.events.Special`) -> the source's name.
SPECIAL = {
    "cache_write_1h": "cache_write_1h_mtok",
    "audio_input": "input_audio_mtok", "audio_cached": "cache_audio_read_mtok", "audio_output": "output_audio_mtok",
    "image_input": "input_image_mtok", "image_cached": "cache_image_read_mtok", "image_output": "output_image_mtok",
    "reasoning": "output_reasoning_mtok",
}
SEARCHES = "web_searches_kcount"
VARIANTS = {
    "batch": {"processing": "batch"}, "flex": {"service_tier": "flex"}, "priority": {"service_tier": "priority"},
    "fast": {"service_tier": "fast"},
}


def table(day: date) -> dict[str, Any]:
    """The whole file as a tree."""
    return {
        "version": f"genai-prices-{version('genai-prices')}-{day.isoformat()}",
        "date": day.isoformat(),
        "providers": {p.id: provider(p, day) for p in providers},
    }


def provider(source: types.Provider, day: date) -> dict[str, Any]:
    """One provider: where else to look, and its models in the order in which they are matched."""
    return {
        "fallback": list(source.fallback_model_providers or ()),
        "models": [model(m, day) for m in source.models],
    }


def model(source: types.ModelInfo, day: date) -> list[Any]:
    """`[id, price or null, context length or null, rules]`."""
    return [source.id, prices(source, day), source.context_window or None, rules(source.match)]


def prices(source: types.ModelInfo, day: date) -> Any:
    """The price that holds on the day, those of other service tiers, and those announced for later days."""
    now = spec(merged(standard(source, day)))
    if now is None:
        return None
    variants = {}
    for name, context in VARIANTS.items():
        holding = (v for v in source.price_variants or () if v.when == context and active(v.constraint, day))
        found = [variant.prices.__dict__ for variant in holding]
        if found and (other := spec({**merged(standard(source, day)), **given(found[0])})) is not None and other != now:
            variants[name] = other
    later = []
    for since in sorted({c for c in starts(source) if c > day}):
        moment = datetime.combine(since, time(0), tzinfo=UTC)
        if (other := spec(merged(standard(source, since)))) is not None:
            later.append([int(moment.timestamp() * 1000), other])
    if variants:
        now["v"] = variants
    if later:
        now["l"] = later
    return now["r"] if set(now) == {"r"} else now


def spec(price: dict[str, Any]) -> dict[str, Any] | None:
    """One price: `r` the four usual rates, `u` the others, `t` the same for longer prompts; `None` if not by tokens."""
    if "requests_kcount" in price or "input_mtok" not in price:
        return None
    found = rates(price, 0)
    steps = sorted({step.start for value in price.values() for step in getattr(value, "tiers", ())})
    if steps:
        found["t"] = [[above, rates(price, above + 1)] for above in steps]
    return found


def rates(price: dict[str, Any], tokens: int) -> dict[str, Any]:
    """The rates for a prompt of so many tokens, as integer pico-dollars."""
    four = [pico(price.get(unit), tokens) for unit in UNITS]
    usual = [four[0], four[1], *(four[n] if UNITS[n] in price else four[0] for n in (2, 3))]
    special = {name: pico(price[unit], tokens) for name, unit in SPECIAL.items() if unit in price}
    if SEARCHES in price:  # dollars per thousand
        special["searches"] = pico(price[SEARCHES], tokens) * 1000
    return {"r": usual, "u": special} if special else {"r": usual}


def standard(source: types.ModelInfo, day: date) -> list[types.ModelPrice]:
    """The prices that apply at some hour of the day."""
    if isinstance(source.prices, types.ModelPrice):
        return [source.prices]
    found: list[types.ModelPrice] = []
    for entry in reversed(source.prices):
        if isinstance(entry.constraint, types.TimeOfDateConstraint):
            found.append(entry.prices)
        elif active(entry.constraint, day):
            return [*found, entry.prices]
    return [*found, source.prices[0].prices]


def starts(source: types.ModelInfo) -> list[date]:
    """The days on which its standard price changes."""
    if isinstance(source.prices, types.ModelPrice):
        return []
    return [e.constraint.start_date for e in source.prices if isinstance(e.constraint, types.StartDateConstraint)]


def active(constraint: Any, day: date) -> bool:
    """Whether a constraint lets a price hold on that day."""
    return constraint is None or bool(constraint.active(datetime.combine(day, time(12), tzinfo=UTC)))


def merged(candidates: list[types.ModelPrice]) -> dict[str, Any]:
    """The dearest of the prices that hold at some hour."""
    found: dict[str, Any] = {}
    for candidate in candidates:
        for unit, value in given(candidate.__dict__).items():
            if unit not in found or pico(value, 0) > pico(found[unit], 0):
                found[unit] = value
    return found


def given(price: dict[str, Any]) -> dict[str, Any]:
    """The units that have a price."""
    return {unit: value for unit, value in price.items() if value is not None}


def pico(dollars_per_million: Any, tokens: int) -> int:
    """Pico-dollars per token: a million of them is one dollar per million tokens."""
    value = getattr(dollars_per_million, "base", dollars_per_million)
    for step in getattr(dollars_per_million, "tiers", ()):
        if tokens > step.start:
            value = step.price
    return int((Decimal(value or 0) * 1_000_000).quantize(Decimal(1), rounding=ROUND_HALF_UP))


def rules(clause: Any) -> list[str]:
    """Alternatives, the first character says how: `=` is, `^` starts, `$` ends, `*` contains, `~` regex."""
    match clause:
        case types.ClauseOr():
            return [rule for part in clause.or_ for rule in rules(part)]
        case types.ClauseEquals():
            return ["=" + clause.equals.lower()]
        case types.ClauseStartsWith():
            return ["^" + clause.starts_with.lower()]
        case types.ClauseEndsWith():
            return ["$" + clause.ends_with.lower()]
        case types.ClauseContains():
            return ["*" + clause.contains.lower()]
    return ["~" + pattern(clause)]


def pattern(clause: Any) -> str:
    """A clause as a regular expression to search for."""
    match clause:
        case types.ClauseRegex():
            return str(getattr(clause.regex, "pattern", clause.regex))
        case types.ClauseAnd():
            return "^" + "".join(f"(?=.*(?:{pattern(part)}))" for part in clause.and_)
        case types.ClauseOr():
            return "|".join(f"(?:{pattern(part)})" for part in clause.or_)
    [rule] = rules(clause)
    text = re.escape(rule[1:])
    return {"=": f"^{text}$", "^": f"^{text}", "$": f"{text}$", "*": text}[rule[0]]


def main() -> None:
    """Write the file."""
    day = date.fromisoformat(sys.argv[1]) if len(sys.argv) > 1 else datetime.now(UTC).date()
    book = table(day)
    lines = [f"{msgspec.json.encode(name).decode()}: {msgspec.json.encode(entry).decode()}"
             for name, entry in book.pop("providers").items()]
    head = msgspec.json.encode(book).decode()[1:-1]
    TARGET.write_text("{" + head + ',"providers":{\n' + ",\n".join(lines) + "\n}}\n")


if __name__ == "__main__":
    main()
