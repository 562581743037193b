"""Google's access tokens: from a service account, a person's refresh token, or the metadata server of a machine.

A token is kept, renewed ahead of its end in the background, and asked for once however many requests wait for it. What
blocks (files, signing) runs in a thread. Which requests carry the token is the business of who asks.
Sources: developers.google.com/identity/protocols/oauth2/service-account (RFC 7523); cloud.google.com.
"""

import asyncio
import os
import time
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import msgspec
import structlog

from gateway.clock import now_ms
from gateway.config import Timeouts
from gateway.errors import GatewayError, UpstreamError
from gateway.hookspecs import HttpRequest
from gateway.tasks import Tasks
from gateway.upstream import Peer

if TYPE_CHECKING:
    from gateway.upstream import Upstream

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
_METADATA = "metadata.google.internal"
_METADATA_PATH = "/computeMetadata/v1/instance/service-accounts/default/token"
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_WELL_KNOWN = "application_default_credentials.json"
_AHEAD = 300.0      # seconds before its end that a token is renewed
_LEAST = 30.0       # seconds that a token must still live to be used
_PAUSE = 2.0        # seconds between two tries after a failure
_MAX_ANSWER = 64 * 1024
_FORM = (("content-type", "application/x-www-form-urlencoded"), ("accept", "application/json"))
_log = structlog.get_logger("gateway.googleauth")


class Account(msgspec.Struct, frozen=True):
    """A credentials file of Google's: a service account's key, or a person's refresh token."""

    type: str
    token_uri: str = _TOKEN_URI
    client_email: str = ""
    private_key: str = ""
    private_key_id: str = ""
    client_id: str = ""
    client_secret: str = ""
    refresh_token: str = ""

    @property
    def secrets(self) -> tuple[str, ...]:
        """What of it must never be shown."""
        return tuple(value for value in (self.private_key, self.client_secret, self.refresh_token) if value)


class _Granted(msgspec.Struct, frozen=True):
    access_token: str
    expires_in: float = 3600.0


class _Refusal(msgspec.Struct, frozen=True):
    error: str = ""
    error_description: str = ""


def account_of(text: str) -> Account:
    """The account in a credentials file's text. Raises `ValueError` that says what is wrong, never what it holds."""
    try:
        account = msgspec.json.decode(text, type=Account)
    except msgspec.DecodeError:
        raise ValueError("the Google credentials are not the JSON text of a credentials file") from None
    if account.type == "service_account" and account.client_email and account.private_key:
        return account
    if account.type == "authorized_user" and account.refresh_token and account.client_id:
        return account
    if account.type in ("service_account", "authorized_user"):
        raise ValueError(f"the Google credentials of type {account.type} lack a field")
    raise ValueError(f"Google credentials of type {account.type[:40]!r} are not supported: use a service account")


def default_account(environ: "os._Environ[str] | dict[str, str]") -> Account | None:
    """The account that Google's own libraries would find in a file; `None`: ask the metadata server.

    Reads files: run it in a thread. Raises `ValueError` for a file that is named but wrong.
    """
    named = environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    if named:
        try:
            return account_of(Path(named).read_text("utf-8"))
        except (OSError, UnicodeDecodeError):
            raise ValueError("the file named by GOOGLE_APPLICATION_CREDENTIALS cannot be read") from None
    home = environ.get("CLOUDSDK_CONFIG") or str(Path(environ.get("HOME", "/")) / ".config" / "gcloud")
    try:
        return account_of((Path(home) / _WELL_KNOWN).read_text("utf-8"))
    except (OSError, UnicodeDecodeError):
        return None


class GoogleTokens:
    """The access token of one provider. `account` is `None` where Google's default credentials are meant."""

    def __init__(
        self, name: str, upstream: "Upstream", account: Account | None, *, ca_file: str | None = None,
        environ: "os._Environ[str] | dict[str, str] | None" = None,
    ) -> None:
        self._name = name
        self._upstream = upstream
        self._account = account
        self._looked = account is not None
        self._environ = os.environ if environ is None else environ
        self._token = ""
        self._until = 0.0
        self._failed_until = 0.0
        self._failure: GatewayError | None = None
        self._asking: asyncio.Task[None] | None = None
        self._tasks = Tasks()
        waits = Timeouts(connect=5.0, first_byte=10.0, idle=10.0, total=15.0)
        self._peer = Peer(name=f"{name} (Google token)", timeouts=waits, ca_file=ca_file)
        self._metadata_peer = Peer(name=f"{name} (metadata server)", timeouts=waits, allow_private=True, metadata=True)

    @property
    def current(self) -> str:
        """The token as it is, for scrubbing; "" before the first."""
        return self._token

    @property
    def secrets(self) -> tuple[str, ...]:
        """All that must never be shown."""
        own = self._account.secrets if self._account is not None else ()
        return (*own, self._token) if self._token else own

    async def token(self) -> str:
        """A token that is valid now. Raises `UpstreamError` where Google gives none."""
        left = self._until - time.monotonic()
        if left > _LEAST:
            if left < _AHEAD and time.monotonic() >= self._failed_until:
                self._ask()
            return self._token
        if time.monotonic() < self._failed_until and self._failure is not None:
            raise self._failure
        await asyncio.wait((self._ask(),))  # a request that goes away does not end it for the others
        if self._until - time.monotonic() <= 0:
            raise self._failure or self._error("gave none")
        return self._token

    def forget(self) -> None:
        """The token was refused: ask for another one the next time."""
        self._until = 0.0

    async def close(self) -> None:
        """End what runs."""
        await self._tasks.close()

    def _ask(self) -> "asyncio.Task[None]":
        if self._asking is None:
            self._asking = self._tasks.spawn(self._renew(), f"Google token of {self._name}")
        return self._asking

    async def _renew(self) -> None:
        began = time.monotonic()
        try:
            request, peer = await self._request()
            reply = await self._upstream.send(peer, request)
            body = await reply.body(_MAX_ANSWER)
            granted = self._granted(reply.status, body)
        except GatewayError as error:
            self._failed(error if isinstance(error, UpstreamError) else self._error(error.message))
        except ValueError as error:
            self._failed(self._error(str(error)))
        else:
            self._token, self._failure = granted.access_token, None
            self._until = began + max(0.0, min(granted.expires_in, 86_400.0))
        finally:
            self._asking = None

    def _failed(self, error: GatewayError) -> None:
        self._failure, self._failed_until = error, time.monotonic() + _PAUSE
        _log.warning("no Google access token", provider=self._name, reason=error.message)

    async def _request(self) -> tuple[HttpRequest, Peer]:
        if not self._looked:
            self._account = await asyncio.to_thread(default_account, self._environ)
            self._looked = True
        account = self._account
        if account is None:
            host = self._environ.get("GCE_METADATA_HOST") or _METADATA
            flavor = (("metadata-flavor", "Google"),)
            return HttpRequest("GET", f"http://{host}{_METADATA_PATH}", flavor), self._metadata_peer
        if account.type == "service_account":
            assertion = await asyncio.to_thread(signed, account, now_ms() // 1000)
            fields = {"grant_type": _GRANT, "assertion": assertion}
        else:
            fields = {
                "grant_type": "refresh_token", "refresh_token": account.refresh_token,
                "client_id": account.client_id, "client_secret": account.client_secret,
            }
        return HttpRequest("POST", account.token_uri, _FORM, urlencode(fields).encode()), self._peer

    def _granted(self, status: int, body: bytes) -> _Granted:
        try:
            if status == 200:
                granted = msgspec.json.decode(body, type=_Granted)
                if granted.access_token.isascii() and granted.access_token.isprintable():
                    return granted
            refusal = msgspec.json.decode(body, type=_Refusal)
        except (msgspec.DecodeError, UnicodeDecodeError):
            refusal = _Refusal()
        what = refusal.error_description or refusal.error or "no reason given"
        raise self._error(f"answered with status {status}: {what[:300]}")

    def _error(self, what: str) -> UpstreamError:
        return UpstreamError(
            f"The provider {self._name} has no Google access token: {what}", code="upstream_credentials"
        )


def signed(account: Account, now: int, scope: str = SCOPE) -> str:
    """The assertion with which a service account asks for a token. Takes a millisecond: run it in a thread."""
    # Only those who sign pay for the import.
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(account.private_key.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("the service account's private key cannot be read") from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("the service account's private key is no RSA key")  # noqa: TRY004 - the file is wrong
    head: dict[str, str] = {"alg": "RS256", "typ": "JWT"}
    if account.private_key_id:
        head["kid"] = account.private_key_id
    claims = {"iss": account.client_email, "scope": scope, "aud": account.token_uri, "iat": now, "exp": now + 3600}
    said = _base64(msgspec.json.encode(head)) + b"." + _base64(msgspec.json.encode(claims))
    signature = key.sign(said, padding.PKCS1v15(), hashes.SHA256())
    return (said + b"." + _base64(signature)).decode()


def _base64(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")
