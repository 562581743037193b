"""Stand-ins for what was found: of the same shape, the same each time for one tenant, and restored in the answer.

They are made from the original with a key (HMAC), not stored: only the exchange that sent them knows, while it runs,
which original each stands for. A conversation that is sent again gets the same stand-ins again.
"""

import re
from collections.abc import Iterable
from hashlib import blake2b

from gateway.guardrails.check import Check, Hit
from gateway.hookspecs import Finding

_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
_KIND = re.compile(r"[^A-Za-z0-9]+")
_SHAPED = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ()+./:_-]*[A-Za-z0-9]|\+[0-9][0-9 ()./-]*[0-9]", re.ASCII)
_CARD = "CARD"
_SHORTEST = 8  # letters and digits: stand-ins of shorter things would soon be the same

# Whether a stand-in happens to stand in the request is looked up for the first ones: chance is as good a guard after.
_LOOKED_UP, _LOOKED_THROUGH = 200, 65_536


class Pseudonyms:
    """The stand-ins of one exchange. `taken` tells whether a text stands in the request already."""

    def __init__(self, key: bytes, taken: Iterable[str] = ()) -> None:
        self._key = key
        texts = tuple(taken)
        self._texts = texts if sum(map(len, texts)) <= _LOOKED_THROUGH else ()
        self._made: dict[tuple[str, str], str] = {}
        self.originals: dict[str, str] = {}

    def stand_in(self, kind: str, original: str) -> str:
        """What stands for `original`: always the same for one key, and for no other text of this exchange."""
        made = self._made.get((kind, original))
        if made is not None:
            return made
        for attempt in range(1000):
            made = _shaped(kind, original, _Stream(self._key, kind, original, attempt))
            if self._is_free(made, original):
                break
        else:
            raise ValueError("no stand-in is free for this text")
        self._made[kind, original] = made
        self.originals[made] = original
        return made

    def _is_free(self, made: str, original: str) -> bool:
        if made in self.originals or made == original:
            return False
        return len(self.originals) >= _LOOKED_UP or not any(made in text for text in self._texts)


class Restore(Check):
    """A check of replies that finds stand-ins and puts the originals in their place."""

    def __init__(self, originals: dict[str, str]) -> None:
        super().__init__("restore", _StandIns(originals))
        self._originals = originals

    def hits(self, text: str, part: str) -> list[Hit]:
        """All stand-ins in the text."""
        assert self.scan is not None
        return [
            Hit(found.start, found.end, "", 1.0, "restore", self, self._originals[text[found.start : found.end]])
            for found in self.scan(text, part)
        ]


class _StandIns:
    """A detector of stand-ins."""

    def __init__(self, known: Iterable[str]) -> None:
        longest_first = sorted(known, key=len, reverse=True)
        # Literals only: no pattern from outside, and nothing to backtrack into.
        self._pattern = re.compile("|".join(map(re.escape, longest_first)))
        self._beginnings = frozenset(made[:end] for made in longest_first for end in range(1, len(made)))
        self.hold_back = len(longest_first[0])

    def scan(self, text: str, part: str = "content") -> list[Finding]:  # noqa: ARG002
        return [Finding(*found.span(), "") for found in self._pattern.finditer(text)]

    def settled(self, text: str) -> int:
        """All but an end that may be the beginning of a stand-in."""
        for start in range(max(0, len(text) - self.hold_back + 1), len(text)):
            if text[start:] in self._beginnings:
                return start
        return len(text)


class _Stream:
    """Bytes that only the key and the original determine."""

    def __init__(self, key: bytes, kind: str, original: str, attempt: int) -> None:
        self._seed = f"{kind}\0{attempt}\0{original}".encode("utf-8", "surrogatepass")
        self._key = key
        self._block = 0
        self._bytes = b""

    def below(self, limit: int) -> int:
        """A number from 0 to below `limit`, which is at most 64."""
        if not self._bytes:
            label = self._block.to_bytes(8, "big")
            self._bytes = blake2b(self._seed, key=self._key, digest_size=64, salt=label.ljust(16, b"\0")).digest()
            self._block += 1
        value, self._bytes = self._bytes[0], self._bytes[1:]
        return value % limit

    def word(self, length: int) -> str:
        """Letters and digits that are not mistaken for one another."""
        return "".join(_ALPHABET[self.below(len(_ALPHABET))] for _ in range(length))


def _shaped(kind: str, original: str, stream: _Stream) -> str:
    if "@" in original and "." in original.rpartition("@")[2]:
        return f"{stream.word(10)}@{stream.word(4)}.example.com"
    solid = sum(map(str.isalnum, original))
    digits = sum(map(str.isdigit, original))
    if solid < _SHORTEST or digits * 2 < solid or _SHAPED.fullmatch(original) is None:
        name = _KIND.sub("_", kind).strip("_").upper() or "TEXT"
        return f"[{name}_{stream.word(10)}]"
    made = [_like(char, stream) for char in original]
    if _CARD in kind.upper():
        _make_luhn_valid(made)
    return "".join(made)


def _like(char: str, stream: _Stream) -> str:
    if char.isdigit():
        return "0123456789"[stream.below(10)]
    if char.isalpha():
        made = "abcdefghijklmnopqrstuvwxyz"[stream.below(26)]
        return made.upper() if char.isupper() else made
    return char


def _make_luhn_valid(made: list[str]) -> None:
    """Set the last digit so that the checksum of cards holds."""
    places = [at for at, char in enumerate(made) if char.isdigit()]
    total = 0
    for nth, at in enumerate(reversed(places[:-1])):
        digit = int(made[at]) * (2 if nth % 2 == 0 else 1)
        total += digit - 9 if digit > 9 else digit
    made[places[-1]] = str(-total % 10)
