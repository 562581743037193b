"""Records of Anthropic's streams <-> events for filters. A record that cannot be read is one text as a whole."""

from collections.abc import Iterable
from typing import Any

import msgspec

from gateway import sse
from gateway.dialects.anthropic_texts import in_block
from gateway.dialects.openai_texts import Spot, said_anywhere
from gateway.errors import UpstreamCut
from gateway.events import SEALED, End, Event, Finish, Opaque, Record, Text
from gateway.jsonbody import read_lenient

# Not choices: texts that are complete in one record. Each is followed by its own `Finish`, so that none waits.
_WHOLE = -1
# Reasoning and arguments end with their block: each has a choice of its own. Text blocks are one text together.
_BLOCK = -2
_DELTAS = {
    "text_delta": ("text", "content"), "thinking_delta": ("thinking", "reasoning"),
    "input_json_delta": ("partial_json", "arguments"),
}
_SILENT = frozenset({"ping", "message_start"})


def events_of(record: bytes) -> list[Event]:
    """What one record says."""
    payload = sse.data(record)
    if not payload or payload.isspace():
        return [Opaque(Record(record))]
    event = read_lenient(payload)
    if type(event) is not dict:
        whole = Record(record, 2)
        return [Text(payload.decode("utf-8", "replace"), _WHOLE, record=whole), Finish("", _WHOLE, whole)]
    kind = event.get("type")
    if kind == "message_stop":
        return [End(Record(record))]
    if kind == "message_delta":
        delta = event.get("delta")
        reason = delta.get("stop_reason") if type(delta) is dict else None
        return [Finish(str(reason), 0, Record(record)) if reason else Opaque(Record(record))]
    if kind == "content_block_stop":
        return [Finish("", _BLOCK - _index(event), Record(record))]
    if kind in _SILENT:
        return [Opaque(Record(record))]
    delta = event.get("delta")
    delta = delta if type(delta) is dict else {}
    known = _DELTAS.get(str(delta.get("type")))
    if known is not None and type(text := delta.get(known[0])) is str:
        if not text:
            return [Opaque(Record(record))]
        choice, number = (0, 0) if known[1] == "content" else (_BLOCK - _index(event), _index(event))
        return [Text(text, choice, known[1], number, Record(record))]  # type: ignore[arg-type]
    if delta.get("type") == "signature_delta":
        return [Finish(SEALED, _BLOCK - _index(event), Record(record))]
    said = "".join(spot.text for spot in _spots(event))
    if not said:
        return [Opaque(Record(record))]
    whole = Record(record, 2)
    return [Text(said, _WHOLE, record=whole), Finish("", _WHOLE, whole)]


def record_of(event: Event) -> bytes:
    """A record with this event alone, made from the one it came in."""
    assert event.record is not None
    raw = event.record.raw
    if isinstance(event, Opaque | End) or (isinstance(event, Finish) and event.choice != _WHOLE):
        return raw
    if not isinstance(event, Text):
        return b""  # the end of a text that stood whole in its record
    tree = read_lenient(sse.data(raw) or b"")
    if type(tree) is not dict:
        return sse.write(event.text.replace("\n", " ").encode("utf-8", "replace"))
    if event.choice == _WHOLE:
        _rewrite(_spots(tree), event.text)
    else:
        tree["delta"][_DELTAS[tree["delta"]["type"]][0]] = event.text
    try:
        return sse.write(msgspec.json.encode(tree), str(tree.get("type", "")).encode())
    except RecursionError:
        raise UpstreamCut("The upstream sent JSON that is nested too deeply.") from None


def _index(event: dict[str, Any]) -> int:
    number = event.get("index")
    return number if type(number) is int and number >= 0 else 0


def _spots(event: dict[str, Any]) -> list[Spot]:
    """Texts outside of the usual deltas: a block that comes whole, a citation, an error, an unknown event."""
    kind = event.get("type")
    block = event.get("content_block")
    try:
        if kind == "content_block_start" and type(block) is dict:
            return list(in_block(block))
        delta = event.get("delta")
        if type(delta) is dict and delta.get("type") == "signature_delta":
            return []
        return list(said_anywhere({name: value for name, value in event.items() if name != "type"}))
    except RecursionError:
        raise UpstreamCut("The upstream sent JSON that is nested too deeply.") from None


def _rewrite(spots: Iterable[Spot], text: str) -> None:
    """Write another text in place of all: the first becomes it, the others are emptied."""
    for number, spot in enumerate(spots):
        spot.put("" if number else text)
