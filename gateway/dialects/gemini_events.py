"""Records of Gemini's streams <-> events, in both framings.

All texts of one kind in one chunk are one event; a call comes whole, its arguments are one text of JSON. A record that
cannot be read as a chunk is one text as a whole, so that nothing passes a filter unseen.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any, Literal

import msgspec

from gateway.dialects.gemini_fields import FINISH, word
from gateway.dialects.gemini_texts import forget, parts_of, said_in_part, strings
from gateway.errors import UpstreamCut
from gateway.events import Event, Finish, Opaque, Record, Text
from gateway.jsonbody import read_lenient

Json = dict[str, Any]
Kind = Literal["content", "reasoning", "refusal", "arguments"]

# Not choices: texts that are complete in one record, each followed by its own `Finish`, so that none waits.
_WHOLE = -1
_GROUNDS = -2  # of choice 0; of choice 1 it is -3: what the answer rests on quotes the answer


class _Slot(msgspec.Struct, eq=False):
    """Where an event's text stands: the parts of one kind in a candidate, or one call."""

    choice: int
    kind: Kind
    tool: int
    parts: list[Json]

    def text(self) -> str:
        """The text."""
        if self.kind == "arguments":
            return msgspec.json.encode(_call(self.parts[0]).get("args") or {}).decode()
        return "".join([spot.text for part in self.parts for spot in said_in_part(part)])

    def put(self, text: str) -> list[Json]:
        """The parts with another text: it stands in the first, the others keep what is no text of them."""
        if self.kind == "arguments":
            call = _call(self.parts[0])
            try:
                arguments = msgspec.json.decode(text)
            except msgspec.DecodeError:
                arguments = None
            call["args"] = arguments if type(arguments) is dict else {"text": text}
            return self.parts
        spots = [spot for part in self.parts for spot in said_in_part(part)]
        for number, spot in enumerate(spots):
            spot.put("" if number else text)
        return self.parts


def events_of(record: bytes, payload: Callable[[bytes], bytes | None]) -> list[Event]:
    """What one record says. `payload` takes the JSON out of a record."""
    data = payload(record)
    if not data or data.isspace():
        return [Opaque(Record(record))]
    tree = _read(data)
    if tree is None:
        whole = Record(record, 2)
        return [Text(data.decode("utf-8", "replace"), _WHOLE, record=whole), Finish("", _WHOLE, whole)]
    found: list[Event] = [Text(slot.text(), slot.choice, slot.kind, slot.tool) for slot in _slots(tree)]
    for choice, candidate in _candidates(tree):
        if grounds := _grounds(candidate):
            found += (Text(grounds, _GROUNDS - choice), Finish("", _GROUNDS - choice))
        if reason := word(candidate.get("finishReason"), FINISH):
            found.append(Finish(reason, choice))
    if not found:
        return [Opaque(Record(record))]
    kept = Record(record, len(found))
    return [_kept(event, kept) for event in found]


def record_of(
    event: Event, payload: Callable[[bytes], bytes | None], write: Callable[[bytes, bytes, bool], bytes]
) -> bytes:
    """A record with this event alone, made from the one it came in; parts that are no event stay with the first one.

    `write(raw, payload, first)` frames a payload as `raw` was; `first` is true for the first event of its record.
    """
    assert event.record is not None
    raw = event.record.raw
    if not isinstance(event, Text | Finish):
        return raw
    tree = _read(payload(raw) or b"")
    if tree is None:
        return write(raw, event.text.encode(), True) if isinstance(event, Text) else b""
    if event.choice < 0:
        return b""  # of use only where nothing was changed
    made = _alone(tree, event)
    return b"" if made is None else write(raw, msgspec.json.encode(made[0]), made[1])


def _alone(tree: Json, event: Text | Finish) -> tuple[Json, bool] | None:
    slots = list(_slots(tree))
    candidate = deepcopy(next((c for choice, c in _candidates(tree) if choice == event.choice), {}))
    forget(candidate)
    reason = candidate.pop("finishReason", None)
    candidate.pop("finishMessage", None)
    content = candidate.get("content")
    content = candidate["content"] = content if type(content) is dict else {"role": "model"}
    if isinstance(event, Finish):
        content["parts"] = [{"text": ""}]
        candidate["finishReason"] = reason
        first = not slots
    else:
        wanted = (event.choice, event.part, event.tool)
        slot = next((slot for slot in slots if (slot.choice, slot.kind, slot.tool) == wanted), None)
        if slot is None:
            return None
        first = slot is slots[0]
        others = [part for part in _parts(tree, event.choice) if not _is_said(part)] if first else []
        content["parts"] = [*others, *_Slot(*wanted, deepcopy(slot.parts)).put(event.text)]
    return {**tree, "candidates": [candidate]}, first


def _slots(tree: Json) -> Iterator[_Slot]:
    for choice, candidate in _candidates(tree):
        texts: dict[Kind, list[Json]] = {}
        calls: list[Json] = []
        for part in parts_of(candidate):
            if _call(part):
                calls.append(part)
            elif _is_said(part):
                texts.setdefault("reasoning" if part.get("thought") is True else "content", []).append(part)
        for kind, parts in texts.items():
            yield _Slot(choice, kind, 0, parts)
        for number, part in enumerate(calls):
            yield _Slot(choice, "arguments", number, [part])


def _parts(tree: Json, choice: int) -> list[Json]:
    return [part for number, candidate in _candidates(tree) if number == choice for part in parts_of(candidate)]


def _is_said(part: Json) -> bool:
    return bool(_call(part)) or any(True for _ in said_in_part(part))


def _call(part: Json) -> Json:
    call = part.get("functionCall", part.get("function_call"))
    return call if type(call) is dict else {}


def _candidates(tree: Json) -> Iterator[tuple[int, Json]]:
    candidates = tree.get("candidates")
    for number, candidate in enumerate(candidates if type(candidates) is list else ()):
        if type(candidate) is dict:
            index = candidate.get("index")
            yield index if type(index) is int and index >= 0 else number, candidate


def _grounds(candidate: Json) -> str:
    """The texts that repeat what the model said or would say, besides its parts."""
    found = [candidate.get("finishMessage")]
    meta = candidate.get("groundingMetadata")
    supports = meta.get("groundingSupports") if type(meta) is dict else None
    found += [spot.text for spot in strings(supports, "content", "")]
    return "\n".join([text for text in found if type(text) is str and text])


def _read(data: bytes) -> Json | None:
    """The chunk, if it is one whose texts are where they belong; an error's message is text as a whole."""
    tree = read_lenient(data)
    if type(tree) is not dict or not ("candidates" in tree or "usageMetadata" in tree or "promptFeedback" in tree):
        return None
    try:
        list(strings(tree, "content", ""))
    except RecursionError:
        raise UpstreamCut("The upstream sent a stream record that is nested too deeply.") from None
    return tree


def _kept(event: Event, record: Record) -> Event:
    return msgspec.structs.replace(event, record=record)
