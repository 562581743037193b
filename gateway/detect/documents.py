"""Dates of birth and passports: values that only the words around them make personal."""

from collections.abc import Callable, Iterator

from gateway.detect import context
from gateway.detect.patterns import Match, compile_text
from gateway.detect.spans import Span, View
from gateway.detect.vocabulary import MONTHS

_MONTHS = frozenset(MONTHS.split())
DATE = (
    r"[0-9]{4}[-./][0-9]{1,2}[-./][0-9]{1,2}|[0-9]{1,2}[-./ ][0-9]{1,2}[-./ ][0-9]{4}"
    r"|[0-9]{1,2}[-./][0-9]{1,2}[-./][0-9]{2}"
    r"|[0-9]{4}\?[0-9]{1,2}\?[0-9]{1,2}\??"
    r"|(?i:[0-9]{1,2}(?:st|nd|rd|th|er|\.|\xBA|o)?,?[ \-/.]*(?:of |de |di |d')?[a-z?\xC0-\xFF]{3,12}\.?,?[ \-/.]*"
    r"(?:de[l]? |of )?(?:19|20)[0-9]{2}"
    r"|[a-z\xC0-\xFF]{3,12}\.?[ \-/]*[0-9]{1,2}(?:st|nd|rd|th)?,?[ \-/]+(?:19|20)[0-9]{2})"
    r"|(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])"
)
_PASSPORT_WORD = compile_text(
    r"(?i)passport|passeport|reisepass|pasaporte|passaport[oe]|paszport|paspoort|pass[ -]?(?:nr|nummer)|паспорт|"
    r"护照|護照|旅券|パスポート|여권|דרכון|جواز|पासपोर्ट|διαβατήριο|หนังสือเดินทาง"
)
_PASSPORT = compile_text(
    r"(?:^|[^0-9A-Za-z\-])(?P<value>[A-Z]{1,3}[ -]?[0-9]{5,9}[A-Z]?|[a-z]{1,2}[0-9]{6,9}|[0-9]{2}[A-Z]{2}[0-9]{5}"
    r"|[0-9]{2}[ ]?[0-9]{2}[ ]?[0-9]{6}|[0-9]{7,9}|[CFGHJKLMNPRTVWXYZ][0-9CFGHJKLMNPRTVWXYZ]{7}[0-9])(?:$|[^0-9A-Za-z])"
)
# The two lines at the foot of a passport's page.
MRZ = r"\bP[A-Z<][A-Z]{3}[A-Z<]{39}\b?|\b[A-Z0-9<]{9}[0-9][A-Z]{3}[0-9]{7}[MFX<][0-9]{7}[A-Z0-9<]{14,16}"
LONE_PASSPORT = r"\b[A-Z][0-9]{8}\b"


def births(view: View, search: Callable[[int], Iterator[Match]]) -> Iterator[Span]:
    """Dates that a word calls somebody's birth; each word stands for the nearest date after it."""
    if "dob" not in view.classes:
        return
    text, floor = view.text, 0
    for match in search(0):
        start, end = match.span()
        value = text[start:end]
        if not _is_date(value):
            continue
        labels = context.Labels(text, start, end, min(80, start - floor))
        floor = end
        if "dob" in labels.near or (not labels.near and "dob" in labels.after):
            yield Span(start, end, "DATE_OF_BIRTH", 0.9)


def passports(view: View) -> Iterator[Span]:
    """Numbers soon after the word for a passport."""
    if "passport" not in view.classes:
        return
    text = view.text
    for _, after in _PASSPORT_WORD.spans(text):
        for start, end in _PASSPORT.spans(text[after : after + 48], "value"):
            if "\n\n" in text[after : after + start]:
                continue
            labels = context.classes(text[after : after + start])
            if labels & {"phone", "dob", "ssn", "card", "bank", "other", "iban"}:
                continue
            yield Span(after + start, after + end, "PASSPORT", 0.9)
            break


def machine_readable(view: View, match: Match) -> Span:  # noqa: ARG001
    """The lines for machines."""
    return Span(match.start(), match.end(), "PASSPORT", 0.9)


def lone_passport(view: View, match: Match) -> Span | None:
    """A letter and eight digits that are all there is."""
    start, end = match.span()
    return Span(start, end, "PASSPORT", 0.5) if view.alone(start, end) else None


def _is_date(value: str) -> bool:
    groups = "".join(sign if sign.isdigit() else " " for sign in value).split()
    numbers = [int(group) for group in groups]
    if any(sign.isalpha() for sign in value) and len(numbers) == 2:
        word = "".join(sign for sign in value if sign.isalpha() or sign == " ").split()
        named = any(part[:3].lower() in _MONTHS for part in word) or not value.isascii()
        return named and 1 <= min(numbers) <= 31
    if len(numbers) == 1:
        return len(groups[0]) == 8
    if len(numbers) != 3:
        return False
    year = max(numbers) if max(numbers) > 31 else numbers[-1]
    rest = sorted(number for number in numbers if number != year)
    return (1900 <= year <= 2030 or year < 100) and bool(rest) and 1 <= rest[0] <= 12 and rest[-1] <= 31
