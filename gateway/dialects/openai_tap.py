"""Watches an OpenAI stream: usage, ends, errors and how much was said, while the bytes go on as they came.

Sans-io: `feed` takes bytes as read and returns bytes to send. The terminal record is held back (`last`), and the usage
chunk is taken out when the client did not ask for it; then, and only then, whole records leave.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from gateway import sse
from gateway.dialects.openai_texts import numbered, said_in_choice
from gateway.dialects.openai_usage import WireUsage, usage_of, wire_from
from gateway.errors import GatewayError, UpstreamCut
from gateway.events import Usage
from gateway.jsonbody import read_lenient

# Above this size a read is a burst: its first records are decoded, the rest only searched, part by part.
_SAMPLE = 1024
_PART = 4096
_ERROR = b'"error"'  # inside a text its quotes would be escaped
_NULL = b"null"


class _Function(msgspec.Struct, gc=False):
    arguments: msgspec.Raw = msgspec.Raw()


class _ToolCall(msgspec.Struct, gc=False):
    function: _Function | None = None


class _Delta(msgspec.Struct, gc=False):
    content: msgspec.Raw = msgspec.Raw()
    reasoning: msgspec.Raw = msgspec.Raw()
    reasoning_content: msgspec.Raw = msgspec.Raw()
    refusal: msgspec.Raw = msgspec.Raw()
    tool_calls: list[_ToolCall] | None = None
    function_call: _Function | None = None


class _Choice(msgspec.Struct, gc=False):
    index: int | None = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    text: msgspec.Raw = msgspec.Raw()
    finish_reason: str | None = None
    error: msgspec.Raw = msgspec.Raw()


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: WireUsage | None = None
    error: msgspec.Raw = msgspec.Raw()
    service_tier: msgspec.Raw = msgspec.Raw()

    @property
    def of_usage(self) -> bool:
        """Whether it has nothing but usage."""
        return not self.choices and self.usage is not None and not self.failed

    @property
    def failed(self) -> bool:
        """Whether it has an error."""
        return bool(self.error) and bytes(self.error) != _NULL


_decode = msgspec.json.Decoder(_Chunk).decode
_NOT_READ = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class StreamTap:
    """The state of one stream. `strip_usage` takes the chunk with usage and no choices out; `whole` sends whole
    records only (for filters)."""

    def __init__(
        self, *, strip_usage: bool, whole: bool = False, scrub: Callable[[bytes], bytes] = bytes
    ) -> None:
        self.usage: Usage | None = None
        self.error: str | None = None
        self.last = b""            # held: the terminal record and what came behind it
        self.records = 0
        self.text_bytes = 0        # of text in the records, bursts estimated
        self.done = False          # the terminal record came
        self._strip = strip_usage
        self.whole = whole or strip_usage
        self._scrub = scrub        # takes credentials out of an upstream's error
        self._erred = False        # an error was in a record: from then on all is scrubbed
        self._tail = b""
        self._sent = 0             # how much of the tail has left already
        self._usage_only = False   # the records last read have a chunk with nothing but usage, to be taken out
        self._open: set[int] = set()
        self._seen: set[int] = set()

    @property
    def between_records(self) -> bool:
        """Whether what was sent so far ends at a record boundary."""
        return self._sent == 0

    @property
    def complete(self) -> bool:
        """Whether the stream may end here: the terminal record came, or every choice has its finish reason."""
        return self.done or (bool(self._seen) and not self._open)

    def feed(self, data: bytes) -> bytes:
        """Take bytes as read; returns the bytes to send now."""
        if self.done:
            self.last += data
            return b""
        if not self._tail and data.find(b"\n") == len(data) - 2 and data.startswith(b"data: {") and data[-1] == 10:
            # One whole record on one line, as nearly every read of a stream is.
            try:
                chunk = _decode(data[6:-2])
            except _NOT_READ:
                return self._feed(data)
            if b"\r" not in data:
                self.records += 1
                self._see(chunk)
                if self._erred:
                    return self._scrub(data)
                return b"" if self._strip and chunk.usage is not None and chunk.of_usage else data
        return self._feed(data)

    def _feed(self, data: bytes) -> bytes:
        buffer = self._tail + data if self._tail else data
        erring = buffer.rfind(_ERROR) >= 0  # here and below: the search from the end takes half the time
        out = self._passed(buffer, erring)
        # What leaves may begin behind the word: the record's beginning was sent with an earlier read.
        return self._scrub(out) if self._erred or erring else out

    def _passed(self, buffer: bytes, erring: bool) -> bytes:
        already = self._sent
        end = sse.last_boundary(buffer)
        hold = self._watch(buffer[:end], erring) if end else 0
        if self.done:
            self._tail = b""
            self._sent = max(0, already - hold)
            self.last = buffer[max(hold, already) :]
            return self._kept(buffer[:hold]) if self.whole else buffer[already:hold]
        self._tail = buffer[end:]
        if len(self._tail) > sse.MAX_RECORD:
            raise UpstreamCut(f"The upstream sent a stream record of more than {sse.MAX_RECORD} bytes.")
        if self.whole:
            return self._kept(buffer[:end])
        # maybe terminal, maybe to scrub
        wait = self._tail.startswith((b"data: [", b"data:[")) or (erring and _ERROR in self._tail)
        until = max(end, already) if wait else len(buffer)
        self._sent = until - end
        return buffer[already:until]

    def fail(self, error: GatewayError) -> bytes:  # noqa: ARG002
        """Nothing of its own: the dialect's record."""
        return b""

    def rest(self) -> bytes:
        """At the upstream's end: bytes of an unfinished record that were not sent yet."""
        if not self._tail:
            return b""
        erring = _ERROR in self._tail
        self._watch(self._tail + b"\n\n", erring)
        erred = self._erred or erring
        unsent, size, self._tail = self._tail[self._sent :], len(self._tail), b""
        if self._usage_only or (self.whole and not self.complete and self.error is None):
            return b""  # to be taken out, or half a record where only whole ones leave
        self._sent = size
        return self._scrub(unsent) if erred else unsent

    def _watch(self, whole: bytes, erring: bool) -> int:
        """Read what the records say; returns the offset from which bytes are to be held. `erring`: see `_burst`."""
        self._usage_only = False
        hold = len(whole)
        if hold <= _SAMPLE and (chunks := _lines(whole)) is not None:
            self._see_all(chunks)  # the terminal record is no JSON: it is not among them
            return hold
        if (start := _terminal(whole)) >= 0:
            self.done = True
            hold = start
            whole = whole[:hold]
        if hold > _SAMPLE and b"\r" not in whole:
            self._burst(whole, erring)
        else:
            self._decode(whole)
        return hold

    def _burst(self, whole: bytes, erring: bool) -> None:
        """Many records in one read: decode the first ones, and what holds more than text; estimate the rest's text.

        `erring` says that the word for an error is somewhere in it.
        """
        before, decoded, start, size = self.text_bytes, 0, 0, _SAMPLE
        while start < len(whole):
            end = whole.rfind(b"\n\n", start, start + size) + 2
            if end <= start + 1:  # one record is longer than that
                end = whole.find(b"\n\n", start) + 2
                end = end if end > 1 else len(whole)
            records = whole.count(b"\ndata:", start, end) + whole.startswith(b"data:", start)
            if not start or _needs_decoding(whole, start, end, records, erring):
                self._decode(whole[start:end])
                decoded += end - start
            else:
                self.records += records
            start, size = end, _PART
        self.text_bytes = before + (self.text_bytes - before) * len(whole) // max(1, decoded)

    def _decode(self, whole: bytes) -> None:
        chunks = _lines(whole)
        if chunks is None:
            chunks = [chunk for record in sse.split(whole) if (chunk := _tolerant(record)) is not None]
        self._see_all(chunks)

    def _see_all(self, chunks: list[_Chunk]) -> None:
        self.records += len(chunks)
        for chunk in chunks:
            self._see(chunk)
            if self._strip and chunk.usage is not None and chunk.of_usage:
                self._usage_only = True

    def _see(self, chunk: _Chunk) -> None:
        for choice in chunk.choices or ():
            index = choice.index or 0
            if choice.error:
                self._erred = True
            if choice.finish_reason:
                self._seen.add(index)
                self._open.discard(index)
            elif index not in self._seen:
                self._seen.add(index)
                self._open.add(index)
            delta = choice.delta or choice.message
            if delta is None:
                self.text_bytes += _size(choice.text)
                continue
            if delta.content:
                self.text_bytes += _size(delta.content)
            if delta.tool_calls or delta.reasoning or delta.reasoning_content or delta.refusal or delta.function_call:
                self.text_bytes += _more(delta)
        if chunk.usage is not None:
            self.usage = usage_of(chunk.usage, bytes(chunk.service_tier)) or self.usage
        if chunk.error and chunk.failed:
            self._erred = True
            self.error = _error_text(bytes(chunk.error))

    def _kept(self, whole: bytes) -> bytes:
        if not self._usage_only:
            return whole
        return b"".join(
            record
            for record in sse.split(whole)
            if b'"usage"' not in record or b'"usage":null' in record or not _is_usage_chunk(record)
        )


def _lines(whole: bytes) -> list[_Chunk] | None:
    """The chunks of records as they are usually written: one line each; `None` if one is not."""
    lines = whole.split(b"\n\n")
    if lines.pop() or [line for line in lines if not line.startswith(b"data: {")]:
        return None
    try:
        return [_decode(line[6:]) for line in lines]
    except _NOT_READ:
        return None


def _terminal(whole: bytes) -> int:
    """Where the line `data: [DONE]` begins, -1 if there is none: the same characters inside a text are not it."""
    first, at = -1, whole.rfind(b"[DONE]")
    while at >= 0:
        start = at - 6 if whole[at - 6 : at] == b"data: " else at - 5
        line_begins = start == 0 or whole[start - 1 : start] in (b"\n", b"\r")
        line_ends = whole[at + 6 : at + 70].lstrip(b" \t")[:1] in (b"\n", b"\r")
        if start >= 0 and line_begins and line_ends and whole[start:at].rstrip() == b"data:":
            first = start
        at = whole.rfind(b"[DONE]", 0, at)
    return first


def _needs_decoding(whole: bytes, start: int, end: int, records: int, erring: bool) -> bool:
    """Whether a part of a burst holds more than text: a finish reason, usage, an error, or anything unusual."""
    return (
        whole.count(b'"finish_reason":null', start, end) != records
        or whole.rfind(b'_tokens"', start, end) >= 0
        or (erring and whole.find(_ERROR, start, end) >= 0)
    )


def _more(delta: _Delta) -> int:
    """The size of a delta's texts beside the answer; reasoning often stands there twice."""
    size = _size(delta.refusal) + (_size(delta.reasoning) or _size(delta.reasoning_content))
    functions = [delta.function_call, *[call.function for call in delta.tool_calls or ()]]
    return size + sum(_size(function.arguments) for function in functions if function is not None)


def _tolerant(record: bytes) -> _Chunk | None:
    payload = sse.data(record)
    if payload is None:
        return None
    try:
        return _decode(payload)
    except _NOT_READ:
        tree = read_lenient(payload)
    try:
        return _chunk_of(tree) if type(tree) is dict else None
    except RecursionError:
        return None


def _chunk_of(tree: dict[str, Any]) -> _Chunk:
    """A chunk with fields of unexpected types: what can be read of it, the texts of a choice as one."""
    choices, error = tree.get("choices"), tree.get("error")
    return _Chunk(
        choices=[
            _choice_of(index, choice)
            for index, choice in (numbered(choices) if type(choices) is list else ())
            if type(choice) is dict
        ],
        usage=wire_from(tree.get("usage")),
        service_tier=msgspec.Raw(msgspec.json.encode(tree.get("service_tier"))),
        error=msgspec.Raw(msgspec.json.encode(error) if error else b""),
    )


def _choice_of(index: int, choice: dict[str, Any]) -> _Choice:
    said = "".join([spot.text for spot in said_in_choice(choice)])
    reason = choice.get("finish_reason")
    return _Choice(
        index=index, text=msgspec.Raw(msgspec.json.encode(said)), finish_reason=str(reason) if reason else None
    )


def _is_usage_chunk(record: bytes) -> bool:
    chunk = _tolerant(record)
    return chunk is not None and chunk.of_usage


def _size(raw: msgspec.Raw) -> int:
    """The length of a raw JSON string's content, escapes counted as written; 0 for null, absent or empty."""
    size = len(raw)
    return 0 if size <= 2 or (size == len(_NULL) and bytes(raw) == _NULL) else size - 2


def _error_text(raw: bytes) -> str:
    try:
        error = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "error"
    if isinstance(error, dict):
        return str(error.get("code") or error.get("type") or "error")[:64]
    return "error"
