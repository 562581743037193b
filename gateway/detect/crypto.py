"""Wallet addresses: by their own check sums where they have one."""

from gateway.detect import context
from gateway.detect.checksums import base58check, bech32, ripple
from gateway.detect.patterns import Match
from gateway.detect.spans import Span, View

# Bitcoin, Litecoin, Dogecoin, Dash, Zcash, Tron, XRP; SegWit, Cosmos, Cardano; Ethereum; Monero.
BASE58 = r"\b[123LMDXTtrA9][1-9A-HJ-NP-Za-km-z]{24,38}\b"
BECH32 = r"(?i)\b(?:bc|tb|ltc|cosmos|osmo|addr|bnb|terra|thor|inj|sei|celestia|zs|bcrt)1[02-9ac-hj-np-z]{25,103}\b"
ETHEREUM = r"\b0[xX][0-9A-Fa-f]{40}\b"
MONERO = r"\b[48][1-9A-HJ-NP-Za-km-z]{94}\b"
CASH = r"\bbitcoincash:[qp][02-9ac-hj-np-z]{41}\b"


def base58(view: View, match: Match) -> Span | None:
    """An address in base 58."""
    start, end = match.span()
    value = view.text[start:end]
    if ripple(value) if value[0] == "r" else base58check(value) or (value[0] == "t" and base58check(value, 26)):
        return Span(start, end, "CRYPTO", 0.99)
    return None


def segwit(view: View, match: Match) -> Span | None:
    """An address in bech32."""
    start, end = match.span()
    value = view.text[start:end]
    return Span(start, end, "CRYPTO", 0.99) if value in (value.lower(), value.upper()) and bech32(value) else None


def shape(view: View, match: Match) -> Span | None:
    """An address that is told by its shape."""
    start, end = match.span()
    if view.text[start : start + 2].lower() == "0x" and len(set(view.text[start + 2 : end])) < 4:
        return None
    return Span(start, end, "CRYPTO", 0.9)


SOLANA = r"\b[1-9A-HJ-NP-Za-km-z]{42,44}\b"


def solana(view: View, match: Match) -> Span | None:
    """An address without a check, right after a word for it."""
    start, end = match.span()
    before = view.text[max(0, start - 40) : start].lower()
    value = view.text[start:end]
    mixed = any(x.isdigit() for x in value) and any(x.isupper() for x in value) and any(x.islower() for x in value)
    if not mixed or not any(word in before for word in ("solana", "sol ", "sol:", "wallet")):
        return None
    if context.Labels(view.text, start, end).foreign:
        return None
    return Span(start, end, "CRYPTO", 0.7)
