"""Writes `gateway/money/prices.json`, the shipped price book, from the genai-prices package.

Run it before a release: `python contrib/prices/build.py [DATE]`. The gateway never imports genai-prices.
Kept are the standard prices of text tokens on that date. Of prices by the hour the dearest is taken, so that
nobody is billed too little; of prices by prompt length the first. Models billed by anything else are listed
without a price: a known name that is unpriced, rather than a wrong figure.
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
    """`[id, [input, output, cached, cache_write] or null, context length or null, rules]`."""
    return [source.id, prices(source, day), source.context_window or None, rules(source.match)]


def prices(source: types.ModelInfo, day: date) -> list[int] | None:
    """Integer pico-dollars per token."""
    candidates = [c.__dict__ for c in current(source.prices, day)]
    if any("requests_kcount" in c for c in candidates) or not all("input_mtok" in c for c in candidates):
        return None
    rates = [max(pico(c.get(unit)) for c in candidates) for unit in UNITS]
    has = [any(c.get(unit) is not None for c in candidates) for unit in UNITS]
    return [rates[0], rates[1], rates[2] if has[2] else rates[0], rates[3] if has[3] else rates[0]]


def current(source: Any, day: date) -> list[types.ModelPrice]:
    """The prices that apply at some hour of the day."""
    if isinstance(source, types.ModelPrice):
        return [source]
    found: list[types.ModelPrice] = []
    noon = datetime.combine(day, time(12), tzinfo=UTC)
    for entry in reversed(source):
        if isinstance(entry.constraint, types.TimeOfDateConstraint):
            found.append(entry.prices)
        elif entry.constraint is None or entry.constraint.active(noon):
            return [*found, entry.prices]
    return [*found, source[0].prices]


def pico(dollars_per_million: Any) -> int:
    """Pico-dollars per token: a million of them is one dollar per million tokens."""
    base = getattr(dollars_per_million, "base", dollars_per_million)
    return int((Decimal(base or 0) * 1_000_000).quantize(Decimal(1), rounding=ROUND_HALF_UP))


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
