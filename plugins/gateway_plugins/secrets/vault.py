"""Secrets from HashiCorp Vault or OpenBao, key-value engine version 2.

    plugins:
      - use: secret.vault
        with: {url: "https://vault.example.com:8200", token: "${VAULT_TOKEN}"}
    providers:
      - {name: openai, use: provider.openai, with: {api_key: "${vault:ai/openai#api_key}"}}

A reference is the path inside `mount`, `#`, and the field. Source: Vault's HTTP API documentation (KV version 2,
AppRole, Kubernetes, token).
"""

import http.client
import ssl
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import Meta

from gateway import NoSecret, Secret
from gateway.secrets import scrub

_TIMEOUT: Final = 5.0
_PAUSES: Final = (0.3, 1.0)  # seconds before the second and the third try
_MOST: Final = 1 << 20
_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_JWT: Final = "/var/run/secrets/kubernetes.io/serviceaccount/token"


class AppRole(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Sign in as a machine with a role."""

    role_id: Secret
    secret_id: Secret
    mount: str = "approle"


class Kubernetes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Sign in with the pod's service account."""

    role: str
    token_file: str = _JWT
    mount: str = "kubernetes"


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where Vault is, and who asks: one of `token`, `approle` and `kubernetes`."""

    url: Annotated[str, Meta(description="https://; plain http only on this machine (Vault Agent).")]
    token: Annotated[Secret | None, Meta(description="`${file:…}` for the file that Vault Agent keeps.")] = None
    approle: AppRole | None = None
    kubernetes: Kubernetes | None = None
    mount: Annotated[str, Meta(min_length=1, description="Where the key-value engine is mounted.")] = "secret"
    namespace: str = ""
    refresh: Annotated[float, Meta(ge=0, description="Seconds until it is asked again; 0 is only at reloads.")] = 300.0
    ca_file: Annotated[str | None, Meta(description="PEM file with the authority to trust.")] = None


class _Refused(Exception):
    """Vault did not give what was asked; the text says why. `absent`: there is no such thing."""

    def __init__(self, text: str, *, absent: bool = False) -> None:
        super().__init__(text)
        self.absent = absent


class Vault:
    """Reads all that a file refers to, with one token, each path once."""

    Config = Options

    def __init__(self, config: Options) -> None:
        parts = urlsplit(config.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
            raise ValueError("url must be Vault's address, such as https://vault.example.com:8200")
        if parts.scheme == "http" and parts.hostname not in _LOCAL:
            raise ValueError("url must be https://: the token and all secrets would travel in the clear")
        if sum(each is not None for each in (config.token, config.approle, config.kubernetes)) != 1:
            raise ValueError("give one of token, approle and kubernetes")
        if config.token is not None and not _printable(config.token.reveal()):
            raise ValueError("token must be printable ASCII, without line breaks, and not empty")
        self.refresh = config.refresh
        self._config = config
        self._host, self._port, self._tls = parts.hostname, parts.port, parts.scheme == "https"
        self._base = parts.path.rstrip("/") + "/v1/"

    def read(self, names: Sequence[str]) -> Mapping[str, str | NoSecret]:
        """See `SecretSource.read`."""
        found: dict[str, str | NoSecret] = {}
        documents: dict[str, Mapping[str, Any] | _Refused] = {}
        try:
            token = self._signed_in()
        except _Refused as error:
            return dict.fromkeys(names, NoSecret(str(error)))
        for name in names:
            path, _, field = name.rpartition("#")
            path = path.strip("/")
            if path and path not in documents:
                documents[path] = self._document(path, token)
            found[name] = _field(documents.get(path), f"{self._config.mount}/{path}", field)
        self._done(token)
        return found

    def _signed_in(self) -> str:
        config = self._config
        if config.token is not None:
            return config.token.reveal()
        if config.approle is not None:
            mount = config.approle.mount
            body = {"role_id": config.approle.role_id.reveal(), "secret_id": config.approle.secret_id.reveal()}
        else:
            assert config.kubernetes is not None
            mount = config.kubernetes.mount
            body = {"role": config.kubernetes.role, "jwt": _content(config.kubernetes.token_file)}
        told = self._call("POST", f"auth/{_quoted(mount)}/login", body=body, doing=f"sign in at auth/{mount}")
        auth = told.get("auth")
        token = auth.get("client_token") if isinstance(auth, dict) else None
        if not isinstance(token, str) or not _printable(token):
            raise _Refused(f"Vault at {self._config.url} gave no token at auth/{mount}")
        return token

    def _done(self, token: str) -> None:
        """A token that was given for this is given back; one that is ours is kept alive. Neither must succeed."""
        what = "renew-self" if self._config.token is not None else "revoke-self"
        try:
            self._once("POST", f"auth/token/{what}", token, {} if what == "renew-self" else None)
        except (OSError, http.client.HTTPException):
            return  # it ends by itself; the next reading says so, if it matters

    def _document(self, path: str, token: str) -> "Mapping[str, Any] | _Refused":
        mount = self._config.mount.strip("/")
        try:
            told = self._call("GET", f"{_quoted(mount)}/data/{_quoted(path)}", token, doing=f"read {mount}/data/{path}")
        except _Refused as error:
            return error
        outer = told.get("data")
        fields = outer.get("data") if isinstance(outer, dict) else None
        if not isinstance(fields, dict):
            return _Refused(f"Vault's answer for {mount}/data/{path} is not of a key-value engine of version 2")
        return fields

    def _call(
        self, method: str, path: str, token: str = "", *, doing: str, body: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """The JSON answer, after some tries. Raises `_Refused`."""
        for pause in (*_PAUSES, None):
            try:
                status, raw = self._once(method, path, token, body)
            except (OSError, http.client.HTTPException) as error:
                reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
                failure = _Refused(f"Vault at {self._config.url} cannot be reached: {reason}")
            else:
                if status == 200:
                    return _object(raw)
                failure = _failure(status, raw, doing, self._config.url)
                if status < 500 and status not in (412, 429):
                    break
            if pause is not None:
                time.sleep(pause)
        raise failure

    def _once(self, method: str, path: str, token: str, body: Mapping[str, str] | None) -> tuple[int, bytes]:
        connection = self._connection()
        headers = {"accept": "application/json", "x-vault-request": "true", "user-agent": "ai-gateway"}
        headers |= {"x-vault-token": token} if token else {}
        headers |= {"x-vault-namespace": self._config.namespace} if self._config.namespace else {}
        data = None if body is None else msgspec.json.encode(body)
        if data is not None:
            headers["content-type"] = "application/json"
        try:
            connection.request(method, self._base + path, body=data, headers=headers)
            reply = connection.getresponse()
            return reply.status, reply.read(_MOST)
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if not self._tls:
            return http.client.HTTPConnection(self._host or "", self._port, timeout=_TIMEOUT)
        context = ssl.create_default_context(cafile=self._config.ca_file)
        return http.client.HTTPSConnection(self._host or "", self._port, timeout=_TIMEOUT, context=context)


def _field(document: "Mapping[str, Any] | _Refused | None", where: str, field: str) -> str | NoSecret:
    if document is None or not field:
        return NoSecret("a secret of Vault is written ${vault:path#field}")
    if isinstance(document, _Refused):
        return NoSecret(str(document), absent=document.absent)
    value = document.get(field)
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if value is None:
        names = ", ".join(sorted(document)[:20]) or "none"
        return NoSecret(f"the secret {where} in Vault has no field `{field}`; its fields: {names}", absent=True)
    return NoSecret(f"the field `{field}` of {where} in Vault is no text")


def _failure(status: int, raw: bytes, doing: str, url: str) -> _Refused:
    told = _object(raw)
    said = told.get("errors")
    text = "; ".join(" ".join(str(each).split()) for each in said) if isinstance(said, list) else ""
    text = scrub(text[:300].encode(errors="replace")).decode(errors="replace")
    if status == 403:
        why = "The token is invalid or has expired, or its policy does not allow it"
        return _Refused(f"Vault at {url} does not let us {doing}: {text or 'permission denied'}. {why}")
    if status == 404:
        outer = told.get("data")
        about = outer.get("metadata") if isinstance(outer, dict) else None
        gone = " (its latest version was deleted)" if about else ""
        return _Refused(f"cannot {doing} in Vault at {url}: there is no such secret{gone}", absent=True)
    if status in (307, 308):
        text = "this node is a standby that redirects: name the active node or the load balancer in `url`"
    return _Refused(f"cannot {doing} in Vault at {url}: status {status}{': ' if text else ''}{text}")


def _object(raw: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}


def _content(file: str) -> str:
    try:
        return Path(file).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _Refused(f"cannot read {file}: {getattr(error, 'strerror', None) or 'it is no text'}") from None


def _quoted(path: str) -> str:
    return quote(path.strip("/"), safe="/-._~")


def _printable(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable()
