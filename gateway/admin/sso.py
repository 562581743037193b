"""Single sign-on for people: which providers there are, the way to them and back, and the end of a session."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.accounts.sealing import Sealer
from gateway.admin.browser import session_cookie
from gateway.admin.endpoint import Ask, Done, Endpoint
from gateway.admin.fields import NoBody, NoQuery
from gateway.admin.services import Admin
from gateway.admin.signon import FLOW_SECONDS, SignOnProvider, opened
from gateway.errors import Forbidden, NotFound, Unavailable
from gateway.hookspecs import Reply, RouteRequest
from gateway.oidc import BadToken, Issuer

_COOKIE = "gateway-sso"
_HERE = "/api/v1/admin/auth/sso/callback"
Name = Annotated[str, Meta(min_length=1, max_length=64)]


class ProviderName(msgspec.Struct, frozen=True):
    """A provider to sign in with."""

    name: str
    title: str


class ProviderNames(msgspec.Struct, frozen=True):
    """All of them."""

    providers: tuple[ProviderName, ...]


class Start(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """With whom, and where in this gateway's pages to go afterwards: a path; anything else is `/`."""

    provider: Name
    return_to: Annotated[str, Meta(max_length=500)] = "/"


class Started(msgspec.Struct, frozen=True):
    """Where the browser goes now."""

    authorization_url: str


class CallbackQuery(msgspec.Struct, frozen=True):
    """What a provider's answer has; other fields are its own business."""

    state: Annotated[str, Meta(max_length=500)] | UnsetType = UNSET
    code: Annotated[str, Meta(max_length=8000)] | UnsetType = UNSET
    iss: Annotated[str, Meta(max_length=500)] | UnsetType = UNSET
    error: Annotated[str, Meta(max_length=200)] | UnsetType = UNSET
    error_description: Annotated[str, Meta(max_length=2000)] | UnsetType = UNSET


class ProviderShown(msgspec.Struct, frozen=True):
    """How a provider is configured; its secret is not shown."""

    name: str
    title: str
    issuer: str
    client_id: str
    has_secret: bool
    tenant: str
    scopes: tuple[str, ...]
    groups_claim: str
    roles: Mapping[str, str]
    default_role: str | None
    teams: Mapping[str, str]
    link_existing: bool
    auto_create: bool
    redirect_uri: str


class ConfigShown(msgspec.Struct, frozen=True):
    """All providers, as the file has them."""

    providers: tuple[ProviderShown, ...]


class Discover(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The issuer to look at."""

    issuer: Annotated[str, Meta(min_length=8, max_length=500, pattern="^https?://")]


class Discovered(msgspec.Struct, frozen=True):
    """What an issuer says of itself."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    userinfo_endpoint: str
    end_session_endpoint: str
    jwks_uri: str
    pkce: bool
    backchannel_logout: bool


class LoggedOut(msgspec.Struct, frozen=True):
    """Where to end the session at the provider too; empty where that cannot be."""

    logout_url: str


class SingleSignOn:
    """The providers of one configuration."""

    def __init__(
        self, admin: Admin, providers: Mapping[str, SignOnProvider], sealer: Sealer, public_url: str
    ) -> None:
        self.admin = admin
        self.providers = providers
        self.sealer = sealer
        self._public_url = public_url.rstrip("/")

    def named(self, name: str) -> SignOnProvider:
        """A provider. Raises `NotFound`."""
        if name not in self.providers:
            raise NotFound("There is no identity provider with this name.")
        return self.providers[name]

    async def backchannel(self, request: RouteRequest) -> Reply:
        """A provider says that a session has ended, in a form with a signed token."""
        ask = Ask(NoQuery(), NoBody(), request)
        provider = self.named(ask.id("provider"))
        try:
            session, subject = await provider.logged_out((await request.form()).get("logout_token", ""))
        except BadToken as error:  # as the specification has it
            body = msgspec.json.encode({"error": "invalid_request", "error_description": error.message})
            return Reply(400, body, headers={"cache-control": "no-store"})
        await self.admin.accounts.sign_on.ended(provider.options.issuer, session, subject, self.admin.origin(ask))
        return Reply(200, b"", headers={"cache-control": "no-store"})

    def base(self, ask: Ask[Any, Any]) -> str:
        """This gateway's address for browsers: never from what a client says, but on this machine."""
        if self._public_url:
            return self._public_url
        if not self.admin.place(ask).loopback:
            raise Forbidden("Single sign-on needs `public_url` in the options of admin.sso.", code="sso_no_address")
        return f"http://{ask.request.headers.get('host', 'localhost')}"


async def names(sso: SingleSignOn, ask: Ask[NoQuery, NoBody]) -> ProviderNames:  # noqa: ARG001 - no rights needed
    """The providers, for a sign-in page."""
    return ProviderNames(tuple(ProviderName(name, each.options.title) for name, each in sso.providers.items()))


async def initiate(sso: SingleSignOn, ask: Ask[Start, NoBody]) -> Done:
    """Send the browser to a provider."""
    url, headers = await _begun(sso, ask, ask.query)
    return Done(status=302, headers={**headers, "location": url})


async def initiate_json(sso: SingleSignOn, ask: Ask[NoQuery, Start]) -> Done:
    """Say where the browser is to go."""
    sso.admin.check_origin(ask)
    url, headers = await _begun(sso, ask, ask.body)
    return Done(value=Started(url), headers=headers)


async def callback(sso: SingleSignOn, ask: Ask[CallbackQuery, NoBody]) -> Done:
    """A browser comes back from a provider: sign its person in."""
    given = {name: value for name, value in msgspec.structs.asdict(ask.query).items() if value is not UNSET}
    place = sso.admin.place(ask)
    flow = opened(sso.sealer, ask.request.cookie(_cookie_name(secure=place.secure)), given.get("state"))
    provider = sso.named(flow.provider)
    person = await provider.finish(flow, given, sso.base(ask) + _HERE)
    made = await sso.admin.accounts.sign_on.sign_in(person, provider.rules, sso.admin.origin(ask))
    longest = sso.admin.accounts.sessions.lifetime_ms // 1000
    headers = {"set-cookie": session_cookie(made.token, place, longest), "location": flow.return_to}
    return Done(status=302, headers=headers)


async def logout(sso: SingleSignOn, ask: Ask[NoQuery, NoBody]) -> Done:
    """End the session here, and say where to end it at the provider."""
    principal = ask.principal
    issuer, hint = await sso.admin.accounts.sessions.issuer_of(principal)
    await sso.admin.accounts.sessions.logout(principal, sso.admin.origin(ask))
    tokens = {each: each.shown(hint) for each in sso.providers.values() if each.options.issuer == issuer}
    provider = max(tokens, key=lambda each: bool(tokens[each]), default=None)  # of several clients of one issuer
    try:
        url = await provider.logout_address(sso.base(ask) + "/", tokens[provider]) if provider else ""
    except (Unavailable, Forbidden):  # the session here has ended all the same
        url = ""
    return Done(value=LoggedOut(url), headers={"set-cookie": session_cookie("", sso.admin.place(ask), 0)})


async def config(sso: SingleSignOn, ask: Ask[NoQuery, NoBody]) -> ConfigShown:
    """The providers as they are configured."""
    tenant = ask.principal.scope("sso:read").get("tenant")
    base = sso.base(ask)
    return ConfigShown(tuple(
        ProviderShown(
            name, o.title, o.issuer, o.client_id, bool(o.client_secret), o.tenant, o.scopes, o.groups_claim, o.roles,
            o.default_role, o.teams, o.link, o.create, base + _HERE,
        )
        for name, each in sso.providers.items() for o in [each.options] if tenant in (None, o.tenant)
    ))  # fmt: skip


async def discover(sso: SingleSignOn, ask: Ask[NoQuery, Discover]) -> Discovered:
    """What an issuer says of itself; only public addresses are asked."""
    found = await Issuer(ask.body.issuer, sso.admin.gateway.upstream).metadata()
    return Discovered(
        found.issuer, found.authorization_endpoint, found.token_endpoint, found.userinfo_endpoint,
        found.end_session_endpoint, found.jwks_uri, "S256" in found.code_challenge_methods_supported,
        found.backchannel_logout_supported,
    )


ROUTES = (
    Endpoint("GET", "/auth/sso/providers", "public", names, "List the identity providers", "sso", answer=ProviderNames),
    Endpoint("GET", "/auth/sso/initiate", "public", initiate, "Go to an identity provider", "sso", query=Start,
             status=302, errors=(403, 404)),
    Endpoint("POST", "/auth/sso/initiate", "public", initiate_json, "Get the address of an identity provider", "sso",
             body=Start, answer=Started, errors=(403, 404)),
    Endpoint("GET", "/auth/sso/callback", "public", callback, "Come back from an identity provider", "sso",
             query=CallbackQuery, status=302, errors=(400, 401, 403, 404)),
    Endpoint("POST", "/auth/sso/logout", "self:write", logout, "Sign out here and at the provider", "sso",
             answer=LoggedOut),
    Endpoint("GET", "/sso/config", "sso:read", config, "Show how single sign-on is configured", "sso",
             answer=ConfigShown, errors=(403,)),
    Endpoint("POST", "/sso/discover", "sso:write", discover, "Look at an issuer before it is configured", "sso",
             body=Discover, answer=Discovered, errors=(503,)),
)  # fmt: skip


async def _begun(sso: SingleSignOn, ask: Ask[Any, Any], start: Start) -> tuple[str, dict[str, str]]:
    provider, place = sso.named(start.provider), sso.admin.place(ask)
    here = start.return_to.startswith("/") and start.return_to[1:2] not in ("/", "\\")
    back = start.return_to if here and start.return_to.isprintable() and "\\" not in start.return_to else "/"
    url, sealed = await provider.begin(sso.base(ask) + _HERE, back)
    secure = "; Secure" if place.secure else ""
    cookie = (
        f"{_cookie_name(secure=place.secure)}={sealed}; Path=/; HttpOnly; SameSite=Lax; Max-Age={FLOW_SECONDS}{secure}"
    )
    return url, {"set-cookie": cookie}


def _cookie_name(*, secure: bool) -> str:
    return f"__Host-{_COOKIE}" if secure else _COOKIE
