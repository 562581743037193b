"""Token counts as Anthropic reports them: `input_tokens` is without what was read from and written to the cache."""

from typing import Any

import msgspec

from gateway.events import Special, Usage

_LARGEST = 1 << 53
_TIERS = {"priority": "priority", "batch": "batch"}


class _Creation(msgspec.Struct, gc=False):
    ephemeral_1h_input_tokens: int | None = None


class _Output(msgspec.Struct, gc=False):
    thinking_tokens: int | None = None


class _Server(msgspec.Struct, gc=False):
    web_search_requests: int | None = None


class WireUsage(msgspec.Struct, gc=False):
    """A `usage` object; all of it optional, since a later one in a stream may have only what changed."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation: _Creation | None = None
    output_tokens_details: _Output | None = None
    server_tool_use: _Server | None = None
    service_tier: str | None = None
    speed: str | None = None


def merged(before: WireUsage | None, later: WireUsage) -> WireUsage:
    """What a stream has told so far: its numbers are totals, so the later one counts, and none is ever added."""
    if before is None:
        return later
    for name in WireUsage.__struct_fields__:
        if getattr(later, name) is None:
            setattr(later, name, getattr(before, name))
    return later


def usage_of(wire: WireUsage) -> Usage | None:
    """The billed tokens, or `None` where the object has none or impossible ones."""
    if wire.input_tokens is None and wire.output_tokens is None:
        return None
    cached, stored = wire.cache_read_input_tokens or 0, wire.cache_creation_input_tokens or 0
    read, written = (wire.input_tokens or 0) + cached + stored, wire.output_tokens or 0
    thought = (wire.output_tokens_details.thinking_tokens or 0) if wire.output_tokens_details else 0
    if min(wire.input_tokens or 0, cached, stored, written, thought) < 0 or max(read, written) > _LARGEST:
        return None
    hour = (wire.cache_creation.ephemeral_1h_input_tokens or 0) if wire.cache_creation else 0
    searches = (wire.server_tool_use.web_search_requests or 0) if wire.server_tool_use else 0
    special = None
    if hour > 0 or searches > 0:
        special = Special(cache_write_1h=min(max(0, hour), stored), searches=max(0, searches))
    tier = "fast" if wire.speed == "fast" else _TIERS.get(wire.service_tier or "", "")
    return Usage(
        input=read, output=written, cached=cached, cache_write=stored, reasoning=min(thought, written),
        special=special, tier=tier,
    )


def wire_from(value: Any) -> WireUsage | None:  # noqa: ANN401 - whatever stands for `usage`
    """A usage object of decoded JSON, leniently: what is no number is not there."""
    if type(value) is not dict:
        return None
    try:
        return msgspec.convert(value, WireUsage)
    except msgspec.ValidationError:
        kept = {name: number for name, number in value.items() if type(number) is int}
        return msgspec.convert({name: kept[name] for name in WireUsage.__struct_fields__ if name in kept}, WireUsage)


def reported(body: bytes) -> Usage | None:
    """The usage of an unstreamed reply. Raises `msgspec.DecodeError` or `UnicodeDecodeError` for what is no JSON."""
    try:
        wire = _replies.decode(body).usage
    except msgspec.ValidationError:
        tree = msgspec.json.decode(body)
        wire = wire_from(tree.get("usage")) if type(tree) is dict else None
    return usage_of(wire) if wire is not None else None


def written(usage: Usage) -> dict[str, Any]:
    """Usage in Anthropic's fields."""
    told: dict[str, Any] = {
        "input_tokens": max(0, usage.input - usage.cached - usage.cache_write),
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": usage.output,
    }
    if usage.reasoning:
        told["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    return told


class _Reply(msgspec.Struct):
    usage: WireUsage | None = None


_replies = msgspec.json.Decoder(_Reply)
