"""Watches streams of sound and images: plain bytes, or events of which the last one has the usage."""

from collections.abc import Callable
from typing import Any

import msgspec

from gateway import sse
from gateway.dialects import openai_chunks
from gateway.dialects.openai_media_usage import Makes, media_usage
from gateway.dialects.usage_sums import plus
from gateway.errors import GatewayError
from gateway.events import End, Event, Finish, Opaque, Record, Text, Usage
from gateway.jsonbody import read_lenient

_WHOLE = -1


class BinaryTap:
    """Bytes go on as they come. Their end is the upstream's: a cut is found by the connection."""

    usage: Usage | None = None
    error: str | None = None
    records = 0
    text_bytes = 0
    done = False
    complete = False    # no count is reported: what the request was expected to use is what counts
    between_records = True

    def __init__(self) -> None:
        self.last = b""

    def feed(self, data: bytes) -> bytes:
        """Everything goes on."""
        return data

    def rest(self) -> bytes:
        """Nothing waits. The upstream's clean end is the end."""
        self.complete = True
        return b""

    def fail(self, error: GatewayError) -> bytes:  # noqa: ARG002
        """Nothing can be said among bytes."""
        return b""


class EventTap:
    """Whole records; the last of those in `ends` is held until the books are closed. There are `count` of them."""

    def __init__(self, ends: frozenset[str], count: int, makes: Makes, scrub: Callable[[bytes], bytes]) -> None:
        self.usage: Usage | None = None
        self.error: str | None = None
        self.last = b""
        self.records = 0
        self.text_bytes = 0
        self.done = False
        self.between_records = True
        self._ends = ends
        self._left = count
        self._makes = makes
        self._scrub = scrub
        self._splitter = sse.Splitter()

    @property
    def complete(self) -> bool:
        """Whether all was said."""
        return self.done and self.error is None

    def feed(self, data: bytes) -> bytes:
        """Take bytes as read; returns the records to send now."""
        out: list[bytes] = []
        for record in self._splitter.feed(data):
            if self.done:
                self.last += record
            elif self._read(record):
                self.done = True
                self.last = record if self.error is None else self._scrub(record)
            else:
                out.append(record)
        return b"".join(out)

    def rest(self) -> bytes:
        """A record without its end is not sent."""
        self._splitter.rest()
        return b""

    def fail(self, error: GatewayError) -> bytes:  # noqa: ARG002
        """As in any stream of the dialect."""
        return b""

    def _read(self, record: bytes) -> bool:
        """Whether this is the last record."""
        payload = sse.data(record)
        if payload is None:
            return False
        if payload.strip() == b"[DONE]":
            return True
        event = read_lenient(payload)
        if type(event) is not dict:
            return False
        self.records += 1
        said = event.get("delta")
        self.text_bytes += len(said.encode("utf-8", "replace")) if type(said) is str else 0
        if (usage := media_usage(event.get("usage"), self._makes)) is not None:
            self.usage = usage if self.usage is None else plus(self.usage, usage)
        if event.get("type") == "error" or event.get("error"):
            error: Any = event.get("error") if type(event.get("error")) is dict else event
            self.error = str(error.get("code") or error.get("type") or "error")[:64]
            return True
        if event.get("type") in self._ends:
            self._left -= 1
            return self._left <= 0
        return False

    @staticmethod
    def events(record: bytes) -> list[Event]:
        """What a record of a transcript says: a piece of it, or at the end the whole of it."""
        event = read_lenient(sse.data(record) or b"null")
        kept = Record(record)
        if type(event) is not dict:
            return [Opaque(kept)]
        if "choices" in event:  # as vLLM streams transcripts
            return openai_chunks.events_of(record)
        delta, whole = event.get("delta"), event.get("text")
        if event.get("type") == "transcript.text.delta" and type(delta) is str and delta:
            return [Text(delta, record=kept)]
        if type(whole) is str and whole:
            each = Record(record, 3)
            return [Finish("", 0, each), Text(whole, _WHOLE, record=each), Finish("", _WHOLE, each)]
        return [End(kept) if event.get("type") == "transcript.text.done" else Opaque(kept)]

    @staticmethod
    def encode(event: Event) -> bytes:
        """A changed piece, in the record it came in."""
        record = event.record
        if record is None or not isinstance(event, Text):
            return record.raw if record is not None and not isinstance(event, Finish) else b""
        tree = read_lenient(sse.data(record.raw) or b"null")
        if type(tree) is not dict:
            return b""
        if "choices" in tree:
            return openai_chunks.record_of(event)
        tree["delta" if "delta" in tree else "text"] = event.text
        tree.pop("logprobs", None)
        return sse.write(msgspec.json.encode(tree))
