"""Provider for Google's models: the Gemini API with a key, or Vertex AI with a project (Gemini, and Claude).

    providers:
      - name: gemini
        use: provider.gemini
        when: ${GEMINI_API_KEY:-}
        with: {api_key: "${GEMINI_API_KEY:-}"}
      - name: vertex
        use: provider.gemini
        when: ${VERTEX_PROJECT:-}
        with: {project: "${VERTEX_PROJECT:-}", location: global}

On Vertex the credential is an access token: of a service account's key, or of Google's application default credentials
(GOOGLE_APPLICATION_CREDENTIALS, gcloud's own, the metadata server of a machine). It is renewed ahead of its end.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import msgspec
from msgspec import Meta

from gateway import Exchange, HttpRequest, InvalidRequest, Secret, Target, hookimpl
from gateway.bridge import wire_for
from gateway.catalogue import Send
from gateway.dialects.gemini_parts import is_fetched_by_google
from gateway.fetch import Fetch
from gateway.googleauth import Account, GoogleTokens, account_of
from gateway.jsonbody import outgoing
from gateway_plugins.providers import anthropic, openai_compatible

if TYPE_CHECKING:
    from gateway import Gateway

_ACTIONS = {
    "generateContent": "generateContent", "countTokens": "countTokens", "embedContent": "embedContent",
    "batchEmbedContents": "batchEmbedContents", "predict": "predict",
}
_GEMINI = frozenset({"generateContent", "countTokens", "embedContent", "batchEmbedContents"})
_VERTEX = frozenset({"generateContent", "countTokens", "embedContent"})
_CLAUDE = frozenset({"messages", "messages.count_tokens"})
_PROJECT = re.compile(r"[a-z0-9][a-z0-9.:-]{0,99}")
_REGIONS = ("us", "eu")  # not one place but several: they have an address of another form

_PAGES = 10  # of models


class Options(openai_compatible.Address, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A key for the Gemini API, or a project for Vertex AI."""

    base_url: Annotated[str, Meta(description="Up to and including /v1beta; with a project, without a version.")] = ""
    api_key: Annotated[Secret | None, Meta(description="A key of the Gemini API, sent as x-goog-api-key.")] = None
    project: Annotated[
        str | None, Meta(description="A Google Cloud project: its Vertex AI is asked, not the Gemini API.")
    ] = None
    location: Annotated[str, Meta(description="Vertex AI's region, `global`, `us` or `eu`.")] = "global"
    credentials: Annotated[
        Secret | None, Meta(description="The JSON text of a service account's key; else the default credentials.")
    ] = None
    credentials_file: Annotated[str | None, Meta(description="The same as a file.")] = None
    betas: Annotated[
        tuple[str, ...], Meta(description="Flags of `anthropic-beta` that Claude on Vertex AI knows, as patterns.")
    ] = (
        "computer-use-*", "context-1m-*", "context-management-*", "fine-grained-tool-streaming-*",
        "interleaved-thinking-*", "output-128k-*", "token-efficient-tools-*", "tool-search-tool-*", "web-search-*",
    )  # fmt: skip
    fetch_urls: Annotated[
        bool, Meta(description="Fetch links of translated requests here and send their bytes, where Google would not.")
    ] = False
    fetch_max_bytes: Annotated[
        int, Meta(ge=1, description="Of all links of one request together.")
    ] = 20 * 1024 * 1024
    price_book: str | None = "google"


class Gemini(openai_compatible.OpenAICompatible):
    """The Gemini API or Vertex AI."""

    Config = Options
    name = "gemini"
    endpoints = _GEMINI
    wires = ("gemini.generate", "gemini.batchEmbed")
    paths: Mapping[str, str] = {}
    config: Options

    def __init__(self, config: Options) -> None:
        self.vertex = bool(config.project)
        if self.vertex and not (_PROJECT.fullmatch(config.project or "") and _PROJECT.fullmatch(config.location)):
            raise ValueError("project and location may have letters, digits and - . : only")
        if self.vertex == bool(config.api_key or config.stored_key):
            raise ValueError(
                "give either api_key (the Gemini API) or project (Vertex AI); `when: ${GEMINI_API_KEY:-}` switches the "
                "provider off without a key"
            )
        self._account = _account(config)
        self._tokens: GoogleTokens | None = None
        self._fetch: Fetch | None = None
        self._root = config.base_url.rstrip("/") or _address(config)
        super().__init__(msgspec.structs.replace(config, base_url=self._root))

    @hookimpl
    async def startup(self, gateway: "Gateway") -> None:
        """Get ready to ask for tokens and links; the first request asks for the first one."""
        if self.config.fetch_urls:
            self._fetch = Fetch(gateway.upstream, self.name, self.config.fetch_max_bytes)
        if self.vertex:
            self._tokens = GoogleTokens(self.name, gateway.upstream, self._account, ca_file=self.config.ca_file)

    @hookimpl
    async def shutdown(self, gateway: "Gateway") -> None:  # noqa: ARG002
        """End a renewal that runs."""
        if self._tokens is not None:
            await self._tokens.close()

    @hookimpl
    async def before_attempt(self, exchange: Exchange, target: Target) -> None:
        """See that there is a valid token, and that links which Google would not fetch are bytes."""
        if target.provider is not self:
            return
        if self._fetch is not None:
            wire = wire_for(exchange.endpoint, exchange.dialect.name, self, target.model)
            if wire == "gemini.generate" != exchange.dialect.name:
                await self._fetch.into(exchange, lambda url: not is_fetched_by_google(url))
        if self._tokens is not None:
            await self._tokens.token()

    @hookimpl
    async def after_attempt(self, exchange: Exchange, target: Target) -> None:
        """A token that was refused is not used again."""
        self._note(exchange, target)

    @hookimpl
    async def on_usage(self, exchange: Exchange) -> None:
        """The same for the last attempt."""
        self._note(exchange, exchange.target)

    def spoken(self, model: str) -> tuple[frozenset[str], tuple[str, ...]]:
        """The endpoints and dialects of one model: on Vertex AI Claude has Anthropic's."""
        if not self.vertex:
            return self.endpoints, self.wires
        if _publisher(model) == "anthropic":
            return _CLAUDE, ("anthropic.messages",)
        newer = "gemini-embedding-2" in model
        return _VERTEX, ("gemini.generate", "gemini.embed" if newer else "vertex.predict")

    def secrets(self) -> Sequence[str]:
        """Credentials that must never show in a text to a client."""
        own = [self.config.credentials.reveal()] if self.config.credentials else []
        tokens = self._tokens.secrets if self._tokens is not None else ()
        return [*super().secrets(), *own, *(self._account.secrets if self._account else ()), *tokens]

    async def list_models(self, send: Send) -> Sequence[str]:
        """See `OpenAICompatible.list_models`; a page at a time, on Vertex AI of both publishers."""
        if not self.vertex:
            return await self._pages(send, f"{self._root}/models?pageSize=1000", "models", self.headers)
        assert self._tokens is not None
        headers = (
            *self.headers, ("authorization", f"Bearer {await self._tokens.token()}"),
            ("x-goog-user-project", self.config.project or ""),
        )
        found: list[str] = []
        for publisher in ("google", "anthropic"):
            url = f"{self._root}/v1beta1/publishers/{publisher}/models?pageSize=200"
            found += await self._pages(send, url, "publisherModels", headers)
        return found

    async def _pages(
        self, send: Send, url: str, entries: str, headers: tuple[tuple[str, str], ...]
    ) -> list[str]:
        found: list[str] = []
        page = ""
        for _ in range(_PAGES):
            answer = await send(HttpRequest("GET", url + page, headers))
            found += [_bare(name) for name in openai_compatible.names_in(*answer, entries, "name")]
            token = openai_compatible.listing(*answer).get("nextPageToken")
            if type(token) is not str or not token:
                break
            page = f"&pageToken={quote(token, safe='')}"
        return found

    def encode(self, exchange: Exchange, target: Target) -> HttpRequest:
        """The request with the credential; the model stands in the URL."""
        varying = self.traced(exchange)
        if self._tokens is not None:
            varying.append(("authorization", f"Bearer {self._tokens.current}"))
        if exchange.bridge is not None:
            varying.extend((name, value) for name, value in exchange.bridge.headers.items() if name != "anthropic-beta")
        if exchange.wire_endpoint in _CLAUDE and (known := anthropic.flags(exchange, self.config.betas)):
            varying.append(("anthropic-beta", ",".join(known)))
        return HttpRequest(
            method="POST", url=self._url(exchange, target), headers=self.headers_of(exchange),
            body=self.body(exchange, target), varying=tuple(varying),
        )

    def body(self, exchange: Exchange, target: Target) -> bytes:
        """The bytes to send: Claude's without the model, which stands in the URL, and with its version."""
        if exchange.wire_endpoint == "messages":
            return outgoing(exchange, target.model, remove=("model",), add={"anthropic_version": "vertex-2023-10-16"})
        return outgoing(exchange, target.model)

    def headers_of(self, exchange: Exchange) -> tuple[tuple[str, str], ...]:
        """See `OpenAICompatible.headers_of`. Vertex AI takes no key."""
        return self.headers if self.vertex else super().headers_of(exchange)

    def fixed_headers(self, config: openai_compatible.Address) -> dict[str, str]:
        """The headers that each request has; the configured ones win."""
        headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
        if config.api_key:
            headers["x-goog-api-key"] = config.api_key.reveal()
        return {**headers, **{name.lower(): value for name, value in config.headers.items()}}

    def _url(self, exchange: Exchange, target: Target) -> str:
        assert exchange.request is not None
        stream, endpoint = exchange.request.stream, exchange.wire_endpoint
        model = _safe(target.model)
        if not self.vertex:
            place = model if model.startswith(("models/", "tunedModels/")) else f"models/{model}"
            return f"{self._root}/{place}:{_action(exchange, stream)}"
        version = "v1" if endpoint in _CLAUDE else "v1beta1"
        home = f"{self._root}/{version}/projects/{self.config.project}/locations/{self.config.location}"
        if endpoint == "messages.count_tokens":
            return f"{home}/publishers/anthropic/models/count-tokens:rawPredict"
        if endpoint == "messages":
            return f"{home}/publishers/anthropic/models/{_bare(model)}:{'streamRawPredict' if stream else 'rawPredict'}"
        if model.startswith("endpoints/"):  # a tuned model that the project has deployed
            return f"{home}/{model}:{_action(exchange, stream)}"
        return f"{home}/publishers/google/models/{_bare(model)}:{_action(exchange, stream)}"

    def _note(self, exchange: Exchange, target: Target | None) -> None:
        if self._tokens is None or target is None or target.provider is not self:
            return
        if exchange.internal.get("upstream_status") == 401:
            self._tokens.forget()


def _account(config: Options) -> Account | None:
    """The service account that is configured; `None` where the default credentials are meant."""
    if not (config.credentials or config.credentials_file):
        return None
    if config.project is None or (config.credentials and config.credentials_file):
        raise ValueError("give credentials or credentials_file, and with them a project")
    if config.credentials:
        return account_of(config.credentials.reveal())
    try:
        return account_of(Path(config.credentials_file or "").read_text("utf-8"))
    except (OSError, UnicodeDecodeError):
        raise ValueError("credentials_file cannot be read") from None


def _address(config: Options) -> str:
    if config.project is None:
        return "https://generativelanguage.googleapis.com/v1beta"
    if config.location == "global":
        return "https://aiplatform.googleapis.com"
    if config.location in _REGIONS:
        return f"https://aiplatform.{config.location}.rep.googleapis.com"
    return f"https://{config.location}-aiplatform.googleapis.com"


def _action(exchange: Exchange, stream: bool) -> str:
    if exchange.wire_endpoint != "generateContent" or not stream:
        return _ACTIONS[exchange.wire_endpoint]
    array = exchange.wire.endswith(".array")
    return "streamGenerateContent" if array else "streamGenerateContent?alt=sse"


def _publisher(model: str) -> str:
    if model.startswith("publishers/"):
        return model.split("/")[1]
    return "anthropic" if model.startswith("claude") else "google"


def _bare(model: str) -> str:
    """The model's own name, without `publishers/…/models/` before it."""
    return model.rpartition("/models/")[2].removeprefix("models/")


def _safe(model: str) -> str:
    """The model's name for a URL: it may come from the client, and leads nowhere but to a model."""
    if any(part in ("", ".", "..") for part in model.split("/")):
        raise InvalidRequest("The model's name cannot stand in a URL.", param="model")
    return quote(model, safe="/@:._-~")
