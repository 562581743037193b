"""Texts that are JSON (arguments of tools, structured answers): changes inside them that leave them valid JSON.

A text may come in pieces: `JsonCursor` knows where in the grammar the next piece begins. `seen` gives the text as a
person would read it, escapes decoded, and for each of its characters where it stands; `fitted` makes replacements
keep to strings and whole numbers.
"""

import re
from collections.abc import Iterable, Sequence

import msgspec

from gateway.hookspecs import Redaction

_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})(?:\\u([dD][c-fC-F][0-9a-fA-F]{2}))?|(["\\/bfnrt]))')
_LONGEST = 12  # a pair of surrogates
_HIGH = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}")
_LOW_TO_COME = re.compile(r"(?:\\(?:u(?:[dD](?:[c-fC-F][0-9a-fA-F]?)?)?)?)?\Z")
_SHORT = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_IN_STRING = re.compile(r'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)
_BARE = re.compile(r"[-+.\w]+")
_OPENING = re.compile(r"\s*(?:\{\s*(?:[\"}]|\Z)|\[\s*(?:[\[{\"\]]|\Z))")


def looks_like_json(beginning: str, part: str) -> bool:
    """Whether a text that begins so is an object or a list in JSON."""
    if part == "arguments":
        return beginning.lstrip()[:1] in ("{", "[")
    return _OPENING.match(beginning) is not None


def is_json(text: str, part: str) -> bool:
    """The same for a text that is known as a whole."""
    beginning = text[:16]
    return looks_like_json(text.lstrip()[:16] if beginning.isspace() else beginning, part)


class JsonCursor:
    """Where a text stands in JSON's grammar after all that it was moved over: inside a string or not."""

    __slots__ = ("in_string", "open_escape")

    def __init__(self) -> None:
        self.in_string = False
        self.open_escape = ""  # the beginning of an escape whose rest is still to come

    def move(self, text: str) -> None:
        """Go on over `text`."""
        for _ in self._stretches(text):
            pass

    def scalars(self, text: str) -> list[tuple[int, int, bool]]:
        """The strings (without quotes) and bare words of `text` by start, end, and whether it is a string."""
        copy = JsonCursor()
        copy.in_string, copy.open_escape = self.in_string, self.open_escape
        return list(copy._stretches(text))

    def before_open_word(self, text: str, limit: int) -> int:
        """`limit`, or less where it would cut a number or word outside of strings, or one that may go on."""
        for start, end, is_string in self.scalars(text):
            if not is_string and start < limit and (limit < end or end == len(text)):
                return start
        return limit

    def _stretches(self, text: str) -> Iterable[tuple[int, int, bool]]:
        at = 0
        if self.in_string and self.open_escape:
            at, self.open_escape = min(len(text), 1), "" if text else self.open_escape
        start = 0
        while at < len(text):
            if self.in_string:
                found = _IN_STRING.match(text, at)
                end = found.end() if found else at
                yield start, end, True
                if end < len(text) and text[end] == "\\":  # its rest comes with the next piece
                    self.open_escape = "\\"
                    return
                self.in_string = end >= len(text)
                at = end + 1
            elif text[at] == '"':
                self.in_string = True
                at = start = at + 1
            elif (word := _BARE.match(text, at)) is not None:
                yield word.start(), word.end(), False
                at = word.end()
            else:
                at += 1


def seen(raw: str) -> tuple[str, Sequence[int] | None]:
    """`raw` with its escapes decoded, and where each character begins in `raw` (one more for the end)."""
    if "\\" not in raw:
        return raw, None
    out: list[str] = []
    places: list[int] = []
    at = 0
    for escape in _ESCAPE.finditer(raw):
        out.append(raw[at : escape.start()])
        places.extend(range(at, escape.start()))
        decoded = _decoded(escape)
        out.append(decoded)
        places += [escape.start()] * len(decoded)
        at = escape.end()
    out.append(raw[at:])
    places.extend(range(at, len(raw) + 1))
    return "".join(out), places


def before_open_escape(raw: str, limit: int) -> int:
    """`limit`, or less where it would cut an escape or a pair of them, or one that is not complete."""
    open_ = _before_open_one(raw, limit)
    return limit if open_ == limit else _before_open_one(raw, open_)  # it may be the second of a pair


def _before_open_one(raw: str, limit: int) -> int:
    last = raw.rfind("\\", max(0, limit - _LONGEST), limit)
    if last < 0:
        return limit
    first = last
    while first and raw[first - 1] == "\\":
        first -= 1
    if (last - first) % 2:  # an escaped backslash
        return limit
    escape = _ESCAPE.match(raw, last)
    if escape is None or escape.end() > limit:
        return first
    half = escape.end() == limit and _HIGH.fullmatch(escape[0]) and _LOW_TO_COME.match(raw, limit)
    return first if half else limit


def fitted(raw: str, edits: Iterable[Redaction], cursor: JsonCursor) -> list[Redaction]:
    """The same edits, so that what is valid JSON stays it. `cursor` stands where `raw` begins."""
    scalars = cursor.scalars(raw)
    out: list[Redaction] = []
    for edit in edits:
        text: str | None = edit.text
        for start, end, is_string in scalars:
            if end <= edit.start or start >= edit.end:
                continue
            if out and not is_string and start < out[-1].end:
                continue  # a number that an edit before has replaced already
            out.append(_in_scalar(edit, start, end, is_string, text))
            text = None  # what goes on in the next value has been said in this one
    return out


def _in_scalar(edit: Redaction, start: int, end: int, is_string: bool, text: str | None) -> Redaction:
    if is_string:
        return Redaction(max(start, edit.start), min(end, edit.end), _escaped(text or ""))
    return Redaction(start, end, f'"{_escaped(text or "")}"')


def _escaped(text: str) -> str:
    return msgspec.json.encode(text.encode("utf-8", "replace").decode()).decode()[1:-1]


def _decoded(escape: re.Match[str]) -> str:
    first, second, short = escape.groups()
    if short is not None:
        return _SHORT.get(short, short)
    code = int(first, 16)
    if second is not None and 0xD800 <= code < 0xDC00:
        return chr(0x10000 + ((code - 0xD800) << 10) + (int(second, 16) - 0xDC00))
    text = "\ufffd" if 0xD800 <= code < 0xE000 else chr(code)
    return text if second is None else text + "\ufffd"
