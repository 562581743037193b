"""Remembers what was found in a text, by its keyed hash: a conversation is sent again with each turn, and scanned once.

No text is kept, only hashes with a key of this process, and findings' places.
"""

import os
from collections import OrderedDict
from hashlib import blake2b
from typing import Generic, TypeVar

T = TypeVar("T")
_ENTRIES = 8192


class TextCache(Generic[T]):
    """The least recently used text goes when `entries` are kept. May be used from several threads."""

    def __init__(self, entries: int = _ENTRIES) -> None:
        self._entries = entries
        self._key = os.urandom(32)
        self._kept: OrderedDict[bytes, T] = OrderedDict()

    def key(self, text: str, part: str) -> bytes:
        """The key of a text; `part` is where it stands."""
        hashed = blake2b(part.encode(), digest_size=20, key=self._key)
        hashed.update(b"\0")
        hashed.update(text.encode("utf-8", "surrogatepass"))
        return hashed.digest()

    def get(self, key: bytes) -> T | None:
        """What was found there, if it is still known."""
        found = self._kept.get(key)
        if found is not None:
            try:
                self._kept.move_to_end(key)
            except KeyError:  # another thread has just put it out
                return found
        return found

    def put(self, key: bytes, found: T) -> None:
        """Remember."""
        self._kept[key] = found
        if len(self._kept) > self._entries:
            self._kept.popitem(last=False)
