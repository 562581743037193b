"""API keys. A key's text is in one answer only: the one that made it."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.accounts.apikeys import KeyFilter, NewKey
from gateway.accounts.records import Key, Limits, Logging
from gateway.admin.endpoint import Ask, Done, Endpoint, Items
from gateway.admin.fields import Cursor, Id, Line, NoBody, NoQuery, PageSize, Search
from gateway.admin.limits import LimitsGiven, LimitsShown, limits_given, limits_shown
from gateway.admin.policies import check_policy
from gateway.admin.services import Admin
from gateway.admin.values import at, moment, stored
from gateway.clock import now_ms

Environment = Annotated[str, Meta(max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")]
Scopes = Annotated[
    tuple[Annotated[str, Meta(max_length=64)], ...],
    Meta(max_length=32, description="Routes that it may call: chat, completions, embeddings, models, explain, usage."),
]
Grace = Annotated[int, Meta(ge=0, le=30 * 24 * 3600, description="Seconds for which the old key works on.")]
State = Literal["active", "revoked", "expired", "disabled"]


class KeyShown(LimitsShown, frozen=True, kw_only=True):
    """An API key, without its text; `key_prefix` is how people recognise it. `is_active` says that it may be used."""

    id: str
    name: str
    key_prefix: str
    is_active: bool
    status: State
    tenant_id: str
    user_id: str | None
    service_account_id: str | None
    team_id: str | None
    environment: str
    scopes: tuple[str, ...] | None
    logging_policy: Logging | None
    guardrail_policy: str | None
    replaced_by: str | None
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    created_at: datetime
    updated_at: datetime | None
    version: int


class KeyMade(KeyShown, frozen=True, kw_only=True):
    """A new key with its text, which is shown this once."""

    api_key: str


class KeyRotated(KeyMade, frozen=True, kw_only=True):
    """The new key, and the old one, which works until its `expires_at`."""

    replaced: KeyShown


class KeyNew(LimitsGiven, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A key to be made. Whose it is, the route says."""

    name: Line
    environment: Environment = ""
    expires_at: datetime | None = None
    scopes: Scopes | None = None
    logging_policy: Logging | None = None
    guardrail_policy: Line | None = None


class KeyChange(LimitsGiven, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What changes of a key. With `is_active` false it is refused until it is true again."""

    name: Line | UnsetType = UNSET
    environment: Environment | UnsetType = UNSET
    expires_at: datetime | UnsetType | None = UNSET
    scopes: Scopes | UnsetType | None = UNSET
    logging_policy: Logging | UnsetType | None = UNSET
    guardrail_policy: Line | UnsetType | None = UNSET
    is_active: bool | UnsetType = UNSET


class Rotation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For how long both keys work."""

    grace_seconds: Grace = 24 * 3600


class KeysQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which keys, a page at a time, newest first."""

    limit: PageSize = 100
    cursor: Cursor = ""
    search: Search = ""
    tenant: Id | None = None
    team: Id | None = None
    user: Id | None = None
    service_account: Id | None = None
    environment: Search | None = None
    is_active: bool | None = None


class Revocation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which keys are to be revoked."""

    ids: Annotated[tuple[Id, ...], Meta(min_length=1, max_length=500)]


class Revoked(msgspec.Struct, frozen=True):
    """The keys that are revoked now, and the ids that are no keys of yours."""

    revoked: tuple[str, ...]
    not_found: tuple[str, ...]


async def list_keys(admin: Admin, ask: Ask[KeysQuery, NoBody]) -> Items[KeyShown]:
    """Keys."""
    query = ask.query
    which = KeyFilter(
        tenant=query.tenant, team=query.team, user=query.user, service_account=query.service_account,
        environment=query.environment, usable=query.is_active, search=query.search,
    )  # fmt: skip
    page = await admin.accounts.keys.page(ask.principal, which, query.limit, query.cursor)
    return Items(tuple(KeyShown(**key_fields(each)) for each in page.items), page.next)


async def create_key(admin: Admin, ask: Ask[NoQuery, KeyNew]) -> KeyMade:
    """Make a key for oneself."""
    return await _create(admin, ask)


async def create_users_key(admin: Admin, ask: Ask[NoQuery, KeyNew]) -> KeyMade:
    """Make a key for a user."""
    user = await admin.accounts.users.get(ask.principal, ask.id(), "keys:write")
    return await _create(admin, ask, user=user)


async def create_programs_key(admin: Admin, ask: Ask[NoQuery, KeyNew]) -> KeyMade:
    """Make a key for a service account."""
    account = await admin.accounts.service_accounts.get(ask.principal, ask.id(), "keys:write")
    return await _create(admin, ask, account=account)


async def get_key(admin: Admin, ask: Ask[NoQuery, NoBody]) -> KeyShown:
    """One key."""
    return KeyShown(**key_fields(await admin.accounts.keys.get(ask.principal, ask.id())))


async def change_key(admin: Admin, ask: Ask[NoQuery, KeyChange]) -> KeyShown:
    """Change a key."""
    body = ask.body
    names = (("name", "name"), ("environment", "environment"), ("scopes", "scopes"), ("logging_policy", "logging"),
             ("guardrail_policy", "guardrail_policy"), ("is_active", "active"))  # fmt: skip
    if isinstance(body.guardrail_policy, str):
        key = await admin.accounts.keys.get(ask.principal, ask.id(), "keys:write")
        await check_policy(admin.gateway, body.guardrail_policy, key.tenant)
    fields: dict[str, Any] = {to: value for name, to in names if (value := getattr(body, name)) is not UNSET}
    if body.expires_at is not UNSET:
        fields["expires_at"] = stored(body.expires_at, "expires_at")
    changed = await admin.accounts.keys.update(
        ask.principal, admin.origin(ask), ask.id(), fields, limits_given(body), ask.version
    )
    return KeyShown(**key_fields(changed))


async def revoke_key(admin: Admin, ask: Ask[NoQuery, NoBody]) -> Done:
    """Revoke a key for good: it is dead on every worker when this answers."""
    await admin.accounts.keys.revoke(ask.principal, admin.origin(ask), ask.id(), ask.version)
    return Done()


async def rotate_key(admin: Admin, ask: Ask[NoQuery, Rotation]) -> KeyRotated:
    """A new key in place of an old one."""
    text, new, old = await admin.accounts.keys.rotate(
        ask.principal, admin.origin(ask), ask.id(), ask.body.grace_seconds * 1000
    )
    return KeyRotated(**key_fields(new), api_key=text, replaced=KeyShown(**key_fields(old)))


async def revoke_keys(admin: Admin, ask: Ask[NoQuery, Revocation]) -> Revoked:
    """Revoke many keys in one step."""
    revoked, missing = await admin.accounts.keys.revoke_many(ask.principal, admin.origin(ask), ask.body.ids)
    return Revoked(revoked, missing)


ROUTES = (
    Endpoint("GET", "/api-keys", "keys:read", list_keys, "List API keys", "api keys", query=KeysQuery,
             answer=Items[KeyShown]),
    Endpoint("POST", "/api-keys", "keys:write", create_key, "Make an API key for yourself", "api keys", body=KeyNew,
             answer=KeyMade, status=201, secret=True),
    Endpoint("POST", "/api-keys/revoke", "keys:write", revoke_keys, "Revoke many API keys", "api keys",
             body=Revocation, answer=Revoked, aliases=(("POST", "/api-keys/bulk-revoke"),)),
    Endpoint("GET", "/api-keys/{id}", "keys:read", get_key, "Show an API key", "api keys", answer=KeyShown),
    Endpoint("PATCH", "/api-keys/{id}", "keys:write", change_key, "Change an API key", "api keys", body=KeyChange,
             answer=KeyShown, errors=(412,), aliases=(("PUT", "/api-keys/{id}"),)),
    Endpoint("DELETE", "/api-keys/{id}", "keys:write", revoke_key, "Revoke an API key", "api keys", status=204,
             errors=(412,)),
    Endpoint("POST", "/api-keys/{id}/rotate", "keys:write", rotate_key, "Replace an API key by a new one",
             "api keys", body=Rotation, answer=KeyRotated, status=201, secret=True),
    Endpoint("POST", "/users/{id}/api-keys", "keys:write", create_users_key, "Make an API key for a user",
             "api keys", body=KeyNew, answer=KeyMade, status=201, secret=True),
    Endpoint("POST", "/service-accounts/{id}/api-keys", "keys:write", create_programs_key,
             "Make an API key for a service account", "api keys", body=KeyNew, answer=KeyMade, status=201,
             secret=True),
)  # fmt: skip


def key_fields(key: Key) -> dict[str, Any]:
    """The fields of `KeyShown`."""
    state = _state(key, now_ms())
    return {
        "id": key.id, "name": key.name, "key_prefix": key.prefix, "is_active": state == "active", "status": state,
        "tenant_id": key.tenant, "user_id": key.owner, "service_account_id": key.service_account,
        "team_id": key.team, "environment": key.environment, "scopes": key.scopes, "logging_policy": key.logging,
        "guardrail_policy": key.guardrail_policy, "replaced_by": key.replaced_by,
        "expires_at": moment(key.expires_at), "revoked_at": moment(key.revoked_at),
        "last_used_at": moment(key.last_used), "created_at": at(key.created), "updated_at": moment(key.updated),
        "version": key.version, **limits_shown(key.limits),
    }  # fmt: skip


async def _create(admin: Admin, ask: Ask[NoQuery, KeyNew], **owner: Any) -> KeyMade:  # noqa: ANN401 - user or account
    body = ask.body
    of: Any = next(iter(owner.values()), None)
    await check_policy(admin.gateway, body.guardrail_policy, of.tenant if of else ask.principal.home)
    new = NewKey(
        name=body.name, environment=body.environment, expires_at=stored(body.expires_at, "expires_at"),
        scopes=body.scopes, logging=body.logging_policy, guardrail_policy=body.guardrail_policy,
        limits=Limits(**limits_given(body)),
    )  # fmt: skip
    text, key = await admin.accounts.keys.create(ask.principal, admin.origin(ask), new, **owner)
    return KeyMade(**key_fields(key), api_key=text)


def _state(key: Key, now: int) -> State:
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is not None and key.expires_at <= now:
        return "expired"
    return "active" if key.active else "disabled"
