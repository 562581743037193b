"""What an error in Anthropic's format says, and the gateway's own errors in it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from gateway import sse
from gateway.codec import Failure, Kind, status_of
from gateway.dialects.anthropic_usage import written
from gateway.dialects.openai_failure import failure_of as failure_elsewhere
from gateway.dialects.openai_failure import retry_after
from gateway.errors import ContentBlocked, GatewayError, InvalidRequest, QuotaExceeded, UpstreamRefused
from gateway.events import Usage
from gateway.jsonbody import read_lenient

_KINDS: Mapping[str, Kind] = MappingProxyType({
    "invalid_request_error": "invalid_request", "authentication_error": "authentication", "billing_error": "quota",
    "permission_error": "permission", "not_found_error": "not_found", "request_too_large": "too_large",
    "rate_limit_error": "rate_limit", "timeout_error": "timeout", "overloaded_error": "overloaded",
    "api_error": "server",
})
_TYPES: Mapping[Kind, str] = MappingProxyType({
    "invalid_request": "invalid_request_error", "context_length": "invalid_request_error",
    "content_filter": "invalid_request_error", "authentication": "authentication_error",
    "permission": "permission_error", "not_found": "not_found_error", "too_large": "request_too_large",
    "rate_limit": "rate_limit_error", "quota": "billing_error", "overloaded": "overloaded_error",
    "timeout": "timeout_error", "server": "api_error",
})
_BY_STATUS: Mapping[int, str] = MappingProxyType({
    400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error",
    404: "not_found_error", 413: "request_too_large", 429: "rate_limit_error", 503: "overloaded_error",
    504: "timeout_error", 529: "overloaded_error",
})
_STATUS: Mapping[Kind, int] = MappingProxyType({
    "rate_limit": 429, "overloaded": 529, "timeout": 504, "invalid_request": 400, "authentication": 401,
    "permission": 403, "not_found": 404, "too_large": 413, "quota": 402, "server": 500,
})
_LENGTH = ("prompt is too long", "context window", "context limit", "maximum context")


def failure_of(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """What an error reply says. Never raises."""
    tree = read_lenient(body)
    error = tree.get("error") if type(tree) is dict else None
    if type(error) is not dict or type(error.get("type")) is not str or error["type"] not in _KINDS:
        return failure_elsewhere(status, headers, body)
    message = error.get("message")
    told = message[:1000] if type(message) is str else ""
    return Failure(_kind(error["type"], told), told, error["type"], None, retry_after(headers))


def in_stream(error: Any) -> UpstreamRefused:  # noqa: ANN401 - whatever stands for `error` in the event
    """The error that Anthropic sends into a stream."""
    error = error if type(error) is dict else {}
    message, name = error.get("message"), error.get("type")
    told = message[:1000] if type(message) is str else ""
    kind = _kind(name, told) if type(name) is str else "server"
    code = name if type(name) is str else "upstream_error"
    return UpstreamRefused(
        status_of(kind, _STATUS.get(kind, 400)), told or "The provider ended the stream with an error.",
        code=code[:64], kind=kind,
    )


def _kind(name: str, message: str) -> Kind:
    kind = _KINDS.get(name, "server")
    said = message.lower()
    if kind == "invalid_request" and any(words in said for words in _LENGTH):
        return "context_length"
    return "quota" if kind == "invalid_request" and "credit balance" in said else kind


def type_of(error: GatewayError) -> str:
    """Anthropic's word for an error of the gateway or of a translated target."""
    if isinstance(error, UpstreamRefused) and error.kind in _TYPES:
        return _TYPES[error.kind]  # type: ignore[index]
    if isinstance(error, QuotaExceeded):
        return "billing_error"
    if error.status == 503 and error.code == "shutting_down":
        return "overloaded_error"
    known = _BY_STATUS.get(error.status)
    return known or ("api_error" if error.status >= 500 else "invalid_request_error")


def envelope(error: GatewayError, request_id: str) -> bytes:
    """`{"type": "error", "error": {"type", "message"}, "request_id"}`."""
    message = error.message
    if isinstance(error, InvalidRequest) and error.param and f"`{error.param}`" not in message:  # as its own have it
        message = f"{error.param.replace('[', '.').replace(']', '')}: {message}"
    told = {"type": type_of(error), "message": message}
    if isinstance(error, ContentBlocked):
        told |= {"code": error.code, **error.details}
    return msgspec.json.encode({"type": "error", "error": told, "request_id": request_id})


def stopped(error: GatewayError, request_id: str, usage: Usage | None, sent: bytes) -> bytes:
    """The events that end a message which a guardrail stopped; empty where none has begun.

    `sent` is the last event that the client got: it tells which block is open.
    """
    last = read_lenient(sse.data(sent) or b"")
    if type(last) is not dict or last.get("type") == "message_stop":
        return b""
    events: list[dict[str, Any]] = []
    if last.get("type") in ("content_block_start", "content_block_delta"):
        events.append({"type": "content_block_stop", "index": last.get("index", 0)})
    if last.get("type") != "message_delta":
        why = {"type": "refusal", "category": None, "explanation": error.message}
        delta = {"stop_reason": "refusal", "stop_sequence": None, "stop_details": why}
        told = {"code": error.code, "message": error.message, "request_id": request_id, **error.details}
        events.append({"type": "message_delta", "delta": delta, "usage": written(usage or Usage()), "gateway": told})
    events.append({"type": "message_stop"})
    return b"".join([sse.write(msgspec.json.encode(event), event["type"].encode()) for event in events])
