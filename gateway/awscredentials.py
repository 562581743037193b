"""AWS credentials as AWS's own libraries find them: environment, profile, web identity, container, instance.

The first source that is there is taken. Files are read in a thread, the rest is asked over HTTP; `renewal.py` keeps
what was found. Signing is in `awssigv4.py`.
Source: docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html.
"""

import asyncio
import configparser
import re
from collections.abc import Mapping
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlencode, urlsplit

import msgspec

from gateway.awssigv4 import Credentials
from gateway.clock import now_ms
from gateway.config import Timeouts
from gateway.hookspecs import HttpRequest
from gateway.upstream import Peer

if TYPE_CHECKING:
    from gateway.upstream import Upstream

_MAX_ANSWER = 64 * 1024
_MAX_FILE = 1024 * 1024
_INSTANCE = "http://169.254.169.254"
_CONTAINER = "http://169.254.170.2"
_EKS = ("169.254.170.23", "fd00:ec2::23")
_ROLE_PATH = "/latest/meta-data/iam/security-credentials/"
_FORM = (("content-type", "application/x-www-form-urlencoded"), ("accept", "application/json"))
_SAFE = re.compile(r"[\w+=,.@/-]{1,256}", re.ASCII)
_REGION = re.compile(r"[a-z0-9-]{1,40}")
T = TypeVar("T")


class _Given(msgspec.Struct, frozen=True):
    """What the metadata servers answer."""

    AccessKeyId: str
    SecretAccessKey: str
    Token: str = ""
    Expiration: datetime | None = None


class _Assumed(msgspec.Struct, frozen=True):
    AccessKeyId: str
    SecretAccessKey: str
    SessionToken: str
    Expiration: float


class _Result(msgspec.Struct, frozen=True):
    Credentials: _Assumed


class _Response(msgspec.Struct, frozen=True):
    AssumeRoleWithWebIdentityResult: _Result


class _Answer(msgspec.Struct, frozen=True):
    AssumeRoleWithWebIdentityResponse: _Response


class Chain:
    """Finds the credentials of one provider; `ask` is what `Renewed` wants. With a `profile` only that is asked."""

    def __init__(
        self, name: str, upstream: "Upstream", environ: Mapping[str, str], *, region: str, profile: str = "",
        ca_file: str | None = None,
    ) -> None:
        self._name = name
        self._upstream = upstream
        self._environ = environ
        self._region = region
        self._profile = profile or environ.get("AWS_PROFILE", "")
        self._named = bool(profile)
        waits = Timeouts(connect=5.0, first_byte=10.0, idle=10.0, total=15.0)
        short = Timeouts(connect=2.0, first_byte=5.0, idle=5.0, total=8.0)
        self._peer = Peer(name=f"{name} (AWS token service)", timeouts=waits, ca_file=ca_file)
        self._near = Peer(name=f"{name} (metadata server)", timeouts=short, allow_private=True, metadata=True)

    async def ask(self) -> tuple[Credentials, float | None]:
        """Credentials, and the seconds that they live. Raises `ValueError` that says where was looked."""
        environ = self._environ
        key, secret = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
        if key and secret and not self._named:
            return Credentials(key, secret, environ.get("AWS_SESSION_TOKEN", "")), None
        section = await asyncio.to_thread(profile_of, environ, self._profile or "default")
        if self._named and not section:
            raise ValueError(f"there is no profile {self._profile[:64]!r} in the AWS files")
        role, token_file = environ.get("AWS_ROLE_ARN"), environ.get("AWS_WEB_IDENTITY_TOKEN_FILE")
        if not self._named and role and token_file:
            return await self._web_identity(role, token_file, environ.get("AWS_ROLE_SESSION_NAME", ""))
        if section.get("role_arn") and section.get("web_identity_token_file"):
            return await self._web_identity(
                section["role_arn"], section["web_identity_token_file"], section.get("role_session_name", "")
            )
        if section.get("aws_access_key_id") and section.get("aws_secret_access_key"):
            found = Credentials(
                section["aws_access_key_id"], section["aws_secret_access_key"], section.get("aws_session_token", "")
            )
            return found, 900.0 if found.token else None  # a tool may renew temporary ones in the file
        if section.keys() & {"role_arn", "sso_session", "sso_start_url", "credential_process"}:
            raise ValueError("the profile assumes a role, uses SSO or runs a program, which the gateway does not do")
        if environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") or environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI"):
            return await self._container()
        if environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
            raise ValueError("none in the environment, the profile files or a container, and IMDS is switched off")
        return await self._instance()

    async def _web_identity(self, role: str, file: str, session: str) -> tuple[Credentials, float | None]:
        """A role for the token that Kubernetes (or another issuer) keeps in a file."""
        token = await asyncio.to_thread(_text_of, file, "AWS_WEB_IDENTITY_TOKEN_FILE")
        fields = {
            "Action": "AssumeRoleWithWebIdentity", "Version": "2011-06-15", "RoleArn": role,
            "RoleSessionName": session or f"ai-gateway-{now_ms() // 1000}", "WebIdentityToken": token.strip(),
        }
        end = self._environ.get("AWS_ENDPOINT_URL_STS", "").rstrip("/")
        host = "amazonaws.com.cn" if self._region.startswith("cn-") else "amazonaws.com"
        url = end or f"https://sts.{self._region}.{host}"
        request = HttpRequest("POST", f"{url}/", _FORM, urlencode(fields).encode())
        given = _decoded(await self._sent(self._peer, request, "the token service"), _Answer, "the token service")
        found = given.AssumeRoleWithWebIdentityResponse.AssumeRoleWithWebIdentityResult.Credentials
        lives = found.Expiration - now_ms() / 1000
        return Credentials(found.AccessKeyId, found.SecretAccessKey, found.SessionToken, found.Expiration), lives

    async def _container(self) -> tuple[Credentials, float | None]:
        """The agent beside a container: ECS, or EKS pod identity."""
        environ = self._environ
        relative = environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
        url = f"{_CONTAINER}{relative}" if relative else environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
        if not relative:
            _check_near(url)
        token = environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")
        if file := environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"):
            token = (await asyncio.to_thread(_text_of, file, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")).strip()
        headers = (("accept", "application/json"), *((("authorization", token),) if token else ()))
        body = await self._sent(self._near, HttpRequest("GET", url, headers), "the container's agent")
        return _given(body, "the container's agent")

    async def _instance(self) -> tuple[Credentials, float | None]:
        """The instance's metadata, version 2: with a token of its own."""
        root = self._environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "").rstrip("/") or _INSTANCE
        what = "the instance's metadata"
        asked = HttpRequest("PUT", f"{root}/latest/api/token", (("x-aws-ec2-metadata-token-ttl-seconds", "300"),))
        token = (await self._sent(self._near, asked, what)).decode("ascii", "replace").strip()
        headers = (("x-aws-ec2-metadata-token", token),)
        roles = await self._sent(self._near, HttpRequest("GET", f"{root}{_ROLE_PATH}", headers), what)
        role = roles.decode("ascii", "replace").split("\n")[0].strip()
        if _SAFE.fullmatch(role) is None:
            raise ValueError("the instance has no role")
        body = await self._sent(self._near, HttpRequest("GET", f"{root}{_ROLE_PATH}{role}", headers), what)
        return _given(body, what)

    async def _sent(self, peer: Peer, request: HttpRequest, what: str) -> bytes:
        reply = await self._upstream.send(peer, request)
        body = await reply.body(_MAX_ANSWER)
        if reply.status != 200:
            raise ValueError(f"{what} answered with status {reply.status}")
        return body


def profile_of(environ: Mapping[str, str], name: str) -> dict[str, str]:
    """What the shared files say of a profile; keys stand in the credentials file first. Reads files."""
    home = Path(environ.get("HOME", "/")) / ".aws"
    found: dict[str, str] = {}
    config = environ.get("AWS_CONFIG_FILE") or str(home / "config")
    credentials = environ.get("AWS_SHARED_CREDENTIALS_FILE") or str(home / "credentials")
    for file, section in ((config, name if name == "default" else f"profile {name}"), (credentials, name)):
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read_string(Path(file).expanduser().read_text("utf-8")[:_MAX_FILE])
        except (OSError, UnicodeDecodeError):
            continue
        except configparser.Error:
            raise ValueError("one of the AWS files is not in the form of an INI file") from None
        if parser.has_section(section):
            found.update(parser.items(section))
    return found


def region_of(environ: Mapping[str, str], profile: str = "") -> str:
    """The region that AWS's own libraries would take; empty where none is named. Reads files."""
    named = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or ""
    if not named or profile:
        named = profile_of(environ, profile or environ.get("AWS_PROFILE") or "default").get("region", "") or named
    return named if _REGION.fullmatch(named) else ""


def _check_near(url: str) -> None:
    """The full address of an agent must be on this machine, or encrypted: a credential comes from there."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https" or host in _EKS or host == "localhost":
        return
    try:
        if ip_address(host).is_loopback:
            return
    except ValueError:
        pass
    raise ValueError("AWS_CONTAINER_CREDENTIALS_FULL_URI must be https, or an address of this machine")


def _text_of(file: str, what: str) -> str:
    try:
        return Path(file).read_text("utf-8")[:_MAX_FILE]
    except (OSError, UnicodeDecodeError):
        raise ValueError(f"the file named by {what} cannot be read") from None


def _given(body: bytes, what: str) -> tuple[Credentials, float | None]:
    given = _decoded(body, _Given, what)
    ends = given.Expiration.timestamp() if given.Expiration is not None else None
    found = Credentials(given.AccessKeyId, given.SecretAccessKey, given.Token, ends)
    return found, None if ends is None else ends - now_ms() / 1000


def _decoded(body: bytes, kind: type[T], what: str) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ValueError(f"{what} answered with something that holds no credentials") from None
