"""SCIM 2.0: an identity provider makes, changes and takes away users and teams of a tenant.

    plugins:
      - use: admin.api
      - use: admin.scim

It signs in with the admin token of a service account whose role is admin; see docs/sso.md.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from gateway import Route, RouteRequest, hookimpl
from gateway.accounts.services import Accounts
from gateway.admin.scim import Scim

if TYPE_CHECKING:
    from gateway import Gateway


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What people become, and this gateway's own address."""

    role: Annotated[
        Literal["team_admin", "member", "viewer"], Meta(description="Of people whom the identity provider makes.")
    ] = "member"
    public_url: Annotated[
        str, Meta(pattern=r"^(https?://[A-Za-z0-9.\-]+(:[0-9]+)?)?$", description="For the addresses in answers.")
    ] = ""


class SCIM:
    """Registers the routes of SCIM."""

    Config = Options

    def __init__(self, config: Options) -> None:
        self._config = config
        self._made: Scim | None = None

    @hookimpl
    def routes(self, gateway: "Gateway") -> Iterable[Route]:
        """See `Hooks.routes`."""
        accounts = Accounts(gateway.store, gateway.secret)
        self._made = self._made or Scim(accounts, self._config.role, self._base)
        return self._made.routes()

    def _base(self, ask: RouteRequest) -> str:  # noqa: ARG002 - what a client says of our address does not count
        return self._config.public_url
