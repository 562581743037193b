"""Password hashing: scrypt, off the event loop, parameters in the record.

One hash takes about 0.3 s and 128 MiB, so at most two run at a time.
"""

import asyncio
import base64
import hashlib
import hmac
import secrets

from gateway.secrets import derive

_MAX_COST = 1 << 20


class Passwords:
    """Hashes and verifies with a pepper derived from the master secret. `cost` is scrypt's n for new hashes."""

    def __init__(self, master: bytes, *, cost: int = 1 << 17) -> None:
        self._pepper = derive(master, "password")
        self._cost = cost
        self._turns = asyncio.Semaphore(2)

    async def hash(self, password: str) -> str:
        """The record to store: `scrypt$n$r$p$salt$hash`."""
        salt = secrets.token_bytes(16)
        made = await self._derive(password, salt, self._cost, 8, 1)
        return f"scrypt${self._cost}$8$1${_text(salt)}${_text(made)}"

    async def verify(self, password: str, record: str | None) -> bool:
        """Whether the password made this record. Takes as long without a record (no such user) as with one."""
        parsed = _parse(record)
        if parsed is None:
            await self._derive(password, bytes(16), self._cost, 8, 1)
            return False
        n, r, p, salt, expected = parsed
        return hmac.compare_digest(await self._derive(password, salt, n, r, p), expected)

    async def _derive(self, password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
        peppered = hmac.digest(self._pepper, password.encode("utf-8", "surrogatepass"), hashlib.sha256)
        async with self._turns:
            return await asyncio.to_thread(
                hashlib.scrypt, peppered, salt=salt, n=n, r=r, p=p, maxmem=256 * n * r + (1 << 20), dklen=32
            )


def generate() -> str:
    """A password that nobody has to invent: 24 characters, 143 bits or so, without look-alikes."""
    return "".join(secrets.choice("abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789") for _ in range(24))


def _parse(record: str | None) -> tuple[int, int, int, bytes, bytes] | None:
    parts = (record or "").split("$")
    if len(parts) != 6 or parts[0] != "scrypt" or not all(part.isdecimal() for part in parts[1:4]):
        return None
    n, r, p = (int(part) for part in parts[1:4])
    if n > _MAX_COST or r > 32 or p > 16:  # a damaged record must not take the machine's memory
        return None
    return n, r, p, base64.b64decode(parts[4]), base64.b64decode(parts[5])


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()
