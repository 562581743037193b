"""Tenants: made, changed and switched off by the platform's owners; their own administrators change some of it."""

import re
from collections.abc import Mapping
from typing import Any, Final
from zoneinfo import ZoneInfo

from gateway.accounts.allowed import check_fields
from gateway.accounts.book import Book, difference, told, with_limits
from gateway.accounts.keys import new_id
from gateway.accounts.principal import Origin, Principal
from gateway.accounts.records import Tenant, User
from gateway.clock import now_ms
from gateway.errors import Conflict, InvalidFields, NotFound
from gateway.store import Page
from gateway.store.work import Change, Remove, change, put

_GONE: Final = "There is no tenant with this id."
_WORD: Final = re.compile(r"[a-z0-9]+")


class Tenants:
    """One for a process."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._store = book.store

    async def page(
        self, who: Principal, *, search: str = "", active: bool | None = None, limit: int = 100, cursor: str = ""
    ) -> Page[Tenant]:
        """Tenants that `who` may see, newest first."""
        where = who.scope("tenants:read") | ({} if active is None else {"active": active})
        return await self._store.page(Tenant, where, search=search, limit=limit, cursor=cursor)

    async def get(self, who: Principal, tenant: str, permission: str = "tenants:read") -> Tenant:
        """One tenant. `NotFound` for one that `who` may not see."""
        found = await self._store.one(Tenant, **{**who.scope(permission, tenant), "id": tenant})
        if found is None:
            raise NotFound(_GONE)
        return found

    async def own(self, who: Principal) -> Tenant:
        """The tenant that `who` belongs to."""
        found = await self._store.one(Tenant, id=who.home)
        if found is None:
            raise NotFound(_GONE)
        return found

    async def create(self, who: Principal, origin: Origin, fields: Mapping[str, Any]) -> Tenant:
        """Make a tenant. Its id comes from its name."""
        _check(fields)
        who.scope("tenants:create")
        tenant = Tenant(id=id_from(fields["name"]), created=now_ms(), **fields)
        note = self._book.note(
            who, origin, "tenant_created", tenant=tenant.id, resource=("tenant", tenant.id), detail=told(fields)
        )
        await self._book.commit(put(tenant), note, bump=False)
        return tenant

    async def update(
        self, who: Principal, origin: Origin, tenant: str, fields: Mapping[str, Any], limits: Mapping[str, Any],
        version: int | None,
    ) -> Tenant:
        """Change a tenant. One that is not active has no sessions, and its keys are refused."""
        check_fields(who, "tenant", [*fields, *limits])
        _check(fields)
        before = await self.get(who, tenant, "tenants:write")
        changes = with_limits(before, fields, limits)
        if changes.get("active") is False and tenant == who.home:
            raise Conflict("This is your own tenant: nobody could switch it on again.", code="own_tenant")
        action = "tenant_updated"
        if "active" in changes:
            action = "tenant_activated" if changes["active"] else "tenant_deactivated"
        note = self._book.note(
            who, origin, action, tenant=tenant, resource=("tenant", tenant), detail=difference(before, changes)
        )
        steps: list[Any] = [change(Tenant, {"id": tenant}, changes, version=version), note]
        if changes.get("active") is False:
            steps.append(Remove("sessions", {"tenant": tenant}, one=False))
        await self._book.commit(*steps)
        return await self.get(who, tenant, "tenants:write")

    async def delete(self, who: Principal, origin: Origin, tenant: str, version: int | None) -> None:
        """Take a tenant away: nobody signs in to it and no key of it works. Its ledger and audit stay."""
        before = await self.get(who, tenant, "tenants:create")
        if tenant == who.home:
            raise Conflict("This is your own tenant.", code="own_tenant")
        users = await self._store.count(User, {"tenant": tenant})
        gone = Change("tenants", {"id": tenant}, {"active": 0, "deleted": 1}, version)
        note = self._book.note(
            who, origin, "tenant_deleted", tenant=tenant, severity="warning", resource=("tenant", tenant),
            detail={"name": before.name, "users": users},
        )  # fmt: skip
        await self._book.commit(gone, Remove("sessions", {"tenant": tenant}, one=False), note)


def id_from(name: str) -> str:
    """A readable id that nobody else has."""
    words = "-".join(_WORD.findall(name.lower()))[:32].strip("-")
    return f"{words or 'tenant'}-{new_id(8).lower()}"


def _check(fields: Mapping[str, Any]) -> None:
    zone = fields.get("time_zone")
    if zone is not None:
        try:
            ZoneInfo(zone)
        except (ValueError, OSError, LookupError):
            raise InvalidFields(("time_zone", "is no time zone such as Europe/Berlin")) from None

