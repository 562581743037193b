"""The state of one request: the one mutable thing, handed from stage to stage.

Values in it (caller, request, target, attempt) are frozen; what they are is said on each.
"""

import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from gateway.errors import Forbidden, GatewayError
from gateway.events import Usage
from gateway.secrets import Secret

if TYPE_CHECKING:
    from gateway.bridge import Bridge
    from gateway.hookspecs import Dialect, Provider
    from gateway.upload import Upload

Outcome = Literal[
    "ok", "refused", "upstream_error", "upstream_timeout", "upstream_cut", "client_closed", "shutdown",
    "internal_error", "killed",
]


class Level(msgspec.Struct, frozen=True):
    """Limits at one level of a caller, outermost first: the tenant, the team, the user, the key.

    `None` means not limited at this level. Costs are integer nano-dollars, rates are per minute.
    `models` are the names or wildcards allowed; `None` is all. Of `guardrail_policy`, the innermost level's holds.
    `zone` is the tenant's time zone, in which days and months begin.
    """

    kind: str
    id: str
    name: str = ""
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None
    cost_daily: int | None = None
    cost_monthly: int | None = None
    models: tuple[str, ...] | None = None
    guardrail_policy: str | None = None
    zone: str = "UTC"


class Caller(msgspec.Struct, frozen=True):
    """Who is calling, as an `auth` plugin found: ids, and the limits of each level. Never the credential.

    `owner` is the user or service account that the key belongs to. `scopes` are the groups of routes that it may use
    (`None`: all), `providers` the names of those that may serve it (`None`: all), `logging` what is kept of its
    requests beside the ledger.
    """

    tenant: str
    key: str
    key_name: str = ""
    owner: str = ""
    environment: str = ""
    levels: tuple[Level, ...] = ()
    team: str = ""
    scopes: tuple[str, ...] | None = None
    providers: tuple[str, ...] | None = None
    logging: Literal["off", "metadata", "content"] = "off"

    def need(self, scope: str) -> None:
        """Raise `Forbidden` if this credential was made for other things only."""
        if self.scopes is not None and scope not in self.scopes:
            raise Forbidden(f"This API key may not be used for `{scope}`: it was made for {', '.join(self.scopes)}.")


class Request(msgspec.Struct, frozen=True):
    """A decoded request: `raw` as received, `body` its JSON object, and what stages need of it.

    `max_output` is the caller's output cap in tokens; `choices` how many answers were asked for;
    `include_usage` whether the caller asked for usage in the stream.
    """

    raw: bytes
    body: dict[str, Any]
    model: str
    stream: bool = False
    include_usage: bool = False
    max_output: int | None = None
    choices: int = 1


class Price(msgspec.Struct, frozen=True):
    """Pico-dollars per token, and the version of the table it came from.

    `units` has rates of their own for parts of the usage, by their names in `events.Special`, and for `reasoning`,
    `request` (each one) and `second` (of the upstream's time); a part that is not named costs what its whole does.
    `tiers` are prices that hold for the whole request where its input has more than so many tokens, in rising order;
    `variants` those of other service tiers; `later` those from a moment on (Unix milliseconds), in rising order.
    """

    input: int
    output: int
    cached: int
    cache_write: int
    version: str
    units: Mapping[str, int] = MappingProxyType({})
    tiers: tuple[tuple[int, "Price"], ...] = ()
    variants: Mapping[str, "Price"] = MappingProxyType({})
    later: tuple[tuple[int, "Price"], ...] = ()


class Target(msgspec.Struct, frozen=True, eq=False):
    """One provider's model, priced: what a request is finally sent to. `price` is `None` where unknown."""

    provider: "Provider"
    model: str
    price: Price | None = None
    context_length: int | None = None
    max_output: int | None = None
    free: bool = False


class Attempt(msgspec.Struct, frozen=True):
    """One try at one target: its outcome and how long it took, in seconds. `lines` is its bill (`money.cost.bill`)."""

    provider: str
    model: str
    outcome: Outcome
    status: int = 0
    error: str | None = None
    duration: float = 0.0
    usage: Usage | None = None
    cost: int = 0
    lines: str = ""


class Edit(msgspec.Struct, frozen=True):
    """A change to the request that a stage asks for: set the top-level field `name` to `value` in what is sent."""

    name: str
    value: Any


class Exchange:
    """One client request and its reply, with all that the gateway knows about it."""

    __slots__ = (
        "attempts", "bridge", "caller", "cap", "cost", "credential", "dialect", "edits", "endpoint", "error",
        "finished", "first_byte", "headers", "http_status", "id", "internal", "local", "model", "outcome", "overhead",
        "reply_headers", "request", "started", "started_ms", "streamed", "target", "upload", "usage", "warnings",
        "wire", "wire_endpoint",
    )

    def __init__(
        self, id: str, endpoint: str, dialect: "Dialect", headers: Mapping[str, str], started_ms: int  # noqa: A002
    ) -> None:
        self.id = id
        self.endpoint = endpoint
        self.dialect = dialect
        self.headers = headers                      # the client's, lower case, without credentials
        self.started = time.monotonic()
        self.started_ms = started_ms                # Unix time in milliseconds
        self.caller: Caller | None = None           # after `authenticate`
        self.request: Request | None = None         # after `decode`
        self.model = "other"                        # a configured name, for metrics: never what a client made up
        self.target: Target | None = None           # of the running or last attempt
        self.attempts: list[Attempt] = []
        self.wire = ""                              # the dialect that the running attempt's target is spoken to in
        self.wire_endpoint = endpoint               # the endpoint there
        self.bridge: Bridge | None = None           # translates the running attempt; `None`: the same dialect
        self.upload: Upload | None = None           # the request's body where it is a form, on its way to the target
        self.edits: list[Edit] = []                 # of the running attempt
        self.credential: Secret | None = None       # of the running attempt, instead of the provider's own
        self.cap: int | None = None                 # an output cap that a limiter sets for the running attempt
        self.reply_headers: dict[str, str] = {}     # limits and x-gateway-*: sent with the reply
        self.warnings: list[str] = []
        self.usage: Usage | None = None             # all attempts together
        self.cost = 0                               # nano-dollars, all attempts together
        self.http_status = 0
        self.streamed = False
        self.first_byte: float | None = None        # monotonic, when the target's first byte came
        self.finished: float | None = None          # monotonic
        self.overhead = 0.0                         # seconds spent in the gateway before the first attempt
        self.outcome: Outcome = "ok"
        self.error: GatewayError | None = None
        self.local: dict[str, Any] = {}             # what plugins keep between their hooks, by plugin name
        self.internal: dict[str, Any] = {}          # the same for the core
