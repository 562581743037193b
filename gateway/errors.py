"""The error tree: everything that a request can end with instead of an answer.

GatewayError
├── InvalidRequest          400  the caller's bytes or fields are wrong
│   ├── NotCarried          400  a field that the target's dialect has no place for
│   ├── UnknownModel        404  no such model, or not for this key
│   ├── UnknownRoute        404  no such path or method
│   ├── NotFound            404  no such object, or not for this caller
│   ├── Conflict            409  it exists already, or something depends on it
│   ├── Stale               412  it was changed since the caller read it (`If-Match`)
│   ├── TooLarge            413  body over the limit
│   ├── InvalidFields       422  well-formed, but single fields are wrong: `fields` names them
│   └── UnsupportedMedia    415  compressed or not JSON
├── Unauthenticated         401  no credential, or a wrong, expired, revoked one
├── Forbidden               403  a right credential without this right
├── RateLimited             429  a request, token or concurrency limit
├── QuotaExceeded           429  a cost limit (never worth a retry)
├── ContentBlocked          400  a guardrail refused
├── Unavailable             503  the gateway itself cannot serve now
├── InternalError           500  a defect of ours; the text says nothing else
└── UpstreamError           502  the target failed; `retryable` says whether another may be tried
    ├── UpstreamRefused     any  the target answered with an error status, kept with its body
    ├── UpstreamUnreachable 502  no connection
    ├── UpstreamTimeout     504  connected, but silent for too long
    └── UpstreamCut         502  the answer ended in the middle, or is no HTTP

Each dialect renders these in its own envelope. `message` is written for the caller and never holds
a credential, a URL or a traceback.
"""

from collections.abc import Mapping
from typing import ClassVar


class GatewayError(Exception):
    """An end of a request with an HTTP `status`, a machine-readable `code` and a text for a person."""

    status: int = 500
    type: str = "server_error"
    code: str | None = None

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.code
        self.param = param
        self.retry_after = retry_after
        self.headers: Mapping[str, str] = headers or {}
        self.details: Mapping[str, str] = {}  # what else a program may want to know, beside the code


class InvalidRequest(GatewayError):
    """The caller's request cannot be understood."""

    status = 400
    type = "invalid_request_error"


class NotCarried(InvalidRequest):
    """The target's dialect has no place for a field of the request, and the model's `on_lossy` is `refuse`."""

    code = "unsupported_parameter"


class UnknownModel(InvalidRequest):
    """The model name leads nowhere, or this key may not use it."""

    status = 404
    code = "model_not_found"


class UnknownRoute(InvalidRequest):
    """No route has this path, or not with this method."""

    status = 404
    code = "not_found"


class NotFound(InvalidRequest):
    """There is no such object; one of another tenant is none either."""

    status = 404
    code = "not_found"


class Conflict(InvalidRequest):
    """The value is taken, or the object cannot be changed or removed as things are."""

    status = 409
    code = "conflict"


class Stale(InvalidRequest):
    """The object was changed since the version that the caller named."""

    status = 412
    code = "stale"


class InvalidFields(InvalidRequest):
    """Single fields are wrong: `fields` are pairs of a path such as `name` or `limits.models[0]` and a text."""

    status = 422
    code = "invalid_fields"

    def __init__(self, *fields: tuple[str, str]) -> None:
        super().__init__("; ".join(f"{path}: {text}" if path else text for path, text in fields))
        self.fields = fields


class TooLarge(InvalidRequest):
    """The body is larger than `server.max_body_bytes`."""

    status = 413
    code = "request_too_large"


class UnsupportedMedia(InvalidRequest):
    """The body is compressed, or no JSON."""

    status = 415
    code = "unsupported_media_type"


class Unauthenticated(GatewayError):
    """No credential, or one that is wrong, expired, disabled or revoked."""

    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"


class Forbidden(GatewayError):
    """The credential is right, the right is missing."""

    status = 403
    type = "permission_error"
    code = "permission_denied"


class RateLimited(GatewayError):
    """A limit on requests, tokens or concurrency is reached; `retry_after` says when it frees."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"


class QuotaExceeded(GatewayError):
    """A cost limit is reached. `instead` is a cheaper model that the budget names for this case."""

    instead: str = ""
    status = 429
    type = "insufficient_quota"
    code = "insufficient_quota"


class ContentBlocked(GatewayError):
    """A guardrail refused the text; the message never repeats what matched."""

    status = 400
    type = "invalid_request_error"
    code = "content_policy_violation"

    def __init__(self, message: str, *, guardrail: str = "", category: str = "") -> None:
        super().__init__(message)
        self.details = {"guardrail": guardrail, "category": category} if guardrail else {}


class Unavailable(GatewayError):
    """The gateway cannot serve now: draining, overloaded, or its ledger cannot be written."""

    status = 503
    type = "server_error"
    code = "unavailable"


class InternalError(GatewayError):
    """A defect in the gateway or a plugin; the log has the details under the request id."""

    status = 500
    type = "server_error"
    code = "internal_error"


class SlowReader(GatewayError):
    """The client took no byte of its answer for `write_timeout`: only recorded, nobody is there to read it."""

    status = 499
    type = "invalid_request_error"
    code = "write_timeout"


class UpstreamError(GatewayError):
    """A target failed. `retryable` is true when another target may be tried."""

    status = 502
    type = "server_error"
    code = "upstream_error"
    retryable: bool = True
    outcome: ClassVar[str] = "upstream_error"


class UpstreamRefused(UpstreamError):
    """The target answered with an error status. `status` is the upstream's, `body` its bytes, at most 64 KiB.

    `kind` is the error's class in the words of `codec.Kind`, where a translated target's format told it.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        body: bytes = b"",
        content_type: str = "",
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
        kind: str = "",
    ) -> None:
        super().__init__(message, code=code, param=param, retry_after=retry_after, headers=headers)
        self.status = status
        self.type = _type_of(status)
        self.body = body
        self.content_type = content_type
        self.kind = kind
        self.retryable = status in (401, 403, 404, 408, 409, 425, 429) or status >= 500 or kind in _ELSEWHERE


class UpstreamUnreachable(UpstreamError):
    """No connection: name not resolved, refused, TLS failed, connect deadline passed, or address not allowed."""

    code = "upstream_unreachable"


class UpstreamTimeout(UpstreamError):
    """The target was silent for longer than a deadline allows."""

    status = 504
    code = "upstream_timeout"
    outcome = "upstream_timeout"


class UpstreamCut(UpstreamError):
    """The answer ended early, or is not HTTP."""

    code = "upstream_cut"
    outcome = "upstream_cut"


# What another target may do better, whatever status says it here: some answer 400 to a wrong credential of ours.
_ELSEWHERE = frozenset({"authentication", "permission", "not_found", "rate_limit", "quota", "overloaded", "timeout"})


def _type_of(status: int) -> str:
    """OpenAI's error type for an upstream's status."""
    if status >= 500:
        return "server_error"
    return {429: "rate_limit_error", 403: "permission_error"}.get(status, "invalid_request_error")
