"""`openai.responses`: POST /responses. Only what stages need is looked at; translation is in `responses_codec.py`.

Source: platform.openai.com/docs/api-reference/responses.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import msgspec

from gateway import sse
from gateway.clock import now_ms
from gateway.dialects.openai import MAX_MODEL_NAME, NO_PARAMS, Change, OpenAIDialect, envelope
from gateway.dialects.openai_texts import Spot
from gateway.dialects.responses_events import events_of, record_of
from gateway.dialects.responses_tap import ResponsesTap
from gateway.dialects.responses_texts import read_by_model, said_in_reply
from gateway.dialects.responses_usage import reported
from gateway.errors import GatewayError, InvalidRequest, UpstreamCut
from gateway.events import Event, Usage
from gateway.exchange import Request
from gateway.jsonbody import UNREADABLE, read_lenient

_TYPES: Mapping[str, tuple[tuple[type, ...], str]] = {
    "stream": ((bool,), "a boolean"), "input": ((str, list), "a string or an array"),
    "max_output_tokens": ((int,), "an integer"), "temperature": ((int, float), "a number"),
    "top_p": ((int, float), "a number"), "tools": ((list,), "an array"),
    "tool_choice": ((str, dict), "a string or an object"),
    "text": ((dict,), "an object"), "reasoning": ((dict,), "an object"), "include": ((list,), "an array"),
    "metadata": ((dict,), "an object"), "store": ((bool,), "a boolean"), "background": ((bool,), "a boolean"),
    "parallel_tool_calls": ((bool,), "a boolean"), "previous_response_id": ((str,), "a string"),
}


class Responses(OpenAIDialect):
    """The Responses dialect."""

    name = "openai.responses"
    repeats = True  # the last record has all that was said: it goes through filters too

    def decode(self, raw: bytes, body: dict[str, Any], params: Mapping[str, str] = NO_PARAMS) -> Request:  # noqa: ARG002
        """Check `model`, `stream`, the output cap, and the shape of `input`."""
        model = body.get("model")
        if not isinstance(model, str) or not model or len(model) > MAX_MODEL_NAME:
            raise InvalidRequest("`model` must be a non-empty string of at most 256 characters.", param="model")
        for name, (kinds, told) in _TYPES.items():
            value = body.get(name)
            if value is not None and type(value) not in kinds:
                raise InvalidRequest(f"`{name}` must be {told}.", param=name)
        cap = body.get("max_output_tokens")
        if cap is not None and cap < 1:
            raise InvalidRequest("`max_output_tokens` must be at least 1.", param="max_output_tokens")
        given = body.get("input")
        if type(given) is list and not all(type(item) is dict for item in given):
            raise InvalidRequest("Each item of `input` must be an object.", param="input")
        return Request(raw, body, model, body.get("stream") is True, include_usage=True, max_output=cap)

    def changes(self, request: Request, model: str, cap: int | None) -> dict[str, Any]:
        """The model's name and the cap."""
        changes: dict[str, Any] = {} if request.model == model else {"model": model}
        return changes if cap is None else {**changes, "max_output_tokens": cap}

    def tap(self, request: Request, *, whole: bool, scrub: Callable[[bytes], bytes]) -> ResponsesTap:  # type: ignore[override]  # noqa: ARG002
        """For one stream."""
        model = request.model
        return ResponsesTap(scrub, lambda error, number, known: _failed(error, number, {"model": model, **known}))

    def reported(self, body: bytes) -> Usage | None:
        """The usage of an unstreamed reply."""
        return reported(body)

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
        for spot, new in [(spot, change(spot.text, spot.part)) for spot in spots]:
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

    def error_event(self, error: GatewayError, request_id: str) -> bytes:  # noqa: ARG002
        """The error as `event: error`, and `response.failed`, of a stream that said nothing yet."""
        return _failed(error, 0, {})

    stopped = None  # type: ignore[assignment]  # what a guardrail stops ends with the error


class ResponsesCompact(Responses):
    """POST /responses/compact: what was said so far, made short, as items to go on with."""


class ResponsesCount(Responses):
    """POST /responses/input_tokens: how many tokens a request has. It costs nothing."""

    generates = False

    def reported(self, body: bytes) -> Usage | None:  # noqa: ARG002
        """Nothing was used."""
        return Usage()

    def counted(self, tokens: int) -> bytes | None:
        """The estimate, where no target counts."""
        return msgspec.json.encode({"object": "response.input_tokens", "input_tokens": tokens})


def _failed(error: GatewayError, number: int, known: dict[str, Any]) -> bytes:
    told = envelope(error, "")["error"]
    said = {
        "type": "error", "sequence_number": number, "error": told, "code": told["code"], "message": error.message,
        "param": error.param,
    }
    response = {
        "id": "", "object": "response", "created_at": now_ms() // 1000, "status": "failed",
        "error": {"code": told["code"] or "server_error", "message": error.message}, "incomplete_details": None,
        "model": "", "output": [], "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], **known,
    }
    failed = {"type": "response.failed", "sequence_number": number + 1, "response": response}
    return sse.write(msgspec.json.encode(said), b"error") + sse.write(msgspec.json.encode(failed), b"response.failed")


def _read(body: dict[str, Any]) -> list[Spot]:
    try:
        return list(read_by_model(body))
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.", code="invalid_json") from None
