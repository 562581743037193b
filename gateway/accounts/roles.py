"""Who may do what: the one table that routes, checks, tests and the documentation read. What is not in it is denied.

A right is `<resource>:<verb>`; how far it reaches depends on the role: over `all` tenants, the own `tenant`, the own
`team`s, or what is one's `own`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, get_args

Role = Literal["owner", "auditor", "admin", "team_admin", "member", "viewer"]
Reach = Literal["all", "tenant", "team", "own"]

ROLES: Final[tuple[Role, ...]] = get_args(Role)

# What each role is, for people.
MEANING: Final[Mapping[Role, str]] = MappingProxyType({
    "owner": "runs the platform: all tenants",
    "auditor": "reads everything but secrets and content, changes nothing",
    "admin": "manages one tenant: its users, teams, keys and policies",
    "team_admin": "manages the members and keys of the teams they belong to",
    "member": "has keys of their own",
    "viewer": "reads their tenant's numbers",
})

_ALL: Final[Mapping[Role, Reach]] = MappingProxyType({
    "owner": "own", "auditor": "own", "admin": "own", "team_admin": "own", "member": "own", "viewer": "own",
})


def _row(**reaches: Reach) -> Mapping[Role, Reach]:
    return MappingProxyType(reaches)  # type: ignore[arg-type]  # the names are roles: a test proves it


MATRIX: Final[Mapping[str, Mapping[Role, Reach]]] = MappingProxyType({
    "gateway:use": _row(owner="own", admin="own", team_admin="own", member="own"),
    "self:read": _ALL,
    "self:write": _ALL,
    "features:read": _ALL,
    "models:read": _row(
        owner="all", auditor="all", admin="tenant", team_admin="tenant", member="tenant", viewer="tenant"
    ),
    "router:read": _row(owner="all", auditor="all"),
    "tenants:read": _row(owner="all", auditor="all", admin="tenant"),
    "tenants:write": _row(owner="all", admin="tenant"),
    "tenants:create": _row(owner="all"),
    "teams:read": _row(owner="all", auditor="all", admin="tenant", team_admin="team", member="team", viewer="tenant"),
    "teams:write": _row(owner="all", admin="tenant"),
    "members:write": _row(owner="all", admin="tenant", team_admin="team"),
    "users:read": _row(owner="all", auditor="all", admin="tenant", team_admin="team", viewer="tenant"),
    "users:write": _row(owner="all", admin="tenant"),
    "keys:read": _row(owner="all", auditor="all", admin="tenant", team_admin="team", member="own"),
    "keys:write": _row(owner="all", admin="tenant", team_admin="team", member="own"),
    "service-accounts:read": _row(owner="all", auditor="all", admin="tenant", team_admin="team"),
    "service-accounts:write": _row(owner="all", admin="tenant"),
    "usage:read": _row(owner="all", auditor="all", admin="tenant", team_admin="team", member="own", viewer="tenant"),
    "audit:read": _row(owner="all", auditor="all", admin="tenant"),
    "audit:verify": _row(owner="all", auditor="all"),
    "content:read": _row(owner="all", auditor="all", admin="tenant", member="own"),
    "credentials:read": _row(owner="all", admin="tenant"),
    "credentials:write": _row(owner="all", admin="tenant"),
    "sso:read": _row(owner="all", auditor="all", admin="tenant"),
    "sso:write": _row(owner="all", admin="tenant"),
    "policies:read": _row(owner="all", auditor="all", admin="tenant"),
    "policies:write": _row(owner="all", admin="tenant"),
    "budgets:read": _row(owner="all", auditor="all", admin="tenant", team_admin="team", viewer="tenant"),
    "budgets:write": _row(owner="all", admin="tenant"),
    "alerts:read": _row(owner="all", auditor="all", admin="tenant"),
    "alerts:write": _row(owner="all", admin="tenant"),
})

PERMISSIONS: Final = frozenset(MATRIX)

# Whom each role may make: nobody grants above or beside themselves.
GRANTS: Final[Mapping[Role, frozenset[Role]]] = MappingProxyType({
    "owner": frozenset(ROLES),
    "auditor": frozenset(),
    "admin": frozenset({"admin", "team_admin", "member", "viewer"}),
    "team_admin": frozenset(),
    "member": frozenset(),
    "viewer": frozenset(),
})

# Who stands above whom: the keys of those above oneself are out of reach.
RANK: Final[Mapping[Role, int]] = MappingProxyType({
    "viewer": 0, "member": 1, "team_admin": 2, "auditor": 3, "admin": 3, "owner": 4,
})


def above(role: Role, other: Role) -> bool:
    """Whether `role` may act on what belongs to an `other`: those below, and, for administrators, their equals."""
    return RANK[other] < RANK[role] or (role in ("admin", "owner") and RANK[other] == RANK[role])


def reach(role: Role, permission: str) -> Reach | None:
    """How far this right of this role reaches; `None` where it has none."""
    return MATRIX.get(permission, {}).get(role)


def permissions(role: Role) -> tuple[str, ...]:
    """All rights of a role."""
    return tuple(permission for permission, row in MATRIX.items() if role in row)
