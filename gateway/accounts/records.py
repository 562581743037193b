"""What is stored of tenants, users and keys. Costs are integer nano-dollars, times Unix milliseconds.

No record holds a credential: a key is a keyed hash (`digest`), a password is asked for by `Store.password_hash`.
"""

from typing import Literal

import msgspec

Role = Literal["owner", "admin", "manager", "user", "viewer"]
Status = Literal["active", "inactive", "suspended", "pending"]
KeyState = Literal["active", "revoked", "expired", "disabled", "tenant disabled", "owner not active"]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one tenant or key may use; `None` is not limited. `models` are names or wildcards, `None` is all."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None
    cost_daily: int | None = None
    cost_monthly: int | None = None
    models: tuple[str, ...] | None = None


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """An organisation: all users, keys and usage belong to exactly one."""

    id: str
    name: str
    created: int
    active: bool = True
    limits: Limits = Limits()


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A person of a tenant; `email` is lower case and unique."""

    id: str
    tenant: str
    email: str
    created: int
    name: str = ""
    role: Role = "user"
    status: Status = "active"


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


def state(key: KeyRecord, now_ms: int) -> KeyState:
    """Whether a key may be used now (`active`), or what stands against it."""
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is not None and key.expires_at <= now_ms:
        return "expired"
    if not key.active:
        return "disabled"
    if not key.tenant.active:
        return "tenant disabled"
    if key.owner is not None and key.owner.status != "active":
        return "owner not active"
    return "active"
