"""Usage: one request with what it cost, for those who may see it, and for the holder of its key."""

import asyncio
from typing import Any

from gateway.admin.endpoint import Ask, Endpoint
from gateway.admin.fields import NoBody, NoQuery
from gateway.admin.services import Admin
from gateway.clock import now_ms
from gateway.errors import NotFound
from gateway.money.charges import Charge, charge
from gateway.money.ledger import LedgerRow
from gateway.runtime import Gateway
from gateway.store import Store

_TRIES = 20         # of looking for a row that is on its way
_PAUSE = 0.1
_YOUNG = 10_000     # ms for which a row may be on its way


async def show_request(admin: Admin, ask: Ask[NoQuery, NoBody]) -> Charge:
    """One request, wherever this person's right reaches."""
    scope = ask.principal.scope("usage:read")
    row = await _row(admin.gateway.store, ask.id())
    if (
        row is None
        or scope.get("tenant", row.tenant) != row.tenant
        or ("teams" in scope and row.team not in scope["teams"])
        or scope.get("own", row.owner) != row.owner
    ):
        raise _nothing()
    return charge(row)


async def show_own_request(gateway: Gateway, ask: Ask[NoQuery, Any]) -> Charge:
    """One request that was made with this key."""
    ask.caller.need("usage")
    row = await _row(gateway.store, ask.id())
    if row is None or row.key != ask.caller.key or row.tenant != ask.caller.tenant:
        raise _nothing()
    return charge(row)


ROUTES = (
    Endpoint("GET", "/usage/requests/{id}", "usage:read", show_request, "Explain what a request cost", "usage",
             answer=Charge),
)  # fmt: skip

# Its function gets the `Gateway`.
KEY_ROUTES = (
    Endpoint("GET", "/api/v1/usage/requests/{id}", "key", show_own_request, "Explain what a request of this key cost",
             "key", answer=Charge),
)  # fmt: skip


async def _row(store: Store, request_id: str) -> LedgerRow | None:
    """The row, waited for a moment if the request has just been made: it comes through the journal."""
    found = await store.usage_row(request_id)
    for _ in range(_TRIES if _young(request_id) else 0):
        if found is not None:
            break
        await asyncio.sleep(_PAUSE)
        found = await store.usage_row(request_id)
    return found


def _young(request_id: str) -> bool:
    """Whether the id, which begins with its time, is of the last seconds."""
    try:
        return abs(now_ms() - int(request_id.removeprefix("req_")[:12], 16)) < _YOUNG
    except ValueError:
        return False


def _nothing() -> NotFound:
    return NotFound("There is nothing with this id.")
