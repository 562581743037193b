"""An OpenID Connect issuer as seen from here: its metadata, its keys, and tokens of it that are proved.

No sign-in flow here, and nothing of accounts: single sign-on and `auth.jwt` are built on this. Sources: OpenID Connect
Core and Discovery 1.0; RFC 7515, 7517, 7519; RFC 8725 (best current practice for JWTs).
"""

import asyncio
import hashlib
import time
from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from gateway.clock import now_ms
from gateway.config import Timeouts
from gateway.errors import GatewayError, Unauthenticated, Unavailable
from gateway.hookspecs import HttpRequest
from gateway.upstream import Peer

if TYPE_CHECKING:
    from gateway.upstream import Upstream

T = TypeVar("T")

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")

_LEEWAY: Final = 60            # seconds that clocks may differ
_METADATA_FOR: Final = 3600.0  # seconds that an issuer's metadata is believed
_KEYS_FOR: Final = 3600.0
_KEYS_PAUSE: Final = 10.0      # seconds at least between two looks for an unknown key
_SHORT: Final = 600            # seconds that a logout token without an end holds
_MOST: Final = 16 * 1024       # characters of a token
_MAX_ANSWER: Final = 512 * 1024
_WAITS: Final = Timeouts(connect=5.0, first_byte=10.0, idle=10.0, total=15.0)
_ACCEPT: Final = (("accept", "application/json"),)


class Metadata(msgspec.Struct, frozen=True):
    """What an issuer says of itself; addresses that it does not have are empty."""

    issuer: str
    jwks_uri: str
    authorization_endpoint: str = ""
    token_endpoint: str = ""
    userinfo_endpoint: str = ""
    end_session_endpoint: str = ""
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    code_challenge_methods_supported: tuple[str, ...] = ()
    backchannel_logout_supported: bool = False
    authorization_response_iss_parameter_supported: bool = False


class BadToken(Unauthenticated):
    """A token that proves nothing here; the text says why, and never quotes it."""

    code = "invalid_token"


class Issuer:
    """One issuer. `url` is its identifier, exactly as its tokens name it in `iss`."""

    def __init__(
        self, url: str, upstream: "Upstream", *, allow_private: bool = False, ca_file: str | None = None
    ) -> None:
        self.url = url
        self._upstream = upstream
        self._peer = Peer(name=f"issuer {url}", timeouts=_WAITS, allow_private=allow_private, ca_file=ca_file)
        self._metadata: tuple[float, Metadata] | None = None
        self._keys: tuple[float, KeySet] | None = None
        self._turn = asyncio.Lock()

    async def metadata(self) -> Metadata:
        """Its metadata, asked for once an hour. Raises `Unavailable` where it does not answer as it should."""
        known = self._metadata
        if known is not None and time.monotonic() - known[0] < _METADATA_FOR:
            return known[1]
        async with self._turn:
            if self._metadata is known:
                found = await self.get(self.url.rstrip("/") + "/.well-known/openid-configuration", Metadata)
                if found.issuer != self.url:
                    raise Unavailable(f"The issuer {self.url} calls itself {found.issuer[:200]!r}: correct that.")
                self._metadata = (time.monotonic(), found)
        assert self._metadata is not None
        return self._metadata[1]

    async def claims(
        self, token: str, *, audience: Sequence[str], algorithms: Sequence[str] = ("RS256",), subject: bool = True
    ) -> dict[str, Any]:
        """The claims of a token that this issuer signed for one of `audience`, and that holds now.

        With `subject` it has to name one; without, a token that has no end holds for ten minutes (logout tokens of
        older providers). Raises `BadToken`, or `Unavailable` where the issuer's keys cannot be had.
        """
        head = header(token)
        if head.get("alg") not in algorithms or head["alg"] not in ALGORITHMS:
            raise BadToken("This token is signed in a way that is not accepted here.")
        claims = await self._signed(token, str(head.get("kid", "")), [head["alg"]])
        if not subject and "exp" not in claims and isinstance(claims.get("iat"), int | float):
            claims["exp"] = claims["iat"] + _SHORT
        _check(claims, self.url, audience, now_ms() / 1000)
        if subject and (not isinstance(claims.get("sub"), str) or not claims["sub"]):
            raise BadToken("This token names nobody.")
        return claims

    async def get(self, url: str, type_: type[T]) -> T:
        """A JSON document of the issuer's. Raises `Unavailable`."""
        return await self.send(HttpRequest("GET", url, _ACCEPT), type_)

    async def send(self, request: HttpRequest, type_: type[T]) -> T:
        """The JSON answer to a request to it. Raises `Unavailable`, and `Refused` where it says no."""
        if not _safe(request.url, self._peer.allow_private):
            raise Unavailable(f"The issuer {self.url} names an address that is not https.")
        try:
            reply = await self._upstream.send(self._peer, request)
            body = await reply.body(_MAX_ANSWER)
        except GatewayError as error:
            raise Unavailable(f"The issuer {self.url} cannot be reached: {error.message}") from error
        if 400 <= reply.status < 500:
            raise Refused(_reason(body))
        if reply.status != 200:
            raise Unavailable(f"The issuer {self.url} answered with status {reply.status}.")
        try:
            return msgspec.json.decode(body, type=type_)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Unavailable(f"The issuer {self.url} answered with something that is not as specified.") from None

    async def _signed(self, token: str, kid: str, algorithms: list[str]) -> dict[str, Any]:
        keys, since = await self._known_keys()
        claims = _proved(token, keys, kid, algorithms)
        if claims is None and time.monotonic() - since > _KEYS_PAUSE:
            keys, _ = await self._known_keys(newer_than=since)  # it may have new keys, even under an old name
            claims = _proved(token, keys, kid, algorithms)
        if claims is not None:
            return claims
        if kid and kid not in {str(key.kid) for key in keys.keys}:
            raise BadToken("This token is signed with a key that its issuer does not have.")
        raise BadToken("The signature of this token is wrong.")

    async def _known_keys(self, newer_than: float | None = None) -> tuple[KeySet, float]:
        known = self._keys
        if known is not None and newer_than is None and time.monotonic() - known[0] < _KEYS_FOR:
            return known[1], known[0]
        metadata = await self.metadata()
        async with self._turn:
            if self._keys is known:
                document = await self.get(metadata.jwks_uri, dict[str, Any])
                self._keys = (time.monotonic(), _key_set(document, self.url))
        assert self._keys is not None
        return self._keys[1], self._keys[0]


class Refused(GatewayError):
    """The issuer says no; the text is its own reason."""

    status = 401
    code = "sso_refused"


def header(token: str) -> Mapping[str, Any]:
    """A token's header, of which nothing is proved. Raises `BadToken` for what is no signed token."""
    parts = token.split(".")
    if len(token) > _MOST or len(parts) != 3:
        raise BadToken("This is no token of an identity provider.")
    head = _part(parts[0])
    if head.keys() & {"crit", "b64", "jku", "jwk", "x5u"}:  # a key that the token itself brings proves nothing
        raise BadToken("This token asks for something that is not understood here.")
    return head


def unproved(token: str) -> Mapping[str, Any]:
    """A token's claims, of which nothing is proved: to find out whom to ask."""
    header(token)
    return _part(token.split(".")[1])


def _part(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=dict[str, Any])
    except (ValueError, msgspec.DecodeError, RecursionError):
        raise BadToken("This is no token of an identity provider.") from None


def _check(claims: Mapping[str, Any], issuer: str, audience: Sequence[str], now: float) -> None:
    meant = claims.get("aud")
    named = meant if isinstance(meant, list) else [meant]
    if claims.get("iss") != issuer:
        raise BadToken("This token is of another issuer.")
    if not any(isinstance(name, str) and name in audience for name in named):
        raise BadToken("This token is meant for another service.")
    until, since, made = (claims.get(name) for name in ("exp", "nbf", "iat"))
    if not isinstance(until, int | float) or isinstance(until, bool):
        raise BadToken("This token has no end.")
    if until + _LEEWAY <= now:
        raise BadToken("This token has expired.", code="token_expired")
    if any(isinstance(moment, int | float) and moment - _LEEWAY > now for moment in (since, made)):
        raise BadToken("This token is not valid yet.")


def _key_set(document: Mapping[str, Any], issuer: str) -> KeySet:
    """The keys that can prove a signature: no shared secrets, nothing that is for encryption."""
    given = document.get("keys")
    wanted = [
        {name: value for name, value in key.items() if name not in ("x5c", "x5t", "x5t#S256", "key_ops")}
        for key in (given if isinstance(given, list) else ())
        if isinstance(key, dict) and key.get("kty") in ("RSA", "EC", "OKP") and key.get("use", "sig") == "sig"
    ]
    found = []
    for key in wanted:
        try:
            found += KeySet.import_key_set({"keys": [key]}).keys
        except (JoseError, ValueError, KeyError, TypeError):
            continue  # of a kind that is not known here
    if not found:
        raise Unavailable(f"The issuer {issuer} publishes no keys that can be used.")
    return KeySet(found)


def _proved(token: str, keys: KeySet, kid: str, algorithms: list[str]) -> dict[str, Any] | None:
    """The claims of a token that one of the keys of this name signed; of any name, where the token has none."""
    for key in keys.keys:
        if kid and key.kid != kid:
            continue
        try:
            signed = jws.deserialize_compact(token, key, algorithms=algorithms)
            return msgspec.json.decode(signed.payload, type=dict[str, Any])
        except (JoseError, ValueError, TypeError, msgspec.DecodeError, UnicodeDecodeError):
            continue  # of another kind, or another's
    return None


def _safe(url: str, allow_private: bool) -> bool:
    parts = urlsplit(url)
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and allow_private))


def _reason(body: bytes) -> str:
    try:
        found = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        found = {}
    text = found.get("error_description") or found.get("error") or "no reason given"
    return f"The identity provider refused: {str(text)[:300]}"


def fingerprint(issuer: str, subject: str) -> str:
    """A short name for somebody of an issuer: the same for the same person, and nothing of them in it."""
    return hashlib.sha256(f"{issuer}\0{subject}".encode()).hexdigest()[:24]
