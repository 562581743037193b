"""Credentials of providers from the database, where administrators keep them (sealed) for a tenant or for all.

    plugins:
      - use: secret.stored

A tenant's own credential comes first, then the platform's, then `api_key` of the provider's configuration. Changes
hold for the next request; while the database is away the ones that are known stay in use.
"""

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import msgspec

from gateway import Exchange, Secret, Target, Unavailable, hookimpl
from gateway.accounts.credentials import opened, sealer
from gateway.tasks import shielded

if TYPE_CHECKING:
    from gateway import Gateway

_KEPT: Final = 10_000


class _Known(msgspec.Struct, frozen=True):
    """The credentials of a tenant as they were at this generation."""

    generation: int
    by_provider: dict[str, Secret]


class StoredCredentials:
    """Gives each attempt the credential of its tenant and provider."""

    name = "secret.stored"

    def __init__(self) -> None:
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._asking: dict[str, asyncio.Lock] = {}

    @hookimpl
    async def startup(self, gateway: "Gateway") -> None:
        """Take the store, and what opens the credentials."""
        self._store, self._state = gateway.store, gateway.state
        self._sealer = sealer(gateway.secret)

    @hookimpl
    async def before_attempt(self, exchange: Exchange, target: Target) -> None:
        """Find the credential; without one the provider uses its own."""
        if exchange.caller is None:
            return
        tenant = exchange.caller.tenant
        known = self._known.get(tenant)
        if known is None or known.generation != self._state.generation("auth"):
            known = await shielded(self._fresh(tenant))
        exchange.credential = known.by_provider.get(target.provider.name)

    async def _fresh(self, tenant: str) -> _Known:
        """One look for all requests that wait for it. The generation is read before, as a change may come meanwhile."""
        async with self._asking.setdefault(tenant, asyncio.Lock()):
            generation, known = self._state.generation("auth"), self._known.get(tenant)
            if known is not None and known.generation == generation:
                return known
            try:
                found = _Known(generation, await opened(self._store, self._sealer, tenant))
            except Unavailable:
                if known is None:
                    raise
                return known
            if len(self._known) >= _KEPT:
                gone, _ = self._known.popitem(last=False)
                self._asking.pop(gone, None)
            self._known[tenant] = found
            return found
