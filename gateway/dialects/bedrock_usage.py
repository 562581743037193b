"""Token counts as Bedrock reports them: `inputTokens` is without what was read from and written to the cache."""

from typing import Any

import msgspec

from gateway.events import Special, Usage

_LARGEST = 1 << 53
_TIERS = frozenset({"flex", "priority"})


def usage_of(value: Any, tier: Any = None) -> Usage | None:  # noqa: ANN401 - whatever stands for `usage`, `serviceTier`
    """The billed tokens, or `None` where the object has none or impossible ones."""
    if type(value) is not dict:
        return None
    fresh, written = _count(value, "inputTokens"), _count(value, "outputTokens")
    if fresh is None and written is None:
        return None
    cached = _count(value, "cacheReadInputTokens") or _count(value, "cacheReadInputTokenCount") or 0
    stored = _count(value, "cacheWriteInputTokens") or _count(value, "cacheWriteInputTokenCount") or 0
    details = value.get("cacheDetails")
    hour = 0
    for item in details if type(details) is list else ():
        if type(item) is dict and item.get("ttl") == "1h":
            hour += _count(item, "inputTokens") or 0
    kind = tier.get("type") if type(tier) is dict else None
    return Usage(
        input=(fresh or 0) + cached + stored, output=written or 0, cached=cached, cache_write=stored,
        special=Special(cache_write_1h=min(hour, stored)) if hour and stored else None,
        tier=kind if type(kind) is str and kind in _TIERS else "",
    )


def reported(body: bytes) -> Usage | None:
    """The usage of an unstreamed reply. Raises `msgspec.DecodeError` or `UnicodeDecodeError` for what is no JSON."""
    tree = msgspec.json.decode(body)
    return usage_of(tree.get("usage"), tree.get("serviceTier")) if type(tree) is dict else None


def written(usage: Usage) -> dict[str, int]:
    """Usage in Converse's fields."""
    told = {
        "inputTokens": max(0, usage.input - usage.cached - usage.cache_write),
        "outputTokens": usage.output,
        "totalTokens": usage.input + usage.output,
    }
    if usage.cached:
        told["cacheReadInputTokens"] = usage.cached
    if usage.cache_write:
        told["cacheWriteInputTokens"] = usage.cache_write
    return told


def _count(value: dict[str, Any], name: str) -> int | None:
    number = value.get(name)
    return number if type(number) is int and 0 <= number <= _LARGEST else None
