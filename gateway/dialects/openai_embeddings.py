"""`openai.embeddings`: POST /embeddings. Never streamed; the reply has no text."""

from typing import Any

from gateway.dialects.openai import Change, OpenAIDialect, common
from gateway.dialects.openai_completions import map_field
from gateway.errors import InvalidRequest
from gateway.events import Event, Opaque, Record
from gateway.exchange import Request


class Embeddings(OpenAIDialect):
    """The embeddings dialect."""

    name = "openai.embeddings"

    def decode(self, raw: bytes, body: dict[str, Any]) -> Request:
        """Check `model`, and that `input` is text, tokens, or a list of either."""
        value = body.get("input")
        if value is not None and not isinstance(value, str | list):
            raise InvalidRequest("`input` must be a string or an array.", param="input")
        if body.get("stream"):
            raise InvalidRequest("Embeddings are not streamed; leave `stream` out.", param="stream")
        return common(raw, body)

    def texts(self, request: Request) -> list[str]:
        """The inputs that are text."""
        value = request.body.get("input")
        inputs = value if isinstance(value, list) else [value]
        return [text for text in inputs if isinstance(text, str)]

    def map_texts(self, request: Request, change: Change) -> Request:
        """The request with each input replaced by `change(text, "content")`."""
        return map_field(request, "input", change)

    def map_reply_texts(self, body: bytes, change: Change) -> bytes:  # noqa: ARG002
        """Vectors have no text."""
        return body

    def events(self, record: bytes) -> list[Event]:
        """A record passes as it is."""
        return [Opaque(Record(record))]

    def encode(self, event: Event) -> bytes:
        """An event's own record."""
        assert event.record is not None
        return event.record.raw
