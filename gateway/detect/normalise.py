"""Undoes tricks with characters, and says where each character of the result came from.

A folded text is for searching, never for showing. Nothing here knows what is searched for.
"""

import unicodedata
from collections.abc import Sequence

import msgspec

from gateway.detect.patterns import compile_text

# First code points of ten decimal digits in a row, beside ASCII's.
_DECIMALS = (
    0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xDE6, 0xE50, 0xED0, 0xF20,
    0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50, 0x1BB0, 0x1C40, 0x1C50, 0xA620, 0xA8D0,
    0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0x104A0, 0x11066, 0x110F0, 0x11136, 0x1E950, 0x1FBF0,
)
# Where compatibility forms of ASCII characters live: superscripts, letter-like and circled signs, full and half
# width, mathematical alphabets, squared letters.
_COMPATIBLE = (
    (0xAA, 0xBB), (0x2070, 0x20A0), (0x2100, 0x2190), (0x2460, 0x2500), (0x3000, 0x3001), (0xFE50, 0xFE70),
    (0xFF01, 0xFF60), (0x1D400, 0x1D800), (0x1F100, 0x1F150),
)
_SAME = {
    "-": "\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u2212\u02d7\ufe58\u2e3a\u2e3b\u058a\u1806",
    " ": "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000\u2800\u3164",
    "\n": "\u0085\u2028\u2029",
    ".": "\u2024\u3002\uff61\u00b7\u2219\u22c5\u0701\u0702",
    "/": "\u2044\u2215\u29f8",
    ":": "\u2236\ua789\u02d0",
    "'": "\u2018\u2019\u201a\u201b\u2032\u02bc\u00b4",
    '"': "\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb",
    "*": "\u2217\u204e",
    "<": "\u2039\u27e8\u3008",
    ">": "\u203a\u27e9\u3009",
    "[": "\u3010\u3014",
    "]": "\u3011\u3015",
}
_SMALL_CAPITALS = (
    "\u1d00\u0299\u1d04\u1d05\u1d07\ua730\u0262\u029c\u026a\u1d0a\u1d0b\u029f\u1d0d\u0274\u1d0f\u1d18q\u0280"
    "\ua731\u1d1b\u1d1c\u1d20\u1d21\u02e3\u028f\u1d22"
)
# Letters of other scripts that look like Latin ones; used only in words that also have Latin letters.
_LOOKALIKES = {
    ord(sign): plain
    for plain, signs in {
        "a": "\u0430\u03b1\u0251", "A": "\u0410\u0391", "b": "\u044c", "B": "\u0412\u0392", "c": "\u0441\u03f2",
        "C": "\u0421\u03f9", "d": "\u0501", "e": "\u0435\u0454\u03b5", "E": "\u0415\u0395", "g": "\u0261\u0581",
        "h": "\u04bb\u0570", "H": "\u041d\u0397", "i": "\u0456\u03b9\u0131", "I": "\u0406\u0399\u04c0",
        "j": "\u0458", "J": "\u0408", "k": "\u043a\u03ba", "K": "\u041a\u039a", "l": "\u04cf", "m": "\u043c",
        "M": "\u041c\u039c", "n": "\u0578\u03b7", "N": "\u039d", "o": "\u043e\u03bf", "O": "\u041e\u039f",
        "p": "\u0440\u03c1", "P": "\u0420\u03a1", "q": "\u051b", "r": "\u0433", "s": "\u0455", "S": "\u0405",
        "t": "\u0442\u03c4", "T": "\u0422\u03a4", "u": "\u057d\u03c5", "v": "\u03bd", "w": "\u051d\u0461",
        "x": "\u0445\u03c7", "X": "\u0425\u03a7", "y": "\u0443", "Y": "\u0423\u03a5", "Z": "\u0396",
    }.items()
    for sign in signs
}  # fmt: skip
# Invisible: joiners, direction marks, soft hyphens, variation selectors, and marks set on another character.
_INVISIBLE = (
    (0xAD, 0xAE), (0x300, 0x370), (0x34F, 0x350), (0x61C, 0x61D), (0x115F, 0x1161), (0x17B4, 0x17B6), (0x180B, 0x180F),
    (0x1AB0, 0x1B00), (0x200B, 0x2010), (0x202A, 0x202F), (0x2060, 0x2070), (0x20D0, 0x2100), (0xFE00, 0xFE10),
    (0xFE20, 0xFE30), (0xFEFF, 0xFF00), (0xFFF9, 0xFFFC), (0x1D173, 0x1D17B), (0xE0000, 0xE0020), (0xE007F, 0xE0080),
    (0xE0100, 0xE01F0),
)


class Folded(msgspec.Struct, frozen=True):
    """A text without tricks. `origin` says where each of its characters stood before, if any was taken away."""

    text: str
    origin: Sequence[int] | None = None

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where the characters from `start` to before `end` stand in the text as it was given."""
        if self.origin is None or end <= start:
            return start, end
        return self.origin[start], self.origin[end - 1] + 1


def fold(text: str) -> Folded:
    """Full width, other digits, fancy alphabets, dashes and blanks become ASCII; what is invisible goes; letters of
    another script inside a Latin word become the Latin ones that they look like. The case stays as it is.

    A character becomes one character or none, so lengths only shrink. ASCII comes back as it is, at once.
    """
    if text.isascii() or not _ODD.found_in(text):
        return Folded(text)
    folded = text
    for sign in _TRICKY.intersection(text):  # few in most texts, and quicker than a look at each character
        folded = folded.replace(sign, _TABLE[sign])
    origin = None if len(folded) == len(text) else [at for at, sign in enumerate(text) if sign not in _GONE]
    return Folded(_without_lookalikes(folded) if _MIXED_SOMEWHERE.found_in(folded) else folded, origin)


def _without_lookalikes(text: str) -> str:
    parts: list[str] = []
    at = 0
    for start, end in _MIXED.spans(text):
        parts += (text[at:start], text[start:end].translate(_LOOKALIKES))
        at = end
    return "".join((*parts, text[at:])) if parts else text


def _table() -> dict[str, str]:
    table: dict[int, str] = {}
    for low, high in _COMPATIBLE:
        for code in range(low, high):
            same = unicodedata.normalize("NFKC", chr(code))
            if len(same) == 1 and same.isascii():
                table[code] = same
    for first in _DECIMALS:
        table.update((first + digit, str(digit)) for digit in range(10))
    table.update((0x2460 + digit, str(digit + 1)) for digit in range(9))
    for low in (0x2776, 0x2780, 0x278A, 0x24F5):  # more circled digits
        table.update((low + digit, str(digit + 1)) for digit in range(9))
    for first in (0x1F150, 0x1F170, 0x1F1E6):  # letters in black circles and squares, of flags
        table.update((first + number, chr(ord("A") + number)) for number in range(26))
    table.update((ord(sign), chr(ord("a") + at)) for at, sign in enumerate(_SMALL_CAPITALS))
    table.update((ord(sign), plain) for plain, signs in _SAME.items() for sign in signs)
    table.update((0xE0000 + code, chr(code)) for code in range(0x20, 0x7F))  # tags: a hidden alphabet
    table.update((code, "") for low, high in _INVISIBLE for code in range(low, high))
    table.pop(ord("q"))  # has no small capital, and stands for itself in their row
    return {chr(code): plain for code, plain in table.items()}


def _class(codes: Sequence[int]) -> str:
    ranges: list[list[int]] = []
    for code in sorted(codes):
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(f"\\x{{{low:x}}}-\\x{{{high:x}}}" for low, high in ranges)


_TABLE = _table()
_TRICKY = frozenset(_TABLE)
_GONE = frozenset(sign for sign, plain in _TABLE.items() if not plain)
_WORD = r"[\p{L}\p{N}_]*"
_MIXTURE = r"(?:[A-Za-z][\p{Cyrillic}\p{Greek}\p{Armenian}]|[\p{Cyrillic}\p{Greek}\p{Armenian}][A-Za-z])"
_MIXED = compile_text(_WORD + _MIXTURE + _WORD)
_MIXED_SOMEWHERE = compile_text(_MIXTURE)
_ODD = compile_text(f"[{_class([ord(sign) for sign in _TABLE])}]|{_MIXTURE}")
