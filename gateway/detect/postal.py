"""Postal addresses and names of people, as far as patterns can tell: complete addresses, and names after their word."""

from gateway.detect.patterns import Match, compile_text
from gateway.detect.spans import Span, View

_STREET = (
    "Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Place|Pl|Square|Sq|Terrace|Ter|Way|Parkway|"
    "Pkwy|Circle|Cir|Highway|Hwy|Crescent|Close|Gardens|Grove|Mews|Row|Walk|Trail|Loop|Plaza"
)
_UNIT = r"(?:,?[ ](?:Apt|Apartment|Suite|Ste|Unit|Flat|Floor|Fl|#)\.?[ ]?[A-Za-z0-9\-]{1,6})?"
_NAME = r"[A-Z\xC0-\xDE](?:[A-Za-z\xC0-\xFF'.\-]{0,24}[A-Za-z\xC0-\xFF])"
# 12 Main Street, Springfield, IL 62704; 10 Downing Street, London SW1A 2AA
ANGLO = (
    rf"\b[0-9]{{1,5}}[A-Za-z]?[ ](?:[NSEW]\.?[ ])?(?:{_NAME}[ ]){{1,4}}(?:{_STREET})\b\.?{_UNIT},?[ \n]{{1,2}}"
    rf"(?:{_NAME}[ ]?){{1,3}},?[ \n]{{1,2}}"
    r"(?:[A-Z]{2}[ ]{1,2}[0-9]{5}(?:-[0-9]{4})?|[A-Z]{1,2}[0-9][A-Z0-9]?[ ][0-9][A-Z]{2}"
    r"|[A-Z][0-9][A-Z][ ][0-9][A-Z][0-9])\b"
)
# Hauptstraße 12a, 10115 Berlin; 12 rue de la Paix, 75002 Paris; Calle Mayor 5, 28013 Madrid
CONTINENTAL = (
    rf"(?:\b[A-Z\xC0-\xDE][A-Za-z\xC0-\xFF.\-]{{2,30}}(?:stra\xDFe|strasse|str\.|weg|platz|allee|gasse|ring|straat|laan|plein)"
    rf"[ ][0-9]{{1,4}}[ ]?[a-z]?"
    rf"|\b[0-9]{{1,4}}(?:[ ]?(?:bis|ter))?,?[ ](?i:rue|avenue|boulevard|place|chemin|all\xE9e|impasse|quai)[ ]"
    rf"[A-Za-z\xC0-\xFF'. \-]{{3,40}}"
    rf"|\b(?:Calle|C/|Avenida|Avda\.?|Plaza|Via|Viale|Piazza|Corso|Rua|Av\.)[ ][A-Za-z\xC0-\xFF'. ]{{3,40}},?[ ]"
    rf"(?:n[.\xBAo]*[ ]?)?[0-9]{{1,4}})"
    rf",?[ \n]{{1,2}}(?:[A-Z]{{1,2}}-)?[0-9]{{4,5}}(?:[ ]?[A-Z]{{2}})?[ ]{_NAME}(?:[ \-]{_NAME})?"
)
_TITLE = (
    r"(?:(?:Mr|Mrs|Ms|Miss|Dr|Prof|Sir|Herr|Frau|Se\xF1or|Se\xF1ora|Sr|Sra|Monsieur|Madame|Mme|Signor|Signora)\.?[ ])"
)
_PERSON = rf"{_NAME}(?:[ ](?:van|von|de|der|den|del|della|di|da|dos|la|le|el|bin|al)){{0,2}}(?:[ ]{_NAME}){{0,3}}"
NAME = (
    rf"(?:\b(?:[Mm]y[ ]name[ ]is|[Nn]ame(?:d)?:|[Nn]ombre:|[Nn]om:|[Nn]ome:|"
    rf"[Ii]ch[ ]hei(?:\xDF|ss)e|[Mm]ein[ ]Name[ ]ist|"
    rf"[Mm]e[ ]llamo|[Jj]e[ ]m'appelle|[Mm]i[ ]chiamo|[Dd]ear|[Ss]igned,?|[Pp]atient:?|[Cc]ustomer:|[Ee]mployee:|"
    rf"(?:[Ff]irst|[Ll]ast|[Ff]ull|[Ss]ur)[ _]?[Nn]ame[\"']?[ ]?[:=])[ ]{{0,2}}[\"']?{_TITLE}?({_PERSON})"
    rf"|\b{_TITLE}({_PERSON}))"
)
_NOBODY = compile_text(
    r"^(?:Sir|Madam|Team|All|Customer|User|Support|Friend|Colleague|Hiring|Manager|Everyone|Test|Unknown|None|Null|The|A)\b"
)


def address(view: View, match: Match) -> Span | None:  # noqa: ARG001
    """A complete address: street, number, place and code."""
    return Span(match.start(), match.end(), "ADDRESS", 0.8)


def name(view: View, match: Match) -> Span | None:
    """The name after a word that announces one, or after a title."""
    number = 1 if match.start(1) >= 0 else 2
    start, end = match.span(number)
    value = view.text[start:end]
    return None if _NOBODY.found_in(value) else Span(start, end, "NAME", 0.7 if number == 1 else 0.6)
