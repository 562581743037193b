"""Other readings of a text: what it says once letters are put together, turned round, or decoded.

Each reading is bounded in number and size, so that the work stays linear in the text. Nothing is decoded that does not
look encoded, and nothing here knows what is searched for, but for the few words by which a cipher is recognised.
"""

import base64
import binascii
import html
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import unquote

from gateway.detect.patterns import PatternSet, as_bytes

MAX_READINGS = 12
MAX_DECODED = 8_192

_TELLTALE = (
    "ignore", "instruction", "previous", "prompt", "disregard", "reveal", "system", "password", "forget", "everything",
    "above", "rules", "secret",
)  # fmt: skip
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_LEET = bytes.maketrans(b"013457@$!|+8", b"oieastasiltb")
_LEET_L = bytes.maketrans(b"013457@$!|+8", b"oleastasiltb")
_NOT_LETTERS = bytes(code for code in range(128) if not chr(code).isalpha()) + b"?"
_MORSE = dict(zip((
    ".-", "-...", "-.-.", "-..", ".", "..-.", "--.", "....", "..", ".---", "-.-", ".-..", "--", "-.", "---", ".--.",
    "--.-", ".-.", "...", "-", "..-", "...-", ".--", "-..-", "-.--", "--..",
), _LETTERS, strict=True))  # fmt: skip
_STAND_IN = "[01345@$|!]"
# Two letters of a word replaced, or one in each of two neighbours.
_LEETED = (
    f"{_STAND_IN}[a-z]+{_STAND_IN}+[a-z]|[a-z]{_STAND_IN}+[a-z]+{_STAND_IN}"
    f"|[a-z]{_STAND_IN}+[a-z]+ +[a-z]*{_STAND_IN}+[a-z]|[a-z]{_STAND_IN}[a-z]* +[a-z]+{_STAND_IN}"
)
_SPACED = (
    r"(?:\b[a-z][ .\-_*|/,~+]{1,3}){6}"
    r"|[a-z][.\-_*|/~^+=:]+[a-z]+[.\-_*|/~^+=:]+[a-z]+[.\-_*|/~^+=:]+[a-z]"
)
_RUNS: tuple[tuple[str, str], ...] = (
    ("base64", r"(?:[A-Za-z0-9+/_-]{16,76}\s?)+={0,2}"),
    ("base32", r"\b[A-Z2-7]{24,}={0,6}"),
    ("hex", r"(?:\b(?:0x|\\x)?[0-9a-fA-F]{2}[ ,:;-]{1,2}|\\x[0-9a-fA-F]{2}|[0-9a-fA-F]{2}){12,}"),
    ("binary", r"(?:[01]{8}[ ,]?){6,}"),
    ("decimal", r"(?:\b[0-9]{2,3}[ ,;]{1,2}){9,}[0-9]{2,3}"),
    ("morse", r"(?:[.\-]{1,5}[ /|]{1,3}){10,}[.\-]{0,5}"),
    ("escaped", r"(?:\\u00[0-9a-fA-F]{2}){4,}"),
)
def _shift(by: int) -> bytes:
    return bytes.maketrans(_LETTERS.encode(), (_LETTERS[by:] + _LETTERS[:by]).encode())


_ATBASH = bytes.maketrans(_LETTERS.encode(), _LETTERS[::-1].encode())
_TABLES = (_ATBASH, *(_shift(26 - by) for by in range(1, 26)))  # undo
_WRITTEN = (_ATBASH, *(_shift(by) for by in range(1, 26)))
_LONG_TELLTALE = tuple(word.encode() for word in _TELLTALE[:9] if len(word) > 5)


def _ciphered(words: Sequence[bytes]) -> Iterator[str]:
    yield b"|".join(word[::-1] for word in words).decode()
    for table in _WRITTEN:
        yield b"|".join(word.translate(table) for word in words).decode()


# One pass says which readings are worth a try. Numbers: the runs, leet, spaced, reversed, then the tables.
_GATES = PatternSet(
    [
        *(pattern for _name, pattern in _RUNS),
        f"(?i:{_LEETED})",
        f"(?i:{_SPACED})",
        *(f"(?i:{words})" for words in _ciphered(_LONG_TELLTALE)),
    ]
)
_LEET_GATE = len(_RUNS)


class Readings:
    """The other readings of a text; `plain` is the same text in lower case, folded."""

    def __init__(self, text: str, plain: str) -> None:
        self._text = text
        self._raw = as_bytes(text)
        self._plain = plain
        self._data = as_bytes(plain)
        self._hits = frozenset(_GATES.hits(self._raw if text.isascii() else self._raw + self._data))

    @property
    def spaced(self) -> bool:
        """Do letters stand apart, or signs between the parts of words?"""
        return _LEET_GATE + 1 in self._hits

    def __iter__(self) -> Iterator[tuple[str, str]]:
        for name, reading in self._rewritten():
            if any(reading.count(word) > self._plain.count(word) for word in _TELLTALE):
                yield name, reading
        left = MAX_READINGS
        for number, (name, _pattern) in enumerate(_RUNS):
            if number in self._hits:
                for match in _GATES.find(number, self._raw):
                    start, end = match.span()
                    decoded = _decoded(name, self._text[start : min(end, start + 2 * MAX_DECODED)])
                    if decoded is not None:
                        yield name, decoded
                        left -= 1
                    if not left:
                        return

    def _rewritten(self) -> Iterator[tuple[str, str]]:
        """The same text in other letters; of use only if a telltale word comes to light."""
        data, text = self._data, self._text
        if _LEET_GATE in self._hits:
            yield "leet", data.translate(_LEET).decode("latin-1")
            yield "leet", data.translate(_LEET_L).decode("latin-1")
        if _LEET_GATE + 2 in self._hits:
            yield "reversed", self._plain[::-1]
            yield "reversed", " ".join(word[::-1] for word in self._plain.split(" "))
        for number, table in enumerate(_TABLES, start=_LEET_GATE + 3):
            if number in self._hits:
                yield "shifted", data.translate(table).decode("latin-1")
        if text.count("%") > 5:
            yield "percent", unquote(text, errors="replace").lower()
        if "&#" in text:
            yield "entities", html.unescape(text).lower()


def squeezed(plain: str) -> bytes:
    """The letters alone."""
    return as_bytes(plain).translate(None, _NOT_LETTERS)


def _decoded(name: str, run: str) -> str | None:
    try:
        said = _DECODERS[name](run)
    except (ValueError, binascii.Error):
        return None
    return said if len(said) >= 8 and _readable(said) else None


def _readable(text: str) -> bool:
    """Is it language rather than bytes: letters and blanks, hardly any control characters?"""
    good = sum(sign.isalpha() or sign in " .,!?'\"\n:-" for sign in text[:512])
    if good < 0.85 * len(text[:512]):
        return text.isascii() and text.isalnum() and len(text) >= 24  # encoded once more
    return "\ufffd" not in text and (" " in text.strip() or len(text) >= 24)


def _from_base64(run: str) -> str:
    if run.islower() or run.isupper() or (run.isalpha() and run.istitle()):
        raise ValueError  # a long word or a number
    letters = "".join(run.split()).rstrip("=").replace("-", "+").replace("_", "/")
    letters = letters[: len(letters) - (len(letters) % 4 == 1)]
    return base64.b64decode(letters + "=" * (-len(letters) % 4)).decode("utf-8")


def _from_base32(run: str) -> str:
    letters = run.rstrip("=")
    return base64.b32decode(letters + "=" * (-len(letters) % 8)).decode("utf-8")


def _from_hex(run: str) -> str:
    for mark in ("0x", "\\x"):
        run = run.replace(mark, "")
    digits = "".join(sign for sign in run if sign not in " ,:;-")
    return bytes.fromhex(digits[: len(digits) // 2 * 2]).decode("utf-8")


def _from_binary(run: str) -> str:
    digits = "".join(sign for sign in run if sign in "01")
    return bytes(int(digits[at : at + 8], 2) for at in range(0, len(digits) - 7, 8)).decode("utf-8")


def _from_decimal(run: str) -> str:
    return bytes(int(number) for number in run.replace(",", " ").replace(";", " ").split()).decode("utf-8")


def _from_morse(run: str) -> str:
    words = run.replace("|", "/").replace("   ", "/").split("/")
    return " ".join("".join(_MORSE.get(sign, "") for sign in word.split()) for word in words)


def _from_escapes(run: str) -> str:
    return "".join(chr(int(code, 16)) for code in run.split("\\u")[1:])


_DECODERS: dict[str, Callable[[str], str]] = {
    "base64": _from_base64, "base32": _from_base32, "hex": _from_hex, "binary": _from_binary,
    "decimal": _from_decimal, "morse": _from_morse, "escaped": _from_escapes,
}  # fmt: skip
