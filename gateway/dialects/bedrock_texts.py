"""Where texts stand in Bedrock's JSON: what a model reads in a request, and what it says in blocks and events.

Known blocks are searched by their fields; in unknown ones every string counts, so that nothing passes unseen.
"""

from collections.abc import Iterator
from typing import Any

from gateway.dialects.openai_texts import Spot, said_anywhere

_READ = ("toolConfig", "outputConfig", "promptVariables", "additionalModelRequestFields")
_MEDIA = frozenset({"image", "video", "audio", "cachePoint"})


def read_by_model(body: dict[str, Any]) -> Iterator[Spot]:
    """Every text of a request that the model sees."""
    yield from _content(body.get("system"))
    messages = body.get("messages")
    for message in messages if type(messages) is list else ():
        if type(message) is dict:
            yield from _content(message.get("content"))
    for name in _READ:
        if name in body:
            yield from _parted(said_anywhere({name: body[name]}), "tools")


def said_in_reply(reply: dict[str, Any]) -> Iterator[Spot]:
    """What the model says in a whole reply, or what an error says."""
    output = reply.get("output")
    message = output.get("message") if type(output) is dict else None
    if type(message) is dict:
        yield from _content(message.get("content"))
    elif type(reply.get("message")) is str:
        yield from _field(reply, "message", "content", 0)
    if type(reply.get("trace")) is dict:  # a guardrail's: it repeats what was said
        yield from said_anywhere({"trace": reply["trace"]})


def _content(content: Any) -> Iterator[Spot]:  # noqa: ANN401 - whatever stands for the blocks
    for number, block in enumerate(content if type(content) is list else ()):
        if type(block) is dict:
            yield from _in_block(block, content, number)


def _in_block(block: dict[str, Any], holder: list[Any], number: int) -> Iterator[Spot]:
    yield from _field(block, "text", "content", number)
    for kind, value in block.items():
        if kind in _MEDIA or type(value) is not dict:
            continue
        if kind == "reasoningContent":
            yield from _thought(block, value, holder, number)
        elif kind == "toolUse":
            yield from _parted(said_anywhere({"input": value.get("input")}), "arguments", number)
        elif kind == "toolResult":
            yield from _inside(_content(value.get("content")), "tool_result")
        elif kind == "document":
            yield from _field(value, "name", "document", number)
            yield from _field(value, "context", "document", number)
            source = value.get("source")
            if type(source) is dict:
                yield from _field(source, "text", "document", number)
                yield from _inside(_content(source.get("content")), "document")
        elif kind == "searchResult":
            yield from _inside(said_anywhere({kind: value}), "document")
        else:
            yield from said_anywhere({kind: value})
    if "json" in block:
        yield from said_anywhere({"json": block["json"]})


def _inside(spots: Iterator[Spot], part: str) -> Iterator[Spot]:
    """What stands in a tool's result or a document: nobody's word in the conversation."""
    for spot in spots:
        if spot.part == "content":
            spot.part = part
        yield spot


def _thought(
    block: dict[str, Any], value: dict[str, Any], holder: list[Any], number: int
) -> Iterator[Spot]:
    said = value.get("reasoningText")
    if type(said) is dict:
        for spot in _field(said, "text", "reasoning", number):
            if said.get("signature"):  # it fits this text only: both go
                spot.holder, spot.unit, spot.sealed = holder, block, True
            yield spot


def _field(holder: dict[str, Any], name: str, part: str, number: int) -> Iterator[Spot]:
    text = holder.get(name)
    if type(text) is str and text:
        yield Spot(text, part, holder, name, number)


def _parted(spots: Iterator[Spot], part: str, number: int = 0) -> Iterator[Spot]:
    for spot in spots:
        spot.part, spot.tool = part, number
        yield spot
