"""Where texts stand in Gemini's JSON: what a model reads in a request, and what it says in a candidate.

A `Spot` is one text and its place in a decoded tree, so that finding a text and changing it cannot disagree. Requests
are searched for every string that is not known to be an identifier, a setting or media, in either spelling of names.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

_MAX_DEPTH = 64
# Top-level fields of a request that choose how the model answers; it does not read them.
_SETTINGS = frozenset({
    "model", "safetySettings", "safety_settings", "toolConfig", "tool_config", "cachedContent", "cached_content",
    "labels", "serviceTier", "service_tier", "modelArmorConfig", "taskType", "task_type", "store",
})  # fmt: skip
_TOOLS = frozenset({"tools", "generationConfig", "generation_config"})
_IDENTIFIERS = frozenset({
    "role", "id", "mimeType", "mime_type", "fileUri", "file_uri", "thoughtSignature", "thought_signature", "type",
    "format", "required", "propertyOrdering", "property_ordering", "$ref", "$id", "$schema", "responseMimeType",
    "response_mime_type", "responseModalities", "response_modalities", "mediaResolution", "media_resolution",
    "thinkingLevel", "thinking_level", "language", "outcome", "model", "taskType", "task_type", "behavior",
})  # fmt: skip
_CALLS = frozenset({
    "functionCall", "function_call", "functionResponse", "function_response", "functionDeclarations",
    "function_declarations",
})  # fmt: skip
_DATA = frozenset({"inlineData", "inline_data"})
_INSIDE = {"args": "arguments", "functionResponse": "tool_result", "function_response": "tool_result"}
# What a tool gets or gives is all text, whatever its fields are called.
_FREE = frozenset({"args", "response"})


class Spot(msgspec.Struct, eq=False):
    """A text and its place: `part` as in `events.Text`, or `tools`."""

    text: str
    part: str
    holder: Any
    key: Any

    def put(self, text: str) -> None:
        """Replace the text."""
        self.holder[self.key] = text


def read_by_model(body: dict[str, Any]) -> Iterator[Spot]:
    """Every text of a request that the model sees. Raises `RecursionError` for one that is nested too deeply."""
    for name, value in body.items():
        if name not in _SETTINGS:
            part = "tools" if name in _TOOLS else "content"
            if type(value) is str:
                if value:
                    yield Spot(value, part, body, name)
            else:
                yield from strings(value, part, name)


def said(candidate: dict[str, Any]) -> Iterator[Spot]:
    """What the model says in a candidate: its parts in order, and a note on its end, which may quote them."""
    for part in parts_of(candidate):
        yield from said_in_part(part)
    message = candidate.get("finishMessage")
    if type(message) is str and message:
        yield Spot(message, "content", candidate, "finishMessage")


def parts_of(candidate: dict[str, Any]) -> list[dict[str, Any]]:
    """The parts of a candidate's content."""
    content = candidate.get("content")
    parts = content.get("parts") if type(content) is dict else None
    return [part for part in parts if type(part) is dict] if type(parts) is list else []


def said_in_part(part: dict[str, Any]) -> Iterator[Spot]:
    """The texts of one part."""
    of = "reasoning" if part.get("thought") is True else "content"
    for name, value in part.items():
        if name == "text":
            if type(value) is str and value:
                yield Spot(value, of, part, name)
        elif name in ("functionCall", "function_call"):
            yield from strings(value, "arguments", name)
        else:
            yield from strings(value, of, name)


def forget(candidate: dict[str, Any]) -> None:
    """Take away what repeats a candidate's text: its tokens, and what it rests on."""
    for name in ("logprobsResult", "groundingMetadata", "citationMetadata"):
        candidate.pop(name, None)


def strings(value: Any, part: str, parent: str, depth: int = 0, *, free: bool = False) -> Iterator[Spot]:  # noqa: ANN401
    """Every text inside a value: not identifiers, not media; inside a tool's data every string."""
    if depth > _MAX_DEPTH:
        raise RecursionError("more levels than a request can have")
    if type(value) is dict:
        for name, item in value.items():
            if type(item) is str:
                if item and (free or not _is_name(name, parent)):
                    yield Spot(item, part, value, name)
            elif free or name not in _IDENTIFIERS or type(item) is dict:
                yield from strings(item, _INSIDE.get(name, part), name, depth + 1, free=free or name in _FREE)
    elif type(value) is list:
        for number, item in enumerate(value):
            if type(item) is str:
                if item:
                    yield Spot(item, part, value, number)
            else:
                yield from strings(item, part, parent, depth + 1, free=free)


def _is_name(name: str, parent: str) -> bool:
    return name in _IDENTIFIERS or (name == "name" and parent in _CALLS) or (name == "data" and parent in _DATA)
