"""IP and MAC addresses. Versions, chapters and times look alike: values and the words around decide."""

import ipaddress

from gateway.detect import context
from gateway.detect.patterns import Match
from gateway.detect.spans import Span, View

_DOT = (
    r"(?:\.|[ ]?[\[({]\.[\])}][ ]?|[ ]?[\[({](?i:dot|punkt|punto|point)[\])}][ ]?|[ _](?i:dot|punkt|punto)[ _]|[ ]\.[ ]"
    r"|\.\r?\n|\r?\n\.|&#46;)"
)
V4 = rf"[0-9]{{1,3}}(?:{_DOT}[0-9]{{1,3}}){{3}}(?:/[0-9]{{1,2}})?"
SPACED_V4 = r"[0-9](?: [0-9]){0,2}(?: \. [0-9](?: [0-9]){0,2}){3}"
V6 = (
    r"(?:[0-9A-Fa-f]{0,4}:){2,8}(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9A-Fa-f]{0,4})"
    r"(?:%[A-Za-z][A-Za-z0-9]{0,14})?(?:/[0-9]{1,3})?"
)
V6_TRIGGER = r"(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f:]|::"
MAC = (
    r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}|[0-9A-Fa-f]{2}(?:-[0-9A-Fa-f]{2}){5}|"
    r"[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}"
)
_FAMOUS = frozenset({"1.1.1.1", "8.8.8.8", "8.8.4.4", "9.9.9.9", "1.0.0.1", "4.4.4.4"})


def v4(view: View, match: Match) -> Span | None:
    """An address of four numbers, perhaps with the length of its network."""
    text = view.text
    start, end = match.span()
    raw, _, bits = text[start:end].partition("/")
    numbers = _numbers(raw.replace("&#46;", "."))
    if len(numbers) != 4 or any(int(n) > 255 or (len(n) > 1 and n[0] == "0" and len(n) != 3) for n in numbers):
        return None
    if bits and int(bits) > 32:
        end -= len(bits) + 1
    if _touched(text, start, end) or "".join(numbers).strip("0") == "" or numbers[:2] == ["255", "255"]:
        return None
    labels = context.Labels(text, start, end, 40)
    if labels.foreign or ("other" in labels.near and "ip" not in labels.near):
        return None
    small = all(len(n) == 1 for n in numbers)
    if (small and raw not in _FAMOUS) or int(numbers[0]) == 0:
        return Span(start, end, "IP_ADDRESS", 0.7) if labels.has("ip") or view.alone(start, end) else None
    return Span(start, end, "IP_ADDRESS", 0.95 if labels.has("ip") else 0.85)


def spaced_v4(view: View, match: Match) -> Span | None:
    """An address digit by digit."""
    numbers = view.text[match.start() : match.end()].replace(" ", "").split(".")
    fits = all(int(number) <= 255 for number in numbers) and any(len(number) > 1 for number in numbers)
    return Span(match.start(), match.end(), "IP_ADDRESS", 0.8) if fits else None


def v6(view: View, match: Match) -> Span | None:
    """An address of hexadecimal groups; not a slice, a scope or a time."""
    text = view.text
    start, end = match.span()
    raw, slash, bits = text[start:end].partition("/")
    if raw.endswith(":") and not raw.endswith("::"):
        raw, slash = raw[:-1], ""
    end = start + len(raw) + (len(bits) + 1 if slash else 0)
    raw = raw.partition("%")[0]
    if "::" not in raw and raw.count(":") < 6:
        return None
    try:
        address = ipaddress.IPv6Address(raw)
    except ValueError:
        return None
    before, after = text[start - 1 : start] if start else "", text[end : end + 1]
    if before and (before in "_:.-" or (before.isalnum() and before.isascii())):
        return None
    if after and (after in "_:" or (after.isalnum() and after.isascii())):
        return None
    if after == "." and text[end + 1 : end + 2].isdigit():
        return None
    if slash and int(bits) > 128:
        return None
    groups = [group for group in raw.replace(".", ":").split(":") if group]
    digits = any(sign.isdigit() for sign in raw)
    sure = len(groups) >= 3 or (len(groups) == 2 and digits and any(len(group) >= 3 for group in groups))
    if not digits and len(groups) < 3:
        sure = False
    if sure and digits:
        return Span(start, end, "IP_ADDRESS", 0.9)
    labels = context.Labels(text, start, end, 40)
    if "ip" not in labels.near and not (view.alone(start, end) and len(raw) > 2):
        return None
    return Span(start, end, "IP_ADDRESS", 0.6) if int(address) > 0 or len(raw) == 2 else None


def mac(view: View, match: Match) -> Span | None:
    """A hardware address; not the middle of a longer chain of bytes."""
    text = view.text
    start, end = match.span()
    before, after = text[start - 1 : start] if start else "", text[end : end + 1]
    for sign in (before, after):
        if sign and ((sign in ":-._" and _more(text, start, end)) or (sign.isalnum() and sign.isascii())):
            return None
    raw = text[start:end]
    if raw.isdigit() or len(set(raw)) <= 2 or ("." in raw and raw.replace(".", "").isdigit()):
        return None
    if "-" in raw and raw.replace("-", "").isdigit():
        return None
    return Span(start, end, "MAC_ADDRESS", 0.9)


def _more(text: str, start: int, end: int) -> bool:
    return text[max(0, start - 2) : max(0, start - 1)].isalnum() or text[end + 1 : end + 2].isalnum()


def _numbers(raw: str) -> list[str]:
    return "".join(sign if sign.isdigit() else " " for sign in raw).split()


def _touched(text: str, start: int, end: int) -> bool:
    before, after = text[max(0, start - 2) : start], text[end : end + 2]
    if before and (before[-1] in "._$-+" or (before[-1].isalnum() and before[-1].isascii())):
        return True
    if before[-1:] == "/" and not before.startswith("/"):
        return True
    if before[-1:] == ":" and before[:1].isdigit():
        return True
    if after and (after[0] in "_%" or (after[0].isalnum() and after[0].isascii())):
        return True
    return after[:1] in (".", "-", ",") and after[1:2].isalnum() and after[1:2].isascii() and after[:1] != ","
