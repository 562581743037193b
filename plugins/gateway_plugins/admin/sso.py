"""Single sign-on for people by OpenID Connect: Google, Entra ID, Okta, Auth0, Keycloak, or any other issuer.

    plugins:
      - use: admin.api
      - use: admin.sso
        with:
          public_url: https://gateway.example.com
          providers:
            - {name: work, issuer: https://login.example.com, client_id: gateway, client_secret: "${SSO_SECRET}"}

The page docs/sso.md has worked settings. Beside `admin.api`, which knows the sessions.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from gateway import Route, Secret, hookimpl
from gateway.accounts.sealing import Sealer
from gateway.accounts.services import Accounts
from gateway.admin.browser import Doors
from gateway.admin.endpoint import PREFIX, bind
from gateway.admin.services import Admin
from gateway.admin.signon import ProviderOptions, SignOnProvider
from gateway.admin.sso import ROUTES, SingleSignOn
from gateway.oidc import ALGORITHMS

if TYPE_CHECKING:
    from gateway import Gateway

GrantedRole = Literal["admin", "team_admin", "member", "viewer"]


class Provider(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An identity provider, and what its people become here."""

    name: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9_-]{0,31}$", description="In addresses.")]
    issuer: Annotated[str, Meta(min_length=8, description="As its tokens name it in `iss`, to the letter.")]
    client_id: Annotated[str, Meta(min_length=1)]
    client_secret: Annotated[Secret | None, Meta(description="None for a public client: PKCE protects it.")] = None
    title: Annotated[str, Meta(description="What people see; else the name.")] = ""
    tenant: Annotated[str, Meta(description="Where its people belong.")] = "default"
    scopes: tuple[str, ...] = ("profile", "email")
    groups_claim: Annotated[str, Meta(description="Claim with groups or roles; a dot leads into an object.")] = "groups"
    roles: Annotated[
        dict[str, GrantedRole], Meta(description="Group -> role, the first that fits, at each sign-in.")
    ] = {}
    default_role: Annotated[GrantedRole | None, Meta(description="Without a group that fits; none is no right.")] = None
    teams: Annotated[dict[str, str], Meta(description="Group -> id of a team, at each sign-in.")] = {}
    link_existing: Annotated[bool, Meta(description="A verified address may belong to an account already.")] = True
    auto_create: Annotated[bool, Meta(description="Make an account for who has none.")] = True
    trust_email: Annotated[bool, Meta(description="The issuer verifies addresses, and does not say so.")] = False
    algorithms: tuple[str, ...] = ("RS256",)
    allow_private: Annotated[bool, Meta(description="The issuer may be at a private address, and without TLS.")] = False
    ca_file: Annotated[str | None, Meta(description="PEM file with the authority to trust.")] = None


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The providers, and this gateway's own address."""

    providers: Annotated[tuple[Provider, ...], Meta(min_length=1)]
    public_url: Annotated[
        str, Meta(pattern=r"^(https?://[A-Za-z0-9.\-]+(:[0-9]+)?/?)?$", description="What browsers show as address.")
    ] = ""
    trusted_proxies: Annotated[
        tuple[str, ...], Meta(description="Networks of proxies whose X-Forwarded-For and -Proto are believed.")
    ] = ()


class SSO:
    """Registers the routes of single sign-on."""

    Config = Options

    def __init__(self, config: Options) -> None:
        named = [each.name for each in config.providers]
        if len(set(named)) != len(named):
            raise ValueError("two providers have the same name")
        for each in config.providers:
            if set(each.algorithms) - set(ALGORITHMS):
                raise ValueError(f"algorithms of {each.name}: there are {', '.join(ALGORITHMS)}")
            if not each.issuer.startswith("https://") and not each.allow_private:
                raise ValueError(f"issuer of {each.name} must be an https:// address")
        self._config = config
        self._doors = Doors(config.public_url, config.trusted_proxies)
        self._made: SingleSignOn | None = None

    @hookimpl
    def routes(self, gateway: "Gateway") -> Iterable[Route]:
        """See `Hooks.routes`."""
        made = self._made = self._made or self._make(gateway)
        yield from bind(ROUTES, made)
        yield Route("POST", f"{PREFIX}/auth/sso/backchannel/{{provider}}", "public", made.backchannel)

    def _make(self, gateway: "Gateway") -> SingleSignOn:
        sealer = Sealer(gateway.secret, "single-sign-on")
        providers = {
            each.name: SignOnProvider(_options(each), gateway.upstream, sealer) for each in self._config.providers
        }
        admin = Admin(gateway, Accounts(gateway.store, gateway.secret), self._doors)
        return SingleSignOn(admin, providers, sealer, self._config.public_url)


def _options(given: Provider) -> ProviderOptions:
    return ProviderOptions(
        name=given.name, issuer=given.issuer, client_id=given.client_id,
        client_secret=given.client_secret.reveal() if given.client_secret else "", title=given.title or given.name,
        tenant=given.tenant, scopes=given.scopes, groups_claim=given.groups_claim, roles=given.roles,
        default_role=given.default_role, teams=given.teams, link=given.link_existing, create=given.auto_create,
        algorithms=given.algorithms, trust_email=given.trust_email, allow_private=given.allow_private,
        ca_file=given.ca_file,
    )  # fmt: skip
