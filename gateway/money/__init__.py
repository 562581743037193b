"""Prices, cost, estimates, the journal and the ledger: the domain of money, without HTTP and without SQL.

Prices are integer pico-dollars per token, costs integer nano-dollars; decimal strings outside.
"""

NANO = 1_000_000_000


def dollars(nano: int) -> str:
    """Nano-dollars as a decimal string without trailing zeros: `12000000` is `"0.012"`."""
    whole, rest = divmod(abs(nano), NANO)
    text = f"{whole}.{rest:09d}".rstrip("0").rstrip(".")
    return f"-{text}" if nano < 0 else text
