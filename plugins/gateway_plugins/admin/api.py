"""The admin API under /api/v1/admin, what a key may ask about itself, the OpenAPI document and the reference page.

    plugins:
      - use: admin.api
        with: {public_url: https://gateway.example.com, trusted_proxies: [10.0.0.0/8]}

What there is to call is in `gateway/admin`, who may do what in `gateway/accounts`; this file brings them together.
"""

import ipaddress
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from gateway import Presented, Route, hookimpl
from gateway.accounts.services import Accounts
from gateway.admin import routing, selfservice, usage
from gateway.admin.access import Access
from gateway.admin.browser import Doors
from gateway.admin.endpoint import bind
from gateway.admin.idempotency import Idempotency
from gateway.admin.reference.routes import reference_routes
from gateway.admin.services import Admin
from gateway.admin.table import ENDPOINTS

if TYPE_CHECKING:
    from gateway import Gateway

Hours = Annotated[float, Meta(gt=0, le=8760)]


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Nothing has to be set on one machine; behind a proxy, `public_url` or `trusted_proxies`."""

    public_url: Annotated[
        str, Meta(pattern=r"^(https?://[A-Za-z0-9.\-]+(:[0-9]+)?/?)?$", description="What browsers show as address.")
    ] = ""
    trusted_proxies: Annotated[
        tuple[str, ...], Meta(description="Networks of proxies whose X-Forwarded-For and -Proto are believed.")
    ] = ()
    insecure_http: Annotated[bool, Meta(description="Take passwords over plain http from other machines too.")] = False
    registration: Annotated[
        Literal["off", "open", "invite"], Meta(description="Who may make an account for themselves.")
    ] = "off"
    session_idle_hours: Annotated[Hours, Meta(description="A session ends after so long without use.")] = 12
    session_max_hours: Annotated[Hours, Meta(description="A session ends after so long in any case.")] = 168


class AdminApi:
    """Registers the routes, and says who may call those that need a right."""

    Config = Options
    # What an administrator sets here is kept, whether the file names these or not.
    brings = ("sink.audit", "sink.content")

    def __init__(self, config: Options) -> None:
        for network in config.trusted_proxies:
            ipaddress.ip_network(network)
        self._config = config
        self._doors = Doors(config.public_url, config.trusted_proxies)
        self._admin: Admin | None = None

    @hookimpl
    def routes(self, gateway: "Gateway") -> Iterable[Route]:
        """See `Hooks.routes`."""
        admin = self._admin = self._admin or self._made(gateway)
        once = Idempotency(gateway.store, gateway.secret)
        yield from bind(ENDPOINTS, admin, once)
        yield from bind((*routing.ROUTES, *selfservice.ROUTES, *usage.KEY_ROUTES), gateway, once)
        yield from reference_routes(lambda: gateway.snapshot.plugins.routes(gateway))

    @hookimpl
    async def authorize(self, permission: str, request: Presented) -> object | None:
        """See `Hooks.authorize`."""
        assert self._admin is not None
        return await Access(self._admin.accounts.sessions, self._doors).authorize(permission, request)

    def _made(self, gateway: "Gateway") -> Admin:
        config, hour = self._config, 3600_000
        accounts = Accounts(
            gateway.store, gateway.secret, idle_ms=int(config.session_idle_hours * hour),
            lifetime_ms=int(config.session_max_hours * hour),
        )  # fmt: skip
        return Admin(
            gateway, accounts, self._doors, registration=config.registration, insecure_http=config.insecure_http
        )
