"""The policies of the database beside those of a configuration: for each tenant a book with its own and the platform's.

A change holds for the next request of every worker; while the database is away, what is known stays in force. What
administrators may put into a policy is in `drafts.py`.
"""

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from gateway.accounts.policies import policies_of
from gateway.errors import Unavailable
from gateway.guardrails.book import Book
from gateway.guardrails.drafts import Drafts
from gateway.tasks import shielded

if TYPE_CHECKING:
    from gateway.runtime import Gateway

_log = structlog.get_logger("gateway.guardrails")
_KEPT: Final = 1_000


class _Known(msgspec.Struct, frozen=True, eq=False):
    """A tenant's book as it was at this generation; `versions` tell whether another look changes anything."""

    generation: int
    versions: tuple[tuple[str, int], ...]
    book: Book


class StoredPolicies:
    """One for a configuration. Without a process (in tests, on the command line) there are no stored ones."""

    def __init__(self, base: Book, drafts: Drafts) -> None:
        self.base = base
        self.drafts = drafts
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._asking: dict[str, asyncio.Lock] = {}
        self._gateway: Gateway | None = None
        self._ended: list[Book] = []  # of policies that changed, with guardrails that want to be shut down

    def startup(self, gateway: "Gateway | None") -> None:
        """Take the database."""
        self._gateway = gateway

    async def shutdown(self) -> None:
        """Stop what was started for the books."""
        for book in (*self._ended, *(known.book for known in self._known.values())):
            await book.shutdown()

    async def book(self, tenant: str | None) -> Book:
        """The policies that a tenant's requests can be under."""
        gateway = self._gateway
        if gateway is None or tenant is None:
            return self.base
        return self.known(tenant) or (await shielded(self._fresh(gateway, tenant))).book

    def known(self, tenant: str) -> Book | None:
        """The same, if it was looked at since the last change."""
        known, gateway = self._known.get(tenant), self._gateway
        if known is None or gateway is None or known.generation != gateway.state.generation("auth"):
            return None
        return known.book

    async def _fresh(self, gateway: "Gateway", tenant: str) -> _Known:
        """One look for all requests that wait for it. The generation is read before, as a change may come meanwhile."""
        async with self._asking.setdefault(tenant, asyncio.Lock()):
            generation, known = gateway.state.generation("auth"), self._known.get(tenant)
            if known is not None and known.generation == generation:
                return known
            try:
                found = await self._looked(gateway, tenant, generation, known)
            except Unavailable:
                return known or _Known(generation, (), self.base)
            if known is not None and known.book not in (found.book, self.base) and known.book.ends:
                self._ended.append(known.book)
            if len(self._known) >= _KEPT:
                gone, _ = self._known.popitem(last=False)
                self._asking.pop(gone, None)
            self._known[tenant] = found
            return found

    async def _looked(self, gateway: "Gateway", tenant: str, generation: int, known: _Known | None) -> _Known:
        stored = await policies_of(gateway.store, tenant)
        versions = tuple((each.id, each.version) for each in stored)
        if known is not None and known.versions == versions:
            return msgspec.structs.replace(known, generation=generation)
        if not stored:
            return _Known(generation, versions, self.base)
        entries = []
        for each in stored:
            try:
                entries.append(self.drafts.entry(each))
            except ValueError as error:  # of another release: who is under it is refused, not let through
                _log.error("a stored guardrail policy cannot be used", policy=each.name, error=str(error))
                entries.append(self.drafts.unusable(each.name))
        return _Known(generation, versions, self.base.beside(entries))
