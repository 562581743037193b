"""What the words around a value say it is: `Context.labels` gives classes such as `phone` or `ssn`.

The words decide where digits alone could be anything; the nearest ones win. They are in `vocabulary`.
"""

import msgspec

from gateway.detect.patterns import TextSet
from gateway.detect.vocabulary import ANYWHERE, LATIN

# `*` stands for any letters. In scripts without blanks, words need no boundary.
_LOOK_BACK, _LOOK_AHEAD, _OTHER_REACH = 72, 44, 30


class Labels(msgspec.Struct, frozen=True):
    """The classes of words before and after a value. `near` are the classes of the nearest words before it."""

    near: frozenset[str]
    before: frozenset[str]
    after: frozenset[str]

    def has(self, *kinds: str) -> bool:
        """Does one of these stand before the value, or after it where nothing before says otherwise?"""
        if "other" in self.near:
            return not self.near.isdisjoint(kinds)
        return not self.before.isdisjoint(kinds) or (not self.near and not self.after.isdisjoint(kinds))

    @property
    def foreign(self) -> bool:
        """Do the nearest words name something that is nobody's data?"""
        return "other" in (self.near or self.after) and len(self.near or self.after) == 1


def _words(name: str) -> str:
    spaced = (word.replace("*", r"\pL*").replace("@", r"[ _.\-]{0,3}") for word in LATIN[name].split())
    latin = rf"(?:^|[^\pL])(?:{'|'.join(spaced)})(?:$|[^\pL])"
    return f"{latin}|{ANYWHERE[name]}" if name in ANYWHERE else latin


_NAMES = tuple(LATIN)
_SET = TextSet([f"(?i){_words(name)}" for name in _NAMES])
_NONE: frozenset[str] = frozenset()


def classes(text: str) -> frozenset[str]:
    """The classes of all words in a short text."""
    found = _SET.hits(text)
    return frozenset([_NAMES[number] for number in found]) if found else _NONE


def labels(text: str, start: int, end: int, reach: int = _LOOK_BACK) -> Labels:
    """What stands around the characters from `start` to before `end`."""
    low = max(0, start - reach)
    before = classes(_snapped(text, low, start)) if start > low else _NONE
    if "other" in before and "other" not in classes(_snapped(text, _last_clause(text, low, start), start)):
        before -= {"other"}  # that word stood too far away, or had a number of its own
    near = before
    if len(before) > 1:
        for distance in (16, 28, 44):
            if near := classes(_snapped(text, max(low, start - distance), start)):
                break
        near = near or before
    after = _NONE
    if end < len(text):
        after = classes(_clause(text[end : end + _LOOK_AHEAD]))
    return Labels(near, before, after)


def _snapped(text: str, low: int, high: int) -> str:
    # Not from the middle of a word: half of one may be another.
    while 0 < low < high and text[low - 1].isalpha() and text[low].isalpha():
        low += 1
    return text[low:high]


def _last_clause(text: str, low: int, high: int) -> int:
    at, low = high, max(low, high - _OTHER_REACH)
    while at > low and not text[at - 1].isdigit() and text[at - 1] not in ",;!?\n|":
        at -= 1
    return at


def _clause(text: str) -> str:
    for at, sign in enumerate(text):
        if sign in ",;|\n!?:={}\"<" or (sign == "." and text[at + 1 : at + 2] in (" ", "")):
            return text[:at]
    return text
