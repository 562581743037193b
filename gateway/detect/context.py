"""What the words around a value say it is: `Labels` gives classes such as `phone` or `ssn`.

The words decide where digits alone could be anything; the nearest ones win. They are in `vocabulary`.
"""

import re
from functools import cached_property

from gateway.detect.patterns import PatternSet, TextSet, as_bytes
from gateway.detect.vocabulary import ANYWHERE, LATIN

_LOOK_BACK, _LOOK_AHEAD, _OTHER_REACH = 72, 44, 24


class Labels:
    """The classes of words around the characters from `start` to before `end`, each looked up when it is asked for."""

    def __init__(self, text: str, start: int, end: int, reach: int = _LOOK_BACK) -> None:
        self._text, self._start, self._end, self._low = text, start, end, max(0, start - reach)

    @cached_property
    def before(self) -> frozenset[str]:
        """The classes of words before the value."""
        text, low, start = self._text, self._low, self._start
        found = classes(_snapped(text, low, start)) if start > low else _NONE
        if "other" in found and "other" not in classes(_snapped(text, _last_clause(text, low, start), start)):
            found -= {"other"}  # that word stood too far away, or had a number of its own
        return found

    @cached_property
    def near(self) -> frozenset[str]:
        """Those of the nearest words among them."""
        if len(self.before) > 1:
            for distance in (16, 28, 44):
                low = max(self._low, self._start - distance)
                if found := classes(_snapped(self._text, low, self._start)) & self.before:
                    return found
        return self.before

    @cached_property
    def after(self) -> frozenset[str]:
        """The classes of words after it, in the same clause."""
        if self._end >= len(self._text):
            return _NONE
        return classes(_clause(self._text[self._end : self._end + _LOOK_AHEAD]))

    def has(self, *kinds: str) -> bool:
        """Does one of these stand before the value, or after it where nothing before says otherwise?"""
        if "other" in self.near:
            return not self.near.isdisjoint(kinds)
        return not self.before.isdisjoint(kinds) or (not self.near and not self.after.isdisjoint(kinds))

    @property
    def foreign(self) -> bool:
        """Do the nearest words name something that is nobody's data?"""
        return "other" in (self.near or self.after) and len(self.near or self.after) == 1


SILENT = Labels("", 0, 0)  # where no such word is in all of the text


def _words(name: str) -> str:
    # Over bytes: a letter that Latin-1 lacks is a `?` there.
    words = LATIN[name].encode("latin-1", "replace").decode("latin-1").replace("?", r"\?")
    spaced = (word.replace("*", rf"{_LETTER}*").replace("@", r"[ _.\-]{0,3}") for word in words.split())
    return rf"(?i)(?:^|[^a-z\xC0-\xFF])(?:{'|'.join(spaced)})(?:$|[^a-z\xC0-\xFF])"


_LETTER = r"[a-z\xC0-\xFF?]"
_NAMES, _OTHER_NAMES = tuple(LATIN), tuple(ANYWHERE)
_SET = PatternSet([_words(name) for name in _NAMES])
_OTHER_SET = TextSet(list(ANYWHERE.values()))
_NONE: frozenset[str] = frozenset()


def classes(text: str) -> frozenset[str]:
    """The classes of all words in a short text."""
    found = [_NAMES[number] for number in _SET.hits(as_bytes(text))]
    if not text.isascii():
        found += [_OTHER_NAMES[number] for number in _OTHER_SET.hits(text)]
    return frozenset(found) if found else _NONE


def _snapped(text: str, low: int, high: int) -> str:
    # Not from the middle of a word: half of one may be another.
    while 0 < low < high and text[low - 1].isalpha() and text[low].isalpha():
        low += 1
    return text[low:high]


def _last_clause(text: str, low: int, high: int) -> int:
    at, low = high, max(low, high - _OTHER_REACH)
    while at > low and not text[at - 1].isdigit() and text[at - 1] not in ",;!?\n|":
        at -= 1
        if text[at] == "." and text[at + 1 : at + 2] == " " and text[max(0, at - 4) : at].isalpha():
            break  # a sentence ends here, not a short form such as `no.`
    return at


def _clause(text: str) -> str:
    end = _CLAUSE_END.search(text)
    return text if end is None else text[: end.start()]


_CLAUSE_END = re.compile(r"[,;|\n!?:={}\"<]|\.(?= |\Z)")
