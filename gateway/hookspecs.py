"""The contract between the gateway and its plugins: hooks, and the roles that a plugin can play.

Every request hook is `async`. The dispatcher awaits the implementations one after another: by role (auth,
limiter, guardrail, cache, provider, sink, then any other), and inside a role in the order of the YAML file.
There are no wrappers and no `tryfirst`. What a failure means is said on each hook; `on_error: open | closed`
in YAML overrides it for one plugin.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import msgspec
import pluggy

from gateway.dialect import Dialect as Dialect
from gateway.dialect import RateStanding as RateStanding
from gateway.dialect import Tap as Tap
from gateway.events import Event, Usage
from gateway.exchange import Caller, Exchange, Target

if TYPE_CHECKING:
    import click

    from gateway.config import Timeouts
    from gateway.runtime import Gateway
    from gateway.upload import Upload
    from gateway.upstream import Peer

PROJECT = "ai_gateway"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class HttpRequest(msgspec.Struct, frozen=True):
    """A request to an upstream, as data: `url` is absolute, `headers` hold the credential.

    `headers` should be the same for many requests: their bytes are kept. What differs from request to request, such
    as an id, goes into `varying`. With `parts` the body is what these yield, sent as it comes, once; of `size` bytes
    where that is known before.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""
    varying: tuple[tuple[str, str], ...] = ()
    parts: AsyncIterator[bytes] | None = None
    size: int | None = None


class ObjectCall(msgspec.Struct, frozen=True):
    """A request about what a provider keeps (files, batches, stored responses, …), for `Provider.call`.

    `path` is relative to the API's root, such as `/files/file-1`; `query` is text; the body is `body` or a form.
    """

    kind: str
    method: str
    path: str
    query: str = ""
    body: bytes = b""
    upload: "Upload | None" = None


class Reply(msgspec.Struct, frozen=True):
    """A whole answer: in the caller's dialect from a cache or an unstreamed target, or from a plugin's route.

    `headers` and `parts` are for routes: with `parts` the answer is `body` and then what these yield, streamed.
    """

    status: int
    body: bytes
    content_type: str = "application/json"
    usage: Usage | None = None
    headers: Mapping[str, str] = MappingProxyType({})
    parts: AsyncIterator[bytes] | None = None


class Filter(Protocol):
    """Sees the events of one reply one after another; what it returns goes on to the next filter, then out.

    It may hold whole events, and change them by `msgspec.structs.replace(event, text=...)`, which keeps the
    record; it splits none and keeps their order. An event that it returns as it came leaves with its own bytes.
    """

    async def feed(self, event: Event) -> Iterable[Event]:
        """Take one event; return none (held back), one or several. A `GatewayError` stops the reply."""

    async def flush(self) -> Iterable[Event]:
        """The reply is complete: return all that is still held."""


@runtime_checkable
class Provider(Protocol):
    """Role `provider`: turns a request into HTTP for one upstream. `encode` is pure, without I/O.

    `endpoints` are served in their own dialect, byte for byte. Optional: `wires`, the dialects into which other
    requests are translated, the best first (`Exchange.wire` says which it is); `spoken(model)`, which gives both for
    one model; `price_book`, `prices` and `facts`; `keeps`, the kinds of objects that clients may keep there, with
    `call(exchange, call: ObjectCall) -> HttpRequest` and `api`, whose form they have (`openai`, `anthropic`).
    """

    name: str
    endpoints: frozenset[str]

    def encode(self, exchange: Exchange, target: Target) -> HttpRequest:
        """The request to send. Raise `InvalidRequest` for what this upstream cannot take."""

    def models(self) -> Sequence[str]:
        """The upstream's model names as configured; `*` or a pattern stands for names it alone knows."""

    def peer(self, timeouts: "Timeouts") -> "Peer":
        """How to connect; `timeouts` are the file's, for a provider without its own."""

    def secrets(self) -> Sequence[str]:
        """Credentials that must never show in a text to a client."""


class Redaction(msgspec.Struct, frozen=True):
    """Replace the characters from `start` to before `end` of a checked text by `text`."""

    start: int
    end: int
    text: str


class Finding(msgspec.Struct, frozen=True):
    """What a detector found: the characters from `start` to before `end`, what they are (`SSN`, `hate`), how surely.

    `score` is between 0 and 1. A judgement of the whole text spans it all.
    """

    start: int
    end: int
    kind: str
    score: float = 1.0


class Verdict(msgspec.Struct, frozen=True):
    """What a guardrail says of a text: `pass`, `warn`, `redact` or `block`.

    For `redact`, give either `redactions` (best: in a stream only the events with these characters change) or
    the whole new `text`. `reason` is a category or a rule's name, for the caller and the log: never what matched.
    Or leave the action to the policy, and say what you found where: `findings`.
    """

    action: Literal["pass", "warn", "redact", "block"] = "pass"
    text: str | None = None
    reason: str = ""
    redactions: tuple[Redaction, ...] = ()
    findings: tuple[Finding, ...] = ()


class Context(msgspec.Struct, frozen=True):
    """Where a checked text stands: `direction` is input or output, `part` as in `events.Text`.

    Of requests it can also be `tools` (their definitions), `tool_result`, `document`, or `file` (read by
    `guardrail.files`): texts that nobody in the conversation has written.
    """

    direction: str
    exchange: Exchange
    part: str = "content"


@runtime_checkable
class Detector(Protocol):
    """Role `guardrail`, the half that only says what stands in a text: what is done about it, the policy decides.

    `hold_back` is as on `Guardrail`. `scan` is pure and quick (no I/O, no await): the gateway runs it on streams, in
    both directions, on every part of a conversation, and for long texts in a thread. What it found in a text is
    remembered.

    May have: `action` and `threshold`, where YAML says none; `apply_to` as on `Guardrail`; `replacement` for redaction;
    `slow = True`, to be run in a thread; and a method
    `settled(text) -> int`, how many characters at the front keep their findings whatever follows, so that a stream
    need not always wait for `hold_back` characters.
    """

    hold_back: int

    def scan(self, text: str, part: str = "content") -> Sequence[Finding]:
        """All that is there, in the order of `start`; `part` is where the text stands, as in `Context`."""


@runtime_checkable
class Guardrail(Protocol):
    """Role `guardrail`: judges texts. The gateway calls it for both directions, streamed or not.

    `hold_back` is how many characters a match can span: in a stream that much text is kept back until it is
    judged. 0 means the whole answer must be known first. A guardrail that looks at one direction only says so
    with an attribute `apply_to` (`input`, `output` or `both`): replies it does not judge are relayed as read.
    """

    hold_back: int

    async def check(self, text: str, context: Context) -> Verdict:
        """Judge one text."""


class NoSecret(msgspec.Struct, frozen=True):
    """Why a secret could not be had, for the person who reads the log; with `absent` there is none of that name."""

    reason: str
    absent: bool = False


@runtime_checkable
class SecretSource(Protocol):
    """Role `secret`: gives what `${scheme:name}` in the configuration file stands for.

    The scheme is the plugin's `name` in the file, else the part of its ID after the dot. It is asked when a file is
    read, in a thread of its own or before anything runs, and again every `refresh` seconds (0: only at reloads): when
    something has changed, the configuration is reloaded.
    """

    refresh: float

    def read(self, names: Sequence[str]) -> Mapping[str, str | NoSecret]:
        """All of these at once; blocking, with deadlines of its own."""


@runtime_checkable
class Sink(Protocol):
    """Role `sink`: is told of every finished exchange."""

    async def on_usage(self, exchange: Exchange) -> None:
        """Record one exchange; it is complete and does not change any more."""


class RouteRequest(Protocol):
    """What a plugin's route sees of an HTTP request: no credential in `headers`.

    `caller` is set on a route for API keys, `principal` (what `authorize` returned) on one with a named permission.
    """

    method: str
    path: str
    peer: str
    request_id: str
    headers: Mapping[str, str]
    params: Mapping[str, str]
    caller: Caller | None
    principal: Any

    @property
    def query(self) -> Mapping[str, str]:
        """The query's fields, decoded; of a repeated one the last."""

    async def json(self) -> dict[str, Any]:
        """The body as one strict JSON object."""

    async def body(self) -> bytes:
        """The body as it came; one that says it is no JSON is refused."""

    async def raw(self) -> bytes:
        """The body as it came, whatever it says it is: only for routes that read a credential in a header."""

    async def form(self) -> Mapping[str, str]:
        """The fields of a form (`application/x-www-form-urlencoded`); of a repeated one the last."""

    def cookie(self, name: str) -> str | None:
        """One cookie of the request."""


class Presented(Protocol):
    """What `authorize` decides on: the request's head, with credentials. `headers` have names in lower case."""

    method: str
    peer: str
    headers: Mapping[str, str]


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What the API reference says of a route: structs for what it takes and gives. Its errors are `ErrorBody`s.

    `answer` is `None` where there is no body, or one of the types in `media` that no struct describes; `errors` are the
    statuses that it has beside those of every route.
    """

    summary: str
    tag: str
    query: type[msgspec.Struct] | None = None
    body: type[msgspec.Struct] | None = None
    body_required: bool = True
    answer: type | None = None
    status: int = 200
    media: tuple[str, ...] = ("application/json",)
    errors: tuple[int, ...] = ()
    listed: bool = True
    deprecated: bool = False


class Route(msgspec.Struct, frozen=True):
    """An HTTP route with its permission: `public`, `key` (any valid API key), `loopback` (this machine only), or a
    right of a signed-in person or service such as `keys:write`, which a plugin's `authorize` checks.

    `path` may hold `{name}` (one segment) and end in `{name...}` (the rest, slashes included). A route with `about` is
    in the API reference.
    """

    method: str
    path: str
    permission: str
    call: Callable[[RouteRequest], Awaitable[Reply]]
    about: About | None = None


class Hooks:
    """The hooks. A plugin implements any of them as methods marked with `@hookimpl`."""

    @hookspec
    async def startup(self, gateway: "Gateway") -> None:
        """Open resources; runs once before the plugin's first request. A failure refuses the start (or reload)."""

    @hookspec
    async def shutdown(self, gateway: "Gateway") -> None:
        """Close resources; runs after the plugin's last request. A failure is logged."""

    @hookspec
    async def authenticate(self, headers: Mapping[str, str]) -> Caller | None:
        """Find the caller from the request's headers (names in lower case), before the body is read.

        Return `None` only when the credential is of another kind, for the next plugin; a wrong one raises
        `Unauthenticated`. Any other failure is a 503: closed.
        """

    @hookspec
    async def pre_request(self, exchange: Exchange) -> Reply | None:
        """See, edit or refuse a request before any upstream is touched; a `Reply` answers it at once.

        Raise a `GatewayError` to refuse. Any other failure is a 503 for limiters and guardrails (closed), and is
        counted and passed over for caches and sinks (open).
        """

    @hookspec
    async def before_attempt(self, exchange: Exchange, target: Target) -> None:
        """Check permission and reserve before one attempt. Raise a `GatewayError` to refuse this target.

        A failure is a 503: closed.
        """

    @hookspec
    async def post_response(self, exchange: Exchange) -> Filter | None:
        """The target has answered, nothing went out yet: return a filter to see and change the events.

        A failure is as for `pre_request`.
        """

    @hookspec
    async def after_attempt(self, exchange: Exchange, target: Target) -> None:
        """An attempt failed and another one follows: release what `before_attempt` reserved. Never for the last."""

    @hookspec
    async def on_usage(self, exchange: Exchange) -> None:
        """Once for every authenticated exchange, at its end, whatever happened: settle, record, alert.

        The reply's last bytes wait for it. A failure is counted and logged; the client never sees it.
        """

    @hookspec
    async def explain(self, exchange: Exchange, target: Target) -> Iterable[Mapping[str, Any]]:
        """A dry run for `/explain`: how this plugin's limits stand for the request, taking nothing.

        Each entry has `plugin`, `limit` and `would` (`pass` or `refuse`), and what else helps; with a `target`
        (`provider/model`) it speaks of that target only. A failure is passed over.
        """

    @hookspec
    def routes(self, gateway: "Gateway") -> Iterable[Route]:
        """HTTP routes to add, each with its permission. A failure refuses the start."""

    @hookspec
    async def authorize(self, permission: str, request: Presented) -> object | None:
        """Who calls a plugin's route, if they have the right `permission` (`keys:write`): what the route will see.

        Return `None` only when there is no credential of your kind; a wrong one raises `Unauthenticated`, a missing
        right `Forbidden`. Any other failure is a 503: closed.
        """

    @hookspec
    def commands(self, cli: "click.Group") -> None:
        """Commands to add to `gateway`."""
