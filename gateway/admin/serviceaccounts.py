"""Service accounts of teams, and their tokens for this API."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.accounts.records import AdminToken, ServiceAccount
from gateway.accounts.roles import Role
from gateway.admin.endpoint import Ask, Done, Endpoint, Items
from gateway.admin.fields import Cursor, Id, Line, NoBody, NoQuery, PageSize, Search
from gateway.admin.services import Admin
from gateway.admin.values import at, moment
from gateway.clock import now_ms

Rights = Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=100)]
Life = Annotated[int, Meta(ge=1, le=366, description="Days after which it ends.")]


class ServiceAccountShown(msgspec.Struct, frozen=True, kw_only=True):
    """A program that belongs to a team; its role says what its tokens may do."""

    id: str
    tenant_id: str
    team_id: str
    name: str
    role: Role
    is_active: bool
    created_at: datetime
    updated_at: datetime | None
    version: int


class NewServiceAccount(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A service account to be made."""

    name: Line
    team_id: Id
    role: Role = "member"


class ServiceAccountChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What changes of a service account."""

    name: Line | UnsetType = UNSET
    role: Role | UnsetType = UNSET
    is_active: bool | UnsetType = UNSET


class ServiceAccountsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which service accounts, a page at a time, newest first."""

    limit: PageSize = 100
    cursor: Cursor = ""
    search: Search = ""
    tenant: Id | None = None
    team: Id | None = None


class TokenShown(msgspec.Struct, frozen=True, kw_only=True):
    """A token for this API, without its text; `scopes` of `null` is all that its account may do."""

    id: str
    name: str
    prefix: str
    scopes: tuple[str, ...] | None
    is_active: bool
    expires_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None
    created_at: datetime


class TokenMade(TokenShown, frozen=True, kw_only=True):
    """A new token with its text, which is shown this once."""

    token: str


class Tokens(msgspec.Struct, frozen=True):
    """All tokens of a service account, newest first."""

    items: tuple[TokenShown, ...]


class NewToken(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A token to be made; it can do no more than its account."""

    name: Line
    scopes: Rights | None = None
    valid_days: Life = 90


async def list_accounts(admin: Admin, ask: Ask[ServiceAccountsQuery, NoBody]) -> Items[ServiceAccountShown]:
    """Service accounts."""
    query = ask.query
    page = await admin.accounts.service_accounts.page(
        ask.principal, tenant=query.tenant, team=query.team, search=query.search, limit=query.limit,
        cursor=query.cursor,
    )  # fmt: skip
    return Items(tuple(map(_shown, page.items)), page.next)


async def create_account(admin: Admin, ask: Ask[NoQuery, NewServiceAccount]) -> ServiceAccountShown:
    """Make a service account."""
    body = ask.body
    made = await admin.accounts.service_accounts.create(
        ask.principal, admin.origin(ask), body.team_id, body.name, body.role
    )
    return _shown(made)


async def get_account(admin: Admin, ask: Ask[NoQuery, NoBody]) -> ServiceAccountShown:
    """One service account."""
    return _shown(await admin.accounts.service_accounts.get(ask.principal, ask.id()))


async def change_account(admin: Admin, ask: Ask[NoQuery, ServiceAccountChange]) -> ServiceAccountShown:
    """Change a service account."""
    names = (("name", "name"), ("role", "role"), ("is_active", "active"))
    fields: dict[str, Any] = {to: value for name, to in names if (value := getattr(ask.body, name)) is not UNSET}
    changed = await admin.accounts.service_accounts.update(
        ask.principal, admin.origin(ask), ask.id(), fields, ask.version
    )
    return _shown(changed)


async def delete_account(admin: Admin, ask: Ask[NoQuery, NoBody]) -> Done:
    """Take a service account away."""
    await admin.accounts.service_accounts.delete(ask.principal, admin.origin(ask), ask.id(), ask.version)
    return Done()


async def list_tokens(admin: Admin, ask: Ask[NoQuery, NoBody]) -> Tokens:
    """The tokens of a service account."""
    found = await admin.accounts.service_accounts.tokens(ask.principal, ask.id())
    return Tokens(tuple(TokenShown(**_token(each)) for each in found))


async def create_token(admin: Admin, ask: Ask[NoQuery, NewToken]) -> TokenMade:
    """Make a token."""
    body = ask.body
    expires_at = now_ms() + body.valid_days * 86_400_000
    text, token = await admin.accounts.service_accounts.make_token(
        ask.principal, admin.origin(ask), ask.id(), body.name, body.scopes, expires_at
    )
    return TokenMade(**_token(token), token=text)


async def revoke_token(admin: Admin, ask: Ask[NoQuery, NoBody]) -> Done:
    """Revoke a token for good."""
    await admin.accounts.service_accounts.revoke_token(
        ask.principal, admin.origin(ask), ask.id(), ask.id("token")
    )
    return Done()


ROUTES = (
    Endpoint("GET", "/service-accounts", "service-accounts:read", list_accounts, "List service accounts",
             "service accounts", query=ServiceAccountsQuery, answer=Items[ServiceAccountShown]),
    Endpoint("POST", "/service-accounts", "service-accounts:write", create_account, "Make a service account",
             "service accounts", body=NewServiceAccount, answer=ServiceAccountShown, status=201, errors=(404,)),
    Endpoint("GET", "/service-accounts/{id}", "service-accounts:read", get_account, "Show a service account",
             "service accounts", answer=ServiceAccountShown),
    Endpoint("PATCH", "/service-accounts/{id}", "service-accounts:write", change_account,
             "Change a service account", "service accounts", body=ServiceAccountChange, answer=ServiceAccountShown,
             errors=(412,)),
    Endpoint("DELETE", "/service-accounts/{id}", "service-accounts:write", delete_account,
             "Delete a service account", "service accounts", status=204, errors=(412,)),
    Endpoint("GET", "/service-accounts/{id}/tokens", "service-accounts:read", list_tokens,
             "List a service account's tokens", "service accounts", answer=Tokens),
    Endpoint("POST", "/service-accounts/{id}/tokens", "service-accounts:write", create_token,
             "Make a token for this API", "service accounts", body=NewToken, answer=TokenMade, status=201, secret=True),
    Endpoint("DELETE", "/service-accounts/{id}/tokens/{token}", "service-accounts:write", revoke_token,
             "Revoke a token", "service accounts", status=204),
)  # fmt: skip


def _shown(account: ServiceAccount) -> ServiceAccountShown:
    return ServiceAccountShown(
        id=account.id, tenant_id=account.tenant, team_id=account.team, name=account.name, role=account.role,
        is_active=account.active, created_at=at(account.created), updated_at=moment(account.updated),
        version=account.version,
    )  # fmt: skip


def _token(token: AdminToken) -> dict[str, Any]:
    return {
        "id": token.id, "name": token.name, "prefix": token.prefix, "scopes": token.scopes,
        "is_active": token.revoked_at is None and token.expires_at > now_ms(), "expires_at": at(token.expires_at),
        "revoked_at": moment(token.revoked_at), "last_used_at": moment(token.last_used),
        "created_at": at(token.created),
    }  # fmt: skip
