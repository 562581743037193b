"""The admin API under /api/v1/admin, what a key may ask about itself, the OpenAPI document and the reference page.

    plugins:
      - use: admin.api
        with: {public_url: https://gateway.example.com, trusted_proxies: [10.0.0.0/8]}

What there is to call is in `gateway/admin`; this file only registers it.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from gateway import Route, hookimpl
from gateway.admin import selfservice
from gateway.admin.endpoint import bind
from gateway.admin.reference.routes import reference_routes

if TYPE_CHECKING:
    from gateway import Gateway


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Nothing has to be set."""


class AdminApi:
    """Registers the routes."""

    Config = Options

    def __init__(self, config: Options) -> None:
        self._config = config

    @hookimpl
    def routes(self, gateway: "Gateway") -> Iterable[Route]:
        """See `Hooks.routes`."""
        yield from bind(selfservice.ROUTES, gateway)
        yield from reference_routes(lambda: gateway.snapshot.plugins.routes(gateway))
