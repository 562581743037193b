"""`anthropic.messages`: POST /messages and /messages/count_tokens. Only what stages need is looked at.

Source: platform.claude.com/docs/en/api (messages, errors, rate limits). Translation is in `anthropic_codec.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway import sse
from gateway.clock import now_ms
from gateway.dialects.anthropic_events import events_of, record_of
from gateway.dialects.anthropic_failure import envelope, stopped
from gateway.dialects.anthropic_tap import MessagesTap
from gateway.dialects.anthropic_texts import read_by_model, said_in_reply
from gateway.dialects.anthropic_usage import reported
from gateway.dialects.openai import MAX_MODEL_NAME, NO_PARAMS, Change
from gateway.dialects.openai_texts import Spot
from gateway.errors import GatewayError, InvalidRequest, UpstreamCut, UpstreamRefused
from gateway.events import Event, Usage
from gateway.exchange import Request
from gateway.framing import SSE
from gateway.hookspecs import RateStanding
from gateway.jsonbody import UNREADABLE, read_lenient, read_object

_TYPES: Mapping[str, tuple[tuple[type, ...], str]] = {
    "stream": ((bool,), "a boolean"), "max_tokens": ((int,), "an integer"), "temperature": ((int, float), "a number"),
    "top_p": ((int, float), "a number"), "top_k": ((int,), "an integer"),
    "system": ((str, list), "a string or an array"), "tools": ((list,), "an array"),
    "tool_choice": ((dict,), "an object"), "stop_sequences": ((list,), "an array"),
    "metadata": ((dict,), "an object"), "thinking": ((dict,), "an object"), "messages": ((list,), "an array"),
}


class Messages:
    """The Messages dialect."""

    name = "anthropic.messages"
    framing = SSE
    generates = True
    id_header = "request-id"
    sealed_parts = frozenset({"reasoning"})  # signed: whoever sends it back must send it as it came

    def decode(self, raw: bytes, body: dict[str, Any], params: Mapping[str, str] = NO_PARAMS) -> Request:  # noqa: ARG002
        """Check `model`, `stream`, the output cap, and the shape of `messages`."""
        model = body.get("model")
        if not isinstance(model, str) or not model or len(model) > MAX_MODEL_NAME:
            raise InvalidRequest("`model` must be a non-empty string of at most 256 characters.", param="model")
        for name, (kinds, told) in _TYPES.items():
            value = body.get(name)
            if value is not None and type(value) not in kinds:
                raise InvalidRequest(f"`{name}` must be {told}.", param=name)
        cap = body.get("max_tokens")
        if cap is not None and cap < 0:
            raise InvalidRequest("`max_tokens` must be at least 0.", param="max_tokens")
        messages = body.get("messages") or ()
        for message in messages:
            if type(message) is not dict or type(message.get("role")) is not str:
                raise InvalidRequest(
                    "Each of `messages` must be an object with a `role`.",
                    param=f"messages[{messages.index(message)}].role",
                )
            content = message.get("content")
            if type(content) is not str and not (
                type(content) is list and all(type(block) is dict for block in content)
            ):
                raise InvalidRequest(
                    "`content` of a message must be a string or an array of blocks.",
                    param=f"messages[{messages.index(message)}].content",
                )
        return Request(raw, body, model, body.get("stream") is True, include_usage=True, max_output=cap)

    def changes(self, request: Request, model: str, cap: int | None) -> dict[str, Any]:
        """The model's name and the cap."""
        changes: dict[str, Any] = {} if request.model == model else {"model": model}
        return changes if cap is None else {**changes, "max_tokens": cap}

    def tap(self, request: Request, *, whole: bool, scrub: Callable[[bytes], bytes]) -> MessagesTap:  # noqa: ARG002
        """For one stream."""
        return MessagesTap(scrub)

    def reported(self, body: bytes) -> Usage | None:
        """The usage of an unstreamed reply."""
        return reported(body)

    def counted(self, tokens: int) -> bytes | None:  # noqa: ARG002
        """This endpoint answers."""
        return None

    def texts(self, request: Request) -> list[str]:
        """All text that the model would read."""
        return [spot.text for spot in _read(request.body)]

    def map_texts(self, request: Request, change: Change) -> Request:
        """The request with each such text replaced; the same object if none changed."""
        changes = {
            number: new
            for number, spot in enumerate(_read(request.body))
            if (new := change(spot.text, spot.part)) != spot.text
        }
        if not changes:
            return request
        body = deepcopy(request.body)
        spots = _read(body)
        for number, new in changes.items():
            spots[number].put(new)
        return msgspec.structs.replace(request, raw=msgspec.json.encode(body), body=body)

    def map_reply_texts(self, body: bytes, change: Change) -> bytes:
        """An unstreamed reply with each text replaced; the same bytes when nothing changed."""
        tree = read_lenient(body)
        if tree is UNREADABLE:
            raise UpstreamCut("The upstream answered with something that is not valid JSON.")
        try:
            spots = list(said_in_reply(tree)) if type(tree) is dict else []
        except RecursionError:
            raise UpstreamCut("The upstream answered with JSON that is nested too deeply.") from None
        changed = False
        for spot in spots:
            new = change(spot.text, spot.part)
            if new != spot.text:
                spot.put(new)
                changed = True
        return msgspec.json.encode(tree) if changed else body

    def events(self, record: bytes) -> list[Event]:
        """What one record of a stream says."""
        return events_of(record)

    def encode(self, event: Event) -> bytes:
        """A changed event as a record of its own."""
        return record_of(event)

    def head(self, error: GatewayError) -> tuple[int, Mapping[str, str]]:
        """The status; an overloaded target's is 529 here."""
        if isinstance(error, UpstreamRefused) and error.kind == "overloaded":
            return 529, {}
        return error.status, {}

    def is_error(self, body: bytes) -> bool:
        """Whether it is `{"type": "error", "error": {"type", "message"}}`."""
        try:
            tree = read_object(body)
        except GatewayError:
            return False
        error = tree.get("error")
        return tree.get("type") == "error" and isinstance(error, dict) and "type" in error and "message" in error

    def error(self, error: GatewayError, request_id: str) -> bytes:
        """The body of an HTTP error."""
        return envelope(error, request_id)

    def error_event(self, error: GatewayError, request_id: str) -> bytes:
        """The same as `event: error`."""
        return sse.write(envelope(error, request_id), b"error")

    def stopped(
        self, error: GatewayError, request_id: str, record: bytes, choices: Sequence[int], usage: Usage | None,  # noqa: ARG002
        *, sent: bytes,
    ) -> bytes:
        """The end of a stream that a guardrail stopped: the open block's end, `stop_reason: refusal`, usage."""
        return stopped(error, request_id, usage, sent)

    def rate_headers(self, standings: Sequence[RateStanding]) -> dict[str, str]:
        """`anthropic-ratelimit-{requests,tokens}-{limit,remaining,reset}`; resets as RFC 3339 times."""
        headers = {}
        for standing in standings:
            resets = datetime.fromtimestamp(now_ms() / 1000 + max(0.0, standing.reset), UTC)
            name = f"anthropic-ratelimit-{standing.unit}"
            headers[f"{name}-limit"] = str(standing.limit)
            headers[f"{name}-remaining"] = str(standing.remaining)
            headers[f"{name}-reset"] = f"{resets:%Y-%m-%dT%H:%M:%SZ}"
        return headers


class CountTokens(Messages):
    """`count_tokens`: the same request, of which only the size is asked. Nothing is generated or billed."""

    generates = False

    def decode(self, raw: bytes, body: dict[str, Any], params: Mapping[str, str] = NO_PARAMS) -> Request:
        """As a message, never streamed."""
        return msgspec.structs.replace(super().decode(raw, body, params), stream=False, max_output=0)

    def reported(self, body: bytes) -> Usage | None:
        """No tokens are billed. Raises for what is no JSON."""
        msgspec.json.decode(body)
        return Usage()

    def counted(self, tokens: int) -> bytes | None:
        """The estimate."""
        return msgspec.json.encode({"input_tokens": tokens})


def _read(body: dict[str, Any]) -> list[Spot]:
    try:
        return list(read_by_model(body))
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.", code="invalid_json") from None
