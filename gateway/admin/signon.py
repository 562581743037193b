"""The sign-in of one identity provider: the way to it, and what it says when a person comes back. No routes here.

OpenID Connect's code flow with PKCE (RFC 7636), state and nonce; what must be remembered meanwhile is sealed in a
cookie, so that any gateway can go on where another one began. Sources: OpenID Connect Core 1.0, RP-Initiated and
Back-Channel Logout 1.0; RFC 9207 (issuer in the answer); RFC 9700 (best current practice).
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote_plus, urlencode

import msgspec

from gateway.accounts.roles import Role
from gateway.accounts.sealing import SealBroken, Sealer
from gateway.accounts.sso import Person, Rules
from gateway.clock import now_ms
from gateway.errors import Forbidden, InvalidRequest, Unauthenticated
from gateway.hookspecs import HttpRequest
from gateway.oidc import BadToken, Issuer

if TYPE_CHECKING:
    from gateway.upstream import Upstream

FLOW_SECONDS: Final = 600
_LONGEST_HINT: Final = 6000  # characters of an ID token that is shown to its provider again, in an address
_LOGOUT: Final = "http://schemas.openid.net/event/backchannel-logout"


class ProviderOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """See `admin.sso`."""

    name: str
    issuer: str
    client_id: str
    client_secret: str
    title: str
    tenant: str
    scopes: tuple[str, ...]
    groups_claim: str
    roles: Mapping[str, Role]
    default_role: Role | None
    teams: Mapping[str, str]
    link: bool
    create: bool
    algorithms: tuple[str, ...]
    trust_email: bool
    allow_private: bool
    ca_file: str | None


class Flow(msgspec.Struct, frozen=True):
    """What is remembered between the way there and the way back."""

    provider: str
    state: str
    nonce: str
    verifier: str
    return_to: str
    until: int


class _Tokens(msgspec.Struct, frozen=True):
    id_token: str
    access_token: str = ""


class SignOnProvider:
    """One configured provider."""

    def __init__(self, options: ProviderOptions, upstream: "Upstream", sealer: Sealer) -> None:
        self.options = options
        self.issuer = Issuer(
            options.issuer, upstream, allow_private=options.allow_private, ca_file=options.ca_file
        )
        self._sealer = sealer
        self.rules = Rules(
            tenant=options.tenant, roles=options.roles, default_role=options.default_role, teams=options.teams,
            link=options.link, create=options.create,
        )

    async def begin(self, redirect_uri: str, return_to: str) -> tuple[str, str]:
        """The address to send the browser to, and the sealed flow for its cookie."""
        metadata = await self.issuer.metadata()
        flow = Flow(
            self.options.name, secrets.token_urlsafe(24), secrets.token_urlsafe(24), secrets.token_urlsafe(48),
            return_to, now_ms() + FLOW_SECONDS * 1000,
        )
        challenge = base64.urlsafe_b64encode(hashlib.sha256(flow.verifier.encode()).digest()).rstrip(b"=").decode()
        query = urlencode({
            "response_type": "code", "client_id": self.options.client_id, "redirect_uri": redirect_uri,
            "scope": " ".join(dict.fromkeys(("openid", *self.options.scopes))), "state": flow.state,
            "nonce": flow.nonce, "code_challenge": challenge, "code_challenge_method": "S256",
        })
        sign = "&" if "?" in metadata.authorization_endpoint else "?"
        sealed = self._sealer.seal(msgspec.json.encode(flow).decode(), "flow")
        return f"{metadata.authorization_endpoint}{sign}{query}", sealed

    async def finish(self, flow: Flow, query: Mapping[str, str], redirect_uri: str) -> Person:
        """Who has come back. Raises `Unauthenticated` or `Forbidden` where something does not fit."""
        metadata = await self.issuer.metadata()
        named = None if metadata.authorization_response_iss_parameter_supported else self.options.issuer
        if query.get("iss", named) != self.options.issuer:
            raise Forbidden("The answer came from another identity provider.", code="sso_wrong_issuer")
        if "error" in query:
            text = query.get("error_description") or query["error"]
            raise Unauthenticated(f"The identity provider refused: {text[:300]}", code="sso_refused")
        code = query.get("code")
        if not code:
            raise InvalidRequest("The answer of the identity provider has no code.", param="code")
        tokens = await self._exchanged(code, flow, redirect_uri)
        claims = await self.issuer.claims(
            tokens.id_token, audience=(self.options.client_id,), algorithms=self.options.algorithms
        )
        if not hmac.compare_digest(str(claims.get("nonce", "")), flow.nonce):
            raise BadToken("The identity provider's token is of another sign-in.")
        several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if claims.get("azp", None if several else self.options.client_id) != self.options.client_id:
            raise BadToken("The identity provider's token is meant for another service.")
        person = self._person({**await self._told(tokens, claims), **claims})
        if len(tokens.id_token) > _LONGEST_HINT:
            return person
        return msgspec.structs.replace(person, hint=self._sealer.seal(tokens.id_token, "hint", self.options.name))

    async def logged_out(self, token: str) -> tuple[str | None, str | None]:
        """Session and subject that a logout token ends. Raises `BadToken`."""
        claims = await self.issuer.claims(
            token, audience=(self.options.client_id,), algorithms=self.options.algorithms, subject=False
        )
        events, session, subject = claims.get("events"), claims.get("sid"), claims.get("sub")
        if not (isinstance(events, dict) and _LOGOUT in events) or "nonce" in claims or not (session or subject):
            raise BadToken("This is no logout token.")
        return _text(session), _text(subject)

    def shown(self, hint: str) -> str:
        """The ID token in a person's hint; "" where it is not of this provider."""
        try:
            return self._sealer.open(hint, "hint", self.options.name)
        except SealBroken:
            return ""

    async def logout_address(self, back_to: str, id_token: str) -> str:
        """Where the browser ends the provider's own session; "" where it cannot."""
        metadata = await self.issuer.metadata()
        if not metadata.end_session_endpoint:
            return ""
        fields = {"client_id": self.options.client_id, "post_logout_redirect_uri": back_to}
        if id_token:
            fields["id_token_hint"] = id_token
        sign = "&" if "?" in metadata.end_session_endpoint else "?"
        return f"{metadata.end_session_endpoint}{sign}{urlencode(fields)}"

    async def _told(self, tokens: _Tokens, claims: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the provider says of a person beside the ID token, where that lacks something that matters."""
        options, metadata = self.options, await self.issuer.metadata()
        wanted = ["email"] if options.trust_email else ["email", "email_verified"]
        wanted += [options.groups_claim] if options.roles or options.teams else []
        complete = all(_found(claims, name) is not None for name in wanted)
        if complete or not metadata.userinfo_endpoint or not tokens.access_token:
            return {}
        headers = (("accept", "application/json"), ("authorization", f"Bearer {tokens.access_token}"))
        told = await self.issuer.send(HttpRequest("GET", metadata.userinfo_endpoint, headers), dict[str, Any])
        if told.get("sub") != claims["sub"]:
            raise BadToken("The identity provider told about somebody else.")
        return told

    async def _exchanged(self, code: str, flow: Flow, redirect_uri: str) -> _Tokens:
        options, metadata = self.options, await self.issuer.metadata()
        fields = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri,
            "code_verifier": flow.verifier,
        }
        headers = [("content-type", "application/x-www-form-urlencoded"), ("accept", "application/json")]
        methods = metadata.token_endpoint_auth_methods_supported
        if options.client_secret and ("client_secret_basic" in methods or "client_secret_post" not in methods):
            pair = f"{quote_plus(options.client_id)}:{quote_plus(options.client_secret)}"
            headers.append(("authorization", "Basic " + base64.b64encode(pair.encode()).decode()))
        else:
            fields["client_id"] = options.client_id
            if options.client_secret:
                fields["client_secret"] = options.client_secret
        request = HttpRequest("POST", metadata.token_endpoint, tuple(headers), urlencode(fields).encode())
        return await self.issuer.send(request, _Tokens)

    def _person(self, claims: Mapping[str, Any]) -> Person:
        groups = _found(claims, self.options.groups_claim)
        named = groups if isinstance(groups, list) else str(groups).split() if isinstance(groups, str) else []
        verified = claims.get("email_verified")
        return Person(
            issuer=self.options.issuer, subject=claims["sub"], email=_text(claims.get("email")) or "",
            verified=self.options.trust_email or verified is True or verified == "true",
            name=_text(claims.get("name")) or "", groups=tuple(each for each in named if isinstance(each, str)),
            session=_text(claims.get("sid")),
        )


def opened(sealer: Sealer, cookie: str | None, state: str | None) -> Flow:
    """The flow of a browser that came back. Raises `Forbidden` unless it is the one that was sent, in time."""
    try:
        flow = msgspec.json.decode(sealer.open(cookie or "", "flow"), type=Flow)
    except (SealBroken, msgspec.DecodeError):
        raise _lost() from None
    if state is None or not hmac.compare_digest(state.encode(), flow.state.encode()) or now_ms() > flow.until:
        raise _lost()
    return flow


def _lost() -> Forbidden:
    return Forbidden(
        "This sign-in was not begun in this browser, or too long ago. Begin it again.", code="sso_unknown_state"
    )


def _found(claims: Mapping[str, Any], path: str) -> Any:  # noqa: ANN401 - any JSON value
    """The claim of that name, or else what a path of names with dots leads to."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _text(value: object) -> str | None:
    return value[:320] if isinstance(value, str) and value else None
