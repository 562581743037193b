"""Telephone numbers: country codes with their lengths, and the shapes in which numbers are written within a country.

Compact on purpose: who needs to know whether a number was given out asks a numbering library.
"""

from itertools import pairwise

from gateway.detect.numbers import Number
from gateway.detect.spans import Span

# Country codes by the lengths of the numbers behind them (`low-high`), as the numbering plans give them.
_PLANS = {
    "5-8": "290 298 299 500 508 672 676 677 678 681 682 683 685 686 687 688 689 690",
    "7-7": "220 238 239 246 248 269 291 297 501 592 597 673 674 679 680 691 692 960",
    "8-8": "216 222 223 226 227 228 235 253 257 266 268 370 371 373 374 377 382 383 386 387 389 502 504 505 506 507 "
           "509 591 65 852 853 965 968 973 974 976 993 45 47 350 356 357 53 232 53",
    "7-9": "211 218 229 231 236 237 240 241 242 243 245 247 252 258 265 267 353 354 376 381 385 423 503 595 598 "
           "599 670 675 855 886 961 963 967 971 972 975 977 32 36 51 94 355 359 372 421 225 256 213",
    "9-9": "212 221 224 230 233 244 249 250 251 255 260 261 262 263 264 27 31 33 34 41 48 61 66 93 351 380 420 590 593 "
           "594 596 962 966 970 992 994 995 996 998 56",
    "8-10": "20 225 229 234 254 30 40 44 46 52 57 58 60 63 64 84 92 95 964 880 375 352 856 850",
    "9-11": "54 55 81 82 86 90 98",
    "10-10": "1 7 91",
    "6-11": "39 358 378",
    "7-12": "43 49 62",
    "8-9": "800 808",
}
_LENGTHS = {
    code: tuple(map(int, span.split("-"))) for span, codes in _PLANS.items() for code in codes.split()
}
_NANP = frozenset({(3, 3, 4), (1, 3, 3, 4), (3, 7), (10,), (6, 4), (1, 10), (11,)})
# Numbers with the trunk prefix 0.
_TRUNK = frozenset({
    (2, 2, 2, 2, 2), (4, 3, 3), (2, 4, 4), (5, 6), (4, 3, 4), (3, 4, 4), (3, 3, 4), (3, 3, 2, 2), (4, 2, 2, 2),
    (3, 2, 2, 2), (2, 3, 2, 2), (2, 8), (3, 8), (3, 7), (4, 7), (4, 8), (4, 6), (3, 6), (2, 7), (5, 3, 3), (4, 4, 4),
    (4, 4, 3), (2, 3, 4), (3, 3, 3), (4, 5), (5, 5), (5, 4), (5, 7), (4, 3, 2, 2), (2, 3, 3), (3, 4, 3), (2, 2, 3, 3),
    (2, 3, 3, 2), (3, 3, 2, 3), (3, 2, 3, 2), (2, 2, 2, 2, 1), (4, 3, 5), (3, 5), (3, 2, 2, 3), (4, 2, 3), (3, 9),
    (5, 2, 2, 2), (4, 4), (3, 3, 3, 2), (4, 2, 2, 3), (4, 2, 4), (3, 2, 4), (1, 3, 3, 4), (1, 3, 3, 2, 2), (6, 5),
    (4, 2, 2, 2, 2), (3, 2, 2, 2, 2), (5, 2, 3), (5, 3, 2), (2, 4, 3), (4, 5, 2), (3, 3, 5), (2, 3, 5), (1, 2, 3, 4),
    (3, 4, 5), (4, 4, 2), (5, 3, 4), (4, 9), (5, 8), (2, 9),
})  # fmt: skip
# Numbers without it that hardly anything else looks like; given with the first digits they can have.
_PLAIN = {
    (3, 2, 2, 2): "56789", (3, 3, 2, 2): "3456789", (1, 3, 3, 2, 2): "78", (3, 4, 4): "1", (2, 5, 4): "123456789",
    (1, 4, 4): "9", (1, 2, 2, 2, 2): "12345679", (2, 4, 4): "56",
}  # fmt: skip
SHAPES = frozenset({*_TRUNK, *_NANP, *_PLAIN, (3, 3, 3), (4, 4), (3, 4), (2, 2, 2, 2), (1, 3, 3, 3)})


def judge(number: Number) -> Span | None:
    """A telephone number, or none."""
    if not 7 <= len(number.digits) <= 17:
        return None
    bare, number.end = number.end, _extension(number)
    if not number.edged or _is_date(number) or (score := _score(number)) is None:
        number.end = bare
        return None
    return Span(number.start, number.end, "PHONE", score)


def _score(number: Number) -> float | None:
    if number.torn and not (number.plus or number.labels.has("phone", "speak")):
        return None
    score = _international(number) if number.plus or number.digits.startswith("00") else None
    if score is None and number.digits.startswith("011") and len(number.shape) > 2:
        score = 0.8 if _plan(number.digits[3:]) else None
    return score or _national(number)


def _international(number: Number) -> float | None:
    digits = number.digits if number.plus else number.digits[2:]
    gap = number.view.text[number.start : number.end]
    if "(0)" in gap:
        at = next((n for n in (1, 2, 3) if digits[:n] in _LENGTHS), 0)
        digits = digits[:at] + digits[at + 1 :]
    if not _plan(digits):
        return None
    before = number.view.text[number.start - 1 : number.start] if number.start else ""
    if before.isascii() and (before.isalnum() or before in ("+", ".", "_", "%", "$")) and before:
        return None
    if number.plus:
        return 0.95
    labels = number.labels
    if labels.has("phone", "speak"):
        return 0.95
    return 0.8 if number.free and not labels.foreign and number.clean else None


def _plan(digits: str) -> bool:
    for size in (1, 2, 3):
        lengths = _LENGTHS.get(digits[:size])
        if lengths is not None:
            rest = len(digits) - size
            return lengths[0] <= rest <= lengths[1] and (size > 1 or digits[1] != "0")
    return False


def _national(number: Number) -> float | None:
    labels, size = number.labels, len(number.digits)
    if labels.foreign and not number.parens:
        return None
    if labels.has("phone") and number.clean and not (labels.near and "phone" not in labels.near | labels.after):
        return 0.9 if size <= 15 else None
    if labels.has("speak") and number.free and size >= 8 and number.clean and "other" not in labels.near and size <= 13:
        return 0.8
    if size > 12 or not number.free or labels.near & {"card", "iban", "bank", "routing", "passport", "ssn", "itin"}:
        return None
    return _by_shape(number) if len(number.shape) > 1 else None


def _by_shape(number: Number) -> float | None:
    digits, shape = number.digits, number.shape
    national = digits[1:] if len(digits) == 11 and digits[0] == "1" else digits
    if shape in _NANP and len(shape) > 2 and len(national) == 10 and digits[0] != "0":
        area, exchange = national[:3], national[3:6]
        valid = area[0] in "23456789" and exchange[0] in "23456789" and area[1:] != "11"
        if number.parens or (valid and (number.joint in "-." or number.clean)):
            return 0.85 if number.joint != " " else 0.7
        return None
    if not number.clean:
        return None
    if digits[0] == "0" and digits[1] != "0" and shape in _TRUNK and 9 <= len(digits) <= 12 and number.joint in " -/.?":
        return 0.7 if not _counts_up(number) and (number.joint != "." or len(shape) > 3) else None
    if number.parens and 8 <= len(digits) <= 11 and 2 <= shape[0] <= 4 and digits[:2] not in ("19", "20"):
        return 0.7
    if shape in _PLAIN and digits[0] in _PLAIN[shape] and number.joint in " -?":
        return 0.6 if not _counts_up(number) else None
    return None


def _counts_up(number: Number) -> bool:
    # `01 02 03 04 05`, `10 20 30 40`: a row of numbers, not one.
    at, groups = 0, []
    for size in number.shape:
        groups.append(int(number.digits[at : at + size]))
        at += size
    steps = {b - a for a, b in pairwise(groups)}
    return len(groups) > 2 and len(steps) == 1


def _is_date(number: Number) -> bool:
    digits, shape = number.digits, number.shape
    if number.joint not in ("-", ".", "/", "?", " ") or number.plus:
        return False
    if shape[:3] == (4, 2, 2):
        return digits[:2] in ("19", "20") and digits[4:6] <= "12" and digits[6:8] <= "31"
    if shape[:3] == (2, 2, 4):
        low, high = sorted((digits[:2], digits[2:4]))
        return digits[4:6] in ("19", "20") and low <= "12" and high <= "31"
    return False


_EXTENSION_BEGINS = ("e", "d", "p", "x", "#", "w")


def _extension(number: Number) -> int:
    text, at = number.view.text, number.end
    tail = text[at : at + 20].lower()
    if not tail.lstrip(" ,;.-").startswith(_EXTENSION_BEGINS):
        return at
    for word in ("extension", "ext.", "ext", "durchwahl", "poste", "x", "#", "w"):
        rest = tail.lstrip(" ,;.-")
        if rest.startswith(word) and len(tail) - len(rest) <= 3:
            digits = rest[len(word) :].lstrip(" .:")
            count = next((n for n, sign in enumerate(digits) if not sign.isdigit()), len(digits))
            if 1 <= count <= 6 and not digits[count : count + 1].isalpha():
                return at + len(tail) - len(digits) + count
    return at
