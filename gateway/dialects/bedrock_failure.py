"""What an error of Bedrock's says, in a reply or in a stream, and the gateway's own errors in its form.

The class stands in the header `x-amzn-errortype`, cut at the first colon; the body is `{"message": …}` alone. Wrong
credentials are 403 there. In a stream an error is a frame of the type `exception`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from gateway import eventstream
from gateway.codec import Failure, Kind, status_of
from gateway.dialects.openai_failure import failure_of as failure_elsewhere
from gateway.dialects.openai_failure import retry_after
from gateway.errors import GatewayError, InvalidRequest, QuotaExceeded, UpstreamCut, UpstreamRefused, UpstreamTimeout
from gateway.eventstream import Frame
from gateway.jsonbody import read_lenient

_KINDS: Mapping[str, Kind] = MappingProxyType({
    "ValidationException": "invalid_request", "BadRequestException": "invalid_request",
    "SerializationException": "invalid_request", "ConflictException": "invalid_request",
    "AccessDeniedException": "permission", "ForbiddenException": "permission",
    "UnrecognizedClientException": "authentication", "ExpiredTokenException": "authentication",
    "InvalidSignatureException": "authentication", "IncompleteSignatureException": "authentication",
    "IncompleteSignature": "authentication", "MissingAuthenticationTokenException": "authentication",
    "MissingAuthenticationToken": "authentication", "InvalidClientTokenId": "authentication",
    "InvalidTokenException": "authentication", "SignatureDoesNotMatch": "authentication",
    "UnauthorizedException": "authentication", "NotAuthorized": "permission",
    "ResourceNotFoundException": "not_found", "ModelNotFoundException": "not_found",
    "UnknownOperationException": "not_found", "RequestEntityTooLargeException": "too_large",
    "ThrottlingException": "rate_limit", "TooManyRequestsException": "rate_limit", "Throttling": "rate_limit",
    "ServiceQuotaExceededException": "quota", "ModelNotReadyException": "overloaded",
    "ModelTimeoutException": "timeout", "RequestTimeoutException": "timeout",
    "ModelErrorException": "server", "ModelStreamErrorException": "server", "InternalServerException": "server",
    "InternalFailure": "server", "ServiceUnavailableException": "overloaded", "ServiceUnavailable": "overloaded",
})
# What clients of the dialect get: the exception's name, and its status (0: the error's own).
_NAMES: Mapping[Kind, tuple[str, int]] = MappingProxyType({
    "invalid_request": ("ValidationException", 0), "context_length": ("ValidationException", 400),
    "content_filter": ("ValidationException", 400), "authentication": ("UnrecognizedClientException", 403),
    "permission": ("AccessDeniedException", 403), "not_found": ("ResourceNotFoundException", 404),
    "too_large": ("ValidationException", 413), "rate_limit": ("ThrottlingException", 429),
    "quota": ("ServiceQuotaExceededException", 400), "overloaded": ("ServiceUnavailableException", 503),
    "timeout": ("ModelTimeoutException", 408), "server": ("InternalServerException", 0),
})
_BY_STATUS: Mapping[int, Kind] = MappingProxyType({
    401: "authentication", 403: "permission", 404: "not_found", 408: "timeout", 413: "too_large", 429: "rate_limit",
    503: "overloaded", 504: "timeout", 529: "overloaded",
})
_STATUS: Mapping[Kind, int] = MappingProxyType({"rate_limit": 429, "overloaded": 503, "timeout": 504, "server": 500})
# The only ones that a stream of this API can hold.
_IN_STREAM: Mapping[str, str] = MappingProxyType({
    "ThrottlingException": "throttlingException", "ServiceUnavailableException": "serviceUnavailableException",
    "InternalServerException": "internalServerException", "ModelTimeoutException": "modelStreamErrorException",
})
_LENGTH = (
    "input is too long", "prompt is too long", "too many input tokens", "maximum context", "context window",
    "context length", "exceeds the maximum number of input tokens", "exceeds maximum length",
    "maximum tokens you requested exceeds",
)


def failure_of(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """What an error reply says. Never raises."""
    tree = read_lenient(body)
    told = tree if type(tree) is dict else {}
    name = _name(headers.get("x-amzn-errortype") or told.get("__type") or told.get("code"))
    message = told.get("message") or told.get("Message") or ""
    if not name and type(told.get("error")) is dict:  # another format behind the same address
        return failure_elsewhere(status, headers, body)
    message = message[:1000] if type(message) is str else ""
    known = _BY_STATUS.get(status, "server" if status >= 500 else "invalid_request")
    return Failure(_kind(name, message, known), message, name[:64] or None, None, retry_after(headers))


def in_stream(frame: Frame) -> UpstreamRefused | None:
    """The error that a frame holds, if it does."""
    sort = frame.headers.get(":message-type", "event")
    if sort == "event":
        return None
    tree = read_lenient(frame.payload)
    told = tree if type(tree) is dict else {}
    name = _name(frame.headers.get(":exception-type") or frame.headers.get(":error-code"))
    name = name[:1].upper() + name[1:]
    message = told.get("message") or frame.headers.get(":error-message") or ""
    message = message[:1000] if type(message) is str else ""
    kind = _kind(name, message, "server")
    return UpstreamRefused(
        status_of(kind, _STATUS.get(kind, 400)), message or "The provider ended the stream with an error.",
        code=name[:64] or "upstream_error", kind=kind,
    )


def _name(told: Any) -> str:  # noqa: ANN401 - whatever stands for the class
    return told.partition(":")[0].rpartition("#")[2].strip() if type(told) is str else ""


def _kind(name: str, message: str, known: Kind) -> Kind:
    kind = _KINDS.get(name, known)
    if kind == "invalid_request" and any(words in message.lower() for words in _LENGTH):
        return "context_length"
    return kind


def exception_of(error: GatewayError) -> tuple[str, int]:
    """The exception and the status of an error of the gateway, or of a translated target."""
    kind: Kind
    if isinstance(error, UpstreamRefused) and error.kind in _NAMES:
        kind = error.kind  # type: ignore[assignment]
    elif isinstance(error, QuotaExceeded):
        kind = "quota"
    elif isinstance(error, UpstreamTimeout):
        kind = "timeout"
    else:
        kind = _BY_STATUS.get(error.status, "server" if error.status >= 500 else "invalid_request")
    name, status = _NAMES[kind]
    return name, status or error.status


def envelope(error: GatewayError) -> bytes:
    """`{"message": …}`, with the field before it where one is wrong."""
    message = error.message
    if isinstance(error, InvalidRequest) and error.param and f"`{error.param}`" not in message:
        message = f"{error.param}: {message}"
    return msgspec.json.encode({"message": message})


def frame_of(error: GatewayError) -> bytes:
    """The frame that ends a stream with an error, as botocore raises on it."""
    name, _ = exception_of(error)
    cut = isinstance(error, UpstreamCut)
    kind = "modelStreamErrorException" if cut else _IN_STREAM.get(name, "validationException")
    return eventstream.exception(kind, envelope(error))
