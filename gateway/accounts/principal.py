"""Who asks, and from where: what every function of the accounts gets first. Found anew for each request."""

from typing import Final

import msgspec

from gateway.accounts.records import User
from gateway.accounts.roles import Reach, Role, permissions, reach
from gateway.errors import Forbidden

_NO_TENANT: Final = "/"  # no id has a slash in it; the empty one stands for the platform


class Origin(msgspec.Struct, frozen=True):
    """Where a request came from, for the audit."""

    address: str = ""
    agent: str = ""
    request_id: str = ""


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """A signed-in person or a service account with an admin token. `scopes` cut the role's rights; `None` does not."""

    id: str
    kind: str
    name: str
    role: Role
    home: str
    teams: tuple[str, ...] = ()
    scopes: tuple[str, ...] | None = None
    user: User | None = None
    session: str | None = None
    must_change_password: bool = False
    content_access: bool = False

    def reach(self, permission: str) -> Reach | None:
        """How far this right reaches; `None` without it."""
        if self.scopes is not None and permission not in self.scopes:
            return None
        if permission == "content:read" and not self.content_access and self.role != "member":
            return None
        return reach(self.role, permission)

    def may(self, permission: str) -> bool:
        """Whether this right is there at all; how far it reaches is for whoever looks at an object."""
        return self.reach(permission) is not None

    @property
    def tenant(self) -> str | None:
        """The one tenant that this is about; `None` for the roles of the platform."""
        return None if self.role in ("owner", "auditor") else self.home

    @property
    def permissions(self) -> tuple[str, ...]:
        """All rights."""
        return tuple(each for each in permissions(self.role) if self.reach(each) is not None)

    def scope(self, permission: str, tenant: str | None = None) -> dict[str, object]:
        """What a query must be limited to: `tenant`, and where the right reaches less far `teams` or `own` too.

        `tenant` asks for one tenant; that of somebody else leads to nothing. Raises `Forbidden` without the right.
        """
        far = self.reach(permission)
        if far is None:
            raise Forbidden(f"This needs the right `{permission}`, which you do not have.")
        limits: dict[str, object] = {}
        if tenant is not None:
            limits["tenant"] = tenant
        if far != "all":
            limits["tenant"] = self.home if tenant in (None, self.home) else _NO_TENANT
        if far == "team":
            limits["teams"] = self.teams
        if far == "own":
            limits["own"] = self.id
        return limits
