"""Which fields each role may set: one table for creating and changing, whatever the way in."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from gateway.accounts.principal import Principal
from gateway.accounts.roles import GRANTS, Role
from gateway.errors import Forbidden

_LIMITS: Final = frozenset({
    "requests_per_minute", "tokens_per_minute", "concurrency", "cost_daily", "cost_monthly", "models",
})  # fmt: skip
_KEY: Final = frozenset({"name", "environment", "active", "expires_at", "scopes"}) | _LIMITS

# What people call the fields that are stored under other names.
_SHOWN: Final[Mapping[str, str]] = MappingProxyType({
    "requests_per_minute": "rate_limit", "cost_daily": "daily_budget", "cost_monthly": "monthly_budget",
    "models": "allowed_models", "active": "is_active", "providers": "allowed_providers", "logging": "logging_policy",
    "audit_days": "audit_retention_days", "content_days": "content_retention_days",
    "usage_days": "usage_retention_days",
})  # fmt: skip

FIELDS: Final[Mapping[str, Mapping[Role, frozenset[str]]]] = MappingProxyType({
    "tenant": MappingProxyType({
        "owner": frozenset({
            "name", "active", "providers", "guardrail_policy", "logging", "time_zone", "audit_days", "content_days",
            "usage_days",
        }) | _LIMITS,
        "admin": frozenset({"name", "guardrail_policy", "logging", "time_zone"}),
    }),
    "user": MappingProxyType({
        "owner": frozenset({"email", "name", "role", "status", "content_access", "external_id"}) | _LIMITS,
        "admin": frozenset({"email", "name", "role", "status", "external_id"}) | _LIMITS,
    }),
    "team": MappingProxyType({
        "owner": frozenset({"name", "guardrail_policy", "external_id"}) | _LIMITS,
        "admin": frozenset({"name", "guardrail_policy", "external_id"}) | _LIMITS,
    }),
    "service_account": MappingProxyType({
        "owner": frozenset({"name", "role", "active"}), "admin": frozenset({"name", "role", "active"}),
    }),
    "key": MappingProxyType({
        # What is stricter or laxer than the tenant's is for its administrators.
        "owner": _KEY | {"logging", "guardrail_policy"}, "admin": _KEY | {"logging", "guardrail_policy"},
        "team_admin": _KEY, "member": _KEY,
    }),
})  # fmt: skip


def check_fields(who: Principal, kind: str, fields: Iterable[str]) -> None:
    """Raise `Forbidden` that names the fields which this role may not set. Nothing is changed then."""
    allowed = FIELDS[kind].get(who.role, frozenset())
    if refused := sorted(set(fields) - allowed):
        names = [_SHOWN.get(name, name) for name in refused]
        raise Forbidden(f"Your role may not set {', '.join(names)}.", code="field_not_allowed", param=names[0])


def check_grant(who: Principal, role: Role, before: Role | None = None) -> None:
    """Raise `Forbidden` unless `who` may make somebody a `role`, and may touch who is a `before` now."""
    for each in (role, before):
        if each is not None and each not in GRANTS[who.role]:
            raise Forbidden(f"Your role cannot make or change a user with the role {each}.", code="role_not_allowed")
