"""Where texts stand in Anthropic's JSON: what a model reads in a request, and what it says in blocks and events.

Known blocks are searched by their fields; in unknown ones every string counts, so that nothing passes unseen.
"""

from collections.abc import Iterator
from typing import Any

from gateway.dialects.openai_texts import Spot, said_anywhere

_SKIPPED = frozenset({
    "id", "tool_use_id", "name", "cache_control", "caller", "source", "is_error", "encrypted_content",
})


def read_by_model(body: dict[str, Any]) -> Iterator[Spot]:
    """Every text of a request that the model sees."""
    yield from _content(body, "system")
    messages = body.get("messages")
    for message in messages if type(messages) is list else ():
        if type(message) is dict:
            yield from _content(message, "content")
    for name in ("tools", "output_config", "output_format"):
        if name in body:
            yield from _parted(said_anywhere({name: body[name]}), "tools")


def said_in_reply(reply: dict[str, Any]) -> Iterator[Spot]:
    """What the model says in a whole reply, or what an error says."""
    if type(reply.get("content")) is list:
        yield from _content(reply, "content")
    elif "error" in reply:
        yield from said_anywhere({"error": reply["error"]})


def _content(holder: dict[str, Any], name: str) -> Iterator[Spot]:
    content = holder.get(name)
    if type(content) is str:
        if content:
            yield Spot(content, "content", holder, name)
    elif type(content) is list:
        for number, block in enumerate(content):
            if type(block) is dict:
                yield from in_block(block, content, number)


def in_block(block: dict[str, Any], holder: list[Any] | None = None, number: int = 0) -> Iterator[Spot]:
    """The texts of one block, which stands in `holder`."""
    kind = block.get("type")
    if kind == "text":
        yield from _field(block, "text", "content", number)
        if block.get("citations"):
            yield from said_anywhere({"citations": block["citations"]})
    elif kind == "thinking":
        for spot in _field(block, "thinking", "reasoning", number):
            if block.get("signature") and holder is not None:  # it fits this text only: both go
                spot.holder, spot.unit, spot.sealed = holder, block, True
            yield spot
    elif kind in ("tool_use", "server_tool_use", "mcp_tool_use"):
        yield from _parted(said_anywhere({"input": block.get("input")}), "arguments", number)
    elif kind == "tool_result":
        yield from _inside(_content(block, "content"), "tool_result")
    elif kind == "document":
        yield from _field(block, "title", "document", number)
        yield from _field(block, "context", "document", number)
        source = block.get("source")
        if type(source) is dict and source.get("type") == "text":
            yield from _field(source, "data", "document", number)
        elif type(source) is dict and source.get("type") == "content":
            yield from _inside(_content(source, "content"), "document")
    elif kind == "search_result":
        found = {name: value for name, value in block.items() if name not in _SKIPPED}
        yield from _inside(said_anywhere(found), "document")
    elif kind not in ("image", "redacted_thinking"):
        yield from said_anywhere({name: value for name, value in block.items() if name not in _SKIPPED})


def _inside(spots: Iterator[Spot], part: str) -> Iterator[Spot]:
    """What stands in a tool's result or a document: nobody's word in the conversation."""
    for spot in spots:
        if spot.part == "content":
            spot.part = part
        yield spot


def _field(holder: dict[str, Any], name: str, part: str, number: int) -> Iterator[Spot]:
    text = holder.get(name)
    if type(text) is str and text:
        yield Spot(text, part, holder, name, number)


def _parted(spots: Iterator[Spot], part: str, number: int = 0) -> Iterator[Spot]:
    for spot in spots:
        spot.part, spot.tool = part, number
        yield spot
