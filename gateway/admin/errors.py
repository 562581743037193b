"""The errors of the admin API as its clients read them. Which errors there are is in `gateway/errors.py`."""

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from gateway.errors import GatewayError, InvalidFields

# On every answer: nothing of this API belongs into a cache, and none of it is a page.
REPLY_HEADERS: Mapping[str, str] = MappingProxyType({"cache-control": "no-store", "x-content-type-options": "nosniff"})


class FieldError(msgspec.Struct, frozen=True):
    """One wrong field: `path` as in `limits.models[0]`, empty for the whole."""

    path: str
    message: str


class ErrorBody(msgspec.Struct, frozen=True):
    """Every error of this API: `detail` is for people, `type` for programs, `request_id` finds it in the log."""

    detail: str
    type: str
    errors: tuple[FieldError, ...]
    request_id: str


def error_reply(error: GatewayError, request_id: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an error."""
    headers = {"content-type": "application/json", **REPLY_HEADERS, **error.headers}
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, -int(-error.retry_after // 1)))
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    fields = error.fields if isinstance(error, InvalidFields) else ()
    if not fields and error.param:
        fields = ((error.param, error.message),)
    body = ErrorBody(
        error.message, error.code or error.type, tuple(FieldError(path, text) for path, text in fields), request_id
    )
    return error.status, headers, msgspec.json.encode(body)

