"""What all OpenAI dialects share: errors, rate-limit headers, checks of common fields, and texts on their way.

Where texts stand in the JSON is in `openai_texts.py`, what a stream's record says in `openai_chunks.py`.

Source: platform.openai.com/docs/api-reference (errors, rate limits), and the `x-ratelimit-*` durations of real replies.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from types import MappingProxyType
from typing import Any

import msgspec

from gateway import sse
from gateway.dialects.openai_chunks import events_of, record_of
from gateway.dialects.openai_tap import StreamTap
from gateway.dialects.openai_texts import Spot, forget_tokens, read_by_model, said_anywhere, said_in_choice
from gateway.dialects.openai_usage import reported
from gateway.errors import GatewayError, InvalidRequest, UpstreamCut, UpstreamRefused
from gateway.events import Event, Usage
from gateway.exchange import Request
from gateway.framing import SSE
from gateway.hookspecs import RateStanding
from gateway.jsonbody import UNREADABLE, read_lenient, read_object

Change = Callable[[str, str], str]
MAX_MODEL_NAME = 256
NO_PARAMS: Mapping[str, str] = MappingProxyType({})


class OpenAIDialect:
    """The part of a dialect that its endpoints have in common."""

    name = "openai"
    framing = SSE
    generates = True
    id_header = "x-request-id"
    cap_field = "max_completion_tokens"

    def changes(self, request: Request, model: str, cap: int | None) -> dict[str, Any]:
        """The model's name, `stream_options.include_usage` in a stream (so that usage is always known), the cap."""
        changes: dict[str, Any] = {}
        if request.model != model:
            changes["model"] = model
        if request.stream and not request.include_usage:
            changes["stream_options"] = {**(request.body.get("stream_options") or {}), "include_usage": True}
        if cap is not None:
            changes[self.cap_field] = cap
        return changes

    def tap(self, request: Request, *, whole: bool, scrub: Callable[[bytes], bytes]) -> StreamTap:
        """For one stream."""
        return StreamTap(strip_usage=not request.include_usage, whole=whole, scrub=scrub)

    def reported(self, body: bytes) -> Usage | None:
        """The usage of an unstreamed reply."""
        return reported(body)

    def counted(self, tokens: int) -> bytes | None:  # noqa: ARG002
        """No endpoint only counts."""
        return None

    def texts(self, request: Request) -> list[str]:
        """All text that the model would read: of every role, in tools and their parameters, in predictions."""
        return [spot.text for spot in _read(request.body)]

    def map_texts(self, request: Request, change: Change) -> Request:
        """The request with each such text replaced by `change(text, part)`; `part` as in `Text`, or `tools`."""
        changes = [(number, new) for number, spot in enumerate(_read(request.body)) if (new := _changed(spot, change))]
        if not changes:
            return request
        body = deepcopy(request.body)
        spots = _read(body)
        for number, new in changes:
            spots[number].put(new[0])
        return msgspec.structs.replace(request, raw=msgspec.json.encode(body), body=body)

    def map_reply_texts(self, body: bytes, change: Change) -> bytes:
        """An unstreamed reply with each text replaced; the same bytes when nothing changed."""
        reply = [read_lenient(body)]
        if reply[0] is UNREADABLE:
            raise UpstreamCut("The upstream answered with something that is not valid JSON.")
        try:
            return msgspec.json.encode(reply[0]) if _map_reply(reply, change) else body
        except RecursionError:
            raise UpstreamCut("The upstream answered with JSON that is nested too deeply.") from None

    def events(self, record: bytes) -> list[Event]:
        """What one record of a stream says."""
        return events_of(record)

    def encode(self, event: Event) -> bytes:
        """A changed event as a record of its own, made from the record it came in."""
        return record_of(event)

    def head(self, error: GatewayError) -> tuple[int, Mapping[str, str]]:
        """The error's own status."""
        return error.status, {}

    def is_error(self, body: bytes) -> bool:
        """Whether there is an `error` with a `message`."""
        try:
            error = read_object(body).get("error")
        except GatewayError:
            return False
        return isinstance(error, dict) and "message" in error

    def error(self, error: GatewayError, request_id: str) -> bytes:
        """`{"error": {"message", "type", "param", "code"}}`, and the request id beside it."""
        return msgspec.json.encode(envelope(error, request_id))

    def error_event(self, error: GatewayError, request_id: str) -> bytes:
        """The same envelope as a record without an event name, which is what OpenAI's clients raise on."""
        return sse.write(self.error(error, request_id))

    def stopped(
        self, error: GatewayError, request_id: str, record: bytes, choices: Sequence[int], usage: Usage | None,
        *, sent: bytes = b"",  # noqa: ARG002
    ) -> bytes:
        """The end of a stream that a guardrail stopped: `finish_reason: content_filter`, usage, and `[DONE]`.

        `record` is the last that was read: ids and names are those of its stream. `sent` is the last that has left.
        """
        chunk = read_lenient(sse.data(record) or b"")
        known = chunk if type(chunk) is dict else {}
        head = {name: known[name] for name in ("id", "object", "created", "model") if name in known}
        said: dict[str, Any] = {"text": ""} if head.get("object") == "text_completion" else {"delta": {}}
        end = [{"index": index, **said, "finish_reason": "content_filter"} for index in choices]
        told = {"code": error.code, "message": error.message, "request_id": request_id, **error.details}
        records = [{**head, "choices": end, "gateway": told}]
        if usage is not None:
            counts = {"prompt_tokens": usage.input, "completion_tokens": usage.output}
            records.append({**head, "choices": [], "usage": {**counts, "total_tokens": usage.input + usage.output}})
        return b"".join([*(sse.write(msgspec.json.encode(each)) for each in records), sse.DONE])

    def rate_headers(self, standings: Sequence[RateStanding]) -> dict[str, str]:
        """`x-ratelimit-{limit,remaining,reset}-{requests,tokens}`; resets as durations (`1s`, `6m0s`)."""
        headers = {}
        for standing in standings:
            limit, remaining, reset = _RATE_HEADERS.get(standing.unit) or rate_names(standing.unit)
            headers[limit] = str(standing.limit)
            headers[remaining] = str(standing.remaining)
            headers[reset] = duration(standing.reset)
        return headers


def rate_names(unit: str) -> tuple[str, str, str]:
    """The names of the headers that say how a limit stands."""
    return f"x-ratelimit-limit-{unit}", f"x-ratelimit-remaining-{unit}", f"x-ratelimit-reset-{unit}"


_RATE_HEADERS = MappingProxyType({unit: rate_names(unit) for unit in ("requests", "tokens")})


def duration(seconds: float) -> str:
    """A span as OpenAI writes it: `0s`, `250ms`, `8.64s`, `1m0.198s`, `14m24s`."""
    millis = round(seconds * 1000)
    if millis >= 60_000:
        minutes, millis = divmod(millis, 60_000)
        return f"{minutes}m{millis / 1000:g}s"
    if millis >= 1000:
        return f"{millis / 1000:g}s"
    return f"{millis}ms" if millis > 0 else "0s"


def common(raw: bytes, body: dict[str, Any], *, caps: tuple[str, ...] = ()) -> Request:
    """The request with the fields that every endpoint has. `caps` are the names of the output cap: where several are
    given the largest counts, since upstreams differ in which one they read."""
    model = body.get("model")
    if not isinstance(model, str) or not model or len(model) > MAX_MODEL_NAME:
        raise InvalidRequest("`model` must be a non-empty string of at most 256 characters.", param="model")
    for name, value in body.items():
        if name in _TYPES and value is not None and type(value) not in _TYPES[name]:
            raise InvalidRequest(f"`{name}` must be {_named(_TYPES[name])}.", param=name)
    stream = body.get("stream") is True
    options = body.get("stream_options")
    most: int | None = None
    least = 0 if body.get("echo") is True else 1  # to some servers 0 means no bound at all
    for name in caps:
        if name in body and (cap := _at_least(body, name, least)) is not None:
            most = cap if most is None else max(most, cap)
    choices = (_at_least(body, "n", 1) or 1) if "n" in body else 1
    if choices > _MOST_CHOICES:
        raise InvalidRequest(f"`n` must be at most {_MOST_CHOICES}.", param="n")
    return Request(
        raw, body, model, stream, options is not None and expect(options, "include_usage", bool) is True and stream,
        most, choices,
    )


_KINDS = {
    bool: "a boolean", int: "an integer", float: "a number", dict: "an object", list: "an array", str: "a string",
}
_MOST_CHOICES = 128  # OpenAI's own limit
_NUMBER = (int, float)
# Fields whose types no server of this API disputes; everything else is the upstream's to judge.
_TYPES: dict[str, tuple[type, ...]] = {
    "stream": (bool,), "stream_options": (dict,), "temperature": _NUMBER, "top_p": _NUMBER, "presence_penalty": _NUMBER,
    "frequency_penalty": _NUMBER, "stop": (str, list), "tools": (list,), "functions": (list,),
    "tool_choice": (str, dict), "parallel_tool_calls": (bool,), "response_format": (dict,), "logit_bias": (dict,),
    "seed": (int,), "top_logprobs": (int,), "user": (str,), "metadata": (dict,), "dimensions": (int,),
    "encoding_format": (str,), "echo": (bool,), "best_of": (int,),
}


def _named(kinds: tuple[type, ...]) -> str:
    return "a number" if kinds is _NUMBER else " or ".join(_KINDS[kind] for kind in kinds)


def _at_least(body: dict[str, Any], name: str, least: int) -> int | None:
    """A count, which below `least` would be no bound to reserve against."""
    value: int | None = expect(body, name, int)
    if value is not None and value < least:
        raise InvalidRequest(f"`{name}` must be at least {least}.", param=name)
    return value


def expect(body: dict[str, Any], name: str, kind: type) -> Any:  # noqa: ANN401 - of type `kind`
    """The field if it is there and not null. Raises `InvalidRequest` for another type."""
    value = body.get(name)
    if value is not None and type(value) is not kind:
        raise InvalidRequest(f"`{name}` must be {_KINDS[kind]}.", param=name)
    return value


def _read(body: dict[str, Any]) -> list[Spot]:
    try:
        return list(read_by_model(body))
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.", code="invalid_json") from None


def _changed(spot: Spot, change: Change) -> tuple[str] | None:
    """The new text, if it is another one; in a tuple, since it may be empty."""
    new = change(spot.text, spot.part)
    return None if new == spot.text else (new,)


def _map_reply(reply: list[Any], change: Change) -> bool:
    """Change the reply, the one entry of a list, in place. Whether anything changed."""
    tree = reply[0]
    choices = tree.get("choices") if type(tree) is dict else None
    if type(choices) is not list or not all(type(choice) is dict for choice in choices):
        return _map(said_anywhere(reply), change)
    changed = _map(said_anywhere({"error": tree.get("error")}), change)
    for choice in choices:
        if _map(said_in_choice(choice), change):
            forget_tokens(choice)
            changed = True
    return changed


def _map(found: Iterable[Spot], change: Change) -> bool:
    spots = list(found)  # before the first change: a change may take an entry out of a list
    news = [change(spot.text, spot.part) for spot in spots]
    for spot, new in zip(spots, news, strict=True):
        if new != spot.text:
            spot.put(new)
    return any(new != spot.text for spot, new in zip(spots, news, strict=True))


def envelope(error: GatewayError, request_id: str) -> dict[str, Any]:
    """An error and the request's id, as `error` writes them."""
    kind, code = error.type, error.code
    if isinstance(error, UpstreamRefused) and error.kind in _KINDS_OF_ERROR:
        kind, code = _KINDS_OF_ERROR[error.kind]
        code = error.code if error.kind == "invalid_request" else code
    told = {"message": error.message, "type": kind, "param": error.param, "code": code, **error.details}
    return {"error": told, "request_id": request_id}


# What a translated target's error is in OpenAI's words: type and code.
_KINDS_OF_ERROR: Mapping[str, tuple[str, str | None]] = MappingProxyType({
    "invalid_request": ("invalid_request_error", None),
    "context_length": ("invalid_request_error", "context_length_exceeded"),
    "content_filter": ("invalid_request_error", "content_filter"),
    "authentication": ("invalid_request_error", "invalid_api_key"),
    "permission": ("permission_error", "permission_denied"),
    "not_found": ("invalid_request_error", "model_not_found"),
    "too_large": ("invalid_request_error", "request_too_large"),
    "rate_limit": ("rate_limit_error", "rate_limit_exceeded"),
    "quota": ("insufficient_quota", "insufficient_quota"),
    "overloaded": ("server_error", "overloaded"),
    "timeout": ("server_error", "upstream_timeout"),
    "server": ("server_error", "upstream_error"),
})
