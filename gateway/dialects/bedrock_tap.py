"""Watches a stream of ConverseStream: usage, end, errors and how much was said, while its frames go on as they came.

Only whole frames leave, each checked; `metadata`, the last, is held back (`last`) until the books are closed.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from gateway import eventstream
from gateway.dialects.bedrock_failure import in_stream
from gateway.dialects.bedrock_usage import usage_of
from gateway.errors import GatewayError
from gateway.events import Usage
from gateway.eventstream import Frame, Splitter
from gateway.jsonbody import read_lenient


class _Call(msgspec.Struct, gc=False):
    input: str = ""


class _Thought(msgspec.Struct, gc=False):
    text: str = ""


class _Delta(msgspec.Struct, gc=False, rename="camel"):
    text: str = ""
    tool_use: _Call | None = None
    reasoning_content: _Thought | None = None


class _Event(msgspec.Struct, gc=False):
    delta: _Delta | None = None


_decode = msgspec.json.Decoder(_Event).decode


class ConverseTap:
    """The state of one stream."""

    def __init__(self, scrub: Callable[[bytes], bytes] = bytes) -> None:
        self.usage: Usage | None = None
        self.error: str | None = None
        self.last = b""
        self.records = 0
        self.text_bytes = 0
        self.done = False
        self.between_records = True
        self._scrub = scrub
        self._splitter = Splitter()
        self._stopped = False

    @property
    def complete(self) -> bool:
        """Whether `messageStop` came."""
        return self._stopped

    def feed(self, data: bytes) -> bytes:
        """Take bytes as read; returns the frames to send now."""
        out: list[bytes] = []
        for frame in self._splitter.feed(data):
            raw = self._seen(frame)
            if self.done:
                self.last += raw
            else:
                out.append(raw)
        return b"".join(out)

    def rest(self) -> bytes:
        """At the upstream's end: nothing, since half a frame is of no use."""
        return b""

    def fail(self, error: GatewayError) -> bytes:  # noqa: ARG002
        """Nothing of its own: the dialect's frame."""
        return b""

    def _seen(self, frame: Frame) -> bytes:
        """The frame's bytes; an error's without credentials."""
        kind = frame.headers.get(":event-type", "")
        if kind == "contentBlockDelta":
            self._delta(frame.payload)
        elif kind == "messageStop":
            self._stopped = True
        elif kind == "metadata":
            self._metadata(frame.payload)
            self.done = self._stopped
        elif (error := in_stream(frame)) is not None:
            self.error = (error.code or "error")[:64]
            payload = self._scrub(frame.payload)
            return frame.raw if payload == frame.payload else eventstream.write(payload, frame.headers)
        return frame.raw

    def _delta(self, payload: bytes) -> None:
        self.records += 1
        try:
            delta = _decode(payload).delta
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        if delta is None:
            return
        said = delta.text
        if delta.tool_use is not None:
            said = delta.tool_use.input
        elif delta.reasoning_content is not None:
            said = delta.reasoning_content.text
        self.text_bytes += len(said.encode("utf-8", "replace"))

    def _metadata(self, payload: bytes) -> None:
        tree: Any = read_lenient(payload)
        if type(tree) is dict:
            self.usage = usage_of(tree.get("usage"), tree.get("serviceTier")) or self.usage
