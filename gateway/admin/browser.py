"""What browsers need: which origin a request came from, whether its cookie may count, and the session's cookie.

A cookie is sent by a browser whoever made it send the request. So it counts for reading, and for writing only when the
browser says that a page of this gateway asked (`Sec-Fetch-Site`, or else `Origin`).
"""

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

import msgspec

from gateway.errors import Forbidden

COOKIE: Final = "__Host-gateway"
LOOPBACK_COOKIE: Final = "gateway-session"
_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Place(msgspec.Struct, frozen=True):
    """Where a request came from: the client's `address`, and how it travelled.

    `secure` is TLS up to the proxy in front, `loopback` a client on this machine that asked for it by such a name.
    """

    address: str
    secure: bool
    loopback: bool


class Doors:
    """Tells a request's place. `public_url` is the address in browsers' address bars, `proxies` those in front."""

    def __init__(self, public_url: str = "", proxies: Sequence[str] = ()) -> None:
        parts = urlsplit(public_url)
        self._origin = f"{parts.scheme}://{parts.netloc}".lower() if public_url else ""
        self._proxies: tuple[Network, ...] = tuple(ipaddress.ip_network(each) for each in proxies)

    def place(self, peer: str, headers: Mapping[str, str]) -> Place:
        """Where a request came from; what proxies say counts only if they are trusted."""
        trusted = self._trusts(peer)
        address = _client(headers.get("x-forwarded-for", ""), peer, self._trusts) if trusted else peer
        proto = headers.get("x-forwarded-proto", "").rpartition(",")[2].strip().lower() if trusted else ""
        secure = proto == "https" or (not proto and self._origin.startswith("https:") and self._named(headers))
        loopback = (
            not trusted and "x-forwarded-for" not in headers and _is_loopback(peer)
            and _host(headers).rpartition("@")[2] in _LOOPBACK_NAMES
        )  # fmt: skip
        return Place(address, secure, loopback)

    def check_origin(self, headers: Mapping[str, str], *, strict: bool = True) -> None:
        """Raise `Forbidden` unless a page of this gateway made the browser send this.

        Without `strict` a request that says nothing of its origin passes: it comes from no browser.
        """
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site is not None and site != "same-origin":
            raise _foreign()
        if origin is not None and not self._is_ours(origin.lower(), headers):
            raise _foreign()
        if strict and site is None and origin is None:
            raise _foreign()

    def _is_ours(self, origin: str, headers: Mapping[str, str]) -> bool:
        if self._origin:
            return origin == self._origin or (_is_loopback_origin(origin) and _same_authority(origin, headers))
        return _same_authority(origin, headers)

    def _named(self, headers: Mapping[str, str]) -> bool:
        return headers.get("host", "").lower() == self._origin.partition("//")[2]

    def _trusts(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._proxies)


def session_cookie(token: str, place: Place, max_age: int) -> str:
    """The `Set-Cookie` value of a session; with an empty token, what takes it away."""
    name = COOKIE if place.secure else LOOPBACK_COOKIE
    secure = "; Secure" if place.secure else ""
    return f"{name}={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age={max_age if token else 0}{secure}"


def _client(forwarded: str, peer: str, trusts: Callable[[str], bool]) -> str:
    """The nearest address that is no trusted proxy: what stands before it, a client may have made up."""
    address = peer
    for hop in map(str.strip, reversed(forwarded.split(","))):
        try:
            ipaddress.ip_address(hop)
        except ValueError:
            return address
        address = hop
        if not trusts(hop):
            return address
    return address


def _host(headers: Mapping[str, str]) -> str:
    host = headers.get("host", "").lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _is_loopback_origin(origin: str) -> bool:
    return (urlsplit(origin).hostname or "") in _LOOPBACK_NAMES


def _same_authority(origin: str, headers: Mapping[str, str]) -> bool:
    return bool(headers.get("host")) and origin.partition("//")[2] == headers["host"].lower()


def _foreign() -> Forbidden:
    return Forbidden(
        "This request came from a page of another site, or from a browser that does not say which. With the session's "
        "cookie only this gateway's own pages may change things; programs send `Authorization: Bearer` instead.",
        code="foreign_origin",
    )
