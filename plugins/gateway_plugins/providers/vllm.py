"""Provider for vLLM's own OpenAI server: reasoning fields and sampling parameters travel as they are.

    providers:
      - name: vllm
        use: provider.vllm
        with: {base_url: "http://127.0.0.1:8200/v1", api_key: "${VLLM_API_KEY:-}"}

vLLM took the `guided_*` parameters away (0.12) and ignores them silently; `guided_decoding: structured_outputs` sends
them as its successor, `structured_outputs`, so that older clients keep their constraints.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta

from gateway import Edit, Exchange, InvalidRequest, Target
from gateway.jsonbody import outgoing
from gateway_plugins.providers import openai_compatible

_GUIDED = {
    "guided_json": "json", "guided_regex": "regex", "guided_choice": "choice", "guided_grammar": "grammar",
    "guided_whitespace_pattern": "whitespace_pattern",
}

PATHS = {
    **openai_compatible.PATHS, "rerank": "/rerank", "score": "/score", "tokenize": "/tokenize",
    "detokenize": "/detokenize", "messages": "/messages", "messages.count_tokens": "/messages/count_tokens",
}
_MESSAGES = frozenset({"messages", "messages.count_tokens"})
_AT_ROOT = ("tokenize", "detokenize")  # the server has these beside /v1, not under it


class Options(openai_compatible.Options, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the server is, and what it understands."""

    responses: bool = True
    takes: tuple[str, ...] = ("max_tokens", "top_k", "min_p", "reasoning", "video_url")
    messages: Annotated[
        bool, Meta(description="The server answers Anthropic's /messages itself; else those are translated into chat.")
    ] = False
    guided_decoding: Annotated[
        Literal["as_is", "structured_outputs"], Meta(description="How `guided_*` parameters are sent.")
    ] = "structured_outputs"


class VLLM(openai_compatible.OpenAICompatible):
    """vLLM, self-hosted."""

    Config = Options
    name = "vllm"
    endpoints = frozenset(PATHS) - _MESSAGES - {"responses"}
    paths = PATHS
    config: Options

    def __init__(self, config: Options) -> None:
        super().__init__(config)
        if config.messages:
            self.endpoints = self.endpoints | _MESSAGES

    def url(self, exchange: Exchange) -> str:
        """Where the request goes."""
        url = super().url(exchange)
        path = PATHS[exchange.wire_endpoint]
        if exchange.wire_endpoint in _AT_ROOT:
            return url.removesuffix(path).removesuffix("/v1") + path
        return url

    def body(self, exchange: Exchange, target: Target) -> bytes:
        """The bytes to send, with older guided decoding parameters under their present name."""
        assert exchange.request is not None
        given = exchange.request.body if exchange.bridge is None else exchange.bridge.body
        if self.config.guided_decoding == "structured_outputs" and (constraints := _structured(given)):
            if given.get("structured_outputs") is not None:
                raise InvalidRequest(
                    "Send either `structured_outputs` or the older `guided_*` parameters, not both.",
                    param="structured_outputs",
                )
            exchange.edits.append(Edit("structured_outputs", constraints))
        return outgoing(exchange, target.model)


def _structured(given: Mapping[str, Any]) -> dict[str, Any]:
    if _GUIDED.keys().isdisjoint(given):
        return {}
    return {new: given[old] for old, new in _GUIDED.items() if given.get(old) is not None}
