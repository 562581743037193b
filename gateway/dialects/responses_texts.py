"""Where texts stand in the JSON of Responses: what a model reads in a request, and what it says in items and events.

Known items are searched by their fields; in unknown ones every string counts, so that nothing passes unseen.
"""

from collections.abc import Iterator
from typing import Any

from gateway.dialects.openai_texts import Spot, said_anywhere

# Fields of items and parts that are names, places and seals, not texts.
_SKIPPED = frozenset({
    "id", "type", "role", "status", "call_id", "name", "namespace", "phase", "detail", "filename", "file_id",
    "encrypted_content", "server_label", "approval_request_id", "image_url", "file_url", "file_data", "input_audio",
    "container_id", "vector_store_id", "logprobs", "item_id", "prompt_cache_breakpoint",
})
_ARGUMENTS = {"function_call": "arguments", "custom_tool_call": "input", "mcp_call": "arguments"}


def read_by_model(body: dict[str, Any]) -> Iterator[Spot]:
    """Every text of a request that the model sees."""
    if "instructions" in body:
        yield from _field(body, "instructions")
    given = body.get("input")
    if type(given) is list:
        for item in given:
            result = type(item) is dict and str(item.get("type")).endswith("_output")
            for spot in in_item(item, given):
                if result or (spot.holder is item and spot.key == "output"):
                    spot.part = "tool_result"
                yield spot
    elif "input" in body:
        yield from _field(body, "input")
    prompt = body.get("prompt")
    if type(prompt) is dict:
        yield from said_anywhere({"variables": prompt.get("variables")})
    for name in ("tools", "text"):
        if name in body:
            for spot in said_anywhere({name: body[name]}):
                if spot.key not in ("verbosity", "server_url", "authorization", "vector_store_ids"):
                    spot.part = "tools"
                    yield spot


def said_in_reply(reply: dict[str, Any]) -> Iterator[Spot]:
    """What the model says in a whole reply, and what an error says."""
    output = reply.get("output")
    if type(output) is list:
        for item in output:
            yield from in_item(item, output)
    if reply.get("error"):
        yield from said_anywhere({"error": reply["error"]})


def in_item(item: Any, holder: list[Any] | None = None) -> Iterator[Spot]:  # noqa: ANN401 - whatever stands there
    """The texts of one item, which stands in `holder`."""
    if type(item) is not dict:
        if holder is not None and type(item) is str and item:
            yield Spot(item, "content", holder, holder.index(item))
        return
    kind = item.get("type")
    part = "reasoning" if kind == "reasoning" else "content"
    sealed = part == "reasoning" and bool(item.get("encrypted_content")) and holder is not None
    for name in item:
        if name in _SKIPPED and name != _ARGUMENTS.get(str(kind)):
            continue
        where = "arguments" if name == _ARGUMENTS.get(str(kind)) else part
        for spot in _field(item, name, where):
            if sealed:  # what is encrypted says the same: both go
                spot.holder, spot.unit, spot.sealed = holder, item, True
            yield spot


def _field(holder: dict[str, Any], name: str, part: str = "content") -> Iterator[Spot]:
    value = holder[name]
    if type(value) is str:
        if value:
            yield Spot(value, part, holder, name)
    elif type(value) in (list, dict):
        for spot in said_anywhere({name: value}):
            if spot.key not in _SKIPPED:
                spot.part = part
                yield spot
