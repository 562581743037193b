"""E-mail addresses: as they are, encoded, spaced out, or with `at` and `dot` in words."""

from collections.abc import Callable, Iterator

from gateway.detect.patterns import Match, compile_text
from gateway.detect.spans import Span, View
from gateway.detect.vocabulary import DOMAINS, NO_NAMES

_GENERIC = frozenset(DOMAINS.split())
_ATOM = r"A-Za-z0-9_\xC0-\xD6\xD8-\xF6\xF8-\xFF"
# A quoted local part may hold anything; an address in brackets may stand for the domain.
ADDRESS = (
    rf"(?:[{_ATOM}!#$%&'*+/=?^`{{|}}~\-][{_ATOM}.!#$%&'*+/=?^`{{|}}~\-]*|\"[^\"\n\\]{{1,62}}\")"
    rf"(?:@|&#0{{0,3}}64;|&#[xX]0{{0,2}}40;|&commat;|%40)"
    rf"(?:\[[0-9A-Fa-f:.]{{7,45}}\]|(?:[{_ATOM}\-]+\.)+[A-Za-z][A-Za-z0-9\-]*)"
)
ADDRESS_TRIGGER = r"(?:@|&#0{0,3}64;|&#[xX]0{0,2}40;|&commat;|%40)[A-Za-z0-9\[\xC0-\xFF_?]"
_AT = (
    r"(?:[ \t]*[\[({<|*\\/_~\-]+[ \t]*(?:@|at|AT|At|a|arroba|chez|ät|bei|malpa|\(a\))[ \t]*[\])}>|*\\/_~\-]+[ \t]*"
    r"|[ \t]+(?:at|AT|At|aT|arroba|chiocciola|arobase|klammeraffe|@)[ \t]+|[ \t]*@[ \t]*|@\n|\n@)"
)
_DOT = (
    r"(?:[ \t]*[\[({<|*\\/_~\-]+[ \t]*(?:\.|dot|DOT|Dot|d|punkt|punto|point|ponto|kropka|pt)"
    r"[ \t]*[\])}>|*\\/_~\-]+[ \t]*"
    r"|[ \t]+(?:dot|DOT|Dot|dOT|punkt|punto|point|ponto|kropka)[ \t]+|[ \t]+\.[ \t]+|[ \t]?\.|\.[ \t]|\.\n|\n\.)"
)
_LOCAL = (
    rf"[A-Za-z0-9\xC0-\xFF][A-Za-z0-9_+\xC0-\xFF\-]*"
    rf"(?:(?:\.|{_DOT})[A-Za-z0-9_+\xC0-\xFF\-]+){{0,3}}"
)
HIDDEN = rf"({_LOCAL})({_AT})([A-Za-z0-9\xC0-\xFF][A-Za-z0-9\xC0-\xFF\-]*(?:{_DOT}[A-Za-z0-9\-]+){{1,4}})"
HIDDEN_TRIGGER = (
    r"(?i)[\[({<|*\\/_~\-][ \t]*(?:@|at|a|arroba|chez|ät|bei|malpa)[ \t]*[\])}>|*\\/_~\-]"
    r"|[ \t](?:at|arroba|chiocciola|arobase|klammeraffe)[ \t]+[a-z0-9.\-]+"
    r"[ \t\[({<|*\-]+(?:dot|punkt|punto|point|ponto|\.)"
    r"|[ \t\n]@|@[ \t\n]|[ \t](?:at|arroba)[ \t][a-z0-9\-]+\.[a-z]|[\[({ ](?:dot|\.)[\])} ]"
)
_SPACED_SIGN = r"[A-Za-z0-9._+\-]"
SPACED = rf"(?:{_SPACED_SIGN}[ ]){{2,64}}@[ ](?:[A-Za-z0-9.\-][ ]){{3,64}}[A-Za-z]\b"
SPACED_TRIGGER = r"[A-Za-z0-9][ ]@[ ][A-Za-z0-9][ ]"
_DOTS = compile_text(rf"{_DOT}")
_MAIL_WORD = compile_text(
    r"(?i)(?:mail|correo|courriel|contact|reach|write|kontakt|schreib\pL*|address|adresse|posta|почта|邮箱|メール)"
    r"(?:[ \t]+(?:me|us|him|her|them|is|to|at|on|an|ist|address|adresse|est|es|è)){0,3}[ \t]*[:=\"'(<-]{0,2}[ \t]*$"
)
_WORDY = frozenset(["at", "arroba", "chiocciola", "arobase", "klammeraffe"])
_NOT_LOCAL = frozenset(NO_NAMES.split())


def plain(view: View, match: Match) -> Span | None:
    """An address in its usual form; what touches it in another script is not part of it."""
    text = view.text
    start, end = match.span()
    while text[start] in "!#$%&'*+/=?^`{|}~-." and start < end:
        start += 1
    raw = text[start:end]
    for before in ("mailto:", "email=", "mail=", "e-mail=", "user=", "to=", "from="):
        if before[-1] != ":" and raw.lower().startswith(before):
            start += len(before)
    at = max(text.rfind(sign, start, end) for sign in ("@", ";", "%40"))
    local, domain = text[start:at], text[at + (3 if text[at] == "%" else 1) : end]
    start += max((place + 1 for place, sign in enumerate(local) if sign in "=/|?" or ord(sign) > 0xFF), default=0)
    if start >= at or domain.startswith("["):
        return Span(start, end, "EMAIL", 0.9) if start < at and text[start] != ":" else None
    labels = domain.split(".")
    while len(labels) > 1 and not _top(labels[-1]):
        if labels[-1][:2].isalpha() and (top := _cut_top(labels[-1])):
            end -= len(labels[-1]) - len(top)
            labels[-1] = top
            break
        end -= len(labels.pop()) + 1
    if len(labels) < 2 or text[end - 1] == "-" or ".." in text[at:end]:
        return None
    if text[end : end + 1] == ":" and text[start:at] == "git":
        return None  # where a repository is
    return Span(start, end, "EMAIL", 0.99)


def hidden(view: View, search: Callable[[int], Iterator[Match]]) -> Iterator[Span]:
    """Addresses with `at`, `dot`, brackets or blanks; `search(position)` gives what matches `HIDDEN` from there on."""
    match = next(search(0), None)
    while match is not None:
        span = _hidden(view, match)
        if span is not None:
            yield span
        # What was none may hide one: `reach me at jane at example dot org`.
        match = next(search(match.start(3) if span is None else match.end()), None)


def _hidden(view: View, match: Match) -> Span | None:
    text = view.text
    start, end = match.span()
    sign = text[match.start(2) : match.end(2)]
    domain = text[match.start(3) : match.end(3)]
    bracketed = any(x in sign for x in "[({<|*\\/_~")
    wordy = sign.strip(" \t\n") in _WORDY or sign.strip(" \t\n").lower() == "at"
    labels, ends = _labels(domain)
    while len(labels) > 1 and not _top(labels[-1]):
        labels.pop()
        ends.pop()
    if len(labels) < 2:
        return None
    end = match.start(3) + ends[-1]
    dots = {x.strip(" \t\n[](){}<>|*\\/_~-").lower() for x in _gaps(domain[: ends[-1]])} - {"", "."}
    spelled = bool(dots) and (dots <= {"dot", "d"} or bracketed or sign.strip().lower() != "at")
    local = text[match.start(1) : match.end(1)].lower()
    if wordy and not bracketed:
        if local in _NOT_LOCAL or not (spelled or _MAIL_WORD.found_in(text[max(0, start - 40) : start])):
            return None
        if not spelled and " " in text[match.start(3) : end]:
            return None
    if bracketed and not spelled and "-" in sign and len(labels[-1]) > 3:
        return None
    torn = sign.strip() == "@" and " " in domain[: ends[-1]] and not spelled
    if torn and labels[-1] not in ("com", "org", "net", "edu"):
        return None
    return Span(start, end, "EMAIL", 0.9 if spelled or bracketed else 0.75)


def spaced(view: View, match: Match) -> Span | None:
    """An address letter by letter."""
    start, end = match.span()
    whole = view.text[start:end].replace(" ", "")
    return Span(start, end, "EMAIL", 0.85) if "." in whole.partition("@")[2] else None


def international(view: View) -> Iterator[Span]:
    """Addresses with letters that are not Latin, on either side."""
    for start, end in _INTERNATIONAL.spans(view.text):
        if not view.text[start:end].isascii():
            yield Span(start, end, "EMAIL", 0.8)


_SCRIPTS = r"\p{Cyrillic}\p{Greek}\p{Devanagari}\p{Thai}\p{Arabic}\p{Hebrew}\p{M}"
_INTERNATIONAL = compile_text(
    rf"[{_SCRIPTS}a-zA-Z0-9._%+\-]+@(?:[{_SCRIPTS}a-zA-Z0-9\-]+\.)+(?:[{_SCRIPTS}]{{2,}}|[a-zA-Z]{{2,}})"
)


def _top(label: str) -> bool:
    label = label.lower()
    return (len(label) == 2 and label.isalpha()) or label in _GENERIC or (label.startswith("xn--") and len(label) > 5)


def _cut_top(label: str) -> str:
    # `x@y.comHello`, `x@y.com-z`: a known ending, then something else that stuck to it.
    for size in range(len(label) - 1, 2, -1):
        rest = label[size]
        stuck = rest.isupper() or rest in "-_" or rest.isdigit()
        if stuck and label[0].islower() and label[:size].lower() in _GENERIC:
            return label[:size]
    return ""


def _gaps(domain: str) -> list[str]:
    return [domain[a:b] for a, b in _DOTS.spans(domain)]


def _labels(domain: str) -> tuple[list[str], list[int]]:
    labels: list[str] = []
    ends: list[int] = []
    at = 0
    for start, end in (*_DOTS.spans(domain), (len(domain), len(domain))):
        if start > at:
            labels.append(domain[at:start].strip())
            ends.append(start)
        at = end
    return labels, ends
