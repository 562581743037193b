"""Token counts as OpenAI and the servers that speak its API report them.

Sources: the `usage` objects of platform.openai.com/docs/api-reference, and the deviations that real traffic shows: DeepSeek's
`prompt_cache_hit_tokens`, Moonshot's top-level `cached_tokens`, xAI's `completion_tokens` without the reasoning.
"""

import msgspec

from gateway.events import Usage


class _Details(msgspec.Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class WireUsage(msgspec.Struct):
    """A `usage` object; all of it optional."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    prompt_cache_hit_tokens: int | None = None
    cached_tokens: int | None = None


def usage_of(wire: WireUsage) -> Usage | None:
    """The billed tokens, or `None` where the object has none or impossible ones (missing is not zero)."""
    if wire.prompt_tokens is None and wire.completion_tokens is None:
        return None
    read = wire.prompt_tokens or 0
    written = wire.completion_tokens or 0
    reasoning = (wire.completion_tokens_details and wire.completion_tokens_details.reasoning_tokens) or 0
    cached = (wire.prompt_tokens_details and wire.prompt_tokens_details.cached_tokens) or 0
    cached = cached or wire.prompt_cache_hit_tokens or wire.cached_tokens or 0
    if reasoning and wire.total_tokens == read + written + reasoning:
        written += reasoning
    if min(read, written, cached, reasoning) < 0:
        return None
    return Usage(input=read, output=written, cached=min(cached, read), reasoning=min(reasoning, written))
