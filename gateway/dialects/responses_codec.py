"""`openai.responses` for translation: requests, replies, streams, errors. The parts are in `responses_*`."""

from collections.abc import Mapping
from typing import Any, Literal

from gateway.codec import Failure, Translation
from gateway.conversation import Answer, Conversation
from gateway.dialects import responses_reply
from gateway.dialects.openai_failure import failure_of
from gateway.dialects.responses_items import DIALECT
from gateway.dialects.responses_read import conversation_of
from gateway.dialects.responses_reader import ResponsesReader
from gateway.dialects.responses_write import body_of
from gateway.dialects.responses_writer import ResponsesWriter
from gateway.exchange import Request, Target


class ResponsesCodec:
    """See `gateway.codec.Codec`."""

    dialect = DIALECT
    family: Literal["conversation"] = "conversation"

    def read_request(self, request: Request) -> Conversation:
        """The request in the common form."""
        return conversation_of(request)

    def write_request(self, conversation: Conversation, target: Target, translation: Translation) -> dict[str, Any]:
        """The body for the target."""
        return body_of(conversation, target, translation)

    def read_reply(self, body: bytes, translation: Translation) -> Answer:
        """A whole reply of a provider."""
        return responses_reply.read(body, translation)

    def write_reply(self, answer: Answer, asked: Conversation, translation: Translation) -> bytes:
        """A whole reply for a client."""
        return responses_reply.write(answer, asked, translation)

    def reader(self, translation: Translation) -> ResponsesReader:
        """For one stream of a provider."""
        return ResponsesReader(translation)

    def writer(self, asked: Conversation, translation: Translation) -> ResponsesWriter:
        """For one stream to a client."""
        return ResponsesWriter(asked, translation)

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """What an error reply says."""
        return failure_of(status, headers, body)
