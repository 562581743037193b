"""Provider for Anthropic's Messages API, and for services that offer it under an address of their own.

    providers:
      - name: anthropic
        use: provider.anthropic
        when: ${ANTHROPIC_API_KEY:-}
        with: {api_key: "${ANTHROPIC_API_KEY:-}"}

Clients of the same format reach it byte for byte; others are translated. Of a client's `anthropic-beta` flags only
those go on that `betas` allows.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Annotated
from urllib.parse import quote

import msgspec
from msgspec import Meta

from gateway import Exchange, HttpRequest, ObjectCall, Secret, Target
from gateway.catalogue import Send
from gateway.jsonbody import outgoing
from gateway_plugins.providers import openai_compatible

PATHS = {"messages": "/v1/messages", "messages.count_tokens": "/v1/messages/count_tokens"}

_PAGES = 5  # of models


class Options(openai_compatible.Address, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The key, and what this service knows."""

    base_url: Annotated[str, Meta(description="Without /v1.")] = "https://api.anthropic.com"
    api_key: Annotated[Secret | None, Meta(description="An Anthropic API key, sent as x-api-key.")] = None
    auth_token: Annotated[Secret | None, Meta(description="Sent as a bearer token instead of a key.")] = None
    version: Annotated[str, Meta(description="`anthropic-version` of requests whose client names none.")] = "2023-06-01"
    betas: Annotated[
        tuple[str, ...], Meta(description="Flags of `anthropic-beta` that this service knows, as names or patterns.")
    ] = ("*",)
    price_book: str | None = "anthropic"


class Anthropic(openai_compatible.OpenAICompatible):
    """The Messages API."""

    Config = Options
    name = "anthropic"
    endpoints = frozenset(PATHS)
    wires = ("anthropic.messages",)
    paths = PATHS
    kinds = ("message_batches", "files")
    api = "anthropic"
    config: Options

    def __init__(self, config: Options) -> None:
        if not (config.api_key or config.auth_token or config.stored_key):
            raise ValueError(
                "api_key is empty; set `when: ${ANTHROPIC_API_KEY:-}` to switch the provider off without one"
            )
        super().__init__(config)

    def secrets(self) -> Sequence[str]:
        """Credentials that must never show in a text to a client."""
        token = self.config.auth_token
        return [*super().secrets(), *([token.reveal()] if token else [])]

    async def list_models(self, send: Send) -> Sequence[str]:
        """See `OpenAICompatible.list_models`; a page at a time."""
        found: list[str] = []
        headers = (*self.headers, ("anthropic-version", self.config.version))
        url = after = f"{self.config.base_url.rstrip('/')}/v1/models?limit=1000"
        for _ in range(_PAGES):
            answer = await send(HttpRequest("GET", after, headers))
            found += openai_compatible.names_in(*answer)
            if openai_compatible.listing(*answer).get("has_more") is not True or not found:
                break
            after = f"{url}&after_id={quote(found[-1])}"
        return found

    def encode(self, exchange: Exchange, target: Target) -> HttpRequest:
        """The request with this provider's address, credential and version, and the flags that it knows."""
        return HttpRequest(
            method="POST", url=self.url(exchange), headers=self.headers_of(exchange),
            body=outgoing(exchange, target.model), varying=tuple(self._versioned(exchange)),
        )

    def call(self, exchange: Exchange, call: ObjectCall) -> HttpRequest:
        """A request about what is kept here."""
        return self.object_call(exchange, call, f"{self.config.base_url.rstrip('/')}/v1", self._versioned(exchange))

    def _versioned(self, exchange: Exchange) -> list[tuple[str, str]]:
        varying = self.traced(exchange)
        varying.append(("anthropic-version", exchange.headers.get("anthropic-version") or self.config.version))
        if known := flags(exchange, self.config.betas):
            varying.append(("anthropic-beta", ",".join(known)))
        return varying

    def configured(self, credential: Secret) -> Options:
        """See `OpenAICompatible.configured`."""
        return msgspec.structs.replace(self.config, api_key=credential, auth_token=None)

    def fixed_headers(self, config: openai_compatible.Address) -> dict[str, str]:
        """The headers that each request has; the configured ones win."""
        assert isinstance(config, Options)
        headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
        if config.api_key:
            headers["x-api-key"] = config.api_key.reveal()
        if config.auth_token:
            headers["authorization"] = f"Bearer {config.auth_token.reveal()}"
        return {**headers, **{name.lower(): value for name, value in config.headers.items()}}


def flags(exchange: Exchange, betas: Sequence[str]) -> list[str]:
    """The client's flags that a service with these `betas` knows; the others are named to the client."""
    given = exchange.headers.get("anthropic-beta", "")
    if exchange.bridge is not None:
        given = exchange.bridge.headers.get("anthropic-beta", "")
    asked = list(dict.fromkeys(flag.strip() for flag in given.split(",") if flag.strip()))
    known = [flag for flag in asked if any(fnmatchcase(flag, pattern) for pattern in betas)]
    lost = [flag for flag in asked if flag not in known]
    if lost and (warning := f"dropped=anthropic-beta:{'+'.join(lost)}") not in exchange.warnings:
        exchange.warnings.append(warning)
    return known
