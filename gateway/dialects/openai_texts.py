"""Where texts stand in OpenAI's JSON: what a model reads in a request, and what it says in a message or a delta.

A `Spot` is one text and its place in a decoded tree, so that finding a text and changing it cannot disagree. Requests
are searched for every string that is not known to be an identifier or media; messages have a list of fields, because
names and types stand between their texts. What is nested deeper than a request may be raises `RecursionError`.
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

# Field of a message -> part of the answer, as in `events.Text`.
_SAID = {
    "content": "content", "reasoning": "reasoning", "reasoning_content": "reasoning", "refusal": "refusal",
    "reasoning_details": "reasoning", "thinking": "reasoning", "thinking_blocks": "reasoning",
}  # fmt: skip
_PARTS = {**_SAID, "arguments": "arguments"}
_FUNCTION_CALL = -1
_MAX_DEPTH = 64
# Top-level fields of a request that choose how the model answers; it does not read them.
_SETTINGS = frozenset({
    "model", "models", "user", "metadata", "service_tier", "safety_identifier", "prompt_cache_key", "reasoning_effort",
    "verbosity", "modalities", "audio", "tool_choice", "function_call", "encoding_format", "stream_options", "provider",
    "route", "transforms", "cache_salt", "request_id", "demo",
})  # fmt: skip
_TOOLS = frozenset({"tools", "functions", "response_format"})
_RESULT_ROLES = frozenset({"tool", "function"})
_WHOLE = frozenset({"tools", "arguments", "tool_result", "document"})  # parts that hold for all that is inside
_IDENTIFIERS = frozenset({
    "role", "type", "id", "tool_call_id", "call_id", "file_id", "mime_type", "media_type", "format", "required",
    "$ref", "$id", "$schema", "signature", "encrypted_content", "thought_signature",
})
_NAMED = frozenset({"function", "custom", "json_schema", "function_call", "tools", "functions"})
_MEDIA = frozenset({"url", "image_url", "video_url", "audio_url", "file_url", "data", "file_data", "b64_json"})
_IS_MEDIA = re.compile(r"[a-z0-9]{2,10}://\S*\Z|data:[^,\s]{0,200};base64,|[A-Za-z0-9+/_=-]{128}")
_SEALS = ("signature", "data", "encrypted_content")


class Spot(msgspec.Struct, eq=False):
    """A text and its place. It stands in the field `field` of `root` (a message), in the entry `unit` of its list.

    `tool` is the number of the tool call. A `sealed` text stands in an entry that its provider has signed.
    """

    text: str
    part: str
    holder: Any
    key: Any
    tool: int = 0
    root: Any = None
    field: str = ""
    unit: Any = None
    sealed: bool = False

    def put(self, text: str) -> None:
        """Replace the text, and take away what repeats it: a sealed entry as a whole, the sound of a transcript."""
        if self.sealed:
            self.holder[:] = [entry for entry in self.holder if entry is not self.unit]
            return
        self.holder[self.key] = text
        if self.key == "transcript":
            self.holder.pop("data", None)


def read_by_model(body: dict[str, Any]) -> Iterator[Spot]:
    """Every text of a request that the model sees; not names of functions and parameters, ids, links, base64."""
    for name, value in body.items():
        if name in _SETTINGS:
            continue
        part = "tools" if name in _TOOLS else "document" if name == "documents" else "content"
        if type(value) is str:
            if value:
                yield Spot(value, part, body, name)
        else:
            yield from _strings(value, part, name)


def said_in_choice(choice: dict[str, Any]) -> Iterator[Spot]:
    """What the model says in a choice of chat or completions, streamed or not, always in the same order."""
    for name in ("delta", "message", "text"):
        value = choice.get(name)
        if type(value) is dict and name != "text":
            yield from _said(value)
        elif type(value) is str:
            if value:
                yield Spot(value, "content", choice, name, root=choice, field=name)
        elif value:
            yield from _placed(_strings(value, "content", name), choice, name)


def _said(message: dict[str, Any]) -> Iterator[Spot]:
    for field, value in message.items():
        if not value:
            continue
        part = _SAID.get(field)
        if part is not None:
            if type(value) is str:
                yield Spot(value, part, message, field, root=message, field=field)
            else:
                yield from _placed(_strings(value, part, field), message, field)
        elif field == "tool_calls":
            for number, call in numbered(value):
                yield from _placed(_arguments(call), message, field, number, call)
        elif field == "function_call":
            yield from _placed(_strings(value, "arguments", field), message, field, _FUNCTION_CALL)
        elif field == "audio" and type(value) is dict and type(text := value.get("transcript")) is str and text:
            yield Spot(text, "content", value, "transcript", root=message, field=field)


def said_anywhere(tree: Any) -> Iterator[Spot]:  # noqa: ANN401 - JSON of an unknown shape
    """Every text of a reply that has no known shape."""
    return _strings(tree, "content", "")


def forget_tokens(choice: dict[str, Any]) -> None:
    """Take away a choice's token lists: they repeat its text."""
    for name in ("logprobs", "token_ids"):
        if name in choice:
            choice[name] = None


def numbered(entries: Any) -> Iterator[tuple[int, Any]]:  # noqa: ANN401 - whatever stands in their place
    """Choices or tool calls with their `index`; the next free number stands in for a missing or repeated one."""
    if type(entries) is not list:
        entries = [entries]
    used: set[int] = set()
    for entry in entries:
        index = entry.get("index") if type(entry) is dict else None
        if type(index) is not int or index in used or index < 0:
            index = next(number for number in range(len(used) + 1) if number not in used)
        used.add(index)
        yield index, entry


def _placed(
    spots: Iterator[Spot], root: dict[str, Any], field: str, tool: int = 0, unit: Any = None  # noqa: ANN401
) -> Iterator[Spot]:
    for spot in spots:
        spot.root, spot.field, spot.tool = root, field, tool
        if unit is not None:
            spot.unit = unit
        yield spot


def _arguments(call: Any) -> Iterator[Spot]:  # noqa: ANN401
    """Of a call only what the tool gets: other fields are ids, and signatures that must come back unchanged."""
    if type(call) is not dict:
        yield from _strings(call, "arguments", "tool_calls")
        return
    for name in ("function", "custom", "arguments", "input"):
        value = call.get(name)
        if not value:
            continue
        if type(value) is str:
            yield Spot(value, "arguments", call, name)
        else:
            yield from _strings(value, "arguments", name)


def _strings(value: Any, part: str, parent: str, depth: int = 0) -> Iterator[Spot]:  # noqa: ANN401 - any JSON value
    if depth > _MAX_DEPTH:
        raise RecursionError("more levels than a request can have")
    if type(value) is dict:
        if parent == "messages" and value.get("role") in _RESULT_ROLES:
            part = "tool_result"
        for name, item in value.items():
            of = part if part in _WHOLE else _PARTS.get(name, part)
            if type(item) is str:
                if item and not _is_name(name, item, parent):
                    yield Spot(item, of, value, name)
            elif name not in _IDENTIFIERS or type(item) is dict:
                yield from _strings(item, of, name, depth + 1)
    elif type(value) is list:
        for number, item in enumerate(value):
            if type(item) is str:
                if item:
                    yield Spot(item, part, value, number)
            elif type(item) is dict or type(item) is list:
                yield from _entry(value, item, part, parent, depth + 1)


def _entry(holder: list[Any], item: Any, part: str, parent: str, depth: int) -> Iterator[Spot]:  # noqa: ANN401
    """An entry of a list: a content part, a piece of reasoning, a tool."""
    reasoning = type(item) is dict and (part == "reasoning" or item.get("type") in ("thinking", "redacted_thinking"))
    sealed = reasoning and any(type(item.get(seal)) is str and item[seal] for seal in _SEALS)
    for spot in _strings(item, part, parent, depth):
        if sealed and spot.key in _SEALS:
            continue
        if reasoning:
            spot.unit = item
        if sealed:
            spot.holder, spot.sealed = holder, True
        yield spot


def _is_name(name: str, item: str, parent: str) -> bool:
    if name in _IDENTIFIERS or (name == "name" and parent in _NAMED):
        return True
    return name in _MEDIA and _IS_MEDIA.match(item) is not None
