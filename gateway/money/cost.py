"""What an attempt costs: exact integer arithmetic, rounded half up once.

Which of a model's prices holds (date, service tier, length of the prompt) and what each line of the bill is.
"""

import msgspec

from gateway.events import Usage
from gateway.exchange import Price

MAX_NANO = (1 << 63) - 1  # what a database column holds

COUNTED = ("searches", "audio_ms", "characters", "images")  # units of `Special` that are no tokens
_ALWAYS = frozenset(("reasoning", "request", "second"))  # units that any request has
# Part -> the whole that it is taken out of, before the rest is billed at the whole's own rate.
_PARTS = (
    ("audio_cached", "cached"), ("image_cached", "cached"), ("cache_write_1h", "cache_write"), ("audio_input", "input"),
    ("image_input", "input"), ("audio_output", "output"), ("image_output", "output"),
)


class Line(msgspec.Struct, frozen=True, array_like=True):
    """A line of the bill: `quantity` of `unit` at `rate` pico-dollars each."""

    unit: str
    quantity: int
    rate: int

    @property
    def pico(self) -> int:
        """What the line comes to, in pico-dollars."""
        return self.quantity * self.rate


def cost_nano(price: Price, usage: Usage, at_ms: int = 0, seconds: float = 0.0) -> int:
    """Nano-dollars for `usage` at `price`: each token once, at its own rate; never negative.

    `at_ms` is when the exchange began (Unix time), `seconds` how long the upstream worked.
    """
    if price.later or price.tiers or price.variants:
        price = effective(price, usage, at_ms)
    if price.units and (usage.special is not None or not _ALWAYS.isdisjoint(price.units)):
        pico = sum([quantity * rate for _, quantity, rate in _special(price, usage, seconds)])
    elif not (usage.cached or usage.cache_write) and usage.input >= 0 and usage.output >= 0:
        pico = usage.input * price.input + usage.output * price.output
    else:
        cached = max(0, usage.cached)
        written = max(0, usage.cache_write)
        pico = (
            max(0, usage.input - cached - written) * price.input
            + cached * price.cached
            + written * price.cache_write
            + max(0, usage.output) * price.output
        )
    return min((pico + 500) // 1000, MAX_NANO)


def lines(price: Price, usage: Usage, at_ms: int = 0, seconds: float = 0.0) -> tuple[Line, ...]:
    """The bill line by line, without lines of nothing. Their sum, rounded half up once, is the cost."""
    found = _special(effective(price, usage, at_ms), usage, seconds)
    return tuple(Line(unit, quantity, rate) for unit, quantity, rate in found if quantity)


def bill(price: Price, usage: Usage, at_ms: int = 0, seconds: float = 0.0) -> tuple[int, str]:
    """`cost_nano`, and the lines that it is the sum of, as the ledger keeps them: `input:12@2500000 output:9@10000000`.

    With its rates written down a charge can be explained when the price is long gone from the configuration.
    """
    if price.later or price.tiers or price.variants:
        price = effective(price, usage, at_ms)
    read, said, cached, written = usage.input, usage.output, usage.cached, usage.cache_write
    if read < 0 or said < 0 or cached < 0 or written < 0 or (
        price.units and (usage.special is not None or not _ALWAYS.isdisjoint(price.units))
    ):
        found = [line for line in _special(price, usage, seconds) if line[1]]
        pico = sum([quantity * rate for _, quantity, rate in found])
        return min((pico + 500) // 1000, MAX_NANO), " ".join([f"{unit}:{n}@{rate}" for unit, n, rate in found])
    if not (cached or written):
        cost = (read * price.input + said * price.output + 500) // 1000
        into = f"input:{read}@{price.input}" if read else ""
    else:
        plain = max(0, read - cached - written)
        cost = (
            plain * price.input + cached * price.cached + written * price.cache_write + said * price.output + 500
        ) // 1000
        into = f"input:{plain}@{price.input}" if plain else ""
        if cached:
            into += f" cached:{cached}@{price.cached}"
        if written:
            into += f" cache_write:{written}@{price.cache_write}"
    return min(cost, MAX_NANO), f"{into} output:{said}@{price.output}" if said else into


def read_lines(text: str) -> tuple[Line, ...]:
    """The lines of a bill as `bill` writes them; without what is no line."""
    parts = (part.replace("@", ":").split(":") for part in text.split())
    return tuple(Line(part[0], int(part[1]), int(part[2])) for part in parts if len(part) == 3)


def lines_cost(found: tuple[Line, ...]) -> int:
    """What lines cost together, in nano-dollars: rounded half up once, as the attempt's cost was."""
    return min((sum(line.pico for line in found) + 500) // 1000, MAX_NANO)


def effective(price: Price, usage: Usage, at_ms: int = 0) -> Price:
    """The one of a model's prices that holds for this usage, begun at this moment."""
    for since, successor in price.later:
        if at_ms >= since:
            price = successor
    if usage.tier and price.variants:
        price = price.variants.get(usage.tier, price)
    for above, longer in reversed(price.tiers):
        if usage.input > above:
            return longer
    return price


def dearest(price: Price, tokens: int, tier: str = "", at_ms: int = 0) -> Price:
    """The price to reserve at: the dearest rates that a request of at most so many input tokens may meet.

    `tier` is the service tier that was asked for: the provider may give the standard one instead, never a dearer one.
    """
    found = [effective(price, Usage(input=n, tier=name), at_ms) for n in (0, tokens) for name in {"", tier}]
    units: dict[str, int] = {}
    for each in found:
        for name, rate in each.units.items():
            units[name] = max(rate, units.get(name, 0))
    return Price(
        max(each.input for each in found), max(each.output for each in found), max(each.cached for each in found),
        max(each.cache_write for each in found), found[0].version, units=units,
    )


def _special(price: Price, usage: Usage, seconds: float) -> list[tuple[str, int, int]]:
    """Unit, quantity and rate of each line of a price that has rates of its own for parts of the usage."""
    rates = price.units
    read, cached, written, said = usage.input, max(0, usage.cached), max(0, usage.cache_write), max(0, usage.output)
    left = {"input": max(0, read - cached - written), "cached": cached, "cache_write": written, "output": said}
    found: list[tuple[str, int, int]] = []
    if (parts := usage.special) is not None:
        for name, whole in _PARTS:
            if (count := getattr(parts, name)) <= 0 or name not in rates:
                continue
            # Cached sound is cached, and no longer part of the sound that is billed as read.
            if name == "audio_input":
                count -= max(0, parts.audio_cached)
            elif name == "image_input":
                count -= max(0, parts.image_cached)
            if (count := min(count, left[whole])) > 0:
                left[whole] -= count
                found.append((name, count, rates[name]))
        found += [(name, max(0, getattr(parts, name)), rates[name]) for name in COUNTED if name in rates]
    if "reasoning" in rates:
        count = min(max(0, usage.reasoning), left["output"])
        left["output"] -= count
        found.append(("reasoning", count, rates["reasoning"]))
    if "request" in rates:
        found.append(("request", 1, rates["request"]))
    if "second" in rates:  # by the millisecond, so that the sum stays whole numbers
        found.append(("millisecond", max(0, round(seconds * 1000)), rates["second"] // 1000))
    found += (
        ("input", left["input"], price.input), ("cached", left["cached"], price.cached),
        ("cache_write", left["cache_write"], price.cache_write), ("output", left["output"], price.output),
    )
    return found
