"""Streams in Gemini's format: a reader of a provider's, and a writer for a client.

The reader takes both framings (server-sent events, and the JSON array of a request without `alt=sse`). Gemini sends
calls whole, tells tokens in every chunk, and has no terminal record: the reply is over where the upstream ends.
"""

from typing import Any

import msgspec

from gateway import sse
from gateway.codec import Translation
from gateway.conversation import Foreign, MediaPart, TextPart, ToolCall
from gateway.dialects.gemini_citations import citations_of
from gateway.dialects.gemini_errors import error_in, failure, status_of
from gateway.dialects.gemini_fields import BLOCK, NAME, camel, word
from gateway.dialects.gemini_framing import ArraySplitter, lone
from gateway.dialects.gemini_parts import read_part, thought
from gateway.dialects.gemini_reply import (
    call_id,
    candidates_of,
    object_in,
    parts_of,
    read_logprobs,
    reason_of,
    text_in,
)
from gateway.dialects.gemini_usage import usage_of
from gateway.errors import UpstreamCut, UpstreamRefused
from gateway.events import Usage
from gateway.jsonbody import read_lenient
from gateway.pieces import Begin, ChoiceEnd, Delta, Fail, Over, PartBegin, PartEnd, Piece, Tokens

Json = dict[str, Any]

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Reader:
    """Reads one stream."""

    def __init__(self, translation: Translation) -> None:
        self._translation = translation
        self._splitter: sse.Splitter | ArraySplitter | None = None
        self._candidates: dict[int, _Candidate] = {}
        self._begun = False
        self._failed = False
        self._usage: Usage | None = None
        self._meta: Any = None

    def feed(self, data: bytes) -> list[Piece]:
        """Take bytes as read, cut anywhere."""
        if type(self._splitter) is sse.Splitter and self._splitter.empty and (payload := lone(data)) is not None:
            pieces: list[Piece] = []
            self._read(_object(payload), pieces)
            return pieces
        if self._splitter is None:
            data = data.lstrip(b" \t\r\n\xef\xbb\xbf")
            if not data:
                return []
            self._splitter = ArraySplitter() if data[:1] in (b"[", b"{") else sse.Splitter()
        pieces = []
        for record in self._splitter.feed(data):
            if (chunk := _chunk(record)) is not None:
                self._read(chunk, pieces)
        return pieces

    def end(self) -> list[Piece]:
        """The upstream has ended. A last record may lack its blank line."""
        pieces: list[Piece] = []
        rest = self._splitter.rest() if self._splitter is not None else b""
        if rest.strip() and (chunk := _chunk(rest)) is not None:
            self._read(chunk, pieces)
        if self._failed:
            return pieces
        if not self._candidates or not all(candidate.ended for candidate in self._candidates.values()):
            raise UpstreamCut("The upstream ended the stream before it was complete.")
        pieces.append(Over())
        return pieces

    def _read(self, chunk: Json, pieces: list[Piece]) -> None:
        if (error := error_in(chunk)) is not None:
            self._fail(error, chunk, pieces)
            return
        if not self._begun:
            self._begun = True
            model = text_in(chunk, "modelVersion").removeprefix("models/")
            pieces.append(Begin(text_in(chunk, "responseId"), model, usage=usage_of(chunk)))
        self._count(chunk, pieces)
        for number, given in enumerate(candidates_of(chunk)):
            index = given.get("index")
            index = index if type(index) is int and 0 <= index < 128 else number
            candidate = self._candidates.get(index)
            if candidate is None:
                candidate = self._candidates[index] = _Candidate(index, self._translation)
            candidate.read(given, pieces)
        if "promptFeedback" in chunk and not self._candidates:
            blocked = word(object_in(chunk, "promptFeedback").get("blockReason"), BLOCK)
            if not blocked:
                return
            self._candidates[0] = _Candidate(0, self._translation)
            self._candidates[0].ended = True
            pieces.append(ChoiceEnd("content_filter", 0, blocked))

    def _count(self, chunk: Json, pieces: list[Piece]) -> None:
        meta = chunk.get("usageMetadata")
        if meta is None or meta == self._meta:
            return
        self._meta = meta
        usage = usage_of(chunk)
        if usage is not None and usage != self._usage:
            self._usage = usage
            pieces.append(Tokens(usage))

    def _fail(self, error: Json, chunk: Json, pieces: list[Piece]) -> None:
        status = status_of(error)
        told = failure(status, {}, msgspec.json.encode(chunk))
        self._failed = True
        pieces.append(Fail(UpstreamRefused(
            status, told.message or "The upstream sent an error in its stream.", code=told.code or told.kind,
            retry_after=told.retry_after, kind=told.kind,
        )))  # fmt: skip


class _Candidate:
    """One answer as it grows."""

    def __init__(self, index: int, translation: Translation) -> None:
        self.ended = False
        self._index = index
        self._translation = translation
        self._part = -1
        self._kind = ""            # of the open part: text, thinking, or none
        self._said: list[str] = []  # of the open text part, for citations
        self._calls = 0
        self._called = False

    def read(self, given: Json, pieces: list[Piece]) -> None:
        parts = parts_of(given)
        for part in parts:
            text = part.get("text")
            if type(text) is str and part.get("thought") is None:
                self._text("text", text, part.get("thoughtSignature"), pieces)
            else:
                self._other(part, pieces)
        if "logprobsResult" in given and (logprobs := read_logprobs(object_in(given, "logprobsResult"))):
            self._open("text", pieces)
            pieces.append(Delta(self._part, "", self._index, logprobs=logprobs))
        if "groundingMetadata" in given or "citationMetadata" in given:
            self._cite(given, pieces)
        if given.get("finishReason") is not None and not self.ended:
            reason, raw = reason_of(given, called=self._called)
            if raw and raw != "FINISH_REASON_UNSPECIFIED":
                self._close(pieces)
                self.ended = True
                pieces.append(ChoiceEnd(reason, self._index, raw))

    def _text(self, kind: str, text: str, signature: Any, pieces: list[Piece]) -> None:  # noqa: ANN401
        signature = signature if type(signature) is str else ""
        if text:
            self._open(kind, pieces)
            if kind == "text":
                self._said.append(text)
            pieces.append(Delta(self._part, text, self._index, signature))
        elif signature:
            self._open(kind, pieces)
            pieces.append(Delta(self._part, "", self._index, signature))
        if signature:
            self._close(pieces)  # it is the last word on its part

    def _other(self, given: Json, pieces: list[Piece]) -> None:
        if given.get("thought") is True:
            part = thought(text_in(given, "text"), text_in(given, "thoughtSignature"))
            self._text("thinking", part.text, part.signature, pieces)
            return
        found = read_part(given, call_id(self._translation, self._index, self._calls))
        if isinstance(found, ToolCall):
            self._calls += 1
            if found.name == self._translation.answer_tool != "":
                self._text("text", found.arguments, found.signature, pieces)
                return
            self._called = True
            self._begin(PartBegin(
                "call", self._part + 1, self._index, found.id, self._translation.called(found.name), found.signature
            ), pieces)  # fmt: skip
            pieces.append(Delta(self._part, found.arguments, self._index))
            self._end(pieces)
        elif isinstance(found, TextPart):
            self._text("text", found.text, found.signature, pieces)
        elif isinstance(found, MediaPart | Foreign):
            value = found if isinstance(found, Foreign) else Foreign(NAME, given)
            self._begin(PartBegin("foreign", self._part + 1, self._index, value=value), pieces)
            self._end(pieces)

    def _cite(self, given: Json, pieces: list[Piece]) -> None:
        for citation in citations_of(given, ["".join(self._said)])[0]:
            self._open("text", pieces)
            pieces.append(Delta(self._part, "", self._index, citation=citation))

    def _open(self, kind: str, pieces: list[Piece]) -> None:
        if self._kind != kind:
            self._begin(PartBegin(kind, self._part + 1, self._index), pieces)  # type: ignore[arg-type]
            self._kind = kind

    def _begin(self, begin: PartBegin, pieces: list[Piece]) -> None:
        self._close(pieces)
        self._part += 1
        pieces.append(begin)

    def _end(self, pieces: list[Piece]) -> None:
        pieces.append(PartEnd(self._part, self._index))

    def _close(self, pieces: list[Piece]) -> None:
        if self._kind:
            self._end(pieces)
            self._kind = ""
            self._said.clear()


def _chunk(record: bytes) -> Json | None:
    """The object in a record; `None` for a comment. Raises `UpstreamCut` for what is no JSON object."""
    if (payload := lone(record)) is None:
        payload = record if record.startswith((b"{", b"[")) else sse.data(record)
    return _object(payload) if payload is not None and payload.strip() else None


def _object(payload: bytes) -> Json:
    try:
        return camel(_decode(payload))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        tree = read_lenient(payload)
    if type(tree) is list and tree and type(tree[0]) is dict:
        tree = tree[0]
    if type(tree) is not dict:
        raise UpstreamCut("The upstream sent a stream record that is no JSON object.")
    return camel(tree)
