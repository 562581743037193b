"""Provider for vLLM's own OpenAI server: reasoning fields and sampling parameters travel as they are.

    providers:
      - name: vllm
        use: provider.vllm
        with: {base_url: "http://127.0.0.1:8200/v1", api_key: "${VLLM_API_KEY:-}"}

vLLM took the `guided_*` parameters away (0.12) and ignores them silently; `guided_decoding: structured_outputs` sends
them as its successor, `structured_outputs`, so that older clients keep their constraints.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta

from gateway import Edit, Exchange, InvalidRequest, Target, hookimpl
from gateway.jsonbody import outgoing
from gateway.readiness import Readiness
from gateway.tasks import Tasks
from gateway_plugins.providers import openai_compatible

if TYPE_CHECKING:
    from gateway import Gateway

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


    readiness: Annotated[
        bool, Meta(description="Look after the server by /health and /metrics: one that is not ready is asked last.")
    ] = True
    readiness_interval: Annotated[float, Meta(ge=0.1, description="Seconds between two looks.")] = 5.0
    max_waiting: Annotated[
        Annotated[int, Meta(ge=0)] | None, Meta(description="With more requests in its queue the server is not ready.")
    ] = 64


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
        self._tasks = Tasks()

    @hookimpl
    async def startup(self, gateway: "Gateway") -> None:
        """Begin to look after the server."""
        config = self.config
        if config.readiness:
            root = config.base_url.rstrip("/").removesuffix("/v1")
            look = Readiness(gateway, self.name, self.peer, root, self.headers, config.max_waiting)
            self._tasks.spawn(look.run(config.readiness_interval), f"readiness of {self.name}")

    @hookimpl
    async def shutdown(self, gateway: "Gateway") -> None:  # noqa: ARG002
        """End it."""
        await self._tasks.close()

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
