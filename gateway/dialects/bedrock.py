"""`bedrock.converse`: POST /model/{model}/converse and /converse-stream. Only what stages need is looked at.

For clients of AWS's SDKs. The model, and whether it streams, stand in the path. Translation is in `bedrock_codec.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import msgspec

from gateway import eventstream
from gateway.dialects import fields
from gateway.dialects.bedrock_events import events_of, record_of
from gateway.dialects.bedrock_failure import envelope, exception_of, frame_of
from gateway.dialects.bedrock_read import DIALECT
from gateway.dialects.bedrock_tap import ConverseTap
from gateway.dialects.bedrock_texts import read_by_model, said_in_reply
from gateway.dialects.bedrock_usage import reported
from gateway.dialects.openai import NO_PARAMS, Change
from gateway.dialects.openai_texts import Spot
from gateway.errors import GatewayError, InvalidRequest, UpstreamCut, UpstreamRefused
from gateway.events import Event, Usage
from gateway.exchange import Request
from gateway.framing import Framing
from gateway.hookspecs import RateStanding
from gateway.jsonbody import UNREADABLE, read_lenient

_FRAMES = Framing(eventstream.CONTENT_TYPE, "eventstream", eventstream.split, None, b"")
_MAX_MODEL_NAME = 2048  # an ARN
_TYPE = "x-amzn-errortype"


class Converse:
    """The Converse dialect, for whole replies."""

    name = DIALECT
    framing = _FRAMES
    generates = True
    id_header = "x-amzn-requestid"
    streams = False

    def decode(self, raw: bytes, body: dict[str, Any], params: Mapping[str, str] = NO_PARAMS) -> Request:
        """Check the model in the path, the output cap, and the shape of `messages`."""
        model = params.get("model", "")
        if not model or len(model) > _MAX_MODEL_NAME:
            raise InvalidRequest("The path must name a model: /model/{model}/converse.", param="modelId")
        config = fields.mapping(body, "inferenceConfig", "inferenceConfig")
        for name in ("toolConfig", "guardrailConfig", "additionalModelRequestFields", "outputConfig"):
            fields.mapping(body, name, name)
        fields.objects(body.get("system"), "system")
        for message in fields.objects(body.get("messages"), "messages"):
            if type(message.get("role")) is not str:
                raise InvalidRequest("Each of `messages` must have a `role`.", param="messages")
            fields.objects(message.get("content"), "messages")
        return Request(raw, body, model, self.streams, True, fields.integer(config, "maxTokens", 0))

    def changes(self, request: Request, model: str, cap: int | None) -> dict[str, Any]:  # noqa: ARG002
        """The cap; the model stands in the path."""
        if cap is None:
            return {}
        return {"inferenceConfig": {**(request.body.get("inferenceConfig") or {}), "maxTokens": cap}}

    def tap(self, request: Request, *, whole: bool, scrub: Callable[[bytes], bytes]) -> ConverseTap:  # noqa: ARG002
        """For one stream."""
        return ConverseTap(scrub)

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
        """What one frame of a stream says."""
        return events_of(record)

    def encode(self, event: Event) -> bytes:
        """A changed event as a frame of its own."""
        return record_of(event)

    def head(self, error: GatewayError) -> tuple[int, Mapping[str, str]]:
        """AWS's status, and the exception's name in its header; a Bedrock's own stay."""
        if isinstance(error, UpstreamRefused) and not error.kind and _TYPE in error.headers:
            return error.status, {}
        name, status = exception_of(error)
        return status, {_TYPE: name}

    def is_error(self, body: bytes) -> bool:
        """Whether it is `{"message"}`."""
        tree = read_lenient(body)
        return type(tree) is dict and type(tree.get("message")) is str

    def error(self, error: GatewayError, request_id: str) -> bytes:  # noqa: ARG002
        """`{"message"}`."""
        return envelope(error)

    def error_event(self, error: GatewayError, request_id: str) -> bytes:  # noqa: ARG002
        """The same as an exception's frame."""
        return frame_of(error)

    def rate_headers(self, standings: Sequence[RateStanding]) -> dict[str, str]:  # noqa: ARG002
        """Bedrock tells none."""
        return {}


class ConverseStream(Converse):
    """The same, streamed."""

    streams = True


def _read(body: dict[str, Any]) -> list[Spot]:
    try:
        return list(read_by_model(body))
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.", code="invalid_json") from None
