"""Records of Responses streams <-> events for filters.

Beside the deltas, later records repeat what was said: a part, an item, at last the whole response. Each of these is one
text that is complete in its record, its places joined by a mark, so that a filter sees it all again and what it changes
is changed there too. A record that cannot be read is one text as a whole.
"""

from typing import Any

import msgspec

from gateway import sse
from gateway.dialects.openai_texts import Spot, said_anywhere
from gateway.dialects.responses_texts import in_item, said_in_reply
from gateway.errors import UpstreamCut
from gateway.events import End, Event, Finish, Opaque, Record, Text
from gateway.jsonbody import read_lenient

# Not a choice: a text that is complete in one record, followed by its own `Finish`, so that it does not wait.
_WHOLE = -1
_MARK = "\n\x1e\n"
_DELTAS = {
    "response.output_text.delta": "content", "response.refusal.delta": "refusal",
    "response.reasoning_summary_text.delta": "reasoning", "response.reasoning_text.delta": "reasoning",
    "response.function_call_arguments.delta": "arguments", "response.custom_tool_call_input.delta": "arguments",
    "response.mcp_call_arguments.delta": "arguments",
}
_SILENT = frozenset({"response.created", "response.in_progress", "response.queued"})
_NAMES = frozenset({"type", "item_id", "obfuscation", "logprobs", "name"})
ENDS = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})


def events_of(record: bytes) -> list[Event]:
    """What one record says."""
    payload = sse.data(record)
    if not payload or payload.isspace() or payload.strip() == b"[DONE]":
        return [Opaque(Record(record))]
    event = read_lenient(payload)
    if type(event) is not dict:
        return _whole(payload.decode("utf-8", "replace"), record)
    kind = event.get("type")
    if kind in _SILENT:
        return [Opaque(Record(record))]
    if kind in _DELTAS and type(text := event.get("delta")) is str:
        number = event.get("output_index")
        if not text:
            return [Opaque(Record(record))]
        tool = number if type(number) is int and _DELTAS[kind] == "arguments" else 0
        return [Text(text, 0, _DELTAS[kind], tool, Record(record))]  # type: ignore[arg-type]
    said = _MARK.join([spot.text for spot in _spots(event)])
    if said:
        return _whole(said, record)
    return [End(Record(record)) if kind in ENDS else Opaque(Record(record))]


def _whole(text: str, record: bytes) -> list[Event]:
    """A text that repeats: what was said in deltas before it has ended."""
    whole = Record(record, 3)
    return [Finish("", 0, whole), Text(text, _WHOLE, record=whole), Finish("", _WHOLE, whole)]


def record_of(event: Event) -> bytes:
    """A record with this event alone, made from the one it came in."""
    assert event.record is not None
    raw = event.record.raw
    if isinstance(event, Opaque | End):
        return raw
    if not isinstance(event, Text):
        return b""  # the ends of texts, in a record that one of them changed
    tree = read_lenient(sse.data(raw) or b"")
    if type(tree) is not dict:
        return sse.write(event.text.replace("\r", " ").replace("\n", " ").encode("utf-8", "replace"))
    if event.choice == _WHOLE:
        _rewrite(_spots(tree), event.text)
    else:
        tree["delta"] = event.text
        tree.pop("logprobs", None)
        tree.pop("obfuscation", None)  # it hides the length of what was said before
    try:
        return sse.write(msgspec.json.encode(tree), str(tree.get("type", "")).encode())
    except RecursionError:
        raise UpstreamCut("The upstream sent JSON that is nested too deeply.") from None


def _spots(event: dict[str, Any]) -> list[Spot]:
    """Texts outside of deltas."""
    try:
        response, item = event.get("response"), event.get("item")
        if type(response) is dict:
            return list(said_in_reply(response))
        if type(item) is dict:
            return list(in_item(item))
        return [
            spot for name, value in event.items() if name not in _NAMES
            for spot in ([Spot(value, "content", event, name)] if type(value) is str and value else _deep(name, value))
        ]
    except RecursionError:
        raise UpstreamCut("The upstream sent JSON that is nested too deeply.") from None


def _deep(name: str, value: Any) -> list[Spot]:  # noqa: ANN401
    return list(said_anywhere({name: value})) if type(value) in (dict, list) else []


def _rewrite(spots: list[Spot], text: str) -> None:
    """Write what became of the texts into their places; where the marks are gone, all into the first."""
    pieces = text.split(_MARK)
    if len(pieces) != len(spots):
        pieces = [text.replace(_MARK, "\n"), *[""] * (len(spots) - 1)]
    for spot, piece in zip(spots, pieces, strict=True):
        if piece != spot.text:
            spot.put(piece)
