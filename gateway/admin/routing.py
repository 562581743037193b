"""Models, providers and the configuration that runs: what there is and how it does. Never an option's value.

What can be changed here is nothing: these things are set in the file.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gateway.admin.endpoint import Ask, Endpoint, Items
from gateway.admin.fields import NoQuery, PageSize, Search
from gateway.admin.values import Dollars, at
from gateway.clock import now_ms
from gateway.conditions import Condition
from gateway.config import Config
from gateway.exchange import Caller, Level, Price, Target
from gateway.hookspecs import Provider
from gateway.money import dollars
from gateway.router import Listed
from gateway.runtime import Gateway, Snapshot
from gateway.store import UsageGroup
from gateway.version import version

_WINDOW_MS = 15 * 60 * 1000
_DEGRADED = 0.05
_FAILING = 0.5
State = Literal["healthy", "degraded", "failing", "idle", "off"]


class ModelsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which models, a page at a time, by name."""

    limit: PageSize = 100
    cursor: Annotated[str, Meta(max_length=300, description="`next_cursor` of the page before.")] = ""
    search: Search = ""
    provider: Search = ""


class PriceShown(msgspec.Struct, frozen=True):
    """Dollars per million tokens, and the version of the table that they are from."""

    input: Dollars
    output: Dollars
    cached_input: Dollars
    cache_write: Dollars
    version: str


class TargetShown(msgspec.Struct, frozen=True):
    """One provider's model that a name leads to; without a price `null`."""

    provider: str
    model: str
    price: PriceShown | None
    context_length: int | None
    max_output_tokens: int | None


class Model(msgspec.Struct, frozen=True):
    """A name that clients may use; `source` says whether the file names it or a provider has it."""

    id: str
    name: str
    provider: str
    source: Literal["configured", "alias", "wildcard", "provider"]
    alias_of: str | None
    targets: tuple[TargetShown, ...]
    modalities: tuple[str, ...]


class ProviderShown(msgspec.Struct, frozen=True):
    """A provider of the file; `models` are the names or patterns that it takes, `use` is its plugin."""

    name: str
    type: str
    is_active: bool
    status: State
    endpoints: tuple[str, ...]
    models: tuple[str, ...]


class Providers(msgspec.Struct, frozen=True):
    """All providers, switched off ones included."""

    providers: tuple[ProviderShown, ...]


class LimitShown(msgspec.Struct, frozen=True):
    """A rate limit of an upstream's own, as it told it last; `reset` is in seconds."""

    unit: str
    limit: int | None
    remaining: int
    reset: float | None


class ConditionShown(msgspec.Struct, frozen=True):
    """What one process of the gateway knows of a target, or without a `model` of a provider's server.

    One that is not `available` is asked only after the others, for `seconds` more (`null`: until it is ready again).
    """

    model: str | None
    available: bool
    reason: str
    seconds: float | None
    limits: tuple[LimitShown, ...]


class ProviderHealth(msgspec.Struct, frozen=True):
    """How the requests that ended at a provider went since `since` of the answer, and what it told of itself."""

    name: str
    status: State
    requests: int
    succeeded: int
    error_rate: float
    conditions: tuple[ConditionShown, ...] = ()


class Health(msgspec.Struct, frozen=True):
    """How the gateway and its providers do, by the last quarter of an hour of the ledger."""

    status: Literal["healthy", "degraded", "failing"]
    since: datetime
    providers: tuple[ProviderHealth, ...]


class PluginShown(msgspec.Struct, frozen=True):
    """A plugin that runs; its options stay in the file."""

    name: str
    use: str
    role: str


class ModelRule(msgspec.Struct, frozen=True):
    """A model of the file: its targets are tried in this order."""

    name: str
    aliases: tuple[str, ...]
    targets: tuple[str, ...]


class RouterConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The part of the configuration that decides where requests go."""

    max_attempts: int
    direct_models: bool
    connect_timeout: float
    first_byte_timeout: float
    idle_timeout: float
    total_timeout: float | None
    models: tuple[ModelRule, ...]
    model_aliases: dict[str, str]
    plugins: tuple[PluginShown, ...]


class Features(msgspec.Struct, frozen=True):
    """What this gateway has switched on."""

    version: str
    features: dict[str, bool]


async def list_models(gateway: Gateway, ask: Ask[ModelsQuery, Any]) -> Items[Model]:
    """The names that the caller's tenant may use."""
    snapshot, query = gateway.snapshot, ask.query
    caller = await _caller(gateway, ask.principal)
    await gateway.catalogue.look(snapshot.plugins.providers, snapshot.peers)
    wanted = query.search.lower()
    lines = sorted(
        (line for line in snapshot.router.listed(caller) if line.name > query.cursor and wanted in line.name.lower()
         and (not query.provider or line.target.provider.name == query.provider)),
        key=lambda line: line.name,
    )  # fmt: skip
    page = lines[: query.limit]
    return Items(
        tuple(_model(snapshot, caller, line) for line in page), page[-1].name if len(lines) > len(page) else None
    )


async def list_providers(gateway: Gateway, ask: Ask[NoQuery, Any]) -> Providers:
    """Every provider of the file, and how it does."""
    del ask
    snapshot = gateway.snapshot
    states = {each.name: each.status for each in await _health(gateway, now_ms() - _WINDOW_MS)}
    return Providers(tuple(
        _provider(entry.name, entry.use, snapshot.plugins.providers.get(entry.name), states[entry.name])
        for entry in snapshot.config.providers
    ))


async def show_config(gateway: Gateway, ask: Ask[NoQuery, Any]) -> RouterConfig:
    """Where requests go, as configured."""
    del ask
    snapshot = gateway.snapshot
    config, timeouts = snapshot.config, snapshot.config.timeouts
    return RouterConfig(
        max_attempts=config.max_attempts, direct_models=config.direct_models, connect_timeout=timeouts.connect,
        first_byte_timeout=timeouts.first_byte, idle_timeout=timeouts.idle, total_timeout=timeouts.total,
        models=tuple(ModelRule(entry.name, entry.aliases, entry.targets) for entry in config.models),
        model_aliases={alias: entry.name for entry in config.models for alias in entry.aliases},
        plugins=tuple(PluginShown(member.name, member.id, member.role) for member in snapshot.plugins.members),
    )  # fmt: skip


async def show_health(gateway: Gateway, ask: Ask[NoQuery, Any]) -> Health:
    """How each provider did of late."""
    del ask
    since = now_ms() - _WINDOW_MS
    providers = await _health(gateway, since)
    active = [each.status for each in providers if each.status not in ("off", "idle")]
    whole: Literal["healthy", "degraded", "failing"] = "healthy"
    if any(state != "healthy" for state in active):
        whole = "failing" if all(state == "failing" for state in active) else "degraded"
    return Health(whole, at(since), providers)


async def show_features(gateway: Gateway, ask: Ask[NoQuery, Any]) -> Features:
    """Which parts are switched on: names and yes or no, never a value."""
    del ask
    return Features(version(), _features(gateway.snapshot.config, gateway.snapshot))


ROUTES = (
    Endpoint("GET", "/models", "models:read", list_models, "List the models", "models", query=ModelsQuery,
             answer=Items[Model]),
    Endpoint("GET", "/router/providers", "router:read", list_providers, "List the providers", "router",
             answer=Providers),
    Endpoint("GET", "/router/config", "router:read", show_config, "Show where requests go", "router",
             answer=RouterConfig),
    Endpoint("GET", "/router/health", "router:read", show_health, "Show how the providers do", "router",
             answer=Health),
    Endpoint("GET", "/features/status", "features:read", show_features, "Show what is switched on", "router",
             answer=Features),
)  # fmt: skip


async def _caller(gateway: Gateway, principal: Any) -> Caller:  # noqa: ANN401 - see `Ask.principal`
    """Somebody with the tenant's limits; for those who see all tenants, nobody's."""
    if principal.tenant is None:
        return Caller(tenant="", key="")
    tenant = await gateway.store.get_tenant(principal.tenant)
    models = tenant.limits.models if tenant else ()
    return Caller(tenant=principal.tenant, key="", levels=(Level("tenant", principal.tenant, models=models),))


def _model(snapshot: Snapshot, caller: Caller, line: Listed) -> Model:
    entry, target = line.entry, line.target
    source: Literal["configured", "alias", "wildcard", "provider"] = "provider"
    if entry is not None:
        source = "configured" if line.name == entry.name else "wildcard" if "*" in entry.name else "alias"
    own = getattr(target.provider, "facts", {}).get(target.model)
    return Model(
        line.name, line.name, target.provider.name, source, line.canonical if line.canonical != line.name else None,
        tuple(map(_target, snapshot.router.resolve(line.name, caller).targets)),
        tuple((entry.modalities if entry else ()) or getattr(own, "modalities", ())),
    )


def _target(target: Target) -> TargetShown:
    price = None if target.price is None else _price(target.price)
    return TargetShown(target.provider.name, target.model, price, target.context_length, target.max_output)


def _price(price: Price) -> PriceShown:
    return PriceShown(
        dollars(price.input * 1000), dollars(price.output * 1000), dollars(price.cached * 1000),
        dollars(price.cache_write * 1000), price.version,
    )  # fmt: skip


def _provider(name: str, use: str, provider: Provider | None, state: State) -> ProviderShown:
    endpoints = tuple(sorted(provider.endpoints)) if provider else ()
    models = tuple(provider.models()) if provider else ()
    return ProviderShown(name, use, provider is not None, state, endpoints, models)


async def _health(gateway: Gateway, since: int) -> tuple[ProviderHealth, ...]:
    groups = {each.group: each for each in await gateway.store.usage_summary(since, now_ms() + 1, "provider")}
    on = gateway.snapshot.plugins.providers
    known = gateway.conditions.known()
    return tuple(
        msgspec.structs.replace(
            _judged(entry.name, groups.get(entry.name), entry.name in on),
            conditions=tuple(_condition(each) for each in known if each.provider == entry.name),
        )
        for entry in gateway.snapshot.config.providers
    )


def _condition(known: Condition) -> ConditionShown:
    limits = tuple(LimitShown(each.unit, each.limit, each.remaining, each.reset) for each in known.limits)
    return ConditionShown(known.model or None, not known.reason, known.reason, known.seconds, limits)


def _judged(name: str, group: UsageGroup | None, on: bool) -> ProviderHealth:
    if not on or group is None:
        return ProviderHealth(name, "idle" if on else "off", 0, 0, 0.0)
    rate = 1 - group.succeeded / group.requests
    state: State = "failing" if rate >= _FAILING else "degraded" if rate >= _DEGRADED else "healthy"
    return ProviderHealth(name, state, group.requests, group.succeeded, round(rate, 4))


def _features(config: Config, snapshot: Snapshot) -> dict[str, bool]:
    roles = {member.role for member in snapshot.plugins.members}
    uses: Sequence[str] = [member.id for member in snapshot.plugins.members]
    return {
        "api_keys": "auth.api_keys" in uses, "jwt": "auth.jwt" in uses, "sso": any("sso" in use for use in uses),
        "request_limits": "limiter.requests" in uses, "token_limits": "limiter.tokens" in uses,
        "concurrency_limits": "limiter.concurrency" in uses, "budgets": "limiter.budget" in uses,
        "guardrails": "guardrail" in roles, "caching": "cache" in roles, "alerts": "alert" in roles,
        "ledger": "sink.ledger" in uses, "metrics": "sink.prometheus" in uses, "dashboard": "dashboard" in roles,
        "direct_models": config.direct_models, "fallback": config.max_attempts > 1,
    }  # fmt: skip
