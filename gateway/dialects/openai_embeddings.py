"""`openai.embeddings`: POST /embeddings. Never streamed; the reply has no text."""

from collections.abc import Mapping
from typing import Any

from gateway.dialects.openai import NO_PARAMS, Change, OpenAIDialect, common
from gateway.errors import InvalidRequest
from gateway.exchange import Request


class Embeddings(OpenAIDialect):
    """The embeddings dialect."""

    name = "openai.embeddings"
    generates = False

    def decode(self, raw: bytes, body: dict[str, Any], params: Mapping[str, str] = NO_PARAMS) -> Request:  # noqa: ARG002
        """Check `model`, and that `input` is text, tokens, or a list of either."""
        value = body.get("input")
        if value is not None and not isinstance(value, str | list):
            raise InvalidRequest("`input` must be a string or an array.", param="input")
        if body.get("stream"):
            raise InvalidRequest("Embeddings are not streamed; leave `stream` out.", param="stream")
        return common(raw, body)

    def map_reply_texts(self, body: bytes, change: Change) -> bytes:  # noqa: ARG002
        """Vectors have no text."""
        return body
