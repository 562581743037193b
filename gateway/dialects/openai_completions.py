"""`openai.completions`: POST /completions, the older text endpoint, which vLLM and llama.cpp still serve."""

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.dialects.openai import NO_PARAMS, OpenAIDialect, common, expect
from gateway.errors import InvalidRequest
from gateway.exchange import Request

_MOST_ANSWERS = 1 << 20


class Completions(OpenAIDialect):
    """The text-completion dialect."""

    name = "openai.completions"
    cap_field = "max_tokens"

    def decode(self, raw: bytes, body: dict[str, Any], params: Mapping[str, str] = NO_PARAMS) -> Request:  # noqa: ARG002
        """Check `model`, `stream`, `n`, the output cap, and that `prompt` is text, tokens, or a list of either."""
        prompt = body.get("prompt")
        if prompt is not None and not isinstance(prompt, str | list):
            raise InvalidRequest("`prompt` must be a string or an array.", param="prompt")
        request = common(raw, body, caps=("max_tokens",))
        tried = expect(body, "best_of", int) or 1
        prompts = len(prompt) if isinstance(prompt, list) and prompt and type(prompt[0]) is not int else 1
        if tried == 1 and prompts == 1:
            return request
        # Every prompt gets its answers, and of `best_of` tried ones each is billed.
        answers = min(max(request.choices, tried) * prompts, _MOST_ANSWERS)
        return msgspec.structs.replace(request, choices=answers)
