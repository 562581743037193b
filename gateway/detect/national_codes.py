"""National numbers that have letters: each with a pattern, and a check that decides."""

from collections.abc import Callable

from gateway.detect import context
from gateway.detect.checksums import weighted
from gateway.detect.patterns import Match
from gateway.detect.spans import Span, View

_ODD_CF = dict(zip("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", (
    1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22,
    25, 24, 23), strict=True))  # fmt: skip


def _codice_fiscale(v: str) -> bool:
    total = sum(_ODD_CF[x] for x in v[0:15:2]) + sum(int(x) if x.isdigit() else ord(x) - 65 for x in v[1:15:2])
    return chr(65 + total % 26) == v[15]


def _nif(v: str) -> bool:
    digits = v[:-1].replace("X", "0", 1).replace("Y", "1", 1).replace("Z", "2", 1)
    return digits.isdigit() and "TRWAGMYFPDXBNJZSQVHLCKE"[int(digits) % 23] == v[-1]


def _hetu(v: str) -> bool:
    return 1 <= int(v[:2]) <= 31 and 1 <= int(v[2:4]) <= 12 and (
        "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(v[:6] + v[-4:-1]) % 31] == v[-1]
    )


def _nino(v: str) -> bool:
    return v[:2] not in ("BG", "GB", "NK", "KN", "TN", "NT", "ZZ") and v[0] not in "DFIQUV" and v[1] not in "DFIQUVO"


def _pan(v: str) -> bool:
    return v[3] in "ABCFGHLJPTKE"


def _nric(v: str) -> bool:
    total = weighted(v[1:8], (2, 7, 6, 5, 4, 3, 2)) + {"T": 4, "G": 4, "M": 3}.get(v[0], 0)
    letters = {"S": "JZIHGFEDCBA", "T": "JZIHGFEDCBA", "F": "XWUTRQPNMLK", "G": "XWUTRQPNMLK", "M": "KLJNPQRTUWX"}
    place = total % 11
    return letters[v[0]][10 - place if v[0] == "M" else place] == v[8]


def _rvnr(v: str) -> bool:
    letter = f"{ord(v[8]) - 64:02d}"
    value = v[:8] + letter + v[9:11]
    crosses = (int(x) * y for x, y in zip(value, (2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1), strict=True))
    dated = 1 <= int(v[2:4]) % 50 <= 31 and 1 <= int(v[4:6]) <= 12
    return dated and sum(x // 10 + x % 10 for x in crosses) % 10 == int(v[11])


def _curp(v: str) -> bool:
    alphabet = "0123456789ABCDEFGHIJKLMN\u00d1OPQRSTUVWXYZ"
    total = sum(alphabet.index(x) * (18 - at) for at, x in enumerate(v[:17]))
    return v[17].isdigit() and (10 - total % 10) % 10 == int(v[17])


def _rut(v: str) -> bool:
    total = sum(int(x) * (2 + at % 6) for at, x in enumerate(reversed(v[:-1])))
    return "0K987654321"[total % 11] == v[-1]


def _pps(v: str) -> bool:
    extra = (ord(v[8]) - 64) * 9 if len(v) > 8 and v[8] != "W" else 0
    return "WABCDEFGHIJKLMNOPQRSTUV"[(weighted(v[:7], range(8, 1, -1)) + extra) % 23] == v[7]


def _twn(v: str) -> bool:
    first = "ABCDEFGHJKLMNPQRSTUVXYWZIO".index(v[0]) + 10
    return (first // 10 + first % 10 * 9 + weighted(v[1:9], range(8, 0, -1)) + int(v[9])) % 10 == 0


def _hkid(v: str) -> bool:
    letters = v[:-7].rjust(2)
    values = [36 if x == " " else ord(x) - 55 for x in letters] + [int(x) for x in v[-7:-1]]
    total = sum(x * y for x, y in zip(values, range(9, 1, -1), strict=True))
    return (11 - total % 11) % 11 == (10 if v[-1] == "A" else int(v[-1]))


def _resident_x(v: str) -> bool:
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return v[6:8] in ("19", "20") and "10X98765432"[weighted(v, weights) % 11] == v[17]


def _nir_corsica(v: str) -> bool:
    number = int(v[:13].replace("2A", "19").replace("2B", "18"))
    return 97 - number % 97 == int(v[13:])



class Code:
    """A kind of number: its pattern, its check, and whether it counts without a word nearby.

    One whose check is not a sum of its digits counts beside such a word whatever the check says.
    """

    def __init__(self, pattern: str, check: Callable[[str], bool], *, bare: bool) -> None:
        self.pattern = rf"(?i)\b{pattern}\b"
        self.check = check
        self.bare = bare
        self.drawn = check in (_nino, _pan)


CODES = (
    Code(r"[A-Z]{6}[0-9LMNP-V]{2}[ABCDEHLMPRST][0-9LMNP-V]{2}[A-Z][0-9LMNP-V]{3}[A-Z]", _codice_fiscale, bare=True),
    Code(r"[A-Z]{3}[ -][A-Z]{3}[ -][0-9]{2}[A-Z][0-9]{2}[ -][A-Z][0-9]{3}[A-Z]", _codice_fiscale, bare=True),
    Code(r"[0-9]{7,8}[ -]?[A-HJ-NP-TV-Z]", _nif, bare=True),
    Code(r"[0-9]{1,2}\.[0-9]{3}\.[0-9]{3}[ -]?[A-HJ-NP-TV-Z]", _nif, bare=True),
    Code(r"[XYZ][ -]?[0-9]{7}[ -]?[A-HJ-NP-TV-Z]", _nif, bare=True),
    Code(r"[0-3][0-9][01][0-9]{3}[-+A-FU-Y][0-9]{3}[0-9A-FHJ-NPR-Y]", _hetu, bare=True),
    Code(r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]", _nino, bare=True),
    Code(r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]-[0-9]{2}-[0-9]{2}-[0-9]{2}-[A-D]", _nino, bare=True),
    Code(r"[A-Z]{5}[0-9]{4}[A-Z]", _pan, bare=True),
    Code(r"[STFGM][0-9]{7}[A-Z]", _nric, bare=True),
    Code(r"[0-9]{2} ?[0-3][0-9][01][0-9]{3} ?[A-Z] ?[0-9]{3}", _rvnr, bare=True),
    Code(r"[A-Z][AEIOUX][A-Z]{2}[0-9]{6}[HMX][A-Z]{5}[0-9A-Z][0-9]", _curp, bare=True),
    Code(r"[0-9]{1,2}\.[0-9]{3}\.[0-9]{3}-[0-9K]", _rut, bare=True),
    Code(r"[0-9]{7,8}-[0-9K]", _rut, bare=False),
    Code(r"[0-9]{7}[A-W][A-IW]?", _pps, bare=False),
    Code(r"[A-Z][12][0-9]{8}", _twn, bare=True),
    Code(r"[A-Z]{1,2}[0-9]{6}\([0-9A]\)", _hkid, bare=True),
    Code(r"[1-9][0-9]{5}(?:19|20)[0-9]{9}X", _resident_x, bare=True),
    Code(r"[12][ ]?[0-9]{2}[ ]?[0-9]{2}[ ]?2[AB][ ]?[0-9]{3}[ ]?[0-9]{3}[ ]?[0-9]{2}", _nir_corsica, bare=True),
)


def judge(view: View, code: Code, match: Match) -> Span | None:
    """A number of this kind, or none."""
    start, end = match.span()
    text = view.text
    raw = text[start:end]
    value = "".join(sign for sign in raw if sign.isalnum()).upper()
    fits = code.check(value)
    if not fits and not code.drawn:
        return None
    before, after = text[start - 1 : start] if start else "", text[end : end + 1]
    if before in ("-", "/", "_", "#", ".", "@", "+", "=") and before:
        code_like = before != "="
    else:
        code_like = after in ("-", "/", "_", "@", "=", "+") and bool(after)
    labels = context.Labels(text, start, end)
    if labels.has("national"):
        return Span(start, end, "NATIONAL_ID", 0.9)
    if not fits or labels.foreign or code_like or not code.bare or (code.check is _nif and " " in raw):
        return None
    if raw != raw.upper() and not view.alone(start, end):
        return None
    return Span(start, end, "NATIONAL_ID", 0.7)
