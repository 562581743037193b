"""The format of API keys: `sk-gw-` + id (12) + secret (43, 256 bits) + checksum (6), all base62.

Only the keyed hash of the secret is stored; the checksum lets a mistyped key be refused, and a leaked one be
recognised by scanners, without asking the store.
"""

import hashlib
import hmac
import secrets
import zlib
from typing import Final

from gateway.accounts.records import Limits, NewKey
from gateway.secrets import derive

PREFIX: Final = "sk-gw-"
LENGTH: Final = len(PREFIX) + 12 + 43 + 6
NO_LIMITS: Final = Limits()

_BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SET: Final = frozenset(_BASE62)
_ID: Final = slice(len(PREFIX), len(PREFIX) + 12)
_SECRET: Final = slice(_ID.stop, _ID.stop + 43)
_BODY: Final = slice(0, _SECRET.stop)


def issue(
    pepper: bytes,
    *,
    tenant: str,
    created: int,
    name: str = "",
    owner: str | None = None,
    environment: str = "",
    expires_at: int | None = None,
    limits: Limits = NO_LIMITS,
) -> tuple[str, NewKey]:
    """A new key for a person to keep, and its record for the store."""
    text = new_key()
    record = NewKey(
        id=text[_ID], tenant=tenant, prefix=shown(text), digest=digest(pepper, text[_SECRET]), created=created,
        name=name, owner=owner, environment=environment, expires_at=expires_at, limits=limits,
    )  # fmt: skip
    return text, record


def new_key() -> str:
    """A new key. It exists nowhere else: show it once."""
    body = PREFIX + new_id(12) + new_id(43)
    return body + _checksum(body)


def new_id(length: int = 16) -> str:
    """Random base62 characters, 5.95 bits each."""
    return "".join(secrets.choice(_BASE62) for _ in range(length))


def parse(text: str) -> tuple[str, str] | None:
    """The id and the secret of a well-formed key; `None` for anything else."""
    if len(text) != LENGTH or not text.startswith(PREFIX) or not _SET.issuperset(text[len(PREFIX) :]):
        return None
    if not hmac.compare_digest(_checksum(text[_BODY]), text[_SECRET.stop :]):
        return None
    return text[_ID], text[_SECRET]


def pepper(master: bytes) -> bytes:
    """The key of all digests, derived from the master secret."""
    return derive(master, "api-key")


def digest(pepper: bytes, secret: str) -> str:
    """What is stored of a secret: HMAC-SHA256 in hex. A slow hash adds nothing to 256 random bits."""
    return hmac.digest(pepper, secret.encode(), hashlib.sha256).hex()


def matches(expected: str, presented: str) -> bool:
    """Compare two digests in constant time."""
    return hmac.compare_digest(expected, presented)


def shown(text: str) -> str:
    """How people recognise a key: the first four characters of its id and the last four. None are of the secret."""
    return f"{text[: _ID.start + 4]}…{text[-4:]}"


def _checksum(body: str) -> str:
    number, out = zlib.crc32(body.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        out = _BASE62[digit] + out
    return out
