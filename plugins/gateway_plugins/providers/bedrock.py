"""Provider for Amazon Bedrock: Converse for chat, InvokeModel for embeddings; with an API key, or signed (SigV4).

    providers:
      - name: bedrock
        use: provider.bedrock
        when: ${AWS_REGION:-}
        with: {region: "${AWS_REGION:-}"}

Without `api_key` and `access_key_id` the credentials are those that AWS's own tools would find: an API key in
AWS_BEARER_TOKEN_BEDROCK, the environment, a profile, web identity, a container's agent, the instance's metadata.
"""

import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import quote

import msgspec
from msgspec import Meta

from gateway import Exchange, HttpRequest, InvalidRequest, Secret, Target, hookimpl
from gateway.awscredentials import Chain, region_of
from gateway.awssigv4 import Credentials, signed
from gateway.catalogue import Send
from gateway.clock import now_ms
from gateway.eventstream import CONTENT_TYPE
from gateway.renewal import Renewed
from gateway_plugins.providers import openai_compatible

if TYPE_CHECKING:
    from gateway import Gateway

_REGION = re.compile(r"[a-z0-9-]{2,40}")
_AHEAD = 600.0  # seconds before their end that credentials are renewed: their sources have the next ones by then
_ENDS = frozenset({"ExpiredTokenException", "ExpiredToken", "UnrecognizedClientException", "InvalidClientTokenId"})


class Options(openai_compatible.Address, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The region, and whose credentials."""

    base_url: Annotated[str, Meta(description="Instead of the region's public address.")] = ""
    region: Annotated[str, Meta(description="Such as `us-east-1`; else AWS_REGION, or the profile's.")] = ""
    api_key: Annotated[Secret | None, Meta(description="A Bedrock API key, sent as a bearer token.")] = None
    access_key_id: Annotated[str, Meta(description="An access key; else the credentials that AWS's tools find.")] = ""
    secret_access_key: Annotated[Secret | None, Meta(description="What belongs to the access key.")] = None
    session_token: Annotated[Secret | None, Meta(description="What belongs to a temporary access key.")] = None
    profile: Annotated[str, Meta(description="A profile of the shared AWS files.")] = ""
    claude: Annotated[
        Literal["converse", "invoke"], Meta(description="Claude's requests by Converse, or in Anthropic's own format.")
    ] = "converse"
    price_book: str | None = "aws"


class Bedrock(openai_compatible.OpenAICompatible):
    """One region of Bedrock."""

    Config = Options
    name = "bedrock"
    endpoints = frozenset({"converse"})
    wires: tuple[str, ...] = ("bedrock.converse",)
    paths: Mapping[str, str] = {}
    config: Options

    def __init__(self, config: Options) -> None:
        if bool(config.access_key_id) != bool(config.secret_access_key):
            raise ValueError("access_key_id and secret_access_key belong together")
        if sum(map(bool, (config.api_key, config.access_key_id, config.profile))) > 1:
            raise ValueError("give one of api_key, access_key_id and profile")
        region = config.region or region_of(os.environ, config.profile)
        if not _REGION.fullmatch(region):
            raise ValueError("region is empty or no region; set it, or AWS_REGION")
        self.region = region
        host = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        self._root = config.base_url.rstrip("/") or f"https://bedrock-runtime.{region}.{host}"
        own = not (config.access_key_id or config.profile)
        token = os.environ.get("AWS_BEARER_TOKEN_BEDROCK") if own and config.api_key is None else None
        if token:
            config = msgspec.structs.replace(config, api_key=Secret(token))
        self._fixed = (
            Credentials(
                config.access_key_id, config.secret_access_key.reveal(),
                config.session_token.reveal() if config.session_token else "",
            ) if config.secret_access_key else None
        )
        self._found: Renewed[Credentials] | None = None
        super().__init__(msgspec.structs.replace(config, base_url=self._root))

    @hookimpl
    async def startup(self, gateway: "Gateway") -> None:
        """Get ready to look for credentials; the first request looks."""
        if self.config.api_key is None and self._fixed is None:
            config = self.config
            chain = Chain(
                self.name, gateway.upstream, os.environ, region=self.region, profile=config.profile,
                ca_file=config.ca_file,
            )
            self._found = Renewed(self.name, "AWS credentials", chain.ask, ahead=_AHEAD)

    @hookimpl
    async def shutdown(self, gateway: "Gateway") -> None:  # noqa: ARG002
        """End a renewal that runs."""
        if self._found is not None:
            await self._found.close()

    @hookimpl
    async def before_attempt(self, exchange: Exchange, target: Target) -> None:  # noqa: ARG002
        """See that there are valid credentials."""
        if target.provider is self and self._found is not None:
            await self._found.get()

    @hookimpl
    async def after_attempt(self, exchange: Exchange, target: Target) -> None:
        """Credentials that were refused are not used again."""
        self._note(exchange, target)

    @hookimpl
    async def on_usage(self, exchange: Exchange) -> None:
        """The same for the last attempt."""
        self._note(exchange, exchange.target)

    def spoken(self, model: str) -> tuple[frozenset[str], tuple[str, ...]]:
        """The endpoints and dialects of one model: embeddings have their vendor's."""
        if "titan-embed" in model:
            return frozenset(), ("bedrock.titan",)
        if "cohere.embed" in model:
            return frozenset(), ("bedrock.cohere",)
        if self.config.claude == "invoke" and "claude" in model:
            return self.endpoints, ("bedrock.claude",)
        return self.endpoints, self.wires

    def secrets(self) -> Sequence[str]:
        """Credentials that must never show in a text to a client."""
        used = self._credentials()
        own = [used.secret_key, used.token] if used is not None else []
        return [*super().secrets(), *(value for value in own if value)]

    async def list_models(self, send: Send) -> Sequence[str]:
        """The region's models that can be asked by their own id, and the inference profiles for the others."""
        root = self._root.replace("://bedrock-runtime.", "://bedrock.", 1)
        if self._found is not None:
            await self._found.get()
        answer = await send(self._signed_get(f"{root}/foundation-models"))
        summaries = openai_compatible.listing(*answer).get("modelSummaries")
        if type(summaries) is not list:
            raise ValueError("its answer has no `modelSummaries`")
        found = [each["modelId"] for each in summaries if type(each) is dict and _on_demand(each)]
        answer = await send(self._signed_get(f"{root}/inference-profiles?maxResults=1000"))
        if answer[0] == 200:  # another right than for the models
            found += openai_compatible.names_in(*answer, "inferenceProfileSummaries", "inferenceProfileId")
        return found

    def _signed_get(self, url: str) -> HttpRequest:
        credentials = self._credentials()
        varying: tuple[tuple[str, str], ...] = ()
        if credentials is not None:
            varying = tuple(signed(
                "GET", url, {"content-type": "application/json"}, b"", credentials=credentials, region=self.region,
                service="bedrock", now=now_ms() / 1000,
            ).items())
        return HttpRequest("GET", url, self.headers, varying=varying)

    def encode(self, exchange: Exchange, target: Target) -> HttpRequest:
        """The request with the credential; the model stands in the URL."""
        body, url = self.body(exchange, target), self.address(exchange, target)
        varying = self.traced(exchange)
        credentials = self._credentials()
        if credentials is not None:
            varying += signed(
                "POST", url, {"content-type": "application/json"}, body, credentials=credentials, region=self.region,
                service="bedrock", now=now_ms() / 1000,
            ).items()
        return HttpRequest(method="POST", url=url, headers=self.headers, body=body, varying=tuple(varying))

    def address(self, exchange: Exchange, target: Target) -> str:
        """Where the request goes: the model's name may be an id, an inference profile's, or an ARN."""
        assert exchange.request is not None
        stream = exchange.request.stream
        if exchange.wire_endpoint == "invoke":
            action = "invoke-with-response-stream" if stream else "invoke"
        else:
            action = "converse-stream" if stream else "converse"
        return f"{self._root}/model/{_safe(target.model)}/{action}"

    def fixed_headers(self, config: openai_compatible.Address) -> dict[str, str]:
        """As for any upstream, with the types that Bedrock answers in."""
        headers = {"accept": f"application/json, {CONTENT_TYPE}"}
        own = {name.lower(): value for name, value in config.headers.items()}
        return {**super().fixed_headers(config), **headers, **own, "content-type": "application/json"}

    def _credentials(self) -> Credentials | None:
        return self._fixed if self._found is None else self._found.current

    def _note(self, exchange: Exchange, target: Target | None) -> None:
        if self._found is None or target is None or target.provider is not self:
            return
        error = exchange.error
        code = error.code if error is not None else None
        if exchange.internal.get("upstream_status") in (401, 403) and (code in _ENDS or code is None):
            self._found.forget()


def _on_demand(summary: dict[str, Any]) -> bool:
    kinds = summary.get("inferenceTypesSupported")
    return type(summary.get("modelId")) is str and (type(kinds) is not list or "ON_DEMAND" in kinds)


def _safe(model: str) -> str:
    """The model's name for a URL, as one segment."""
    if model in ("", ".", ".."):
        raise InvalidRequest("The model's name cannot stand in a URL.", param="model")
    return quote(model, safe="-_.~")
