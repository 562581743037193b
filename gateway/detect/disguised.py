"""Digits in disguise: letters that look like them (`4O12 l888`), and numbers in words (`four one five dash ...`).

Both are put back into digits within a small window, and judged there; alone they count only as what a check digit or a
word nearby confirms.
"""

from collections.abc import Callable, Iterator

from gateway.detect import numbers
from gateway.detect.patterns import Match
from gateway.detect.spans import Span, View

LOOKALIKES = r"(?:^|[^A-Za-z0-9])([0-9OoIl](?:[ .\-/()]{0,2}[0-9OoIl])+)(?:[^A-Za-z0-9]|$)"
LOOKALIKES_TRIGGER = r"[0-9][ .\-/()]{0,2}[OoIl]{1,4}[ .\-/()]{0,2}[0-9]"
_DIGITS = (
    ("zero", "oh", "null", "z\xe9ro", "cero"), ("one", "eins", "un", "uno", "um"),
    ("two", "zwei", "zwo", "deux", "dos", "due", "dois"),
    ("three", "drei", "trois", "tres", "tre", "tr\xeas"), ("four", "vier", "quatre", "cuatro", "quattro", "quatro"),
    ("five", "f\xfcnf", "cinq", "cinco", "cinque"), ("six", "sechs", "seis", "sei"),
    ("seven", "sieben", "sept", "siete", "sette", "sete"),
    ("eight", "acht", "huit", "ocho", "otto", "oito"), ("nine", "neun", "neuf", "nueve", "nove"),
)  # fmt: skip
_SIGNS = {"dash": "-", "hyphen": "-", "minus": "-", "plus": "+", "dot": ".", "point": ".", "space": " "}
_MEANING = {word: str(digit) for digit, words in enumerate(_DIGITS) for word in words} | _SIGNS
SPOKEN = (*_MEANING, "double", "triple")
_WORD = "(?:" + "|".join(sorted(_MEANING, key=len, reverse=True)) + "|double|triple)"
WORDS = rf"(?i)\b{_WORD}(?:[ ,.\-]{{1,3}}{_WORD})+\b"
TWO_WORDS = rf"(?i)\b{_WORD}[ ,.\-]{{1,3}}{_WORD}\b"
THREE_WORDS = TWO_WORDS.removesuffix(r"\b") + rf"[ ,.\-]{{1,3}}{_WORD}\b"
_BEFORE, _AFTER = 80, 48
_AS_DIGITS = str.maketrans("OoIl", "0011")
_NAMED = ("phone", "speak", "ssn", "itin", "bank", "routing", "national", "card")
Shapes = frozenset[tuple[int, ...]]


def lookalikes(view: View, match: Match, shapes: Shapes, judge: numbers.Judge) -> Span | None:
    """A number with letters in the place of some digits."""
    start, end = match.span(1)
    value = view.text[start:end]
    letters = sum(map(str.isalpha, value))
    if not 7 <= len(value) <= 60 or not letters or letters * 2 > sum(map(str.isalnum, value)):
        return None
    return _judged(view, start, end, value.translate(_AS_DIGITS), shapes, judge)


def words(view: View, match: Match, shapes: Shapes, judge: numbers.Judge) -> Span | None:
    """A number in words."""
    start, end = match.span()
    digits, times = "", 1
    spoken = _split(view.text[start:end].lower())
    if not 7 <= len(spoken) <= 40:
        return None
    for word in spoken:
        if word in ("double", "triple"):
            times = 2 if word == "double" else 3
            continue
        digits += _MEANING[word] * times
        times = 1
    return _judged(view, start, end, digits, shapes, judge)


def each(
    rule: Callable[[View, Match, Shapes, numbers.Judge], Span | None],
    view: View, matches: Iterator[Match], shapes: Shapes, judge: numbers.Judge,
) -> Iterator[Span]:
    """What `rule` finds in the matches."""
    for match in matches:
        if (span := rule(view, match, shapes, judge)) is not None:
            yield span


def _judged(view: View, start: int, end: int, digits: str, shapes: Shapes, judge: numbers.Judge) -> Span | None:
    low = max(0, start - _BEFORE)
    before = view.text[low:start]
    window = View(before + digits + view.text[end : end + _AFTER])
    for run in _runs(digits, len(before)):
        for span in numbers.find(window, *run, shapes, judge):
            if span.kind == "CREDIT_CARD" or window.labels(span.start, span.end).has(*_NAMED):
                return Span(start, end, span.kind, min(span.score, 0.8))
    return None


def _runs(digits: str, offset: int) -> Iterator[tuple[int, int]]:
    first = next((at for at, sign in enumerate(digits) if sign.isdigit()), None)
    if first is not None:
        yield offset + first, offset + len(digits)


def _split(text: str) -> list[str]:
    return "".join(sign if sign.isalpha() else " " for sign in text).split()
