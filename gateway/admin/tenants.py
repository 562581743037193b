"""Tenants: the organisations that share this gateway."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.accounts.records import Limits, Logging, Tenant
from gateway.admin.endpoint import Ask, Done, Endpoint, Items
from gateway.admin.fields import Cursor, Line, NoBody, NoQuery, PageSize, Search
from gateway.admin.limits import LimitsGiven, LimitsShown, limits_given, limits_shown
from gateway.admin.policies import check_policy, check_providers
from gateway.admin.services import Admin
from gateway.admin.values import at, moment

KeptDays = Annotated[int, Meta(ge=1, le=36_500)]
Providers = Annotated[tuple[Line, ...], Meta(max_length=200)]
Zone = Annotated[str, Meta(max_length=64, pattern=r"^[A-Za-z0-9_+/-]+$", description="As in `Europe/Berlin`.")]


class TenantShown(LimitsShown, frozen=True, kw_only=True):
    """A tenant. `logging_policy` is what is kept of requests beside the ledger, `*_days` how long; `null`: as set."""

    id: str
    name: str
    is_active: bool
    allowed_providers: tuple[str, ...] | None
    guardrail_policy: str | None
    logging_policy: Logging
    time_zone: str
    audit_retention_days: int | None
    content_retention_days: int | None
    usage_retention_days: int | None
    created_at: datetime
    updated_at: datetime | None
    version: int


class TenantChange(LimitsGiven, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What changes; `null` takes a limit away. A tenant's own administrators may not set all of it."""

    name: Line | UnsetType = UNSET
    is_active: bool | UnsetType = UNSET
    allowed_providers: Providers | UnsetType | None = UNSET
    guardrail_policy: Line | UnsetType | None = UNSET
    logging_policy: Logging | UnsetType = UNSET
    time_zone: Zone | UnsetType = UNSET
    audit_retention_days: KeptDays | UnsetType | None = UNSET
    content_retention_days: KeptDays | UnsetType | None = UNSET
    usage_retention_days: KeptDays | UnsetType | None = UNSET


class NewTenant(LimitsGiven, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A tenant to be made; its id is made of its name."""

    name: Line
    is_active: bool | UnsetType = UNSET
    allowed_providers: Providers | UnsetType | None = UNSET
    guardrail_policy: Line | UnsetType | None = UNSET
    logging_policy: Logging | UnsetType = UNSET
    time_zone: Zone | UnsetType = UNSET
    audit_retention_days: KeptDays | UnsetType | None = UNSET
    content_retention_days: KeptDays | UnsetType | None = UNSET
    usage_retention_days: KeptDays | UnsetType | None = UNSET


class TenantsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which tenants, a page at a time, newest first."""

    limit: PageSize = 100
    cursor: Cursor = ""
    search: Search = ""
    is_active: bool | None = None


def tenant_shown(tenant: Tenant) -> TenantShown:
    """A tenant as it is shown."""
    return TenantShown(
        id=tenant.id, name=tenant.name, is_active=tenant.active, allowed_providers=tenant.providers,
        guardrail_policy=tenant.guardrail_policy, logging_policy=tenant.logging, time_zone=tenant.time_zone,
        audit_retention_days=tenant.audit_days, content_retention_days=tenant.content_days,
        usage_retention_days=tenant.usage_days,
        created_at=at(tenant.created), updated_at=moment(tenant.updated), version=tenant.version,
        **limits_shown(tenant.limits),
    )  # fmt: skip


async def list_tenants(admin: Admin, ask: Ask[TenantsQuery, NoBody]) -> Items[TenantShown]:
    """Tenants."""
    query = ask.query
    page = await admin.accounts.tenants.page(
        ask.principal, search=query.search, active=query.is_active, limit=query.limit, cursor=query.cursor
    )
    return Items(tuple(map(tenant_shown, page.items)), page.next)


async def create_tenant(admin: Admin, ask: Ask[NoQuery, NewTenant]) -> TenantShown:
    """Make a tenant."""
    await check_policy(admin.gateway, ask.body.guardrail_policy)
    check_providers(admin.gateway, ask.body.allowed_providers)
    fields = {"name": ask.body.name, **_fields(ask.body)}
    limits = Limits(**limits_given(ask.body))
    made = await admin.accounts.tenants.create(ask.principal, admin.origin(ask), {**fields, "limits": limits})
    return tenant_shown(made)


async def get_tenant(admin: Admin, ask: Ask[NoQuery, NoBody]) -> TenantShown:
    """One tenant."""
    return tenant_shown(await admin.accounts.tenants.get(ask.principal, ask.id()))


async def change_tenant(admin: Admin, ask: Ask[NoQuery, TenantChange]) -> TenantShown:
    """Change a tenant."""
    await check_policy(admin.gateway, ask.body.guardrail_policy, ask.id())
    check_providers(admin.gateway, ask.body.allowed_providers)
    changed = await admin.accounts.tenants.update(
        ask.principal, admin.origin(ask), ask.id(), _fields(ask.body), limits_given(ask.body), ask.version
    )
    return tenant_shown(changed)


async def activate_tenant(admin: Admin, ask: Ask[NoQuery, NoBody]) -> TenantShown:
    """Switch a tenant on."""
    return await _switch(admin, ask, on=True)


async def deactivate_tenant(admin: Admin, ask: Ask[NoQuery, NoBody]) -> TenantShown:
    """Switch a tenant off: its sessions end and its keys are refused."""
    return await _switch(admin, ask, on=False)


async def delete_tenant(admin: Admin, ask: Ask[NoQuery, NoBody]) -> Done:
    """Take a tenant away."""
    await admin.accounts.tenants.delete(ask.principal, admin.origin(ask), ask.id(), ask.version)
    return Done()


ROUTES = (
    Endpoint("GET", "/tenants", "tenants:read", list_tenants, "List tenants", "tenants", query=TenantsQuery,
             answer=Items[TenantShown]),
    Endpoint("POST", "/tenants", "tenants:create", create_tenant, "Make a tenant", "tenants", body=NewTenant,
             answer=TenantShown, status=201),
    Endpoint("GET", "/tenants/{id}", "tenants:read", get_tenant, "Show a tenant", "tenants", answer=TenantShown),
    Endpoint("PATCH", "/tenants/{id}", "tenants:write", change_tenant, "Change a tenant", "tenants",
             body=TenantChange, answer=TenantShown, errors=(412,), aliases=(("PUT", "/tenants/{id}"),)),
    Endpoint("POST", "/tenants/{id}/activate", "tenants:create", activate_tenant, "Switch a tenant on", "tenants",
             answer=TenantShown),
    Endpoint("POST", "/tenants/{id}/deactivate", "tenants:create", deactivate_tenant, "Switch a tenant off",
             "tenants", answer=TenantShown),
    Endpoint("DELETE", "/tenants/{id}", "tenants:create", delete_tenant, "Delete a tenant", "tenants", status=204,
             errors=(412,)),
)  # fmt: skip


async def _switch(admin: Admin, ask: Ask[NoQuery, NoBody], *, on: bool) -> TenantShown:
    changed = await admin.accounts.tenants.update(
        ask.principal, admin.origin(ask), ask.id(), {"active": on}, {}, ask.version
    )
    return tenant_shown(changed)


_NAMES = (
    ("name", "name"), ("is_active", "active"), ("allowed_providers", "providers"),
    ("guardrail_policy", "guardrail_policy"), ("logging_policy", "logging"), ("time_zone", "time_zone"),
    ("audit_retention_days", "audit_days"), ("content_retention_days", "content_days"),
    ("usage_retention_days", "usage_days"),
)  # fmt: skip


def _fields(given: TenantChange | NewTenant) -> dict[str, Any]:
    return {stored: value for name, stored in _NAMES if (value := getattr(given, name)) is not UNSET}
