"""Password hashing: scrypt, off the event loop, parameters in the record.

One hash takes about 0.3 s and 128 MiB, so at most two run at a time, in threads that give way to requests; more than
`MAX_WAITING` are not kept waiting.
"""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import os
import secrets
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from gateway.errors import Unavailable
from gateway.secrets import derive

MAX_WAITING: Final = 100
_MAX_COST: Final = 1 << 20
_THREADS: Final = 2
_NICE: Final = 10  # a tenth of the processor where it is contended: a storm of logins slows logins, not requests


class Passwords:
    """Hashes and verifies with a pepper derived from the master secret. `cost` is scrypt's n for new hashes."""

    def __init__(self, master: bytes, *, cost: int = 1 << 17) -> None:
        self._pepper = derive(master, "password")
        self._cost = cost
        self._threads = ThreadPoolExecutor(_THREADS, "password", initializer=_give_way)
        self._waiting = 0

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
        if self._waiting >= MAX_WAITING:
            raise Unavailable("Too many people sign in at this moment. Try again.", code="busy", retry_after=5)

        def work() -> bytes:
            return hashlib.scrypt(peppered, salt=salt, n=n, r=r, p=p, maxmem=256 * n * r + (1 << 20), dklen=32)

        self._waiting += 1
        try:
            # Who gives up while waiting gives up the turn too: the pool drops what was cancelled before it began.
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1


def generate() -> str:
    """A password that nobody has to invent: 24 characters, 143 bits or so, without look-alikes."""
    return "".join(secrets.choice("abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789") for _ in range(24))


def _give_way() -> None:
    """On Linux a priority is a thread's own. It cannot be raised again: hence threads that do nothing else."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


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
