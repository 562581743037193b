"""What is stored of tenants, users and keys. Costs are integer nano-dollars, times Unix milliseconds.

No record holds a credential: a key is a keyed hash (`digest`), a password is asked for by `Store.password_hash`.
"""

from typing import Any, Literal

import msgspec

from gateway.accounts.roles import Role, reach

Status = Literal["active", "inactive", "suspended", "pending", "deleted"]
Logging = Literal["off", "metadata", "content"]
Severity = Literal["info", "warning", "error", "critical"]
KeyState = Literal[
    "active", "revoked", "expired", "disabled", "tenant disabled", "owner not active", "owner without right"
]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one tenant or key may use; `None` is not limited. `models` are names or wildcards, `None` is all."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None
    cost_daily: int | None = None
    cost_monthly: int | None = None
    models: tuple[str, ...] | None = None


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """An organisation: all users, keys and usage belong to exactly one.

    `providers` are the names allowed (`None`: all), `logging` what is kept of its requests beside the ledger;
    `audit_days`, `content_days` and `usage_days` how long the audit, logged content and the ledger's rows are kept
    (`None`: as configured).
    """

    id: str
    name: str
    created: int
    active: bool = True
    limits: Limits = Limits()
    providers: tuple[str, ...] | None = None
    guardrail_policy: str | None = None
    logging: Logging = "off"
    time_zone: str = "UTC"
    audit_days: int | None = None
    content_days: int | None = None
    usage_days: int | None = None
    version: int = 1
    updated: int | None = None


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A person of a tenant; `email` is lower case and unique, `external_id` what a directory calls them."""

    id: str
    tenant: str
    email: str
    created: int
    name: str = ""
    role: Role = "member"
    status: Status = "active"
    limits: Limits = Limits()
    content_access: bool = False
    must_change: bool = False
    last_login: int | None = None
    external_id: str | None = None
    version: int = 1
    updated: int | None = None


class Team(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a tenant, with members and service accounts; its limits hold for all of them together.

    `guardrail_policy` holds for its requests instead of the tenant's.
    """

    id: str
    tenant: str
    name: str
    created: int
    limits: Limits = Limits()
    guardrail_policy: str | None = None
    external_id: str | None = None
    version: int = 1
    updated: int | None = None


class ServiceAccount(msgspec.Struct, frozen=True, kw_only=True):
    """A program that belongs to a team: it owns API keys and admin tokens, and signs in nowhere."""

    id: str
    tenant: str
    team: str
    name: str
    created: int
    role: Role = "member"
    active: bool = True
    version: int = 1
    updated: int | None = None


class AdminToken(msgspec.Struct, frozen=True, kw_only=True):
    """A credential of a service account for the admin API; `scopes` cut its account's rights."""

    id: str
    tenant: str
    service_account: str
    name: str
    prefix: str
    created: int
    expires_at: int
    scopes: tuple[str, ...] | None = None
    revoked_at: int | None = None
    last_used: int | None = None


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody of an identity provider, and the user whom they are here."""

    issuer: str
    subject: str
    tenant: str
    user: str
    created: int


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody signed in, at a browser or with a token; `issuer` is who vouched for them, if not a password."""

    id: str
    tenant: str
    user: str
    created: int
    last_used: int
    expires_at: int
    address: str = ""
    agent: str = ""
    issuer: str | None = None
    issuer_session: str | None = None


class Invitation(msgspec.Struct, frozen=True, kw_only=True):
    """An account that somebody may make for themselves, in this tenant, with this role and address; used once."""

    id: str
    tenant: str
    email: str
    role: Role
    created: int
    expires_at: int
    created_by: str = ""
    used_at: int | None = None


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A stored key by itself; `KeyRecord` has it with all that a decision needs.

    `guardrail_policy` holds instead of its team's or tenant's; `replaced_by` is the key that a rotation made of it.
    """

    id: str
    tenant: str
    name: str
    prefix: str
    environment: str
    active: bool
    created: int
    owner: str | None = None
    service_account: str | None = None
    team: str | None = None
    scopes: tuple[str, ...] | None = None
    logging: Logging | None = None
    revoked_at: int | None = None
    expires_at: int | None = None
    last_used: int | None = None
    created_by: str | None = None
    limits: Limits = Limits()
    guardrail_policy: str | None = None
    replaced_by: str | None = None
    version: int = 1
    updated: int | None = None


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """A provider's credential that is kept sealed; `tenant` is `*` for one that serves all tenants."""

    id: str
    tenant: str
    name: str
    provider: str
    last_four: str
    fingerprint: str
    created_by: str
    created: int
    version: int = 1
    updated: int | None = None


class StoredPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """A guardrail policy that was made at run time; `tenant` is `*` for one that all tenants may use."""

    id: str
    tenant: str
    name: str
    description: str
    label: str
    rules: tuple[dict[str, Any], ...]
    created_by: str
    created: int
    shadow_of: str | None = None
    version: int = 1
    updated: int | None = None


class PolicyVersion(msgspec.Struct, frozen=True, kw_only=True):
    """What a stored policy was from some moment on; `done` is what was done then."""

    id: str
    policy: str
    number: int
    tenant: str
    name: str
    description: str
    label: str
    rules: tuple[dict[str, Any], ...]
    done: Literal["created", "changed", "deleted", "restored"]
    created_by: str
    created: int
    shadow_of: str | None = None


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of an exchange beside the ledger, by the request's id; what was said is sealed, apart from this.

    `owner` is the user or service account of the key, or empty.
    """

    id: str
    tenant: str
    key_id: str
    owner: str
    model: str
    created: int
    metadata: dict[str, Any] = {}


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What was done: by whom, to what, from where. `detail` has what changed, never a secret."""

    id: str
    ts_ms: int
    tenant: str
    actor: str
    actor_kind: str
    actor_name: str
    action: str
    severity: Severity = "info"
    resource_type: str = ""
    resource_id: str = ""
    address: str = ""
    agent: str = ""
    request_id: str = ""
    detail: dict[str, Any] = {}


class NewUser(msgspec.Struct, frozen=True, kw_only=True):
    """A user to be stored, with the password as `Passwords.hash` wrote it (`None`: cannot sign in with one)."""

    user: User
    password_hash: str | None = None


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key to be stored. `prefix` is what people are shown, `digest` the keyed hash of its secret."""

    id: str
    tenant: str
    prefix: str
    digest: str
    created: int
    name: str = ""
    owner: str | None = None
    environment: str = ""
    expires_at: int | None = None
    limits: Limits = Limits()


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A stored key with its tenant and owner: all that a decision about it needs."""

    id: str
    tenant: Tenant
    owner: User | None
    name: str
    prefix: str
    digest: str
    environment: str
    active: bool
    revoked_at: int | None
    expires_at: int | None
    limits: Limits
    created: int
    last_used: int | None
    team: Team | None = None
    service_account: ServiceAccount | None = None
    scopes: tuple[str, ...] | None = None
    logging: Logging | None = None
    guardrail_policy: str | None = None


def state(key: KeyRecord, now_ms: int) -> KeyState:
    """Whether a key may be used now (`active`), or what stands against it."""
    return standing(key, key.tenant, key.owner or key.service_account, now_ms)


def standing(
    key: Key | KeyRecord, tenant: Tenant, owner: User | ServiceAccount | None, now_ms: int
) -> KeyState:
    """The same of a key whose tenant and owner were found apart."""
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is not None and key.expires_at <= now_ms:
        return "expired"
    if not key.active:
        return "disabled"
    if not tenant.active:
        return "tenant disabled"
    if owner is not None and not (owner.active if isinstance(owner, ServiceAccount) else owner.status == "active"):
        return "owner not active"
    if owner is not None and reach(owner.role, "gateway:use") is None:
        return "owner without right"
    return "active"


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What a tenant keeps at a provider: `id` is the provider's, `kind` the family of its API such as `files`.

    `model` is the target that made it, `parent` what it came out of; `metered` says that what it used is in the ledger.
    """

    tenant: str
    id: str
    kind: str
    provider: str
    model: str = ""
    parent: str = ""
    key_id: str = ""
    metered: bool = True
    created: int
