"""Access tokens of Microsoft Entra ID: of an application with a secret, of a workload's federation, of a managed
identity (App Service, virtual machines). `renewal.py` keeps what was found.

Source: learn.microsoft.com/entra/identity-platform (client credentials), …/managed-identities-azure-resources.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from gateway.clock import now_ms
from gateway.config import Timeouts
from gateway.hookspecs import HttpRequest
from gateway.upstream import Peer

if TYPE_CHECKING:
    from gateway.upstream import Upstream

RESOURCE = "https://cognitiveservices.azure.com"
_AUTHORITY = "https://login.microsoftonline.com"
_INSTANCE = "http://169.254.169.254/metadata/identity/oauth2/token"
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_FORM = (("content-type", "application/x-www-form-urlencoded"), ("accept", "application/json"))
_MAX_ANSWER = 64 * 1024
_MAX_FILE = 1024 * 1024


class Identity(msgspec.Struct, frozen=True):
    """Whose token: `secret` is an application's, `federated` a workload's whose token is in a file, `managed` the
    machine's own, or the one of its identities that `client` names."""

    kind: Literal["secret", "federated", "managed"]
    tenant: str = ""
    client: str = ""
    secret: str = ""
    file: str = ""


class _Granted(msgspec.Struct, frozen=True):
    """Some sources write numbers as text."""

    access_token: str
    expires_in: float | str | None = None
    expires_on: float | str | None = None


class _Refusal(msgspec.Struct, frozen=True):
    error: str = ""
    error_description: str = ""


def identity_of(environ: Mapping[str, str]) -> Identity:
    """The identity that Microsoft's own libraries would take: from the environment, else the machine's."""
    tenant, client = environ.get("AZURE_TENANT_ID", ""), environ.get("AZURE_CLIENT_ID", "")
    if tenant and client and (secret := environ.get("AZURE_CLIENT_SECRET")):
        return Identity("secret", tenant, client, secret)
    if tenant and client and (file := environ.get("AZURE_FEDERATED_TOKEN_FILE")):
        return Identity("federated", tenant, client, file=file)
    return Identity("managed", client=client)


class EntraTokens:
    """Asks for the tokens of one provider; `ask` is what `Renewed` wants."""

    def __init__(
        self, name: str, upstream: "Upstream", identity: Identity, environ: Mapping[str, str], *,
        resource: str = RESOURCE, ca_file: str | None = None,
    ) -> None:
        self._upstream = upstream
        self._identity = identity
        self._environ = environ
        self._resource = resource
        waits = Timeouts(connect=5.0, first_byte=10.0, idle=10.0, total=15.0)
        self._peer = Peer(name=f"{name} (Entra ID)", timeouts=waits, ca_file=ca_file)
        self._near = Peer(name=f"{name} (managed identity)", timeouts=waits, allow_private=True, metadata=True)

    async def ask(self) -> tuple[str, float | None]:
        """A token, and the seconds that it lives. Raises `ValueError` that says why there is none."""
        managed = self._identity.kind == "managed"
        request = self._managed() if managed else await self._application()
        reply = await self._upstream.send(self._near if managed else self._peer, request)
        return _granted(reply.status, await reply.body(_MAX_ANSWER))

    async def _application(self) -> HttpRequest:
        identity = self._identity
        fields = {
            "grant_type": "client_credentials", "client_id": identity.client, "scope": f"{self._resource}/.default",
        }
        if identity.kind == "secret":
            fields["client_secret"] = identity.secret
        else:
            assertion = await asyncio.to_thread(_text_of, identity.file)
            fields |= {"client_assertion_type": _ASSERTION, "client_assertion": assertion.strip()}
        root = (self._environ.get("AZURE_AUTHORITY_HOST") or _AUTHORITY).rstrip("/")
        url = f"{root}/{quote(identity.tenant, safe='')}/oauth2/v2.0/token"
        return HttpRequest("POST", url, _FORM, urlencode(fields).encode())

    def _managed(self) -> HttpRequest:
        """App Service and its like say where to ask in the environment; a virtual machine has its metadata server."""
        query = {"resource": self._resource, **({"client_id": self._identity.client} if self._identity.client else {})}
        endpoint, header = self._environ.get("IDENTITY_ENDPOINT"), self._environ.get("IDENTITY_HEADER")
        if endpoint and header:
            if urlsplit(endpoint).scheme not in ("http", "https"):
                raise ValueError("IDENTITY_ENDPOINT is no address")
            query["api-version"] = "2019-08-01"
            return HttpRequest("GET", f"{endpoint}?{urlencode(query)}", (("x-identity-header", header),))
        root = self._environ.get("AZURE_POD_IDENTITY_AUTHORITY_HOST", "").rstrip("/")
        url = f"{root}/metadata/identity/oauth2/token" if root else _INSTANCE
        query["api-version"] = "2018-02-01"
        return HttpRequest("GET", f"{url}?{urlencode(query)}", (("metadata", "true"),))


def _granted(status: int, body: bytes) -> tuple[str, float | None]:
    try:
        if status == 200:
            granted = msgspec.json.decode(body, type=_Granted)
            if granted.access_token.isascii() and granted.access_token.isprintable():
                return granted.access_token, _lives(granted)
        refusal = msgspec.json.decode(body, type=_Refusal)
    except (msgspec.DecodeError, UnicodeDecodeError):
        refusal = _Refusal()
    what = refusal.error_description.partition("\n")[0] or refusal.error or "no reason given"
    raise ValueError(f"Entra ID answered with status {status}: {what[:300]}")


def _lives(granted: _Granted) -> float:
    """Its seconds; an hour where they cannot be read."""
    try:
        if granted.expires_in is not None:
            return float(granted.expires_in)
        if granted.expires_on is not None:
            return float(granted.expires_on) - now_ms() / 1000
    except ValueError:
        pass
    return 3600.0


def _text_of(file: str) -> str:
    try:
        return Path(file).read_text("utf-8")[:_MAX_FILE]
    except (OSError, UnicodeDecodeError):
        raise ValueError("the file named by AZURE_FEDERATED_TOKEN_FILE cannot be read") from None
