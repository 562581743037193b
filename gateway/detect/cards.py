"""Payment cards: issuer ranges, lengths, Luhn, and the ways in which people write them."""

from gateway.detect.checksums import ean13, luhn
from gateway.detect.numbers import Number
from gateway.detect.spans import Span

SHAPES = frozenset({
    (4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 4, 3), (4, 5, 6), (4, 4, 4), (4, 4, 4, 1), (4, 4, 4, 3), (4, 4, 4, 2),
    (8, 8), (4, 8, 4), (4, 3, 3, 3), (6, 7), (6, 10), (4, 4, 5), (6, 13), (4, 4, 8), (4, 12),
})  # fmt: skip
# First digits (from, to) and lengths.
_ISSUERS = (
    ("4", "4", (13, 16, 19)), ("51", "55", (16,)), ("2221", "2720", (16,)), ("34", "34", (15,)), ("37", "37", (15,)),
    ("6011", "6011", (16, 19)), ("644", "649", (16, 19)), ("65", "65", (16, 19)), ("3528", "3589", (16, 19)),
    ("300", "305", (14, 16)), ("3095", "3095", (14, 16)), ("36", "36", (14, 16, 19)), ("38", "39", (14, 16, 19)),
    ("62", "62", (16, 17, 18, 19)), ("81", "81", (16,)), ("2200", "2204", (16,)), ("60", "60", (16,)),
    ("50", "50", (12, 13, 14, 15, 16, 18, 19)), ("56", "58", (12, 13, 14, 15, 16, 18, 19)),
    ("6304", "6304", (12, 13, 14, 15, 16, 18, 19)), ("6390", "6390", (12, 13, 14, 15, 16, 18, 19)),
    ("6759", "6759", (12, 13, 14, 15, 16, 18, 19)), ("6761", "6763", (12, 13, 14, 15, 16, 18, 19)),
    ("63", "64", (16,)), ("66", "69", (16,)), ("0604", "0604", (12, 13, 14, 15, 16)), ("2131", "2131", (15,)),
    ("1800", "1800", (15,)), ("9792", "9792", (16,)),
)  # fmt: skip


def judge(number: Number) -> Span | None:
    """A card number, or none."""
    digits = number.digits
    size = len(digits)
    if not 12 <= size <= 19 or not luhn(digits) or len(set(digits)) == 1 or number.plus or not number.edged:
        return None
    labels = number.labels
    if labels.foreign and not labels.has("card"):
        return None
    named, known = labels.has("card"), _issued(digits)
    if not known and not (named and size >= 13):
        return None
    if not named and not _looks_like_one(number):
        return None
    return Span(number.start, number.end, "CREDIT_CARD", 0.99 if named else 0.9 if size >= 14 else 0.75)


def _looks_like_one(number: Number) -> bool:
    shape = number.shape
    even = len(shape) > 3 and shape[0] > 1 and set(shape[:-1]) == {shape[0]} and number.joint != "?"
    if not number.free or (shape not in SHAPES and len(shape) > 1 and not even):
        return False
    if len(number.digits) == 13 and ean13(number.digits):
        return False  # an article number that happens to pass
    if len(number.digits) >= 14:
        return True
    # Few cards are so short: no part of a longer number counts as one.
    return number.clean and shape in {(12,), (13,), (4, 4, 4), (4, 4, 4, 1), (4, 3, 3, 3)}


def _issued(digits: str) -> bool:
    return any(low <= digits[: len(low)] <= high and len(digits) in sizes for low, high, sizes in _ISSUERS)
