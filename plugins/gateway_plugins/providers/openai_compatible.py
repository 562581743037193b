"""Provider for anything that speaks the OpenAI API: Groq, Ollama, LM Studio, llama.cpp, DeepSeek, …

    providers:
      - name: groq
        use: provider.openai_compatible
        when: ${GROQ_API_KEY:-}
        with: {base_url: "https://api.groq.com/openai/v1", api_key: "${GROQ_API_KEY:-}", price_book: groq}
"""

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from gateway import Exchange, Forbidden, HttpRequest, ObjectCall, Peer, Secret, Target, Timeouts
from gateway.addresses import forbidden, is_literal
from gateway.catalogue import Send
from gateway.jsonbody import outgoing, read_lenient
from gateway.tunnel import proxy_of

PATHS = {
    "chat.completions": "/chat/completions", "completions": "/completions", "embeddings": "/embeddings",
    "responses": "/responses", "images.generations": "/images/generations", "images.edits": "/images/edits",
    "images.variations": "/images/variations", "audio.speech": "/audio/speech",
    "audio.transcriptions": "/audio/transcriptions", "audio.translations": "/audio/translations",
}
_CHATS = frozenset({"chat.completions", "responses"})
# Of the client's headers only these travel: they carry no credential and choose nothing.
FORWARDED = ("traceparent", "tracestate")
_URL = re.compile(r"[!-~]+")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_KEPT = 1_000
_LONGEST_NAME = 256
_CREDENTIAL = re.compile(r"key|token|secret|auth|password", re.IGNORECASE)


Kind = Literal[
    "responses", "conversations", "files", "uploads", "batches", "fine_tuning", "vector_stores", "message_batches",
]


class Address(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where an upstream is, with which credential, and how to connect."""

    base_url: Annotated[str, Meta(description="Up to and including /v1.")]
    api_key: Annotated[Secret | None, Meta(description="Sent as a bearer token.")] = None
    stored_key: Annotated[
        bool, Meta(description="The key is in the database (`secret.stored`): api_key may be empty.")
    ] = False
    headers: Annotated[dict[str, str], Meta(description="Further headers for each request.")] = {}
    models: Annotated[tuple[str, ...], Meta(description="Names or patterns that may be asked for.")] = ("*",)
    discover: Annotated[
        bool, Meta(description="Ask the upstream which models it has, for lists; `models` says which of them count.")
    ] = True
    price_book: Annotated[str | None, Meta(description="Whose list prices apply, such as `groq`.")] = None
    timeouts: Annotated[Timeouts | None, Meta(description="Instead of the file's `timeouts`.")] = None
    allow_private: Annotated[bool, Meta(description="The host's name may resolve to a private address.")] = False
    ca_file: Annotated[str | None, Meta(description="PEM file with the authority to trust.")] = None
    proxy: Annotated[
        Secret | None, Meta(description="An HTTP proxy for all connections: http://[user:password@]host:port.")
    ] = None
    max_connections: Annotated[int, Meta(ge=1)] = 4096
    keeps: Annotated[
        tuple[Kind, ...] | None,
        Meta(description="What clients may keep at this provider; all that it can by default. See docs/objects.md."),
    ] = None
    unchecked: Annotated[
        bool, Meta(description="Files and batches also for keys with model or cost limits or guardrails.")
    ] = False


class Options(Address, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the upstream is, and what it understands."""

    takes: Annotated[
        tuple[str, ...],
        Meta(description="What translated requests may use beyond the standard; see docs/dialects.md."),
    ] = ("max_tokens",)
    think_tags: Annotated[
        bool, Meta(description="The models write their reasoning as `<think>…</think>` into the answer.")
    ] = False
    responses: Annotated[
        bool, Meta(description="The server answers /responses itself; else such requests are translated into chat.")
    ] = False
    responses_only: Annotated[
        tuple[str, ...], Meta(description="Models, as names or patterns, that answer /responses and no chat.")
    ] = ()


class OpenAICompatible:
    """The same dialect on both sides: bytes go through, but for the model's name and what accounting needs."""

    Config: type[Address] = Options
    endpoints = frozenset(PATHS) - {"responses"}
    wires: tuple[str, ...] = ("openai.chat", "openai.embeddings")
    paths: Mapping[str, str] = PATHS
    kinds: tuple[Kind, ...] = ()  # what it can keep, beside responses where it answers them
    api = "openai"
    name = "openai_compatible"

    def __init__(self, config: Address) -> None:
        parts = urlsplit(config.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("base_url must be an http(s) URL with a host, and no query or fragment")
        if parts.username is not None or parts.password is not None:
            raise ValueError("base_url must hold no credential; use api_key")
        if _URL.fullmatch(config.base_url) is None or parts.port == 0:
            raise ValueError("base_url has a character or a port that a URL cannot have")
        if is_literal(parts.hostname) and (reason := forbidden(parts.hostname, allow_private=True)) is not None:
            raise ValueError(f"base_url has an address that is never connected to ({reason})")
        if config.api_key and not _printable(config.api_key.reveal()):
            raise ValueError("api_key must be printable ASCII, without line breaks")
        self.config = config
        self._proxy = proxy_of(config.proxy.reveal()) if config.proxy else None
        self.price_book = config.price_book
        if isinstance(config, Options):
            self.takes = frozenset(config.takes)
            self.think_tags = config.think_tags
            if config.responses:
                self.endpoints = self.endpoints | {"responses"}
        able = {*self.kinds, *(("responses",) if "responses" in self.endpoints else ())}
        if config.keeps is not None and (other := sorted(set(config.keeps) - able)):
            raise ValueError(f"keeps: this provider cannot keep {', '.join(other)}")
        self.keeps: frozenset[str] = frozenset(able if config.keeps is None else config.keeps)
        self.unchecked = config.unchecked
        self._urls = {endpoint: config.base_url.rstrip("/") + path for endpoint, path in self.paths.items()}
        self.headers = _checked(self.fixed_headers(config))
        self._headers_with: dict[str, tuple[tuple[str, str], ...]] = {}

    def spoken(self, model: str) -> tuple[frozenset[str], tuple[str, ...]]:
        """The endpoints that serve a model, and the dialects that requests for it are translated into."""
        config = self.config
        if isinstance(config, Options) and any(fnmatchcase(model, pattern) for pattern in config.responses_only):
            return self.endpoints - _CHATS | {"responses"}, ("openai.responses",)
        return self.endpoints, self.wires

    def peer(self, timeouts: Timeouts) -> Peer:
        """How to connect: this provider's own deadlines, or the file's."""
        config = self.config
        return Peer(
            name=self.name, timeouts=config.timeouts or timeouts, allow_private=config.allow_private,
            ca_file=config.ca_file, max_connections=config.max_connections, proxy=self._proxy,
        )

    def secrets(self) -> Sequence[str]:
        """Credentials that must never show in a text to a client."""
        own = [secret.reveal() for secret in (self.config.api_key, self.config.proxy) if secret]
        if self._proxy is not None and self._proxy.authorization:
            own.append(self._proxy.authorization)
        own += self._headers_with  # those of tenants that were used
        return own + [value for name, value in self.config.headers.items() if value and _CREDENTIAL.search(name)]

    def models(self) -> Sequence[str]:
        """The configured names and patterns."""
        return self.config.models

    @property
    def discovers(self) -> bool:
        """Whether there is anything to ask: a pattern of names, and a credential of the provider's own."""
        config = self.config
        return config.discover and any("*" in name for name in config.models) and (
            not config.stored_key or config.api_key is not None
        )

    async def list_models(self, send: Send) -> Sequence[str]:
        """The models that the upstream says it has. Raises `ValueError` for an answer that is no list."""
        return names_in(*await send(HttpRequest("GET", f"{self.config.base_url.rstrip('/')}/models", self.headers)))

    def encode(self, exchange: Exchange, target: Target) -> HttpRequest:
        """The request with this provider's address and credential."""
        return self.request(exchange, target, self.url(exchange), self.headers_of(exchange), self.traced(exchange))

    def request(
        self, exchange: Exchange, target: Target, url: str, headers: Sequence[tuple[str, str]],
        varying: Sequence[tuple[str, str]],
    ) -> HttpRequest:
        """A POST with the exchange's body: JSON, or a form that is passed on as it comes."""
        upload = exchange.upload
        if upload is None:
            body = self.body(exchange, target)
            return HttpRequest("POST", url, tuple(headers), body, tuple(varying))
        changes = form_changes(exchange, target.model)
        plain = tuple(field for field in headers if field[0] not in ("content-type", "accept"))
        return HttpRequest(
            "POST", url, plain, varying=(*varying, ("content-type", upload.content_type), ("accept", "*/*")),
            parts=upload.parts(changes), size=upload.size(changes),
        )

    def call(self, exchange: Exchange, call: ObjectCall) -> HttpRequest:
        """A request about what is kept here."""
        return self.object_call(exchange, call, self.config.base_url.rstrip("/"), self.traced(exchange))

    def object_call(
        self, exchange: Exchange, call: ObjectCall, root: str, varying: list[tuple[str, str]]
    ) -> HttpRequest:
        """The same with the API's root, and with headers of a variant."""
        url = f"{root}{call.path}" + (f"?{call.query}" if call.query else "")
        plain = tuple(field for field in self.headers_of(exchange) if field[0] not in ("content-type", "accept"))
        varying = [*varying, ("accept", "*/*")]
        if (beta := exchange.headers.get("openai-beta")) is not None:
            varying.append(("openai-beta", beta))
        if call.upload is None:
            varying += [("content-type", "application/json")] if call.body else []
            return HttpRequest(call.method, url, plain, call.body, tuple(varying))
        varying.append(("content-type", call.upload.content_type))
        return HttpRequest(
            call.method, url, plain, varying=tuple(varying), parts=call.upload.parts({}), size=call.upload.size({})
        )

    def headers_of(self, exchange: Exchange) -> tuple[tuple[str, str], ...]:
        """The headers with the exchange's own credential, where it has one, instead of the configured one."""
        if exchange.credential is None:
            if self.config.stored_key and not self.config.api_key:
                raise Forbidden(
                    f"No credential of the provider {self.name} is stored for this organisation.", code="no_credential"
                )
            return self.headers
        text = exchange.credential.reveal()
        headers = self._headers_with.get(text)
        if headers is None:
            headers = _checked(self.fixed_headers(self.configured(exchange.credential)))
            if len(self._headers_with) >= _KEPT:
                self._headers_with.clear()
            self._headers_with[text] = headers
        return headers

    def configured(self, credential: Secret) -> Address:
        """This provider's configuration with another credential."""
        return msgspec.structs.replace(self.config, api_key=credential)

    def url(self, exchange: Exchange) -> str:
        """Where the request goes."""
        return self._urls[exchange.wire_endpoint]

    def traced(self, exchange: Exchange) -> list[tuple[str, str]]:
        """The headers that differ from request to request."""
        varying = [("x-request-id", exchange.id)]
        varying.extend((name, value) for name in FORWARDED if (value := exchange.headers.get(name)))
        return varying

    def body(self, exchange: Exchange, target: Target) -> bytes:
        """The bytes to send."""
        return outgoing(exchange, target.model)

    def fixed_headers(self, config: Address) -> dict[str, str]:
        """The headers that each request has, names in lower case; the configured ones win."""
        headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
        if config.api_key:
            headers["authorization"] = f"Bearer {config.api_key.reveal()}"
        return {**headers, **{name.lower(): value for name, value in config.headers.items()}}


def form_changes(exchange: Exchange, model: str) -> dict[str, str]:
    """The fields of a form that are sent otherwise than they came: the model, and texts that a guardrail changed."""
    upload, request = exchange.upload, exchange.request
    assert upload is not None
    assert request is not None
    known = {name: values[0] for name, values in upload.fields.items() if len(values) == 1}
    changes = {name: text for name, text in request.body.items() if name in known and known[name] != text}
    return changes if request.body.get("model") == model else {**changes, "model": model}


def listing(status: int, body: bytes) -> dict[str, Any]:
    """The object in an answer. Raises `ValueError` for another answer."""
    if status != 200:
        raise ValueError(f"it answered with status {status}")
    tree = read_lenient(body)
    if type(tree) is not dict:
        raise ValueError("its answer is no JSON object")
    return tree


def names_in(status: int, body: bytes, entries: str = "data", name: str = "id") -> list[str]:
    """The models' names in the list `entries` of an answer."""
    found = listing(status, body).get(entries)
    if type(found) is not list:
        raise ValueError(f"its answer has no `{entries}`")
    names = [each.get(name) for each in found if type(each) is dict]
    return [text for text in names if type(text) is str and 0 < len(text) <= _LONGEST_NAME]


def _checked(headers: dict[str, str]) -> tuple[tuple[str, str], ...]:
    for name, value in headers.items():
        if _NAME.fullmatch(name) is None or not _printable(value):
            raise ValueError(f"the header {name!r} must be printable ASCII, without line breaks")
    return tuple(headers.items())


def _printable(text: str) -> bool:
    return text.isascii() and text.isprintable()
