"""Check digits: of cards, accounts, national numbers and wallets. Each says whether a plain value fits."""

import hashlib
from collections.abc import Sequence

_VERHOEFF = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 3, 4, 0, 6, 7, 8, 9, 5), (2, 3, 4, 0, 1, 7, 8, 9, 5, 6),
    (3, 4, 0, 1, 2, 8, 9, 5, 6, 7), (4, 0, 1, 2, 3, 9, 5, 6, 7, 8), (5, 9, 8, 7, 6, 0, 4, 3, 2, 1),
    (6, 5, 9, 8, 7, 1, 0, 4, 3, 2), (7, 6, 5, 9, 8, 2, 1, 0, 4, 3), (8, 7, 6, 5, 9, 3, 2, 1, 0, 4),
    (9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
)  # fmt: skip
_VERHOEFF_TURNS = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 5, 7, 6, 2, 8, 3, 0, 9, 4), (5, 8, 0, 3, 7, 9, 6, 1, 4, 2),
    (8, 9, 1, 6, 0, 4, 3, 5, 2, 7), (9, 4, 5, 3, 1, 2, 6, 8, 7, 0), (4, 2, 8, 6, 5, 7, 3, 9, 0, 1),
    (2, 7, 9, 3, 8, 0, 6, 4, 1, 5), (7, 0, 4, 6, 9, 1, 3, 2, 5, 8),
)  # fmt: skip
_BASE58 = {sign: at for at, sign in enumerate("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz")}
_RIPPLE = {sign: at for at, sign in enumerate("rpshnaf39wBUDNEGHJKLM4PQRST7VWXYZ2bcdeCg65jkm8oFqi1tuvAxyz")}
_BECH32 = {sign: at for at, sign in enumerate("qpzry9x8gf2tvdw0s3jn54khce6mua7l")}
_BECH32_STEPS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


def luhn(digits: str) -> bool:
    """Cards, many national numbers: every second digit doubled."""
    odd = digits[-1::-2]
    even = digits[-2::-2]
    return (sum(map(int, odd)) + sum(int("0246813579"[int(digit)]) for digit in even)) % 10 == 0


def mod97(value: str) -> bool:
    """IBAN: the first four characters moved to the end, letters as two digits, leave 1."""
    return int("".join(str(int(sign, 36)) for sign in value[4:] + value[:4])) % 97 == 1


def verhoeff(digits: str) -> bool:
    """Aadhaar."""
    state = 0
    for at, digit in enumerate(reversed(digits)):
        state = _VERHOEFF[state][_VERHOEFF_TURNS[at % 8][int(digit)]]
    return state == 0


def weighted(digits: str, weights: Sequence[int]) -> int:
    """The sum of the digits, each times its weight."""
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=False))


def aba(digits: str) -> bool:
    """US routing numbers: weights 3 7 1, and a first pair that was given out."""
    first = int(digits[:2])
    given = first <= 12 or 21 <= first <= 32 or 61 <= first <= 72 or first == 80
    return given and digits != "0" * 9 and weighted(digits, (3, 7, 1, 3, 7, 1, 3, 7, 1)) % 10 == 0


def ean13(digits: str) -> bool:
    """Article numbers and ISBN-13: what is one of these is no card."""
    return weighted(digits, (1, 3) * 6 + (1,)) % 10 == 0


def mod11_10(digits: str) -> bool:
    """ISO 7064 Mod 11,10: German and Croatian tax numbers."""
    product = 10
    for digit in digits[:-1]:
        product = ((int(digit) + product) % 10 or 10) * 2 % 11
    return (11 - product) % 10 == int(digits[-1])


def base58check(value: str, length: int = 25) -> bool:
    """Bitcoin and its kin: the last four bytes are a double SHA-256 of the others."""
    return _base58(value, _BASE58, length)


def ripple(value: str) -> bool:
    """XRP: the same with an alphabet of its own."""
    return _base58(value, _RIPPLE, 25)


def bech32(value: str) -> bool:
    """Newer Bitcoin addresses and others: `prefix1data`, both variants."""
    prefix, _, data = value.lower().rpartition("1")
    if not prefix or len(data) < 6 or not _BECH32.keys() >= set(data):
        return False
    state = 1
    symbols = [ord(sign) >> 5 for sign in prefix] + [0] + [ord(sign) & 31 for sign in prefix]
    for symbol in (*symbols, *(_BECH32[sign] for sign in data)):
        top = state >> 25
        state = (state & 0x1FFFFFF) << 5 ^ symbol
        for at, step in enumerate(_BECH32_STEPS):
            state ^= step if top >> at & 1 else 0
    return state in (1, 0x2BC830A3)


def _base58(value: str, alphabet: dict[str, int], length: int) -> bool:
    number = 0
    for sign in value:
        if sign not in alphabet:
            return False
        number = number * 58 + alphabet[sign]
    if number.bit_length() > length * 8:
        return False
    raw = number.to_bytes(length, "big")
    return hashlib.sha256(hashlib.sha256(raw[:-4]).digest()).digest()[:4] == raw[-4:]
