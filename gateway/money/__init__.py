"""Prices, cost, estimates, the journal and the ledger: the domain of money, without HTTP and without SQL.

Prices are integer pico-dollars per token, costs integer nano-dollars; decimal strings outside.
"""

from decimal import Decimal

NANO = 1_000_000_000


def dollars(nano: int) -> str:
    """Nano-dollars as a decimal string without trailing zeros: `12000000` is `"0.012"`."""
    text = format(Decimal(nano).scaleb(-9), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
