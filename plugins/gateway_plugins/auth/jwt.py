"""Tokens (JWTs) of an identity provider as credentials of the data plane: no static key needed.

    plugins:
      - use: auth.jwt
        with:
          issuer: https://login.example.com
          audience: [ai-gateway]
          tenant: default
          claims: {models: models, team: team}

A token's signature, audience, issuer and times are checked once (RFC 8725); after that it costs one hash until it ends.
It comes as `Authorization: Bearer`; keys of the gateway are the business of `auth.api_keys`, whatever the order.
"""

from collections import OrderedDict
from collections.abc import Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from gateway import Caller, Forbidden, Level, Unauthenticated, hookimpl
from gateway.accounts.records import Limits, Team, Tenant
from gateway.clock import now_ms
from gateway.oidc import ALGORITHMS, BadToken, Issuer, fingerprint, unproved

if TYPE_CHECKING:
    from gateway import Gateway


class Claims(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which claims say what; a dot leads into an object (`realm_access.roles`)."""

    tenant: Annotated[str, Meta(description="The tenant's id, instead of `tenant`.")] = ""
    team: Annotated[str, Meta(description="The team's id.")] = ""
    models: Annotated[
        str, Meta(description="Names or patterns of models, a list or words: only these. A token without it has all.")
    ] = ""
    name: Annotated[str, Meta(description="What the ledger shows as the key's name.")] = "sub"


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Whose tokens count, for whom, and what they may."""

    issuer: Annotated[str, Meta(min_length=8, description="As the tokens name it in `iss`, to the letter.")]
    audience: Annotated[tuple[str, ...], Meta(min_length=1, description="A token must be meant for one of these.")]
    algorithms: Annotated[tuple[str, ...], Meta(min_length=1)] = ("RS256",)
    tenant: Annotated[str, Meta(description="The tenant of every token, unless a claim says it.")] = ""
    claims: Claims = Claims()
    required: Annotated[
        dict[str, str], Meta(description="Claims that a token must have: the value, or it among others.")
    ] = {}
    requests_per_minute: Annotated[int | None, Meta(description="Of each subject.")] = None
    tokens_per_minute: Annotated[int | None, Meta(description="Of each subject.")] = None
    concurrency: Annotated[int | None, Meta(description="Of each subject.")] = None
    models: Annotated[
        tuple[str, ...] | None, Meta(description="What any token may use; its claim can only narrow it.")
    ] = None
    allow_private: Annotated[bool, Meta(description="The issuer may be at a private address, and without TLS.")] = False
    ca_file: Annotated[str | None, Meta(description="PEM file with the authority to trust.")] = None
    cached_tokens: Annotated[int, Meta(ge=1, description="Tokens that a worker remembers.")] = 10_000


class _Known(msgspec.Struct, frozen=True):
    """A proved token: valid while the generation is this one, and until it ends (Unix milliseconds)."""

    caller: Caller
    generation: int
    until: int


class JWT:
    """Finds the caller of a token."""

    Config = Options

    def __init__(self, config: Options) -> None:
        unknown = set(config.algorithms) - set(ALGORITHMS)
        if unknown:
            raise ValueError(f"algorithms: {', '.join(sorted(unknown))} cannot be used, only {', '.join(ALGORITHMS)}")
        if not (config.tenant or config.claims.tenant):
            raise ValueError("say which tenant the tokens belong to: `tenant`, or `claims: {tenant: …}`")
        plain = config.allow_private and config.issuer.startswith("http://")
        if not (plain or config.issuer.startswith("https://")):
            raise ValueError("issuer must be an https:// address")
        self._config = config
        self._known: OrderedDict[bytes, _Known] = OrderedDict()

    @hookimpl
    async def startup(self, gateway: "Gateway") -> None:
        """Get ready; the issuer is asked for its keys when the first token comes."""
        self._store, self._state = gateway.store, gateway.state
        config = self._config
        self._issuer = Issuer(
            config.issuer, gateway.upstream, allow_private=config.allow_private, ca_file=config.ca_file
        )

    @hookimpl
    async def authenticate(self, headers: Mapping[str, str]) -> Caller | None:
        """See `Hooks.authenticate`: tokens of other issuers, and what is no token, are for others."""
        token = _bearer(headers)
        if token is None:
            return None
        digest = blake2b(token.encode(), digest_size=32).digest()
        generation = self._state.generation("auth")
        known = self._known.get(digest)
        if known is not None and known.generation == generation:
            if now_ms() >= known.until:
                raise BadToken("This token has expired.", code="token_expired")
            self._known.move_to_end(digest)
            return known.caller
        try:
            if unproved(token).get("iss") != self._config.issuer:
                return None
        except BadToken:
            return None
        return await self._prove(token, digest, generation)

    async def _prove(self, token: str, digest: bytes, generation: int) -> Caller:
        self._known.pop(digest, None)
        config = self._config
        claims = await self._issuer.claims(token, audience=config.audience, algorithms=config.algorithms)
        for name, wanted in config.required.items():
            if wanted not in _words(_claim(claims, name)):
                raise Forbidden(f"This token lacks `{wanted}` in its claim `{name}`.", code="claim_missing")
        caller = await self._caller(claims)
        if len(self._known) >= config.cached_tokens:
            self._known.popitem(last=False)
        self._known[digest] = _Known(caller, generation, int(claims["exp"] * 1000))
        return caller

    async def _caller(self, claims: Mapping[str, Any]) -> Caller:
        config = self._config
        tenant = await self._tenant(claims)
        levels = [_level("tenant", tenant.id, tenant.name, tenant.limits, tenant.guardrail_policy)]
        team = None
        if config.claims.team and (member := _claim(claims, config.claims.team)):
            team = await self._store.one(Team, id=str(member), tenant=tenant.id)
            if team is None:
                raise Forbidden("The team that this token names does not exist.", code="unknown_team")
            levels.append(_level("team", team.id, team.name, team.limits, team.guardrail_policy))
        subject = "jwt_" + fingerprint(config.issuer, claims["sub"])
        name = str(_claim(claims, config.claims.name) or claims["sub"])[:200]
        if config.models is not None:
            levels.append(Level("issuer", subject, name, models=config.models))
        named = _claim(claims, config.claims.models) if config.claims.models else None
        asked = None if named is None else _words(named)  # a claim that is there and empty allows nothing
        levels.append(Level(
            "key", subject, name, requests_per_minute=config.requests_per_minute,
            tokens_per_minute=config.tokens_per_minute, concurrency=config.concurrency, models=asked,
        ))
        zoned = tuple(msgspec.structs.replace(level, zone=tenant.time_zone) for level in levels)
        return Caller(
            tenant=tenant.id, key=subject, key_name=name, levels=zoned, team=team.id if team else "",
            providers=tenant.providers, logging=tenant.logging,
        )

    async def _tenant(self, claims: Mapping[str, Any]) -> Tenant:
        claim = self._config.claims.tenant
        named = _claim(claims, claim) if claim else self._config.tenant
        tenant = await self._store.get_tenant(named) if isinstance(named, str) and named else None
        if tenant is None:
            raise Unauthenticated("The tenant that this token belongs to does not exist.")
        if not tenant.active:
            raise Unauthenticated("The organisation of this token is disabled.")
        return tenant


def _bearer(headers: Mapping[str, str]) -> str | None:
    """What may be a token."""
    found = headers.get("authorization", "")
    token = found[7:].strip(" \t") if found[:7].lower() == "bearer " else ""
    return token if token.count(".") == 2 and token.isascii() else None


def _claim(claims: Mapping[str, Any], path: str) -> Any:  # noqa: ANN401 - any JSON value
    """The claim of that name, or else what a path of names with dots leads to."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _words(value: Any) -> tuple[str, ...]:  # noqa: ANN401 - any JSON value
    """The texts in a claim: a list of them, or words."""
    if isinstance(value, str):
        return tuple(value.split())
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def _level(kind: str, id_: str, name: str, limits: Limits, policy: str | None = None) -> Level:
    return Level(kind=kind, id=id_, name=name, guardrail_policy=policy, **msgspec.structs.asdict(limits))
