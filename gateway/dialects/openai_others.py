"""OpenAI's and vLLM's smaller endpoints: one JSON object in, one out, never streamed, the same on both sides.

Moderations, rerank, score, tokenize and detokenize. What the model reads is seen as in any request.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.dialects.openai import NO_PARAMS, OpenAIDialect, common
from gateway.dialects.responses_usage import usage_in
from gateway.errors import InvalidRequest
from gateway.events import Special, Usage
from gateway.exchange import Request


class Single(OpenAIDialect):
    """An endpoint that only answers whole. `needs` are fields of which at least one must be there."""

    generates = False
    needs: tuple[str, ...] = ()
    default_model = ""

    def decode(self, raw: bytes, body: dict[str, Any], params: Mapping[str, str] = NO_PARAMS) -> Request:  # noqa: ARG002
        """Check `model`, and that the request is about something."""
        if body.get("stream"):
            raise InvalidRequest("This endpoint does not stream; leave `stream` out.", param="stream")
        if all(body.get(name) is None for name in self.needs):
            raise InvalidRequest(f"`{self.needs[0]}` is missing.", param=self.needs[0])
        if self.default_model and body.get("model") is None:
            return msgspec.structs.replace(common(raw, {**body, "model": self.default_model}), body=body)
        return common(raw, body)

    def reported(self, body: bytes) -> Usage | None:
        """The tokens of the reply, by either pair of names; none where it tells none. Raises for what is no JSON."""
        tree = msgspec.json.decode(body)
        return _usage(tree.get("usage")) if type(tree) is dict else Usage()


class Moderations(Single):
    """POST /moderations. Without `model` it is the one that OpenAI takes by itself."""

    name = "openai.moderations"
    needs = ("input",)
    default_model = "omni-moderation-latest"


class Rerank(Single):
    """POST /rerank, as Jina, Cohere and vLLM have it."""

    name = "rerank"
    needs = ("query",)


class Score(Single):
    """POST /score, as vLLM has it."""

    name = "score"
    needs = ("text_1", "queries", "data_1")


class Tokenize(Single):
    """POST /tokenize, as vLLM has it: of a text or of messages."""

    name = "tokenize"
    needs = ("prompt", "messages")


class Detokenize(Single):
    """POST /detokenize, as vLLM has it."""

    name = "detokenize"
    needs = ("tokens",)


def _usage(told: Any) -> Usage:  # noqa: ANN401 - whatever stands for the usage
    if type(told) is not dict:
        return Usage()
    read, written = told.get("input_tokens"), told.get("output_tokens")
    if read is None and written is None:  # rerank and score tell only what they read
        read = told.get("prompt_tokens", told.get("total_tokens"))
        written = told.get("completion_tokens")
    usage = usage_in({"usage": {"input_tokens": read, "output_tokens": written}}) or Usage()
    details = told.get("input_tokens_details")
    seen = details.get("image_tokens") if type(details) is dict else None
    if type(details) is not dict or "image_tokens" not in details:
        return usage
    special = Special(image_input=min(max(0, seen if type(seen) is int else 0), usage.input), image_output=usage.output)
    return msgspec.structs.replace(usage, special=special)
