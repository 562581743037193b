"""Slows down whoever guesses passwords: a pause after some failures, twice as long after each further one.

Counted for each account (also for addresses that nobody has: what is guessed looks the same) and each client address.
Names are kept as keyed hashes.
"""

import hashlib
import hmac
from typing import Final

from gateway.clock import now_ms
from gateway.errors import RateLimited
from gateway.secrets import derive
from gateway.store import Store
from gateway.store.work import Failed, Remove, Step

_FREE: Final = {"account": 5, "address": 30}
_FIRST_PAUSE: Final = 15_000
_LONGEST_PAUSE: Final = 15 * 60_000
_FORGOTTEN: Final = 3600_000


class Lockout:
    """One for a process; what it counts is in the store."""

    def __init__(self, store: Store, master: bytes) -> None:
        self._store = store
        self._key = derive(master, "login-failures")

    async def check(self, email: str, address: str) -> None:
        """Raise `RateLimited` while the account or the address has to wait."""
        names = self._names(email, address)
        now = now_ms()
        until = max((each[2] for each in (await self._store.login_failures(tuple(names))).values()), default=0)
        if until > now:
            raise RateLimited(
                "Too many failed logins. Wait, and try again.", code="locked_out", retry_after=(until - now) / 1000
            )

    def failed(self, email: str, address: str) -> list[Step]:
        """The steps that count one more failure."""
        now = now_ms()
        return [
            Failed(name, now, free, _FIRST_PAUSE, _LONGEST_PAUSE, _FORGOTTEN)
            for name, free in self._names(email, address).items()
        ]

    def forgotten(self, email: str, address: str) -> list[Step]:
        """The steps after a login: the account's failures are over."""
        name = next(iter(self._names(email, address)))
        return [Remove("login_failures", {"name": name}, one=False)]

    def _names(self, email: str, address: str) -> dict[str, int]:
        """The account's name first, then the address's; each with the failures that cost nothing."""
        pairs = (("account", email.strip().lower()), ("address", address))
        return {
            hmac.digest(self._key, f"{kind}:{value}".encode(errors="replace"), hashlib.sha256).hex(): _FREE[kind]
            for kind, value in pairs
        }
