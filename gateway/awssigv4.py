"""AWS Signature Version 4 for requests of ours: pure, without clock and credentials of its own.

Source: docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html.
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import quote, unquote, urlsplit

import msgspec

_ALGORITHM = "AWS4-HMAC-SHA256"
_UNRESERVED = "-_.~"


class Credentials(msgspec.Struct, frozen=True):
    """A key pair; `token` belongs to temporary ones, which end at `expires` (Unix seconds)."""

    access_key: str
    secret_key: str
    token: str = ""
    expires: float | None = None

    def __repr__(self) -> str:
        return f"Credentials({self.access_key[:4]}***)"


def signed(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    credentials: Credentials,
    region: str,
    service: str,
    now: float,
) -> dict[str, str]:
    """The headers to add to a request with `headers` (names in lower case, all of them signed): `authorization`,
    `x-amz-date` and, for temporary credentials, `x-amz-security-token`. `now` is Unix time in seconds."""
    moment = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    parts = urlsplit(url)
    added = {"x-amz-date": moment}
    if credentials.token:
        added["x-amz-security-token"] = credentials.token
    every = {**headers, "host": parts.netloc, **added}
    names = ";".join(sorted(every))
    canonical = "\n".join((
        method, _path(parts.path), _query(parts.query),
        *(f"{name}:{' '.join(every[name].split())}" for name in sorted(every)), "", names,
        hashlib.sha256(body).hexdigest(),
    ))
    scope = f"{moment[:8]}/{region}/{service}/aws4_request"
    text = "\n".join((_ALGORITHM, moment, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    key = _key(credentials.secret_key, moment[:8], region, service)
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    added["authorization"] = (
        f"{_ALGORITHM} Credential={credentials.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return added


@lru_cache(maxsize=64)
def _key(secret: str, day: str, region: str, service: str) -> bytes:
    """The key of a day: the same for all its requests."""
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


def _path(path: str) -> str:
    """Each segment is escaped once more than it stands in the URL, as for every service but S3."""
    return quote(path or "/", safe="/" + _UNRESERVED)


def _query(query: str) -> str:
    pairs = [part.partition("=")[::2] for part in query.split("&") if part]
    escaped = [tuple(quote(unquote(part), safe=_UNRESERVED) for part in pair) for pair in pairs]
    return "&".join(f"{name}={value}" for name, value in sorted(escaped))
