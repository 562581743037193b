"""Provider for Azure OpenAI, with deployments and an API version, or in the newer form without them.

    providers:
      - name: azure
        use: provider.azure_openai
        when: ${AZURE_OPENAI_API_KEY:-}
        with: {base_url: "https://my-resource.openai.azure.com", api_key: "${AZURE_OPENAI_API_KEY:-}"}

A target's name is a deployment's. Without `api_key` tokens of Entra ID are sent: of an application, of a workload's
federation, or of the machine's managed identity; they are renewed ahead of their end.
"""

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import msgspec
from msgspec import Meta

from gateway import Exchange, HttpRequest, InvalidRequest, ObjectCall, Secret, Target, hookimpl
from gateway.catalogue import Send
from gateway.entra import RESOURCE, EntraTokens, Identity, identity_of
from gateway.renewal import Renewed
from gateway_plugins.providers import openai_compatible

if TYPE_CHECKING:
    from gateway import Gateway

_VERSION = re.compile(r"[0-9A-Za-z.-]{1,40}")
_TENANT = re.compile(r"[0-9A-Za-z.-]{1,128}")

_DEPLOYMENTS = "2022-12-01"


class Options(openai_compatible.Options, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The resource, and whose credential."""

    base_url: Annotated[str, Meta(description="The resource's address, without a path.")]
    api_key: Annotated[Secret | None, Meta(description="A key of the resource, sent as api-key.")] = None
    api_version: Annotated[
        str, Meta(description="Such as `2024-10-21`: deployments stand in the URL. Without it: the form /openai/v1.")
    ] = ""
    tenant_id: Annotated[str, Meta(description="Entra ID's tenant, with client_id and client_secret.")] = ""
    client_id: Annotated[str, Meta(description="An application's id; alone, one of the machine's identities.")] = ""
    client_secret: Annotated[Secret | None, Meta(description="The application's secret.")] = None
    token_resource: Annotated[str, Meta(description="Whom tokens are for, in other clouds.")] = RESOURCE
    price_book: str | None = "azure"
    takes: tuple[str, ...] = ("developer",)


class AzureOpenAI(openai_compatible.OpenAICompatible):
    """One resource of Azure OpenAI."""

    Config = Options
    name = "azure_openai"
    kinds = ("files", "uploads", "batches", "fine_tuning", "vector_stores")
    config: Options

    def __init__(self, config: Options) -> None:
        if config.api_version and _VERSION.fullmatch(config.api_version) is None:
            raise ValueError("api_version may have letters, digits, dots and hyphens only")
        if config.client_secret and not (config.client_id and _TENANT.fullmatch(config.tenant_id)):
            raise ValueError("client_secret needs tenant_id and client_id")
        if config.api_key and (config.client_id or config.tenant_id):
            raise ValueError("give api_key, or what a token of Entra ID needs, not both")
        self._tokens: Renewed[str] | None = None
        root = config.base_url.rstrip("/").removesuffix("/v1").removesuffix("/openai")
        super().__init__(msgspec.structs.replace(config, base_url=root))

    @hookimpl
    async def startup(self, gateway: "Gateway") -> None:
        """Get ready to ask for tokens; the first request asks for the first one."""
        config = self.config
        if config.api_key is None:
            source = EntraTokens(
                self.name, gateway.upstream, self._identity(), os.environ,
                resource=config.token_resource.rstrip("/"), ca_file=config.ca_file,
            )
            self._tokens = Renewed(self.name, "Entra ID token", source.ask)

    @hookimpl
    async def shutdown(self, gateway: "Gateway") -> None:  # noqa: ARG002
        """End a renewal that runs."""
        if self._tokens is not None:
            await self._tokens.close()

    @hookimpl
    async def before_attempt(self, exchange: Exchange, target: Target) -> None:  # noqa: ARG002
        """See that there is a valid token."""
        if target.provider is self and self._tokens is not None:
            await self._tokens.get()

    @hookimpl
    async def after_attempt(self, exchange: Exchange, target: Target) -> None:
        """A token that was refused is not used again."""
        self._note(exchange, target)

    @hookimpl
    async def on_usage(self, exchange: Exchange) -> None:
        """The same for the last attempt."""
        self._note(exchange, exchange.target)

    def secrets(self) -> Sequence[str]:
        """Credentials that must never show in a text to a client."""
        secret = self.config.client_secret
        token = self._tokens.current if self._tokens is not None else None
        return [*super().secrets(), *([secret.reveal()] if secret else []), *([token] if token else [])]

    async def list_models(self, send: Send) -> Sequence[str]:
        """The names of the deployments that are ready; only an older version of the API tells them."""
        headers = self.headers
        if self._tokens is not None:
            headers = (*headers, ("authorization", f"Bearer {await self._tokens.get()}"))
        url = f"{self.config.base_url}/openai/deployments?api-version={_DEPLOYMENTS}"
        return openai_compatible.names_in(*await send(HttpRequest("GET", url, headers)))

    def encode(self, exchange: Exchange, target: Target) -> HttpRequest:
        """The request with the credential, at the deployment's address."""
        varying = self.traced(exchange)
        if self._tokens is not None:
            varying.append(("authorization", f"Bearer {self._tokens.current}"))
        return self.request(exchange, target, self._address(exchange, target), self.headers, varying)

    def call(self, exchange: Exchange, call: ObjectCall) -> HttpRequest:
        """A request about what is kept here: beside the deployments, not under one."""
        varying = self.traced(exchange)
        if self._tokens is not None:
            varying.append(("authorization", f"Bearer {self._tokens.current}"))
        root, version = self.config.base_url, self.config.api_version
        if not version:
            return self.object_call(exchange, call, f"{root}/openai/v1", varying)
        query = f"{call.query}&api-version={version}" if call.query else f"api-version={version}"
        return self.object_call(exchange, msgspec.structs.replace(call, query=query), f"{root}/openai", varying)

    def fixed_headers(self, config: openai_compatible.Address) -> dict[str, str]:
        """As for any upstream, with the key in Azure's header."""
        headers = super().fixed_headers(msgspec.structs.replace(config, api_key=None))
        return {**({"api-key": config.api_key.reveal()} if config.api_key else {}), **headers}

    def _address(self, exchange: Exchange, target: Target) -> str:
        root, path = self.config.base_url, self.paths[exchange.wire_endpoint]
        if not self.config.api_version:
            return f"{root}/openai/v1{path}"
        if target.model in ("", ".", ".."):
            raise InvalidRequest("The model's name cannot stand in a URL.", param="model")
        deployment = quote(target.model, safe="-_.~")
        return f"{root}/openai/deployments/{deployment}{path}?api-version={self.config.api_version}"

    def _identity(self) -> Identity:
        config = self.config
        if config.client_secret:
            return Identity("secret", config.tenant_id, config.client_id, config.client_secret.reveal())
        found = identity_of(os.environ)
        return Identity("managed", client=config.client_id) if config.client_id else found

    def _note(self, exchange: Exchange, target: Target | None) -> None:
        if self._tokens is None or target is None or target.provider is not self:
            return
        if exchange.internal.get("upstream_status") == 401:
            self._tokens.forget()
