"""Records of OpenAI's streams <-> events, for chat and completions alike.

All texts of one kind in one delta are one event: some servers send the same reasoning in two or three fields. A
record that cannot be read as a chunk is one text as a whole, so that nothing passes a filter unseen.
"""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from gateway import sse
from gateway.dialects.openai_plain import plain_events
from gateway.dialects.openai_texts import Spot, forget_tokens, numbered, said_anywhere, said_in_choice
from gateway.dialects.openai_usage import usage_of, wire_from
from gateway.errors import UpstreamCut
from gateway.events import End, Event, Finish, Opaque, Record, Text, Usage
from gateway.jsonbody import read_lenient

# Not choices: texts that are complete in one record. Each is followed by its own `Finish`, so that none waits.
_WHOLE = -1
_ERROR = -2
_SNAPSHOT = -3  # of choice 0; of choice 1 it is -4
_END_OF_LINE = re.compile(rb"\r\n|\n|\r")


class _Slot(msgspec.Struct, eq=False):
    """A text event's places: the same text may stand in several fields, in each in one piece or in several."""

    text: str
    fields: list[list[Spot]]

    def put(self, text: str) -> None:
        """Write another text: the first piece in each field becomes it, the others are emptied."""
        for first, *others in self.fields:
            for spot in others:
                spot.put("")
            first.put(text)

    def spots(self) -> list[Spot]:
        """All places."""
        return [spot for spots in self.fields for spot in spots]


class _Found(msgspec.Struct, eq=False):
    """An event, with the choice and the slot where it stands."""

    event: Event
    choice: dict[str, Any] | None = None
    slot: _Slot | None = None


def events_of(record: bytes) -> list[Event]:
    """What one record says."""
    payload = sse.data(record)
    if not payload or payload.isspace():
        return [Opaque(Record(record))]
    if (plain := plain_events(record, payload)) is not None:
        return plain
    if payload.strip() == b"[DONE]":
        return [End(Record(record))]
    read = _read(payload)
    if read is None:
        whole = Record(record, 2)
        return [Text(payload.decode("utf-8", "replace"), _WHOLE, record=whole), Finish("", _WHOLE, whole)]
    found = read[1]
    if not found:
        return [Opaque(Record(record))]
    kept = Record(record, len(found))
    return [_kept(each.event, kept) for each in found]


def record_of(event: Event) -> bytes:
    """A record with this event alone, made from the one it came in; what is no event stays with the first one."""
    assert event.record is not None
    raw = event.record.raw
    if isinstance(event, Opaque | End):
        return raw
    if _is_snapshot(event) or (isinstance(event, Finish) and event.choice < 0):
        return b""  # a snapshot is of use only where nothing was changed; the others are no finishes of the stream
    read = _read(sse.data(raw) or b"")
    if read is None:
        return _written(event.text) if isinstance(event, Text) else b""
    chunk, found = read
    number = next((number for number, each in enumerate(found) if _same(each.event, event)), None)
    if number is None:
        return b""
    _leave(chunk, found, number)
    _set(found[number], event)
    try:
        return sse.write(msgspec.json.encode(chunk))
    except RecursionError:
        raise UpstreamCut("The upstream sent JSON that is nested too deeply.") from None


def _read(payload: bytes) -> tuple[dict[str, Any], list[_Found]] | None:
    """A record's object and what is in it; `None` if it is no chunk."""
    chunk = _chunk(payload)
    try:
        return None if chunk is None else (chunk, _found(chunk))
    except RecursionError:
        return None


def _kept(event: Event, record: Record) -> Event:
    if isinstance(event, Text):  # nearly all are: a constructor is three times as fast as `replace`
        return Text(event.text, event.choice, event.part, event.tool, record)
    return msgspec.structs.replace(event, record=record)


def _chunk(payload: bytes) -> dict[str, Any] | None:
    """The record's object; `None` if it is none, or has no choices, usage or error as chunks have them."""
    chunk = read_lenient(payload)
    if type(chunk) is not dict:
        return None
    choices = chunk.get("choices")
    if choices is None:
        return chunk if "usage" in chunk or chunk.get("error") else None
    return chunk if type(choices) is list and all(type(choice) is dict for choice in choices) else None


def _found(chunk: dict[str, Any]) -> list[_Found]:
    found: list[_Found] = []
    for index, choice in numbered(chunk.get("choices") or []):
        message = choice.get("message")
        spots: Iterable[Spot] = said_in_choice(choice)
        if type(message) is dict and type(choice.get("delta")) is dict:
            # Perplexity: beside each delta all that was said so far.
            spots, snapshot = _split(spots, message)
            found += _complete(snapshot, _SNAPSHOT - index)
        found.extend(
            _Found(Text(slot.text, index, part, tool), choice, slot)  # type: ignore[arg-type]
            for (part, tool), slot in _slots(spots).items()
        )
        if reason := choice.get("finish_reason"):
            found.append(_Found(Finish(str(reason), index), choice))
    wire = wire_from(chunk.get("usage"))
    if wire is not None and (counted := usage_of(wire)) is not None:
        found.append(_Found(counted))
    if error := chunk.get("error"):
        found += _complete(list(said_anywhere({"error": error})), _ERROR)
    return found


def _complete(spots: list[Spot], choice: int) -> list[_Found]:
    """A text that does not go on in other records."""
    if not spots:
        return []
    slot = _Slot("".join([spot.text for spot in spots]), [spots])
    return [_Found(Text(slot.text, choice), slot=slot), _Found(Finish("", choice))]


def _split(spots: Iterable[Spot], message: dict[str, Any]) -> tuple[list[Spot], list[Spot]]:
    """The spots outside of `message`, and those in it."""
    known = list(spots)
    return [spot for spot in known if spot.root is not message], [spot for spot in known if spot.root is message]


def _slots(spots: Iterable[Spot]) -> dict[tuple[str, int], _Slot]:
    """The spots by event: pieces in one field are one text, and fields that say the same are one."""
    spots = list(spots)
    if len(spots) == 1:
        spot = spots[0]
        return {(spot.part, spot.tool): _Slot(spot.text, [spots])}
    fields: dict[tuple[str, int, int, str], list[Spot]] = {}
    for spot in spots:
        fields.setdefault((spot.part, spot.tool, id(spot.root), spot.field), []).append(spot)
    slots: dict[tuple[str, int], _Slot] = {}
    for (part, tool, _, _), pieces in fields.items():
        text = pieces[0].text if len(pieces) == 1 else "".join([piece.text for piece in pieces])
        while (known := slots.get((part, tool))) is not None and known.text != text:
            tool += 1  # noqa: PLW2901 - another text of the same kind: a voice of its own
        if known is None:
            slots[part, tool] = _Slot(text, [pieces])
        else:
            known.fields.append(pieces)
    return slots


def _same(one: Event, other: Event) -> bool:
    if isinstance(one, Text) and isinstance(other, Text):
        return (one.choice, one.part, one.tool) == (other.choice, other.part, other.tool)
    if isinstance(one, Finish) and isinstance(other, Finish):
        return one.choice == other.choice
    return isinstance(one, Usage) and isinstance(other, Usage)


def _is_snapshot(event: Event) -> bool:
    return isinstance(event, Text | Finish) and event.choice <= _SNAPSHOT


def _leave(chunk: dict[str, Any], found: list[_Found], number: int) -> None:
    """Take everything of the other events out of the chunk."""
    mine = found[number]
    first = all(_is_snapshot(each.event) for each in found[:number])
    last = number == len(found) - 1
    errors = [at for at, each in enumerate(found) if isinstance(each.event, Text) and each.event.choice == _ERROR]
    if number != errors[0] if errors else not last:
        chunk.pop("error", None)
    if not isinstance(mine.event, Usage) and any(isinstance(each.event, Usage) for each in found):
        chunk.pop("usage")
    choices = chunk.get("choices") or []
    if mine.choice is None and not first and isinstance(mine.event, Usage):
        chunk["choices"] = [_emptied(choice) for choice in choices[:1]]
        return
    spoken = {id(each.choice) for each in found}
    chunk["choices"] = [
        choice for choice in choices if choice is mine.choice or (first and id(choice) not in spoken)
    ]
    if mine.choice is not None:
        if type(mine.choice.get("delta")) is dict:
            mine.choice.pop("message", None)
        here = [each.slot for each in found if each.choice is mine.choice and each.slot is not None]
        others = [spot for slot in here if slot is not mine.slot for spot in slot.spots()]
        _leave_in_choice(mine.choice, mine.slot.spots() if mine.slot else [], others, first=first)
        if not isinstance(mine.event, Finish):
            mine.choice["finish_reason"] = None
        if others:
            forget_tokens(mine.choice)


def _leave_in_choice(choice: dict[str, Any], mine: list[Spot], others: list[Spot], *, first: bool) -> None:
    own = {(id(spot.root), spot.field) for spot in mine}
    units = {id(spot.unit) for spot in mine if spot.unit is not None}
    for spot in others:
        if spot.field not in spot.root:
            continue
        value = spot.root[spot.field]
        if type(value) is list and spot.unit is not None:
            value[:] = [entry for entry in value if entry is not spot.unit or id(entry) in units]
            if not value:
                del spot.root[spot.field]
        elif (id(spot.root), spot.field) in own:
            spot.put("")
        elif spot.root is choice:
            choice[spot.field] = ""
        else:
            del spot.root[spot.field]
    if first:
        return
    for message in (choice.get("delta"), choice.get("message")):
        if type(message) is dict:
            for field in [field for field in message if (id(message), field) not in own]:
                del message[field]
    for spot in mine:
        value = spot.root[spot.field]
        if type(value) is list and spot.unit is not None:
            value[:] = [entry for entry in value if id(entry) in units]


def _set(mine: _Found, event: Event) -> None:
    """Write what a filter made of the event, and take away what repeats the old."""
    if isinstance(event, Text) and mine.slot is not None and event.text != mine.slot.text:
        mine.slot.put(event.text)
        if mine.choice is not None:
            forget_tokens(mine.choice)
    elif isinstance(event, Finish) and mine.choice is not None:
        mine.choice["finish_reason"] = event.reason


def _emptied(choice: dict[str, Any]) -> dict[str, Any]:
    """The choice of a chunk that says nothing: this upstream sends usage beside choices, so its readers expect one."""
    said: dict[str, Any] = {"text": ""} if "text" in choice else {"delta": {}}
    return {"index": choice.get("index", 0), **said, "finish_reason": None}


def _written(text: str) -> bytes:
    lines = _END_OF_LINE.split(text.encode("utf-8", "replace"))
    return b"".join(b"data: " + line + b"\n" for line in lines) + b"\n"
