"""Gemini's errors: what one says, and how the gateway's own are put for clients of the format.

Sources: google.rpc.Status and its details; recorded answers. A wrong API key is status 400 there, no key 403, and a
rate limit tells its delay in the body (`RetryInfo`).
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.codec import Failure, Kind
from gateway.errors import GatewayError, UpstreamRefused
from gateway.jsonbody import read_lenient

Json = dict[str, Any]

_BY_STATUS: dict[int, Kind] = {
    401: "authentication", 403: "permission", 404: "not_found", 408: "timeout", 413: "too_large", 429: "rate_limit",
    503: "overloaded", 504: "timeout",
}
_NAMES = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    405: "UNIMPLEMENTED", 408: "DEADLINE_EXCEEDED", 409: "ABORTED", 413: "INVALID_ARGUMENT", 415: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED", 499: "CANCELLED", 500: "INTERNAL", 501: "UNIMPLEMENTED",
    502: "UNAVAILABLE", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED", 529: "UNAVAILABLE",
}
_DELAY = re.compile(r"([0-9]{1,7}(?:\.[0-9]{1,9})?)s")
_TYPE = "type.googleapis.com/google.rpc."


def failure(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """What an error reply says."""
    error = error_in(read_lenient(body)) or {}
    message = error.get("message")
    message = message if type(message) is str else ""
    details = error.get("details")
    details = [item for item in details if type(item) is dict] if type(details) is list else []
    name = error.get("status")
    return Failure(
        kind=_kind(status, message, details), message=message[:2000],
        code=name[:64] if type(name) is str else None, retry_after=_delay(headers, details),
    )


def error_in(tree: object) -> Json | None:
    """The `error` object of a reply or chunk; endpoints that stream an array put it into one."""
    if type(tree) is list and tree:
        tree = tree[0]
    error = tree.get("error") if type(tree) is dict else None
    return error if type(error) is dict else None


def status_of(error: Json) -> int:
    """The HTTP status that an error in a stream stands for."""
    code = error.get("code")
    return code if type(code) is int and 400 <= code < 600 else 500


def envelope(error: GatewayError) -> bytes:
    """`{"error": {"code", "message", "status", "details"}}` for a client."""
    made: Json = {"code": error.status, "message": error.message, "status": _NAMES.get(error.status, "UNKNOWN")}
    details: list[Json] = []
    reason = (error.kind if isinstance(error, UpstreamRefused) else "") or error.code or ""
    if reason and not reason.isdigit():
        about = {"metadata": dict(error.details)} if error.details else {}
        details.append({"@type": _TYPE + "ErrorInfo", "reason": reason.upper(), "domain": "ai-gateway", **about})
    if error.param:
        violation = {"field": error.param, "description": error.message}
        details.append({"@type": _TYPE + "BadRequest", "fieldViolations": [violation]})
    if error.retry_after is not None:
        details.append({"@type": _TYPE + "RetryInfo", "retryDelay": f"{max(0.0, error.retry_after):.3f}s"})
    if details:
        made["details"] = details
    return msgspec.json.encode({"error": made})


def _kind(status: int, message: str, details: list[Json]) -> Kind:
    reasons = {item.get("reason") for item in details if type(item.get("reason")) is str}
    if reasons & {"API_KEY_INVALID", "CREDENTIALS_MISSING", "ACCESS_TOKEN_EXPIRED"} or "API key not valid" in message:
        return "authentication"
    if status == 403 and "unregistered callers" in message:
        return "authentication"
    if status == 429 and any("PerDay" in quota for quota in _quotas(details)):
        return "quota"
    if status == 400:
        if "token count" in message and "exceeds" in message:
            return "context_length"
        if "payload size exceeds" in message:
            return "too_large"
        return "permission" if "location is not supported" in message else "invalid_request"
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return "server" if status >= 500 else "invalid_request"


def _quotas(details: list[Json]) -> list[str]:
    """The ids of the quotas that were used up."""
    violations: list[Any] = []
    for item in details:
        found = item.get("violations")
        violations.extend(found if type(found) is list else ())
    ids = [violation.get("quotaId") for violation in violations if type(violation) is dict]
    return [quota for quota in ids if type(quota) is str]


def _delay(headers: Mapping[str, str], details: list[Json]) -> float | None:
    for item in details:
        delay = item.get("retryDelay")
        if type(delay) is str and (match := _DELAY.fullmatch(delay)):
            return float(match[1])
    header = headers.get("retry-after", "")
    return float(header) if header.isascii() and header.isdigit() and len(header) < 8 else None
