"""A whole text of a request as guardrails read it, and as it is sent after their edits."""

from collections.abc import Sequence

import msgspec

from gateway.guardrails.check import Hit
from gateway.guardrails.edits import StandIn, applied, edits_of
from gateway.guardrails.jsontext import JsonCursor, fitted, is_json, seen
from gateway.hookspecs import Redaction


class Reading(msgspec.Struct, frozen=True):
    """`raw` as it stands in the request, `text` with the escapes of JSON decoded, `places` where each came from."""

    raw: str
    part: str
    text: str
    places: Sequence[int] | None = None

    @property
    def place(self) -> tuple[str, str]:
        """What a chain looks at."""
        return self.text, self.part


def read_text(raw: str, part: str) -> Reading:
    """The text as a guardrail reads it."""
    if "\\" in raw and is_json(raw, part):
        return Reading(raw, part, *seen(raw))
    return Reading(raw, part, raw)


def edited(reading: Reading, hits: Sequence[Hit], stand_in: StandIn | None = None) -> str:
    """The raw text after what the hits say. JSON stays JSON."""
    edits = edits_of(reading.text, hits, stand_in)
    if not edits:
        return reading.raw
    if reading.places is not None:
        edits = [Redaction(reading.places[e.start], reading.places[e.end], e.text) for e in edits]
    if is_json(reading.raw, reading.part):
        edits = fitted(reading.raw, edits, JsonCursor())
    return applied(reading.raw, edits)
