"""What an upstream's error status becomes: an error of the tree, with the upstream's words but without credentials.

When another target may do better is decided in `pipeline.py`; what a dialect's errors mean, in `dialects/`.
"""

from typing import Any, Final

from gateway.codec import status_of
from gateway.errors import GatewayError, UpstreamCut, UpstreamError, UpstreamRefused
from gateway.exchange import Exchange, Target
from gateway.hookspecs import Dialect
from gateway.httprequest import header_safe
from gateway.jsonbody import read_object
from gateway.secrets import scrub
from gateway.upstream import UpstreamReply

MAX_ERROR_BODY: Final = 64 * 1024
_KEPT: Final = ("retry-after", "retry-after-ms", "x-should-retry")


async def refused(exchange: Exchange, upstream: UpstreamReply, target: Target) -> UpstreamError:
    """The error for an upstream's error status: its status, text and Retry-After, without credentials."""
    try:
        body = await upstream.body(MAX_ERROR_BODY)
    except UpstreamError:
        body = b""
    if upstream.status < 400:
        return UpstreamCut(f"The provider {target.provider.name} answered with status {upstream.status}, not a reply.")
    known = target.provider.secrets()
    body = scrub(body, *known)
    headers = {name: value for name in _KEPT if (value := upstream.headers.get(name)) is not None}
    plain = f"The provider {target.provider.name} answered with status {upstream.status}."
    if exchange.bridge is not None:
        told = exchange.bridge.failure(upstream.status, upstream.headers, body)
        return UpstreamRefused(
            status_of(told.kind, upstream.status), told.message or plain, code=told.code, param=told.param,
            retry_after=told.retry_after, headers=headers, kind=told.kind,
        )
    if (errortype := upstream.headers.get("x-amzn-errortype")) is not None:  # the class, which the body does not say
        headers["x-amzn-errortype"] = header_safe(errortype)
    message, code = _message_of(body)
    return UpstreamRefused(
        upstream.status, message or plain,
        body=body, content_type=upstream.headers.get("content-type", ""), code=code, headers=headers,
    )


def rendered(dialect: Dialect, error: GatewayError, request_id: str) -> tuple[int, dict[str, str], bytes]:
    """An error outside of an exchange, as status, headers and body of the dialect's own."""
    status, own = dialect.head(error)
    headers = {"content-type": "application/json", **error.headers, **own}
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, -int(-error.retry_after // 1)))
    return status, headers, dialect.error(error, request_id)


def _message_of(body: bytes) -> tuple[str, str | None]:
    """The text and code in an error body of any shape, cut to 1,000 characters; empty where there is none."""
    try:
        found = read_object(body)
    except GatewayError:
        return "", None
    error: Any = found.get("error", found)
    if isinstance(error, str):
        return error[:1000], None
    if not isinstance(error, dict):
        return "", None
    message = error.get("message") or error.get("detail") or ""
    code = error.get("code")
    return str(message)[:1000], None if code is None else str(code)[:64]
