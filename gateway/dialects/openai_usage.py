"""Token counts as OpenAI and the servers that speak its API report them.

Sources: the `usage` objects of platform.openai.com/docs/api-reference, and the deviations that real traffic shows:
DeepSeek's `prompt_cache_hit_tokens`, Moonshot's top-level `cached_tokens`, OpenRouter's `cache_write_tokens`; xAI and
Gemini, whose `completion_tokens` lack the reasoning that `total_tokens` has.
"""

from typing import Any

import msgspec

from gateway.events import Special, Usage

_LARGEST = 1 << 53


class _Details(msgspec.Struct, gc=False):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None


class WireUsage(msgspec.Struct, gc=False):
    """A `usage` object; all of it optional."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    prompt_cache_hit_tokens: int | None = None
    cached_tokens: int | None = None


_NOTHING = _Details()
_TIERS = {b'"flex"': "flex", b'"priority"': "priority", b'"fast"': "fast", b'"batch"': "batch"}


def usage_of(wire: WireUsage, service_tier: bytes = b"") -> Usage | None:
    """The billed tokens, or `None` where the object has none or impossible ones (missing is not zero).

    `service_tier` is the reply's field of that name, as JSON.
    """
    if wire.prompt_tokens is None and wire.completion_tokens is None:
        return None
    read = wire.prompt_tokens or 0
    written = wire.completion_tokens or 0
    details, said = wire.prompt_tokens_details or _NOTHING, wire.completion_tokens_details or _NOTHING
    reasoning = said.reasoning_tokens or 0
    cached = details.cached_tokens or wire.prompt_cache_hit_tokens or wire.cached_tokens or 0
    stored = details.cache_write_tokens or 0
    hidden = (wire.total_tokens or 0) - read - written
    if hidden > 0 and reasoning in (0, hidden):
        written += hidden
        reasoning = hidden
    if not 0 <= read <= _LARGEST or not 0 <= written <= _LARGEST or cached < 0 or stored < 0 or reasoning < 0:
        return None
    if cached > read:
        cached = read
    return Usage(
        input=read, output=written, cached=cached, cache_write=min(stored, read - cached) if stored else 0,
        reasoning=min(reasoning, written) if reasoning else 0,
        special=_sound(details.audio_tokens or 0, said.audio_tokens or 0, read, written),
        tier=_TIERS.get(service_tier, "") if service_tier else "",
    )


def wire_of(
    read: int | None, written: int | None, total: int | None, *, cached: int | None, cache_write: int | None,
    reasoning: int | None,
) -> WireUsage:
    """The same numbers from a format that has other names for them."""
    return WireUsage(
        read, written, total, _Details(cached, cache_write), _Details(reasoning_tokens=reasoning),
    )


def wire_from(value: Any) -> WireUsage | None:  # noqa: ANN401 - whatever stands for `usage` in a reply
    """A usage object of decoded JSON, leniently: a number may be a string or `12.0`; what is no number is not there."""
    return msgspec.convert(_numbers(value, WireUsage), WireUsage) if type(value) is dict else None


def reported(body: bytes) -> Usage | None:
    """The usage of an unstreamed reply. Raises `msgspec.DecodeError` or `UnicodeDecodeError` for what is no JSON."""
    try:
        reply = _replies.decode(body)
        wire, tier = reply.usage, bytes(reply.service_tier)
    except msgspec.ValidationError:
        tree = msgspec.json.decode(body)
        known = tree if type(tree) is dict else {}
        wire, tier = wire_from(known.get("usage")), msgspec.json.encode(known.get("service_tier"))
    return usage_of(wire, tier) if wire is not None else None


def _sound(heard: int, spoken: int, read: int, written: int) -> Special | None:
    """Tokens of sound, which have prices of their own."""
    if heard <= 0 and spoken <= 0:
        return None
    return Special(audio_input=min(max(0, heard), read), audio_output=min(max(0, spoken), written))


class _Reply(msgspec.Struct):
    usage: WireUsage | None = None
    service_tier: msgspec.Raw = msgspec.Raw()


_replies = msgspec.json.Decoder(_Reply)


def _numbers(value: dict[Any, Any], struct: type[msgspec.Struct]) -> dict[str, Any]:
    """The fields of `struct` that can be read."""
    found: dict[str, Any] = {}
    for name in struct.__struct_fields__:
        item = value.get(name)
        if name.endswith("_details"):
            found[name] = _numbers(item, _Details) if type(item) is dict else None
        elif (number := _number(item)) is not None:
            found[name] = number
    return found


def _number(item: Any) -> int | None:  # noqa: ANN401
    if type(item) is str and item.isascii() and item.isdigit() and len(item) < 19:
        return int(item)
    if type(item) is float and item.is_integer():
        return int(item)
    return item if type(item) is int else None
