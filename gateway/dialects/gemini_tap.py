"""Watches a stream of Gemini's: tokens, ends, errors and how much was said, while whole records go on as they came.

There is no terminal record, so the last one that ends a candidate is held until the upstream's own end, or until
another one follows: what ends a reply for its reader leaves when the books are closed.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from gateway import sse
from gateway.dialects.gemini_errors import envelope, error_in
from gateway.dialects.gemini_fields import camel
from gateway.dialects.gemini_framing import ArraySplitter, lone
from gateway.dialects.gemini_texts import parts_of, said
from gateway.dialects.gemini_usage import usage_of
from gateway.errors import GatewayError
from gateway.events import Usage
from gateway.jsonbody import read_lenient

Json = dict[str, Any]

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class GeminiTap:
    """The state of one stream of server-sent events."""

    def __init__(self, *, whole: bool, scrub: Callable[[bytes], bytes]) -> None:
        self.usage: Usage | None = None
        self.error: str | None = None
        self.last = b""
        self.records = 0
        self.text_bytes = 0
        self.done = False
        self.between_records = True  # only whole records leave
        self._whole = whole          # filters must see what is held, too
        self._scrub = scrub
        self._held = b""
        self._open: set[int] = set()
        self._ended: set[int] = set()
        self._splitter = sse.Splitter()

    @property
    def complete(self) -> bool:
        """Whether every candidate has its finish reason, or the prompt was blocked."""
        return bool(self._ended) and not self._open

    def feed(self, data: bytes) -> bytes:
        """Take bytes as read; returns the records to send now."""
        if self._splitter.empty and (payload := lone(data)) is not None:
            return self._passed(data, payload)
        return b"".join([self._passed(record, sse.data(record)) for record in self._splitter.feed(data)])

    def rest(self) -> bytes:
        """At the upstream's end: what was held, and a record without its blank line."""
        tail = self._splitter.rest()
        if tail and (payload := sse.data(tail)):
            self._watch(payload)
            if not self.complete and self.error is None:
                tail = b""  # half a record
        held, self._held = self._held, b""
        return held + (self._scrub(tail) if self.error is not None else tail)

    def fail(self, error: GatewayError) -> bytes:
        """The record that ends the stream with an error; before it what was held, unless filters have to see it."""
        held, self._held = b"" if self._whole else self._held, b""
        return held + b"data: " + envelope(error) + b"\r\n\r\n"

    def _passed(self, record: bytes, payload: bytes | None) -> bytes:
        before = len(self._ended)
        if payload:
            self._watch(payload)
        if self.error is not None:
            record = self._scrub(record)
        out, self._held = self._held, b""
        if len(self._ended) > before:
            self._held = record
            return out
        return out + record

    def _watch(self, payload: bytes) -> None:
        self.records += 1
        try:
            tree = _decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            tree = read_lenient(payload)
            if type(tree) is not dict:
                return
        tree = camel(tree)
        if (error := error_in(tree)) is not None:
            self.error = str(error.get("status") or error.get("code") or "error")[:64]
        self.usage = usage_of(tree) or self.usage
        candidates = tree.get("candidates")
        for number, candidate in enumerate(candidates if type(candidates) is list else ()):
            if type(candidate) is dict:
                self._see(number, candidate)
        feedback = tree.get("promptFeedback")
        if type(feedback) is dict and feedback.get("blockReason") and not self._ended:
            self._ended.add(0)

    def _see(self, number: int, candidate: Json) -> None:
        index = candidate.get("index")
        index = index if type(index) is int else number
        if candidate.get("finishReason"):
            self._ended.add(index)
            self._open.discard(index)
        elif index not in self._ended:
            self._open.add(index)
        parts = parts_of(candidate)
        text = parts[0].get("text") if len(parts) == 1 else None
        if type(text) is str:
            self.text_bytes += len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
            return
        try:
            self.text_bytes += sum([len(spot.text.encode("utf-8", "replace")) for spot in said(candidate)])
        except RecursionError:
            return


class GeminiArrayTap(GeminiTap):
    """The same for a stream that is one JSON array."""

    def __init__(self, *, whole: bool, scrub: Callable[[bytes], bytes]) -> None:
        super().__init__(whole=whole, scrub=scrub)
        self._array = ArraySplitter()
        self._buffer = b""  # what no record has used yet: commas, brackets, the beginning of an object
        self._sent = False

    def feed(self, data: bytes) -> bytes:
        """Take bytes as read; returns the records to send now, each with the comma or bracket before it."""
        self._buffer += data
        out = []
        for payload in self._array.feed(data):
            end = self._buffer.index(payload) + len(payload)
            record, self._buffer = self._buffer[:end], self._buffer[end:]
            out.append(self._passed(record, payload))
        sent = b"".join(out)
        self._sent = self._sent or bool(sent)
        return sent

    def rest(self) -> bytes:
        """At the upstream's end: what was held. The array's own end is the last word."""
        self.last = self._buffer if self._buffer.strip().endswith(b"]") and not self._array.rest() else b""
        held, self._held = self._held, b""
        return held

    def fail(self, error: GatewayError) -> bytes:
        """The error as the array's last object, and its end."""
        held, self._held = b"" if self._whole else self._held, b""
        lead = b",\r\n" if self._sent or held else b"["
        return held + lead + envelope(error) + b"]"
