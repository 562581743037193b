"""`gemini.generate` for translation: requests, replies, streams and errors, both ways. The parts are in `gemini_*`."""

from collections.abc import Mapping
from typing import Any, Literal

from gateway.codec import Failure, Translation
from gateway.conversation import Answer, Conversation
from gateway.dialects import gemini_errors, gemini_reading, gemini_reply, gemini_writing
from gateway.dialects.gemini_fields import NAME
from gateway.dialects.gemini_stream import Reader
from gateway.dialects.gemini_writer import Writer
from gateway.exchange import Request, Target


class GeminiCodec:
    """See `gateway.codec.Codec`."""

    dialect = NAME
    family: Literal["conversation"] = "conversation"

    def read_request(self, request: Request) -> Conversation:
        """The request in the common form."""
        return gemini_reading.read_request(request)

    def write_request(self, conversation: Conversation, target: Target, translation: Translation) -> dict[str, Any]:
        """The body for the target."""
        return gemini_writing.write_request(conversation, target, translation)

    def read_reply(self, body: bytes, translation: Translation) -> Answer:
        """A whole reply of a provider."""
        return gemini_reply.read_reply(body, translation)

    def write_reply(self, answer: Answer, asked: Conversation, translation: Translation) -> bytes:  # noqa: ARG002
        """A whole reply for a client."""
        return gemini_reply.write_reply(answer, translation)

    def reader(self, translation: Translation) -> Reader:
        """For one stream of a provider."""
        return Reader(translation)

    def writer(self, asked: Conversation, translation: Translation) -> Writer:  # noqa: ARG002
        """For one stream to a client."""
        return Writer(translation)

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """What an error reply says."""
        return gemini_errors.failure(status, headers, body)


class GeminiArrayCodec(GeminiCodec):
    """For clients that did not ask for `alt=sse`: their streams are one JSON array."""

    dialect = f"{NAME}.array"

    def writer(self, asked: Conversation, translation: Translation) -> Writer:  # noqa: ARG002
        """For one stream to a client."""
        return Writer(translation, array=True)
