"""Bank accounts: IBAN by country and check digits; routing numbers, sort codes and others by the words around them."""

from collections.abc import Iterator

from gateway.detect import context
from gateway.detect.checksums import aba, mod97
from gateway.detect.numbers import Number
from gateway.detect.patterns import Match, compile_text
from gateway.detect.spans import Span, View

_IBAN_LENGTHS = {
    code: int(size)
    for size, codes in {
        "15": "NO", "16": "BE", "18": "DK FI FO GL NL SD FK", "19": "MK SI", "20": "AT BA EE KZ LT LU XK MN",
        "21": "CH CR HR LI LV", "22": "BG BH DE GB GE IE ME RS VA", "23": "AE GI IL IQ TL OM SO",
        "24": "AD CZ ES MD PK RO SA SE SK TN VG", "25": "LY PT ST", "26": "IS TR", "27": "BI DJ FR GR IT MC MR SM",
        "28": "AL AZ BY CY DO GT HU LB NI PL SV HN", "29": "BR EG PS QA UA", "30": "JO KW MU YE", "31": "MT SC",
        "32": "LC", "33": "RU",
    }.items()
    for code in codes.split()
}  # fmt: skip
IBAN = (
    r"(?i)(?:" + "|".join(sorted(_IBAN_LENGTHS)) + r")[ .\-]?[0-9][ .\-]?[0-9](?:[ .\-\n\r\t_/]{0,3}[A-Z0-9]){11}"
)
SPACED_IBAN = r"(?i)\b[A-Z][ ][A-Z][ ][0-9][ ][0-9](?:[ ]{1,3}[A-Z0-9]){11}"
_REACH = 44
IBAN_TRIGGER = IBAN.replace("{11}", "{3}")
_GAP = " .-\n\r\t_/:"
# `DEUTDEFF500`; `SBIN0001234`; `12-34-56`
BIC = r"\b[A-Z]{6}[A-Z0-9]{2}(?:[A-Z0-9]{3})?\b"
IFSC = r"\b[A-Z]{4}0[A-Z0-9]{6}\b"
SORT_CODE = r"\b[0-9]{2}[\- ][0-9]{2}[\- ][0-9]{2}\b"
_BIC_WORD = compile_text(r"(?i)(?:^|[^\pL])(?:bic|swift)(?:[ /_\-]?(?:code|bic|nr|number))?[\s:=#\"'/-]{0,6}$")
_SORT_WORD = compile_text(r"(?i)(?:^|[^\pL])(?:sort[ _-]?codes?|sc|bsb)(?:[ _-]?(?:no|number|is))?[\s:=#.\"'-]{0,6}$")


def iban(view: View, match: Match) -> Span | None:
    """The account number that begins where `match` does."""
    text, start = view.text, match.start()
    if start and (text[start - 1].isalnum() and text[start - 1].isascii()):
        return None
    value, at, gap, length = "", start, 0, 2
    if text[start : start + 2].upper() in _IBAN_LENGTHS and text[start : start + 12].isalnum():  # as most are written
        length = _IBAN_LENGTHS[text[start : start + 2].upper()]
        if (solid := text[start : start + length]).isalnum() and solid.isascii():
            value, at = solid, start + len(solid)
    while at < len(text) and len(value) < length:
        sign = text[at]
        if sign.isascii() and sign.isalnum():
            value, gap = value + sign, 0
            if len(value) == 2:
                length = _IBAN_LENGTHS.get(value.upper(), 0)
        elif sign in _GAP and gap < 3:
            gap += 1
        else:
            break
        at += 1
    if len(value) != length or (at < len(text) and text[at].isascii() and text[at].isalnum()):
        return None
    return Span(start, at, "IBAN", 0.99) if mod97(value.upper()) else None


def judge(number: Number) -> Span | None:
    """A routing or account number, if the words around say so."""
    digits, labels = number.digits, number.labels
    if number.plus or not number.edged or not 7 <= len(digits) <= 18:
        return None
    if len(digits) == 9 and aba(digits):
        if labels.has("routing"):
            return Span(number.start, number.end, "BANK_ACCOUNT", 0.95)
        if number.alone:
            return Span(number.start, number.end, "BANK_ACCOUNT", 0.5)
    if "bank" not in labels.near or not labels.near <= {"bank", "routing", "iban", "speak", "other", "card"}:
        return None
    if len(number.shape) > 5 or number.parens:
        return None
    if "bank" not in context.classes(number.view.text[max(0, number.start - _REACH) : number.start]):
        return None
    return Span(number.start, number.end, "BANK_ACCOUNT", 0.85)


def bic(view: View, match: Match) -> Span | None:
    """A bank's code, right after its word."""
    start, end = match.span()
    if not _BIC_WORD.found_in(view.text[max(0, start - 24) : start]):
        return None
    return Span(start, end, "BANK_ACCOUNT", 0.85)


def ifsc(view: View, match: Match) -> Span | None:
    """An Indian branch code; its fifth character is always a zero."""
    start, end = match.span()
    return Span(start, end, "BANK_ACCOUNT", 0.8) if "ifsc" in view.text[max(0, start - 24) : start].lower() else None


def sort_code(view: View, match: Match) -> Span | None:
    """A British sort code, right after its word."""
    start, end = match.span()
    if not _SORT_WORD.found_in(view.text[max(0, start - 24) : start]):
        return None
    return Span(start, end, "BANK_ACCOUNT", 0.9)


def short_accounts(view: View) -> Iterator[Span]:
    """Account numbers of six to eight digits right after the word for them."""
    if "bank" not in view.classes:
        return
    for start, end in _SHORT.spans(view.text):
        digits = len(view.text[start:end]) - len(view.text[start:end].rstrip("0123456789"))
        yield Span(end - digits, end, "BANK_ACCOUNT", 0.8)


_SHORT = compile_text(
    r"(?i)(?:account|acct|a/c|konto|compte|cuenta|conto|conta|rekening)[ .-]?(?:number|num|no|nr|nummer|#)\.?"
    r"(?:[ ]is)?[\s:=#\"']{1,6}[0-9]{6,8}\b"
)
