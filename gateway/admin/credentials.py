"""Credentials of providers: written and replaced, never read back."""

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.accounts.credentials import PLATFORM
from gateway.accounts.records import Credential
from gateway.admin.endpoint import Ask, Done, Endpoint, Items
from gateway.admin.fields import Cursor, Id, Line, NoBody, NoQuery, PageSize
from gateway.admin.services import Admin
from gateway.admin.users import TenantQuery
from gateway.admin.values import at, moment
from gateway.errors import InvalidFields
from gateway.secrets import Secret

ProviderName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
Text = Annotated[str, Meta(min_length=8, max_length=8192, description="Write-only: no answer ever has it.")]


class CredentialShown(msgspec.Struct, frozen=True, kw_only=True):
    """A credential: `tenant_id` is `null` for one that serves all tenants; equal secrets have equal fingerprints."""

    id: str
    tenant_id: str | None
    name: str
    provider: str
    last_four: str
    fingerprint: str
    created_at: datetime
    updated_at: datetime | None
    version: int


class NewCredential(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A credential to be stored, for a provider of the configuration."""

    provider: ProviderName
    secret: Text
    name: Line | None = None

    def __repr__(self) -> str:
        return f"NewCredential({self.provider})"


class CredentialChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What changes of a credential."""

    name: Line | UnsetType = UNSET
    secret: Text | UnsetType = UNSET

    def __repr__(self) -> str:
        return "CredentialChange(***)"


class CredentialsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which credentials, a page at a time, newest first."""

    limit: PageSize = 100
    cursor: Cursor = ""
    tenant: Id | None = None
    provider: ProviderName | None = None


async def list_credentials(admin: Admin, ask: Ask[CredentialsQuery, NoBody]) -> Items[CredentialShown]:
    """Credentials."""
    query = ask.query
    page = await admin.accounts.credentials.page(
        ask.principal, tenant=query.tenant, provider=query.provider, limit=query.limit, cursor=query.cursor
    )
    return Items(tuple(map(_shown, page.items)), page.next)


async def create_credential(admin: Admin, ask: Ask[TenantQuery, NewCredential]) -> CredentialShown:
    """Store a credential."""
    body = ask.body
    if body.provider not in {entry.name for entry in admin.gateway.snapshot.config.providers}:
        raise InvalidFields(("provider", "is no provider of the configuration"))
    made = await admin.accounts.credentials.create(
        ask.principal, admin.origin(ask), body.provider, Secret(body.secret), name=body.name or "",
        tenant=ask.query.tenant,
    )  # fmt: skip
    return _shown(made)


async def get_credential(admin: Admin, ask: Ask[NoQuery, NoBody]) -> CredentialShown:
    """One credential."""
    return _shown(await admin.accounts.credentials.get(ask.principal, ask.id()))


async def change_credential(admin: Admin, ask: Ask[NoQuery, CredentialChange]) -> CredentialShown:
    """Rename or replace a credential."""
    body = ask.body
    changed = await admin.accounts.credentials.update(
        ask.principal, admin.origin(ask), ask.id(), name=None if body.name is UNSET else body.name,
        text=None if body.secret is UNSET else Secret(body.secret), version=ask.version,
    )  # fmt: skip
    return _shown(changed)


async def delete_credential(admin: Admin, ask: Ask[NoQuery, NoBody]) -> Done:
    """Take a credential away."""
    await admin.accounts.credentials.delete(ask.principal, admin.origin(ask), ask.id(), ask.version)
    return Done()


ROUTES = (
    Endpoint("GET", "/credentials", "credentials:read", list_credentials, "List credentials of providers",
             "credentials", query=CredentialsQuery, answer=Items[CredentialShown]),
    Endpoint("POST", "/credentials", "credentials:write", create_credential, "Store a provider's credential",
             "credentials", query=TenantQuery, body=NewCredential, answer=CredentialShown, status=201, errors=(404,)),
    Endpoint("GET", "/credentials/{id}", "credentials:read", get_credential, "Show a credential", "credentials",
             answer=CredentialShown),
    Endpoint("PATCH", "/credentials/{id}", "credentials:write", change_credential, "Replace or rename a credential",
             "credentials", body=CredentialChange, answer=CredentialShown, errors=(412,)),
    Endpoint("DELETE", "/credentials/{id}", "credentials:write", delete_credential, "Delete a credential",
             "credentials", status=204, errors=(412,)),
)  # fmt: skip


def _shown(each: Credential) -> CredentialShown:
    return CredentialShown(
        id=each.id, tenant_id=None if each.tenant == PLATFORM else each.tenant, name=each.name, provider=each.provider,
        last_four=each.last_four, fingerprint=each.fingerprint, created_at=at(each.created),
        updated_at=moment(each.updated), version=each.version,
    )  # fmt: skip
