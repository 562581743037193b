"""Writes a stream for a client of Gemini's format. The reader of a provider's is in `gemini_stream.py`."""

from typing import Any

import msgspec

from gateway.codec import Translation
from gateway.conversation import Foreign, Part, TextPart, Thinking, ToolCall
from gateway.dialects.gemini_citations import grounding_of
from gateway.dialects.gemini_errors import envelope
from gateway.dialects.gemini_fields import NAME
from gateway.dialects.gemini_parts import arguments_of, write_part, write_thought
from gateway.dialects.gemini_reply import finish_word, write_logprobs
from gateway.dialects.gemini_usage import write_usage
from gateway.errors import GatewayError
from gateway.events import Usage
from gateway.pieces import Begin, ChoiceEnd, Delta, Over, PartBegin, PartEnd, Piece, Tokens

Json = dict[str, Any]

_encode = msgspec.json.Encoder().encode


class Writer:
    """Writes chunks as texts come; calls when they are whole, the finish and the tokens with the last chunk.

    `array` writes the records of a JSON array instead of server-sent events.
    """

    def __init__(self, translation: Translation, *, array: bool = False) -> None:
        self._translation = translation
        self._origin = translation.origin
        self._array = array
        self._started = False
        self._tail = b"}]}"
        self._id = ""
        self._model = ""
        self._usage: Usage | None = None
        self._open: dict[tuple[int, int], _Open] = {}
        self._ends: dict[int, Json] = {}
        self._cited: dict[int, list[TextPart]] = {}

    def feed(self, piece: Piece) -> bytes:
        """Whole records, or nothing yet."""
        match piece:
            case Delta():
                return self._delta(piece)
            case PartBegin():
                return self._begin(piece)
            case PartEnd():
                return self._part_end(piece)
            case ChoiceEnd():
                self._choice_end(piece)
            case Begin():
                self._id, self._model = piece.id or self._translation.request_id, piece.model
                self._usage = piece.usage or self._usage
                self._tail = b'}],"modelVersion":%b,"responseId":%b}' % (_encode(self._model), _encode(self._id))
            case Tokens(usage=usage):
                self._usage = usage
            case Over():
                return self._last()
        return b""

    def fail(self, error: GatewayError) -> bytes:
        """The record that ends the stream with an error."""
        return self._record(envelope(error)) + (b"]" if self._array else b"")

    def _begin(self, piece: PartBegin) -> bytes:
        self._open[piece.choice, piece.part] = _Open(piece)
        if piece.kind == "foreign":
            value = piece.value
            part = value if not isinstance(value, Foreign) or value.dialect == NAME else None
            written = write_part(part) if part is not None else None
            return self._part(piece.choice, written) if written is not None else b""
        return b""

    def _delta(self, piece: Delta) -> bytes:
        part = self._open.get((piece.choice, piece.part))
        if part is None:
            return b""
        if piece.signature:
            part.signature += piece.signature
        if piece.citation is not None:
            part.citations.append(piece.citation)
        if piece.logprobs is not None:
            return self._candidate(piece.choice, {
                **self._content({"text": piece.text}), "logprobsResult": write_logprobs(piece.logprobs),
            })
        if not piece.text:
            return b""
        if part.kind == "call":
            part.pieces.append(piece.text)
            return b""
        part.pieces.append(piece.text)  # for citations, which Gemini tells with the part's words
        thought = b',"thought":true' if part.kind == "thinking" else b""
        return self._record(b'{"candidates":[{"content":{"parts":[{"text":%b%b}],"role":"model"},"index":%d%b' % (
            _encode(piece.text), thought, piece.choice, self._tail
        ))

    def _part_end(self, piece: PartEnd) -> bytes:
        part = self._open.pop((piece.choice, piece.part), None)
        if part is None:
            return b""
        if part.kind == "call":
            return self._call(piece.choice, part)
        if part.citations:
            text = TextPart("".join(part.pieces), citations=tuple(part.citations))
            self._cited.setdefault(piece.choice, []).append(text)
        if not part.signature:
            return b""
        if part.kind == "thinking":
            thinking = Thinking("", part.signature, part.redacted, self._origin)
            return self._part(piece.choice, write_thought(thinking))
        return self._part(piece.choice, {"text": "", "thoughtSignature": part.signature})

    def _call(self, choice: int, part: "_Open") -> bytes:
        arguments = "".join(part.pieces) or "{}"
        if arguments_of(arguments) is None:
            self._ends[choice] = {
                "finishReason": "MALFORMED_FUNCTION_CALL",
                "finishMessage": f"Malformed function call: {part.name}({arguments[:1000]})",
            }
            return b""
        call: Part = ToolCall(part.id, part.name, arguments, part.signature)
        written = write_part(call)
        return self._part(choice, written) if written is not None else b""

    def _choice_end(self, piece: ChoiceEnd) -> None:
        self._ends.setdefault(
            piece.choice, {"finishReason": finish_word(piece.reason, piece.raw_reason, self._origin)}
        )

    def _last(self) -> bytes:
        candidates = []
        for choice, end in sorted((self._ends or {0: {"finishReason": "STOP"}}).items()):
            made: Json = {"content": {"parts": [{"text": ""}], "role": "model"}, **end, "index": choice}
            if grounding := grounding_of(self._cited.get(choice, ())):
                made["groundingMetadata"] = grounding
            candidates.append(made)
        chunk: Json = {"candidates": candidates}
        if self._usage is not None:
            chunk["usageMetadata"] = write_usage(self._usage)
        chunk.update(modelVersion=self._model, responseId=self._id)
        return self._record(_encode(chunk)) + (b"]" if self._array else b"")

    def _part(self, choice: int, part: Json) -> bytes:
        return self._candidate(choice, self._content(part))

    def _content(self, part: Json) -> Json:
        return {"content": {"parts": [part], "role": "model"}}

    def _candidate(self, choice: int, candidate: Json) -> bytes:
        chunk = {
            "candidates": [{**candidate, "index": choice}], "modelVersion": self._model, "responseId": self._id,
        }
        return self._record(_encode(chunk))

    def _record(self, payload: bytes) -> bytes:
        if not self._array:
            return b"data: " + payload + b"\r\n\r\n"
        lead = b",\r\n" if self._started else b"["
        self._started = True
        return lead + payload


class _Open:
    """A part that has begun."""

    __slots__ = ("citations", "id", "kind", "name", "pieces", "redacted", "signature")

    def __init__(self, begin: PartBegin) -> None:
        self.kind = begin.kind
        self.id = begin.id
        self.name = begin.name
        self.signature = begin.signature
        self.redacted = begin.redacted
        self.pieces: list[str] = []
        self.citations: list[Json] = []
