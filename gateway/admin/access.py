"""Who calls a route with a named permission: reads the credential, asks the accounts, checks the right.

One request, one credential: where `Authorization` is sent, no cookie counts, whatever comes of it.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from gateway.accounts.keys import PREFIX as KEY_PREFIX
from gateway.admin.browser import COOKIE, LOOPBACK_COOKIE, Doors, Place
from gateway.cookies import read_cookie
from gateway.errors import Forbidden, GatewayError, Unauthenticated
from gateway.hookspecs import Presented

if TYPE_CHECKING:
    from gateway.accounts.principal import Principal
    from gateway.accounts.sessions import Sessions

_SAFE: Final = frozenset({"GET", "HEAD"})
_REFUSAL: Final = 0.01  # seconds that every refusal takes at least, so that they tell nothing by their time
_MAX_TOKEN: Final = 512


class Credential(msgspec.Struct, frozen=True):
    """What a request presents: a token, and whether a browser sent it by itself."""

    token: str
    cookie: bool


class Access:
    """The door of the admin API."""

    def __init__(self, sessions: "Sessions", doors: Doors) -> None:
        self._sessions = sessions
        self._doors = doors

    async def authorize(self, permission: str, request: Presented) -> "Principal | None":
        """See `Hooks.authorize`."""
        arrived = time.monotonic()
        try:
            found = credential(request.headers, self._doors.place(request.peer, request.headers))
            if found is None:
                return None
            if found.cookie and request.method not in _SAFE:
                self._doors.check_origin(request.headers)
            principal = await self._sessions.resolve(found.token)
        except GatewayError:
            await asyncio.sleep(max(0.0, arrived + _REFUSAL - time.monotonic()) + 0.001)
            raise
        _check(principal, permission)
        return principal


def credential(headers: Mapping[str, str], place: Place) -> Credential | None:
    """The one credential of a request, or `None`. Raises `Unauthenticated` for one that cannot be meant for this."""
    given = headers.get("authorization")
    if given is not None:
        scheme, _, token = given.partition(" ")
        token = token.strip(" \t")
        if scheme.lower() != "bearer" or not token or len(token) > _MAX_TOKEN or not token.isascii():
            raise unauthenticated("Send `Authorization: Bearer` with the token of a login, or an admin token.")
        if token.startswith(KEY_PREFIX):
            raise unauthenticated("An API key is for models. Sign in, or use an admin token, for this.")
        return Credential(token, cookie=False)
    cookie = read_cookie(headers, COOKIE)
    if cookie is None and not place.secure:
        cookie = read_cookie(headers, LOOPBACK_COOKIE)
    return Credential(cookie, cookie=True) if cookie else None


def unauthenticated(text: str) -> Unauthenticated:
    """A 401 of this API."""
    return Unauthenticated(text, code="unauthenticated")


def _check(principal: "Principal", permission: str) -> None:
    if principal.must_change_password and not permission.startswith("self:"):
        raise Forbidden("Change your password first: POST /api/v1/admin/auth/change-password.",
                        code="password_change_required")  # fmt: skip
    if not principal.may(permission):
        raise Forbidden(f"This needs the right `{permission}`, which you do not have.")
