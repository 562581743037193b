"""Frames of Bedrock's streams <-> events for filters. A frame that cannot be read is one text as a whole."""

from typing import Any, Literal

import msgspec

from gateway import eventstream
from gateway.dialects.openai_texts import said_anywhere
from gateway.errors import UpstreamCut
from gateway.events import End, Event, Finish, Opaque, Record, Text
from gateway.jsonbody import read_lenient

# Not choices: texts that are complete in one frame. Each is followed by its own `Finish`, so that none waits.
_WHOLE = -1
_SILENT = frozenset({"messageStart", "contentBlockStop"})
_Part = Literal["content", "reasoning", "arguments"]


def events_of(record: bytes) -> list[Event]:
    """What one frame says."""
    frame = eventstream.read(record)
    event = read_lenient(frame.payload)
    if type(event) is not dict:
        whole = Record(record, 2)
        return [Text(frame.payload.decode("utf-8", "replace"), _WHOLE, record=whole), Finish("", _WHOLE, whole)]
    kind = frame.headers.get(":event-type", "")
    if kind == "metadata":
        return [End(Record(record))]
    if kind == "messageStop":
        return [Finish(str(event.get("stopReason") or ""), 0, Record(record))]
    if kind in _SILENT:
        return [Opaque(Record(record))]
    held = _held(event)
    if held is not None:
        holder, name, part = held
        text, index = holder[name], event.get("contentBlockIndex")
        number = index if part == "arguments" and type(index) is int else 0
        return [Text(text, 0, part, number, Record(record)) if text else Opaque(Record(record))]
    said = "".join(spot.text for spot in _spots(event))
    if not said:
        return [Opaque(Record(record))]
    whole = Record(record, 2)
    return [Text(said, _WHOLE, record=whole), Finish("", _WHOLE, whole)]


def record_of(event: Event) -> bytes:
    """A frame with this event alone, made from the one it came in."""
    assert event.record is not None
    raw = event.record.raw
    if isinstance(event, Opaque | End) or (isinstance(event, Finish) and event.choice != _WHOLE):
        return raw
    if not isinstance(event, Text):
        return b""  # the end of a text that stood whole in its frame
    frame = eventstream.read(raw)
    tree = read_lenient(frame.payload)
    if type(tree) is not dict:
        return eventstream.write(event.text.encode("utf-8", "replace"), frame.headers)
    held = _held(tree)
    if event.choice != _WHOLE and held is not None:
        held[0][held[1]] = event.text
    else:
        for number, spot in enumerate(_spots(tree)):
            spot.put("" if number else event.text)
    tree.pop("p", None)  # padding, which hides how long the text is
    try:
        return eventstream.write(msgspec.json.encode(tree), frame.headers)
    except RecursionError:
        raise UpstreamCut("The upstream sent JSON that is nested too deeply.") from None


def _held(event: dict[str, Any]) -> tuple[dict[str, Any], str, _Part] | None:
    """Where the text of a usual delta stands, and what it is part of."""
    delta = event.get("delta")
    if type(delta) is not dict:
        return None
    thought, call = delta.get("reasoningContent"), delta.get("toolUse")
    if type(delta.get("text")) is str:
        return delta, "text", "content"
    if type(thought) is dict and type(thought.get("text")) is str:
        return thought, "text", "reasoning"
    if type(call) is dict and type(call.get("input")) is str:
        return call, "input", "arguments"
    return None


def _spots(event: dict[str, Any]) -> list[Any]:
    """Texts outside of the usual deltas: a citation, a result, an error, an unknown event."""
    delta, start = event.get("delta"), event.get("start")
    thought = delta.get("reasoningContent") if type(delta) is dict else None
    if type(thought) is dict or (type(start) is dict and "toolUse" in start):
        return []  # a signature, the name of a call
    try:
        return list(said_anywhere({name: value for name, value in event.items() if name != "p"}))
    except RecursionError:
        raise UpstreamCut("The upstream sent JSON that is nested too deeply.") from None
