"""`bedrock.converse` for translation: requests, replies, streams, errors. The parts are in `bedrock_*`."""

from collections.abc import Mapping
from typing import Any, Literal

from gateway.codec import Failure, Translation
from gateway.conversation import Answer, Conversation
from gateway.dialects import bedrock_reply
from gateway.dialects.bedrock_failure import failure_of
from gateway.dialects.bedrock_read import DIALECT, conversation_of
from gateway.dialects.bedrock_reader import ConverseReader
from gateway.dialects.bedrock_write import body_of
from gateway.dialects.bedrock_writer import ConverseWriter
from gateway.exchange import Request, Target


class ConverseCodec:
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
        return bedrock_reply.read(body, translation)

    def write_reply(self, answer: Answer, asked: Conversation, translation: Translation) -> bytes:  # noqa: ARG002
        """A whole reply for a client."""
        return bedrock_reply.write(answer)

    def reader(self, translation: Translation) -> ConverseReader:
        """For one stream of a provider."""
        return ConverseReader(translation)

    def writer(self, asked: Conversation, translation: Translation) -> ConverseWriter:
        """For one stream to a client."""
        return ConverseWriter(asked, translation)

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """What an error reply says."""
        return failure_of(status, headers, body)
