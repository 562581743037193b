"""What an attempt costs: exact integer arithmetic, rounded half up once."""

from gateway.events import Usage
from gateway.exchange import Price

MAX_NANO = (1 << 63) - 1  # what a database column holds


def cost_nano(price: Price, usage: Usage) -> int:
    """Nano-dollars for `usage` at `price`: each input token once, at its own rate; never negative."""
    cached = max(0, usage.cached)
    written = max(0, usage.cache_write)
    pico = (
        max(0, usage.input - cached - written) * price.input
        + cached * price.cached
        + written * price.cache_write
        + max(0, usage.output) * price.output
    )
    return min((pico + 500) // 1000, MAX_NANO)
