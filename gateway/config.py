"""The YAML schema: frozen structs whose fields and docstrings are the reference.

Reading a file (variables, line numbers, error texts) is in `configfile.py`; `gateway schema` prints this as JSON
Schema.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
Count = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0, le=1)]
Action = Literal["block", "redact", "mask", "pseudonymise", "warn", "monitor"]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Unknown fields are errors."""


class Server(_Strict, frozen=True):
    """Where and how the gateway listens. Changing any of it needs a restart."""

    host: Annotated[str, Meta(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535, description="Port; 0 takes a free one.")] = 8000
    workers: Annotated[int, Meta(ge=1, le=256)] | Literal["auto"] = 1
    uvloop: Annotated[bool, Meta(description="Use uvloop where it is installed.")] = True
    max_body_bytes: Annotated[int, Meta(ge=1024, description="Larger request bodies get 413.")] = 20 * 1024 * 1024
    max_upload_bytes: Annotated[
        int, Meta(ge=1024, description="The same for files and forms, which are passed on as they come.")
    ] = 1 << 30
    max_connections: Annotated[int, Meta(ge=1, description="Open client connections of one worker.")] = 4096
    header_timeout: Annotated[
        Seconds, Meta(description="From a request's first byte to the end of its headers.")
    ] = 10.0
    body_timeout: Annotated[Seconds, Meta(description="For reading a whole request body.")] = 60.0
    keepalive_timeout: Annotated[Seconds, Meta(description="Idle time after which a connection is closed.")] = 75.0
    write_timeout: Annotated[Seconds, Meta(description="How long a client may take no byte of its reply.")] = 60.0
    drain_timeout: Annotated[float, Meta(ge=0, description="How long running streams may go on after SIGTERM.")] = 30.0


class Timeouts(_Strict, frozen=True):
    """Deadlines towards an upstream, in seconds."""

    connect: Annotated[Seconds, Meta(description="Name, TCP and TLS.")] = 5.0
    first_byte: Annotated[Seconds, Meta(description="From the request to the first byte of the reply's head.")] = 120.0
    idle: Annotated[Seconds, Meta(description="Silence between two pieces of a reply.")] = 120.0
    total: Annotated[Seconds | None, Meta(description="The whole attempt; none by default.")] = None


class Stream(_Strict, frozen=True):
    """How streams to clients behave."""

    keepalive_after: Annotated[Seconds, Meta(description="Silence before the first comment line.")] = 15.0
    keepalive_every: Annotated[Seconds, Meta(description="Silence before each further one.")] = 15.0
    keepalive_before_headers: Annotated[
        bool, Meta(description="Start comments before the upstream has answered. Commits status 200.")
    ] = False


class Idempotency(_Strict, frozen=True):
    """What is kept of answers to requests with an Idempotency-Key, sealed in the database."""

    hours: Annotated[float, Meta(gt=0, le=720, description="How long an answer is given again.")] = 24.0
    max_bytes: Annotated[
        int, Meta(ge=0, le=32 * 1024 * 1024, description="Of a larger answer only is kept that it was given.")
    ] = 4 * 1024 * 1024


class Journal(_Strict, frozen=True):
    """The local journal that holds each exchange until the database has it."""

    fsync_ms: Annotated[int, Meta(ge=0, description="Group fsync interval; power loss can cost this much.")] = 50
    max_bytes: Annotated[int, Meta(ge=1 << 20, description="Above it (database away) new requests get 503.")] = 1 << 30


class Retention(_Strict, frozen=True):
    """For how many days things are kept, for tenants without days of their own; `null` is for good."""

    audit_days: Annotated[Count | None, Meta(description="Audit entries; they keep their place in the chain.")] = None
    content_days: Annotated[Count | None, Meta(description="Logged requests and answers.")] = 30
    usage_days: Annotated[Count | None, Meta(description="Single requests in the ledger; sums by day stay.")] = None


class ProviderEntry(_Strict, frozen=True):
    """One configured upstream: `use` names the plugin, `with` its options."""

    name: Name
    use: str
    when: Annotated[
        str | None, Meta(description="Switched off when this is empty: `when: ${OPENAI_API_KEY:-}`.")
    ] = None
    with_: dict[str, Any] = msgspec.field(default_factory=dict, name="with")


class ModelEntry(_Strict, frozen=True):
    """A name that clients use, and the targets (`provider/model`) it leads to, tried in order.

    `name` may end in `*`; the matched rest replaces a `*` in the targets. The facts are shown in `/models`. `on_lossy`
    says what becomes of a request with a field that a target of another dialect cannot carry.
    """

    name: Annotated[str, Meta(min_length=1, max_length=256)]
    targets: Annotated[tuple[str, ...], Meta(min_length=1, max_length=16)]
    aliases: tuple[str, ...] = ()
    context_length: Count | None = None
    max_output_tokens: Count | None = None
    modalities: tuple[str, ...] = ()
    guardrail_policy: Annotated[
        Name | None, Meta(description="Holds for this model, beside what its callers have.")
    ] = None
    on_lossy: Annotated[
        Literal["refuse", "warn"],
        Meta(description="Refuse with 400, or carry on and name what was dropped in `x-gateway-warnings`."),
    ] = "warn"


class Acting(_Strict, frozen=True):
    """What is done about the findings of a guardrail. What is left out, the plugin says itself."""

    stage: Annotated[
        Literal["input", "output", "both"] | None, Meta(description="Guardrails: judge requests, replies, or both.")
    ] = None
    action: Annotated[Action | None, Meta(description="Guardrails: what is done about a finding.")] = None
    actions: Annotated[
        dict[str, Action], Meta(description="Guardrails: the same for single kinds of findings, such as `EMAIL`.")
    ] = {}
    threshold: Annotated[Share | None, Meta(description="Guardrails: findings with a lower score do not count.")] = None
    message: Annotated[
        str, Meta(max_length=500, description="Guardrails: what a refused caller reads; never quote what is forbidden.")
    ] = ""
    async_: Annotated[
        bool, Meta(description="Guardrails: never delay anyone, only log and count what is found.")
    ] = msgspec.field(default=False, name="async")
    stream: Annotated[
        Literal["buffer", "window"],
        Meta(description="Guardrails that score whole texts: hold a streamed answer back, or score it in windows."),
    ] = "buffer"
    window: Annotated[int, Meta(ge=50, le=100_000, description="Characters of such a window.")] = 1000


class PluginEntry(Acting, frozen=True, kw_only=True):
    """One plugin: `use` is its ID, `with` its options, `name` tells two of the same apart."""

    use: str
    name: Name | None = None
    on_error: Literal["open", "closed"] | None = None
    with_: dict[str, Any] = msgspec.field(default_factory=dict, name="with")


class PolicyEntry(_Strict, frozen=True):
    """A guardrail policy: its rules are guardrails with what is done about their findings."""

    name: Name
    description: str = ""
    version: Annotated[str, Meta(max_length=64, description="For people; shown with the policy's own hash.")] = ""
    shadow_of: Annotated[
        Name | None, Meta(description="A draft: runs beside that policy, is logged and counted, and does nothing.")
    ] = None
    rules: tuple[PluginEntry, ...] = ()


class Guardrails(_Strict, frozen=True):
    """Which guardrail policy holds where; without any, the guardrails under `plugins` alone."""

    policy: Annotated[
        Name | None, Meta(description="For callers and models without one: your own, or one that ships.")
    ] = None
    per_request: Annotated[
        bool, Meta(description="Requests may name a policy that holds in addition: they can only be stricter.")
    ] = True
    policies: tuple[PolicyEntry, ...] = ()


Dollars = Annotated[str, Meta(pattern=r"^[0-9]{1,9}(\.[0-9]{1,12})?$", description="A decimal string.")]


Day = Annotated[str, Meta(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$")]


class OtherRates(_Strict, frozen=True, kw_only=True):
    """Rates that differ from a model's usual ones, in dollars per million tokens; what is not given stays."""

    input: Dollars | None = None
    output: Dollars | None = None
    cached_input: Dollars | None = None
    cache_write: Dollars | None = None
    cache_write_1h: Dollars | None = None
    audio_input: Dollars | None = None
    audio_cached: Dollars | None = None
    audio_output: Dollars | None = None
    image_input: Dollars | None = None
    image_cached: Dollars | None = None
    image_output: Dollars | None = None
    reasoning: Annotated[Dollars | None, Meta(description="Reasoning tokens, where they do not cost as output.")] = None
    per_request: Annotated[Dollars | None, Meta(description="Dollars for each request.")] = None
    per_search: Annotated[Dollars | None, Meta(description="Dollars for each web search of the provider.")] = None
    per_minute: Annotated[Dollars | None, Meta(description="Dollars for a minute of sound that is heard.")] = None
    per_million_characters: Annotated[
        Dollars | None, Meta(description="Dollars for a million characters that are spoken.")
    ] = None
    per_image: Annotated[Dollars | None, Meta(description="Dollars for each image that is made.")] = None


class LongPrompt(OtherRates, frozen=True, kw_only=True):
    """Rates of the whole request where its prompt has more than `above` tokens."""

    above: Annotated[int, Meta(ge=1)]


class PriceEntry(OtherRates, frozen=True, kw_only=True):
    """The price of `provider/model` (a trailing `*` is allowed), in dollars per million tokens.

    `"0"` is free on purpose. Several entries of one model follow each other in time by their `since`.
    """

    model: str
    input: Dollars
    output: Dollars
    since: Annotated[Day | None, Meta(description="The day (UTC) from which it holds.")] = None
    per_hour: Annotated[
        Dollars | None, Meta(description="Dollars for an hour of the machine: a request pays for its time.")
    ] = None
    parallel: Annotated[int, Meta(ge=1, description="Requests that share the machine of `per_hour`.")] = 1
    tiers: tuple[LongPrompt, ...] = ()
    variants: Annotated[
        dict[Literal["batch", "flex", "priority", "fast"], OtherRates], Meta(description="Other service tiers.")
    ] = {}


class Logging(_Strict, frozen=True):
    """What is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "text"] = "text"


class Config(_Strict, frozen=True):
    """The whole file."""

    server: Server = Server()
    stream: Stream = Stream()
    timeouts: Timeouts = Timeouts()
    journal: Journal = Journal()
    idempotency: Idempotency = Idempotency()
    logging: Logging = Logging()
    data_dir: Annotated[str, Meta(description="Database, journal, sockets; made with mode 0700.")] = "data"
    secret: Annotated[
        Annotated[str, Meta(min_length=32)] | None,
        Meta(description="Master secret; without it one is made in `data_dir/secret`."),
    ] = None
    database: Annotated[
        Annotated[str, Meta(pattern=r"^(sqlite|postgres(ql)?://[!-~]+)$")],
        Meta(
            description="Where keys, users and the ledger are: `sqlite` in `data_dir`, or `postgresql://user@host/name`,"
            " which several gateways may share. Changing it needs a restart."
        ),
    ] = "sqlite"
    shared_state: Annotated[
        Annotated[str, Meta(pattern=r"^(auto|(valkey|valkeys|redis|rediss)://[!-~]+)$")],
        Meta(
            description="Where limits are counted: `auto` on this machine, `valkey://host:6379/0` (`valkeys://` with"
            " TLS) for several gateways. Changing it needs a restart."
        ),
    ] = "auto"
    watch: Annotated[bool, Meta(description="Reload when this file changes.")] = False
    max_attempts: Annotated[int, Meta(ge=1, le=3, description="Targets tried for one request.")] = 3
    direct_models: Annotated[
        bool, Meta(description="Allow `provider/model` names beside the configured models.")
    ] = True
    default_provider: Annotated[
        Name | None,
        Meta(description="Who keeps files, batches and the like of requests that name no provider; else the first."),
    ] = None
    unknown_objects: Annotated[
        Literal["pass", "refuse"],
        Meta(description="Ids in requests to models (files, earlier responses) that nobody made here."),
    ] = "pass"
    providers: tuple[ProviderEntry, ...] = ()
    models: tuple[ModelEntry, ...] = ()
    plugins: tuple[PluginEntry, ...] = ()
    guardrails: Guardrails = Guardrails()
    retention: Annotated[Retention, Meta(description="Changing it needs a restart.")] = Retention()
    prices: tuple[PriceEntry, ...] = ()
    unpriced: Annotated[
        Literal["flag", "refuse"],
        Meta(
            description="A model without a price: `flag` serves it and marks its requests, `refuse` does not serve it."
            " A caller with a cost limit is refused in either case (`limiter.budget`)."
        ),
    ] = "flag"


def decode(tree: object) -> Config:
    """Decode a parsed YAML tree. Raises `msgspec.ValidationError` with the path of the first mistake."""
    return msgspec.convert(tree, Config)
