"""Secrets: a type that never prints itself, one derived key for each purpose, and a scrubber for texts."""

import hashlib
import hmac
from typing import NoReturn

import regex

MIN_SECRET_BYTES = 32

_KEYS = regex.compile(
    rb"sk-[A-Za-z0-9_\-]{16,}|gsk_[A-Za-z0-9]{16,}|xai-[A-Za-z0-9]{16,}|AIza[A-Za-z0-9_\-]{20,}"
    rb"|AKIA[A-Z0-9]{12,}|eyJ[A-Za-z0-9_\-]{10,}\.[A-Za-z0-9_\-]{10,}\.[A-Za-z0-9_\-]+"
    rb"|(?i:bearer)[ \t]+[A-Za-z0-9._~+/\-]{12,}=*"
)

_LEAST = 6
_HINTS = (b"sk-", b"gsk_", b"xai-", b"aiza", b"akia", b"eyj", b"bearer")  # each key begins with one of them


class Secret:
    """A credential in memory: `reveal()` gives it, everything else shows `***`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The credential itself: only for the request that carries it."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret cannot be serialised")


def derive(master: bytes, purpose: str) -> bytes:
    """A 32-byte key for one purpose (HKDF-Expand of RFC 5869 with SHA-256, one block)."""
    if len(master) < MIN_SECRET_BYTES:
        raise ValueError(f"the master secret has {len(master)} bytes; it needs at least {MIN_SECRET_BYTES}")
    return hmac.new(master, b"ai-gateway/" + purpose.encode() + b"\x01", hashlib.sha256).digest()


def scrub(text: bytes, *known: str) -> bytes:
    """`text` without the `known` credentials and without anything shaped like a key.

    A credential of fewer than six characters (a placeholder for a server that asks for none) stays: taking each
    `x` out of a text would hide what it says, and the credential would show all the more.
    """
    for credential in known:
        if len(credential) >= _LEAST:
            text = text.replace(credential.encode(), b"***")
    lower = text.lower()  # nearly every text has none, and is spared the search
    return _KEYS.sub(b"***", text) if any(hint in lower for hint in _HINTS) else text
