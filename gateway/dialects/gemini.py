"""`gemini.generate` and its neighbours: models/{model}:generateContent, :streamGenerateContent, :countTokens.

For clients of Google's API. The model, and whether it streams, stand in the path, not in the body. What the body means
to a model of another provider is in `gemini_codec.py`; embeddings are in `gemini_embed.py`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from types import MappingProxyType
from typing import Any

import msgspec

from gateway import sse
from gateway.dialects.gemini_errors import envelope, error_in
from gateway.dialects.gemini_events import events_of, record_of
from gateway.dialects.gemini_fields import NAME, camel, mapping, whole
from gateway.dialects.gemini_framing import ARRAY, payload
from gateway.dialects.gemini_tap import GeminiArrayTap, GeminiTap
from gateway.dialects.gemini_texts import Spot, forget, read_by_model, said, strings
from gateway.dialects.gemini_usage import usage_of, write_usage
from gateway.errors import GatewayError, InvalidRequest, UpstreamCut
from gateway.events import Event, Usage
from gateway.exchange import Request
from gateway.framing import Framing
from gateway.hookspecs import RateStanding
from gateway.jsonbody import UNREADABLE, read_lenient

Change = Callable[[str, str], str]
Json = dict[str, Any]

MAX_MODEL_NAME = 256
_NO_PARAMS: Mapping[str, str] = MappingProxyType({})
_MOST_CHOICES = 128
# A comment would be no chunk to Google's own client: an empty line says nothing to anyone.
_SSE = Framing("text/event-stream", "event-stream", sse.split, b"\r\n", b"\r\n\r\n")


class GeminiDialect:
    """The part of a dialect that its endpoints have in common."""

    name = NAME
    framing = _SSE
    generates = True
    id_header = "x-request-id"

    def decode(self, raw: bytes, body: Json, params: Mapping[str, str] = _NO_PARAMS) -> Request:
        """Check what stages need: the model in the path, the output cap, how many candidates."""
        config = mapping(body, _either(body, "generationConfig", "generation_config"), "generationConfig")
        cap = whole(config, "maxOutputTokens", "generationConfig.maxOutputTokens")
        choices = whole(config, "candidateCount", "generationConfig.candidateCount") or 1
        if (cap is not None and cap < 0) or not 1 <= choices <= _MOST_CHOICES:
            name = "candidateCount" if cap is None or cap >= 0 else "maxOutputTokens"
            raise InvalidRequest(f"`generationConfig.{name}` is out of range.", param=f"generationConfig.{name}")
        stream = params.get("action") == "streamGenerateContent"
        return Request(raw, body, _model(params), stream, True, cap, choices)

    def changes(self, request: Request, model: str, cap: int | None) -> Json:
        """The output cap, and the model's name for clients that repeat it in the body."""
        changes: Json = {}
        if cap is not None:
            name = _either(request.body, "generationConfig", "generation_config")
            config = camel(request.body.get(name) or {})
            changes[name] = {**config, "maxOutputTokens": cap}
        if "model" in request.body and request.model != model:
            changes["model"] = f"models/{model}"
        return changes

    def tap(self, request: Request, *, whole: bool, scrub: Callable[[bytes], bytes]) -> GeminiTap:  # noqa: ARG002
        """For one stream."""
        return GeminiTap(whole=whole, scrub=scrub)

    def reported(self, body: bytes) -> Usage | None:
        """The usage of an unstreamed reply."""
        tree = msgspec.json.decode(body)
        return usage_of(camel(tree)) if type(tree) is dict else None

    def counted(self, tokens: int) -> bytes | None:  # noqa: ARG002
        """No."""
        return None

    def texts(self, request: Request) -> list[str]:
        """All text that the model would read."""
        return [spot.text for spot in _read(request.body)]

    def map_texts(self, request: Request, change: Change) -> Request:
        """The request with each such text replaced; the same object if none changed."""
        news = [(number, change(spot.text, spot.part), spot.text) for number, spot in enumerate(_read(request.body))]
        changed = [(number, new) for number, new, old in news if new != old]
        if not changed:
            return request
        body = deepcopy(request.body)
        spots = _read(body)
        for number, new in changed:
            spots[number].put(new)
        return msgspec.structs.replace(request, raw=msgspec.json.encode(body), body=body)

    def map_reply_texts(self, body: bytes, change: Change) -> bytes:
        """An unstreamed reply with each text replaced; the same bytes when nothing changed."""
        tree = read_lenient(body)
        if tree is UNREADABLE:
            raise UpstreamCut("The upstream answered with something that is not valid JSON.")
        try:
            return msgspec.json.encode(tree) if _map_reply(tree, change) else body
        except RecursionError:
            raise UpstreamCut("The upstream answered with JSON that is nested too deeply.") from None

    def events(self, record: bytes) -> list[Event]:
        """What one record of a stream says."""
        return events_of(record, sse.data)

    def encode(self, event: Event) -> bytes:
        """A changed event as a record of its own, made from the record it came in."""
        return record_of(event, sse.data, lambda _raw, data, _first: b"data: " + data + b"\r\n\r\n")

    def head(self, error: GatewayError) -> tuple[int, Mapping[str, str]]:
        """The error's own status."""
        return error.status, {}

    def is_error(self, body: bytes) -> bool:
        """Whether there is an `error` with a `message`, alone or in a list."""
        error = error_in(read_lenient(body))
        return error is not None and "message" in error

    def error(self, error: GatewayError, request_id: str) -> bytes:  # noqa: ARG002
        """`{"error": {"code", "message", "status", "details"}}`."""
        return envelope(error)

    def error_event(self, error: GatewayError, request_id: str) -> bytes:  # noqa: ARG002
        """The same as a record, on which Google's clients raise."""
        return b"data: " + envelope(error) + b"\r\n\r\n"

    def stopped(
        self, error: GatewayError, request_id: str, record: bytes, choices: Sequence[int], usage: Usage | None,
        *, sent: bytes,  # noqa: ARG002
    ) -> bytes:
        """The end of a stream that a guardrail stopped: `finishReason: SAFETY` with the reason, and usage."""
        return b"data: " + _stop(error, request_id, sse.data(record), choices, usage) + b"\r\n\r\n"

    def rate_headers(self, standings: Sequence[RateStanding]) -> dict[str, str]:  # noqa: ARG002
        """Google's API tells none."""
        return {}


class GeminiArray(GeminiDialect):
    """The same for clients that did not ask for `alt=sse`: their stream is one JSON array."""

    name = f"{NAME}.array"
    framing = ARRAY

    def tap(self, request: Request, *, whole: bool, scrub: Callable[[bytes], bytes]) -> GeminiTap:  # noqa: ARG002
        """For one stream."""
        return GeminiArrayTap(whole=whole, scrub=scrub)

    def events(self, record: bytes) -> list[Event]:
        """What one object of the array says."""
        return events_of(record, payload)

    def encode(self, event: Event) -> bytes:
        """A changed event as an object of its own, with the comma or bracket that the array needs before it."""
        return record_of(event, payload, _framed)

    def stopped(
        self, error: GatewayError, request_id: str, record: bytes, choices: Sequence[int], usage: Usage | None,
        *, sent: bytes,
    ) -> bytes:
        """The same as the array's last object, and its end."""
        return (b",\r\n" if sent else b"[") + _stop(error, request_id, payload(record), choices, usage) + b"]"

    def error_event(self, error: GatewayError, request_id: str) -> bytes:  # noqa: ARG002
        """An array of this error alone."""
        return b"[" + envelope(error) + b"]"


class GeminiCount(GeminiDialect):
    """`countTokens`: nothing is generated, nothing is billed."""

    name = "gemini.count"
    generates = False

    def decode(self, raw: bytes, body: Json, params: Mapping[str, str] = _NO_PARAMS) -> Request:
        """The model alone."""
        return Request(raw, body, _model(params))

    def reported(self, body: bytes) -> Usage | None:
        """Counting is free."""
        msgspec.json.decode(body)
        return Usage()

    def counted(self, tokens: int) -> bytes | None:
        """Google's reply with an estimate."""
        return msgspec.json.encode({"totalTokens": tokens})


def _model(params: Mapping[str, str]) -> str:
    model = params.get("model", "").removeprefix("models/")
    if not model or len(model) > MAX_MODEL_NAME:
        raise InvalidRequest("The path must name a model: models/{model}:generateContent.", param="model")
    return model


def _either(body: Json, name: str, other: str) -> str:
    return other if other in body and name not in body else name


def _read(body: Json) -> list[Spot]:
    try:
        return list(read_by_model(body))
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.", code="invalid_json") from None


def _map_reply(tree: Any, change: Change) -> bool:  # noqa: ANN401
    candidates = tree.get("candidates") if type(tree) is dict else None
    if type(candidates) is not list:
        return _map(strings([tree], "content", ""), change)
    changed = False
    for candidate in candidates:
        if type(candidate) is dict and _map(said(candidate), change):
            forget(candidate)
            changed = True
    return changed


def _map(found: Iterable[Spot], change: Change) -> bool:
    spots = list(found)
    news = [change(spot.text, spot.part) for spot in spots]
    for spot, new in zip(spots, news, strict=True):
        if new != spot.text:
            spot.put(new)
    return any(new != spot.text for spot, new in zip(spots, news, strict=True))


def _stop(
    error: GatewayError, request_id: str, last: bytes | None, choices: Sequence[int], usage: Usage | None
) -> bytes:
    chunk = read_lenient(last or b"")
    known = chunk if type(chunk) is dict else {}
    head = {name: known[name] for name in ("modelVersion", "responseId") if name in known}
    why = f"{error.message} ({error.code}, {request_id})"
    ends = [{"index": index, "finishReason": "SAFETY", "finishMessage": why} for index in choices]
    counts = {} if usage is None else {"usageMetadata": write_usage(usage)}
    return msgspec.json.encode({"candidates": ends, **counts, **head})


def _framed(raw: bytes, data: bytes, first: bool) -> bytes:
    start = raw.find(b"{")
    return (raw[:start] if first and start >= 0 else b",\r\n") + data
