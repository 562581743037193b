"""National numbers made of digits: United States first, then others by their check digits and dates.

A check digit fits every tenth number by chance, so a word nearby, a telling shape or an otherwise empty text is needed.
"""

from collections.abc import Callable

from gateway.detect.checksums import ean13, luhn, mod11_10, verhoeff, weighted
from gateway.detect.numbers import Number
from gateway.detect.spans import Span

SHAPES = frozenset({
    (3, 2, 4), (3, 6), (5, 4), (3, 3, 3), (3, 3, 3, 2), (2, 3, 3, 4, 2), (6, 4), (8, 4), (6, 7), (6, 3),
    (2, 2, 2, 3, 2), (3, 4, 4, 2), (1, 4, 5, 2, 1), (4, 4, 4), (6, 2, 4), (1, 2, 2, 2, 3, 3, 2), (2, 8, 1),
    (4, 4, 1), (2, 3, 3, 3), (3, 3, 2), (6, 5), (6, 4, 3), (13, 2),
})  # fmt: skip


def judge_us(number: Number) -> Span | None:
    """A social security number or an ITIN, or none."""
    digits, labels = number.digits, number.labels
    if len(digits) != 9 or number.plus or number.parens or not number.edged or len(set(digits)) == 1:
        return None
    kind = _us_kind(digits)
    if kind is None:
        return None
    word = "itin" if kind == "US_ITIN" else "ssn"
    usual = number.shape == (3, 2, 4) and number.joint in ("-", " ", ".", "/", "_")
    if labels.has(word, "ssn"):
        return Span(number.start, number.end, kind, 0.95)
    if number.alone and (usual or (number.shape in ((3, 6), (5, 4)) and number.joint == "-") or kind == "US_ITIN"):
        return Span(number.start, number.end, kind, 0.6)
    if not usual or labels.foreign or labels.near & {"phone", "card", "iban"} or not number.clean:
        return None
    if not number.free:
        return None
    return Span(number.start, number.end, kind, {"-": 0.85, " ": 0.65}.get(number.joint, 0.55))


def _us_kind(digits: str) -> str | None:
    area, group, serial = digits[:3], int(digits[3:5]), digits[5:]
    if area[0] == "9":
        fits = 50 <= group <= 65 or 70 <= group <= 88 or 90 <= group <= 92 or 94 <= group <= 99
        return "US_ITIN" if fits else None
    return None if area in ("000", "666") or group == 0 or serial == "0000" else "US_SSN"


def judge(number: Number) -> Span | None:
    """A national number of some other country, or none."""
    digits, labels = number.digits, number.labels
    checks = _CHECKS.get(len(digits))
    if checks is None or number.plus or number.parens or not number.edged or len(set(digits)) == 1:
        return None
    if len(number.shape) > 1 and number.shape not in SHAPES and number.joint not in (" ", "-", ".", ":"):
        return None
    named = labels.has("national")
    if named and number.free and any(check(digits) for check in checks):
        return Span(number.start, number.end, "NATIONAL_ID", 0.9)
    if labels.foreign or not number.free:
        return None
    if number.clean and (strong := _STRONG.get((number.shape, number.joint))) is not None and strong(digits):
        return Span(number.start, number.end, "NATIONAL_ID", 0.75)
    if number.torn or not number.alone:
        return None
    if number.shape in _ALONE and any(check(digits) for check in _STRICT.get(len(digits), ())):
        return Span(number.start, number.end, "NATIONAL_ID", 0.5)
    return None


def _date(digits: str, order: str = "ymd") -> bool:
    parts = {sign: int(digits[at * 2 : at * 2 + 2]) for at, sign in enumerate(order)}
    return 1 <= parts["m"] <= 12 and 1 <= parts["d"] <= 31


def _bsn(d: str) -> bool:
    return weighted(d, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0


def _sin(d: str) -> bool:
    return d[0] not in "08" and luhn(d)


def _tfn(d: str) -> bool:
    return weighted(d, (1, 4, 3, 7, 5, 8, 6, 9, 10)) % 11 == 0


def _nif_pt(d: str) -> bool:
    return d[0] in "1235689" and (-weighted(d, range(9, 1, -1)) % 11) % 10 == int(d[8])


def _afm(d: str) -> bool:
    return sum(int(x) << (8 - at) for at, x in enumerate(d[:8])) % 11 % 10 == int(d[8])


def _taj(d: str) -> bool:
    return weighted(d, (3, 7) * 4) % 10 == int(d[8])


def _nhs(d: str) -> bool:
    return (11 - weighted(d, range(10, 1, -1)) % 11) % 11 == int(d[9])


def _personnummer(d: str) -> bool:
    day = int(d[4:6])
    return _date(d[:4] + f"{day - 60 if day > 60 else day:02d}") and luhn(d)


def _cpr(d: str) -> bool:
    return _date(d, "dmy")


def _rodne(d: str) -> bool:
    month = int(d[2:4])
    month -= 50 if month > 50 else 0
    month -= 20 if month > 20 else 0
    return 1 <= month <= 12 and 1 <= int(d[4:6]) <= 31 and (int(d) % 11 == 0 or (int(d[:9]) % 11 == 10 and d[9] == "0"))


def _egn(d: str) -> bool:
    month = int(d[2:4]) % 20
    return 1 <= month <= 12 and weighted(d, (2, 4, 8, 5, 10, 9, 7, 3, 6)) % 11 % 10 == int(d[9])


def _svnr(d: str) -> bool:
    return weighted(d, (3, 7, 9, 0, 5, 8, 4, 2, 1, 6)) % 11 == int(d[3]) and _date(d[4:], "dmy")


def _nip(d: str) -> bool:
    return weighted(d, (6, 5, 7, 2, 3, 4, 5, 6, 7)) % 11 == int(d[9])


def _medicare(d: str) -> bool:
    return d[0] in "23456" and weighted(d, (1, 3, 7, 9, 1, 3, 7, 9)) % 10 == int(d[8])


def _inn(d: str) -> bool:
    return weighted(d, (2, 4, 10, 3, 5, 9, 4, 6, 8)) % 11 % 10 == int(d[9])


def _inn12(d: str) -> bool:
    return (
        weighted(d, (7, 2, 4, 10, 3, 5, 9, 4, 6, 8)) % 11 % 10 == int(d[10])
        and weighted(d, (3, 7, 2, 4, 10, 3, 5, 9, 4, 6, 8)) % 11 % 10 == int(d[11])
    )


def _pesel(d: str) -> bool:
    dated = 1 <= int(d[2:4]) % 20 <= 12 and 1 <= int(d[4:6]) <= 31
    return dated and weighted(d, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10 == 0


def _steuer_id(d: str) -> bool:
    counts = sorted(d[:10].count(x) for x in set(d[:10]))
    return d[0] != "0" and counts[-1] in (2, 3) and counts[:-1] == [1] * (len(counts) - 1) and mod11_10(d)


def _fnr(d: str) -> bool:
    first = -weighted(d, (3, 7, 6, 1, 8, 9, 4, 5, 2)) % 11
    second = -weighted(d, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11
    return first == int(d[9]) and second == int(d[10]) and 1 <= int(d[:2]) % 40 <= 31


def _cpf(d: str) -> bool:
    first = weighted(d, range(10, 1, -1)) * 10 % 11 % 10
    return first == int(d[9]) and weighted(d, range(11, 1, -1)) * 10 % 11 % 10 == int(d[10])


def _baltic(d: str) -> bool:
    total = weighted(d, (1, 2, 3, 4, 5, 6, 7, 8, 9, 1)) % 11
    if total == 10:
        total = weighted(d, (3, 4, 5, 6, 7, 8, 9, 1, 2, 3)) % 11 % 10
    return d[0] in "123456" and _date(d[1:]) and total == int(d[10])


def _kimlik(d: str) -> bool:
    odd, even = sum(map(int, d[0:9:2])), sum(map(int, d[1:8:2]))
    return d[0] != "0" and (odd * 7 - even) % 10 == int(d[9]) and sum(map(int, d[:10])) % 10 == int(d[10])


def _nrn(d: str) -> bool:
    return any(97 - int(prefix + d[:9]) % 97 == int(d[9:]) for prefix in ("", "2")) and int(d[2:4]) % 20 <= 12


def _snils(d: str) -> bool:
    return weighted(d, range(9, 0, -1)) % 101 % 100 == int(d[9:])


def _aadhaar(d: str) -> bool:
    return d[0] not in "01" and d != d[::-1] and verhoeff(d)


def _my_number(d: str) -> bool:
    rest = weighted(d, (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11
    return (0 if rest <= 1 else 11 - rest) == int(d[11])


def _long_personnummer(d: str) -> bool:
    return d[:2] in ("18", "19", "20") and _personnummer(d[2:])


def _mykad(d: str) -> bool:
    return _date(d) and d[6:8] not in ("00", "17", "18", "19", "20")


def _thai(d: str) -> bool:
    return d[0] in "12345678" and (11 - weighted(d, range(13, 1, -1)) % 11) % 10 == int(d[12])


def _south_african(d: str) -> bool:
    return _date(d) and d[10] in "012" and d[11] in "89" + "01234567" and luhn(d)


def _cnp(d: str) -> bool:
    rest = weighted(d, (2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9)) % 11
    return d[0] in "12345678" and _date(d[1:]) and (1 if rest == 10 else rest) == int(d[12])


def _rrn(d: str) -> bool:
    if not _date(d) or d[6] == "9" or d[6] == "0":
        return False
    fits = (11 - weighted(d, (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)) % 11) % 10 == int(d[12])
    return fits or (d[:2] >= "20" and d[6] in "3478")  # since 2020 the last digits are drawn


def _jmbg(d: str) -> bool:
    return 1 <= int(d[:2]) <= 31 and 1 <= int(d[2:4]) <= 12 and (
        -weighted(d, (7, 6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11 % 10 == int(d[12])
    )


def _ahv(d: str) -> bool:
    return d.startswith("756") and ean13(d)


def _luxembourg(d: str) -> bool:
    return d[:2] in ("19", "20") and _date(d[2:]) and luhn(d[:12])


def _egyptian(d: str) -> bool:
    return d[0] in "23" and _date(d[1:])


def _cnpj(d: str) -> bool:
    weights = (6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2)
    first = weighted(d, weights[1:]) * -1 % 11 % 10 if weighted(d, weights[1:]) % 11 > 1 else 0
    second = weighted(d, weights) * -1 % 11 % 10 if weighted(d, weights) % 11 > 1 else 0
    return first == int(d[12]) and second == int(d[13])


def _nir(d: str) -> bool:
    month = int(d[3:5])
    return d[0] in "123478" and (1 <= month <= 12 or 20 <= month <= 42 or month >= 50) and (
        97 - int(d[:13]) % 97 == int(d[13:])
    )


def _nik(d: str) -> bool:
    return 11 <= int(d[:2]) <= 94 and 1 <= int(d[6:8]) % 40 <= 31 and 1 <= int(d[8:10]) <= 12 and d[12:] != "0000"


def _resident_id(d: str) -> bool:
    return d[6:8] in ("19", "20") and _date(d[8:]) and "10X98765432"[
        weighted(d, (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)) % 11
    ] == d[17]


def _cuit(d: str) -> bool:
    return d[:2] in ("20", "23", "24", "27", "30", "33") and (
        -weighted(d, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11 % 11 % 10 == int(d[10])
    )


Check = Callable[[str], bool]
_CHECKS: dict[int, tuple[Check, ...]] = {
    9: (_bsn, _sin, _tfn, _nif_pt, _afm, _taj, luhn),
    10: (_nhs, _personnummer, _cpr, _rodne, _egn, _svnr, _nip, _medicare, _inn),
    11: (_pesel, _steuer_id, _fnr, _cpf, _baltic, mod11_10, _kimlik, _nrn, _snils, _cuit),
    12: (_aadhaar, _my_number, _long_personnummer, _mykad, _inn12),
    13: (_thai, _south_african, _cnp, _rrn, _jmbg, _ahv, _luxembourg),
    14: (_egyptian, _cnpj),
    15: (_nir,),
    16: (_nik,),
    18: (_resident_id,),
}
# What counts in an otherwise empty text: checks that hardly any number passes by chance.
_ALONE = frozenset({
    (9,), (3, 3, 3), (11,), (12,), (4, 4, 4), (13,), (3, 4, 4, 2), (1, 4, 5, 2, 1), (8, 4), (15,), (18,),
})  # fmt: skip
_STRICT: dict[int, tuple[Check, ...]] = {
    9: (_tfn,),
    11: (_pesel, _steuer_id, _fnr, _cpf, _baltic, _kimlik, _nrn),
    12: (_aadhaar, _long_personnummer),
    13: (_thai, _south_african, _cnp, _rrn, _ahv),
    15: (_nir,),
    18: (_resident_id,),
}
# Shapes that say what they are, with what stands between the groups.
_STRONG: dict[tuple[tuple[int, ...], str], Check] = {
    ((3, 3, 3, 2), "?"): lambda d: _cpf(d) or _snils(d),
    ((2, 3, 3, 4, 2), "?"): _cnpj,
    ((3, 4, 4, 2), "."): _ahv,
    ((13,), ""): lambda d: _ahv(d) or (_south_african(d) and d[11] in "89" and not ean13(d)),
    ((6, 7), "-"): _rrn,
    ((6, 4), "-"): _personnummer,
    ((8, 4), "-"): _long_personnummer,
    ((6, 4), "/"): _rodne,
    ((2, 2, 2, 3, 2), "?"): _nrn,
    ((1, 4, 5, 2, 1), "-"): _thai,
    ((4, 4, 4), " "): _aadhaar,
    ((2, 8, 1), "-"): _cuit,
    ((3, 3, 3), "-"): _sin,
    ((15,), ""): _nir,
    ((1, 2, 2, 2, 3, 3, 2), " "): _nir,
    ((13, 2), " "): _nir,
    ((18,), ""): _resident_id,
}
