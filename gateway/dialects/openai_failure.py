"""What an error in OpenAI's format, or in one of the many shapes of servers that speak its API, says."""

from collections.abc import Mapping
from typing import Any

from gateway.codec import Failure, Kind, status_of
from gateway.errors import UpstreamRefused
from gateway.jsonbody import UNREADABLE, read_lenient

_BY_STATUS: Mapping[int, Kind] = {
    400: "invalid_request", 401: "authentication", 402: "quota", 403: "permission", 404: "not_found", 408: "timeout",
    413: "too_large", 422: "invalid_request", 429: "rate_limit", 503: "overloaded", 504: "timeout", 529: "overloaded",
}
_BY_WORD: tuple[tuple[str, Kind], ...] = (
    ("context_length", "context_length"), ("context length", "context_length"), ("insufficient_quota", "quota"),
    ("billing", "quota"), ("content_filter", "content_filter"), ("content_policy", "content_filter"),
    ("invalid_api_key", "authentication"), ("authentication", "authentication"), ("permission", "permission"),
    ("model_not_found", "not_found"), ("rate_limit", "rate_limit"), ("overloaded", "overloaded"),
    ("timeout", "timeout"), ("server_error", "server"), ("api_error", "server"),
)


def failure_of(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """What an error reply says. Never raises."""
    tree = read_lenient(body)
    error = _error(tree if tree is not UNREADABLE else None)
    return Failure(
        kind_of(status, error), message_of(error), _code(error), _word(error.get("param")),
        retry_after(headers),
    )


def in_stream(error: Any) -> UpstreamRefused:  # noqa: ANN401 - whatever stands for `error` in a record
    """The error that a provider sends into a stream with status 200."""
    told = _error({"error": error})
    status = next((s for name in ("status_code", "code", "status") if (s := _status(told.get(name)))), 500)
    kind = kind_of(status, told)
    return UpstreamRefused(
        status_of(kind, status), message_of(told) or "The provider ended the stream with an error.",
        code=_word(told.get("code")) or _word(told.get("type")) or "upstream_error", kind=kind,
    )


def kind_of(status: int, error: Mapping[str, Any]) -> Kind:
    """The class of an error, by what it says and else by its status."""
    said = " ".join(str(error.get(name) or "")[:200] for name in ("code", "type")).lower()
    if status in (400, 413, 422):
        said += " " + str(error.get("message") or "")[:500].lower().replace("maximum context", "context_length")
    known = _BY_STATUS.get(status, "server" if status >= 500 else "invalid_request")
    for word, kind in _BY_WORD:
        if word in said and (kind not in ("authentication", "permission", "timeout") or status >= 500 or status == 400):
            return kind
    return known


def message_of(error: Mapping[str, Any]) -> str:
    """Its text, cut to 1,000 characters."""
    message = error.get("message") or error.get("detail") or ""
    return message[:1000] if type(message) is str else ""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds to wait, where the headers tell them as a number."""
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            seconds = float(headers.get(name, "")) / unit
        except ValueError:
            continue
        if 0 <= seconds < 1e6:
            return seconds
    return None


def _error(tree: Any) -> Mapping[str, Any]:  # noqa: ANN401
    if type(tree) is not dict:
        return {}
    error = tree.get("error", tree)
    if type(error) is dict:
        return error
    return {**tree, "message": error} if type(error) is str else tree


def _code(error: Mapping[str, Any]) -> str | None:
    """Its code; where that only repeats the status in digits, as at Azure, the type."""
    code = _word(error.get("code"))
    return _word(error.get("type")) if code is not None and code.isdigit() else code


def _word(value: Any) -> str | None:  # noqa: ANN401
    return str(value)[:64] if value is not None and type(value) in (str, int) else None


def _status(value: Any) -> int:  # noqa: ANN401
    number = int(value) if type(value) is int or (type(value) is str and value.isdigit() and len(value) == 3) else 0
    return number if 400 <= number < 600 else 0
