"""Token counts as OpenAI's Responses report them: the same numbers as in chat, under other names."""

from typing import Any

import msgspec

from gateway.dialects import openai_usage
from gateway.events import Special, Usage
from gateway.jsonbody import read_lenient


class _Details(msgspec.Struct, gc=False):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None


class WireUsage(msgspec.Struct, gc=False):
    """A `usage` object; all of it optional."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None


class _Reply(msgspec.Struct):
    usage: WireUsage | None = None
    service_tier: msgspec.Raw = msgspec.Raw()


_replies = msgspec.json.Decoder(_Reply)
_NOTHING = _Details()
_SEARCH = b'"web_search_call"'


def usage_of(wire: WireUsage, service_tier: bytes = b"") -> Usage | None:
    """The billed tokens, or `None` where the object has none or impossible ones. The tier is JSON, as in the reply."""
    read, written = wire.input_tokens_details or _NOTHING, wire.output_tokens_details or _NOTHING
    return openai_usage.usage_of(
        openai_usage.wire_of(
            wire.input_tokens, wire.output_tokens, wire.total_tokens, cached=read.cached_tokens,
            cache_write=read.cache_write_tokens, reasoning=written.reasoning_tokens,
        ),
        service_tier,
    )


def usage_in(reply: dict[str, Any]) -> Usage | None:
    """The usage of a decoded reply, leniently: what is no number is not there."""
    value = reply.get("usage")
    if type(value) is not dict:
        return None
    named = {
        "prompt_tokens": value.get("input_tokens"), "completion_tokens": value.get("output_tokens"),
        "total_tokens": value.get("total_tokens"), "prompt_tokens_details": value.get("input_tokens_details"),
        "completion_tokens_details": value.get("output_tokens_details"),
    }
    wire = openai_usage.wire_from(named)
    return None if wire is None else openai_usage.usage_of(wire, msgspec.json.encode(str(reply.get("service_tier"))))


def searched(usage: Usage | None, payload: bytes) -> Usage | None:
    """`usage` with the web searches that a reply, or the event with it, tells of: they are billed by the piece.

    Opening a page that was found, and looking for something in it, are calls of the tool without a price.
    """
    if usage is None or payload.find(_SEARCH) < 0:
        return usage
    tree = read_lenient(payload)
    reply = tree.get("response", tree) if type(tree) is dict else None
    output = reply.get("output") if type(reply) is dict else None
    count = sum(1 for item in output if _is_search(item)) if type(output) is list else 0
    return msgspec.structs.replace(usage, special=Special(searches=count)) if count else usage


def reported(body: bytes) -> Usage | None:
    """The usage of an unstreamed reply. Raises `msgspec.DecodeError` or `UnicodeDecodeError` for what is no JSON."""
    try:
        reply = _replies.decode(body)
    except msgspec.ValidationError:
        tree = msgspec.json.decode(body)
        return searched(usage_in(tree), body) if type(tree) is dict else None
    return searched(usage_of(reply.usage, bytes(reply.service_tier)), body) if reply.usage is not None else None


def written(usage: Usage | None) -> dict[str, Any] | None:
    """Usage in the fields of Responses."""
    if usage is None:
        return None
    read: dict[str, Any] = {"cached_tokens": usage.cached}
    if usage.cache_write:
        read["cache_write_tokens"] = usage.cache_write
    return {
        "input_tokens": usage.input, "input_tokens_details": read, "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning}, "total_tokens": usage.input + usage.output,
    }


def _is_search(item: Any) -> bool:  # noqa: ANN401 - a piece of a reply
    if type(item) is not dict or item.get("type") != "web_search_call":
        return False
    action = item.get("action")
    return type(action) is not dict or action.get("type", "search") == "search"
