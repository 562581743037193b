"""What all OpenAI dialects share: errors, rate-limit headers, checks of common fields, finding and changing texts.

Source: platform.openai.com/docs/api-reference (errors, rate limits), and the `x-ratelimit-*` durations of real replies.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from gateway import sse
from gateway.errors import GatewayError, InvalidRequest
from gateway.exchange import Request
from gateway.hookspecs import RateStanding

Change = Callable[[str, str], str]
MAX_MODEL_NAME = 256


class OpenAIDialect:
    """The part of a dialect that its endpoints have in common."""

    name = "openai"

    def error(self, error: GatewayError, request_id: str) -> bytes:
        """`{"error": {"message", "type", "param", "code"}}`, and the request id beside it."""
        return msgspec.json.encode(_envelope(error, request_id))

    def error_event(self, error: GatewayError, request_id: str) -> bytes:
        """The same envelope as a record without an event name, which is what OpenAI's clients raise on."""
        return sse.write(self.error(error, request_id))

    def rate_headers(self, standings: Sequence[RateStanding]) -> dict[str, str]:
        """`x-ratelimit-{limit,remaining,reset}-{requests,tokens}`; resets as durations (`1s`, `6m0s`)."""
        headers = {}
        for standing in standings:
            headers[f"x-ratelimit-limit-{standing.unit}"] = str(standing.limit)
            headers[f"x-ratelimit-remaining-{standing.unit}"] = str(standing.remaining)
            headers[f"x-ratelimit-reset-{standing.unit}"] = duration(standing.reset)
        return headers


def duration(seconds: float) -> str:
    """A span as OpenAI writes it: `0s`, `250ms`, `8.64s`, `1m0.198s`, `14m24s`."""
    millis = max(0, round(seconds * 1000))
    if 0 < millis < 1000:
        return f"{millis}ms"
    minutes, rest = divmod(millis, 60_000)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    return f"{minutes}m{text}" if minutes else text


def common(raw: bytes, body: dict[str, Any], *, caps: tuple[str, ...] = ()) -> Request:
    """The request with the fields that every endpoint has; `caps` are the names of the output cap, best first."""
    model = body.get("model")
    if not isinstance(model, str) or not model or len(model) > MAX_MODEL_NAME:
        raise InvalidRequest("`model` must be a non-empty string of at most 256 characters.", param="model")
    stream = expect(body, "stream", bool) or False
    options = expect(body, "stream_options", dict) or {}
    cap = next((value for name in caps if (value := expect(body, name, int)) is not None), None)
    choices = expect(body, "n", int)
    return Request(
        raw=raw, body=body, model=model, stream=stream, include_usage=stream and options.get("include_usage") is True,
        max_output=cap if cap is None else max(0, cap), choices=1 if choices is None else min(max(1, choices), 128),
    )


_KINDS = {bool: "a boolean", int: "an integer", dict: "an object", list: "an array", str: "a string"}


def expect(body: dict[str, Any], name: str, kind: type) -> Any:
    """The field if it is there and not null. Raises `InvalidRequest` for another type."""
    value = body.get(name)
    if value is not None and type(value) is not kind:
        raise InvalidRequest(f"`{name}` must be {_KINDS[kind]}.", param=name)
    return value


def with_body(request: Request, body: dict[str, Any]) -> Request:
    """The request with another body, written anew; the same object when nothing changed."""
    if body is request.body:
        return request
    return msgspec.structs.replace(request, raw=msgspec.json.encode(body), body=body)


def _envelope(error: GatewayError, request_id: str) -> dict[str, Any]:
    return {
        "error": {"message": error.message, "type": error.type, "param": error.param, "code": error.code},
        "request_id": request_id,
    }
