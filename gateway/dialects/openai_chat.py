"""`openai.chat`: POST /chat/completions. Only what stages need is looked at; unknown fields travel."""

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.dialects.openai import NO_PARAMS, OpenAIDialect, common, expect
from gateway.errors import InvalidRequest
from gateway.exchange import Request


class Chat(OpenAIDialect):
    """The chat dialect."""

    parts_are_independent = True  # a chunk of reasoning and one of the answer may change places
    name = "openai.chat"

    def decode(self, raw: bytes, body: dict[str, Any], params: Mapping[str, str] = NO_PARAMS) -> Request:  # noqa: ARG002
        """Check `model`, `stream`, `stream_options`, `n`, the output cap, and the shape of `messages`."""
        messages = expect(body, "messages", list) or ()
        for message in messages:
            if type(message) is not dict:
                raise InvalidRequest("Each of `messages` must be an object.", param=_place(messages, message))
            if type(message.get("role", "")) is not str:
                raise InvalidRequest(
                    "`role` of a message must be a string.", param=f"{_place(messages, message)}.role"
                )
            content = message.get("content")
            if type(content) is str or content is None:
                continue
            if type(content) is not list or not all(type(part) in (dict, str) for part in content):
                raise InvalidRequest(
                    "`content` of a message must be a string or an array of parts.",
                    param=f"{_place(messages, message)}.content",
                )
        return common(raw, body, caps=("max_completion_tokens", "max_tokens"))


def _place(messages: Sequence[Any], message: object) -> str:
    return f"messages[{messages.index(message)}]"
