"""Writes a stream of chat completion chunks for a client, as OpenAI does it: the first has the role, calls get their
`index`, `id` and name in their first piece only, the finish reason comes alone, usage last and only if asked for."""

from typing import Any

import msgspec

from gateway.clock import now_ms
from gateway.codec import Translation
from gateway.conversation import Conversation, Thinking
from gateway.dialects.openai_chat_reply import annotation, usage_written, word_for
from gateway.dialects.openai_chat_write import detail_of
from gateway.errors import GatewayError
from gateway.events import Usage
from gateway.pieces import Begin, ChoiceEnd, Delta, Over, PartBegin, PartEnd, Piece, Tokens
from gateway.sse import DONE

_encode = msgspec.json.Encoder().encode
_FIELDS = {"text": b'{"content":', "thinking": b'{"reasoning_content":', "refusal": b'{"refusal":'}


class ChatWriter:
    """One stream."""

    def __init__(self, asked: Conversation, translation: Translation) -> None:
        self._asked = asked
        self._translation = translation
        self._voices: dict[int, _Voice] = {}
        self._usage: Usage | None = None
        self._head = b""
        self._tail = b',"usage":null}\n\n' if asked.include_usage else b"}\n\n"
        self._begin(Begin("", ""))

    def feed(self, piece: Piece) -> bytes:
        """Records for the client."""
        kind = type(piece)
        if kind is Delta:
            return self._delta(piece)  # type: ignore[arg-type]
        if kind is PartBegin:
            return self._part(piece)  # type: ignore[arg-type]
        if kind is PartEnd:
            return self._ended(piece)  # type: ignore[arg-type]
        if kind is Tokens:
            self._usage = piece.usage  # type: ignore[union-attr]
        elif kind is Begin:
            self._begin(piece)  # type: ignore[arg-type]
        elif kind is ChoiceEnd:
            return self._finish(piece)  # type: ignore[arg-type]
        elif kind is Over:
            return self._last()
        return b""

    def fail(self, error: GatewayError) -> bytes:
        """The error, as OpenAI's clients raise on it."""
        from gateway.dialects.openai import OpenAIDialect

        return OpenAIDialect().error_event(error, self._translation.request_id)

    def _begin(self, begin: Begin) -> None:
        head: dict[str, Any] = {
            "id": begin.id or f"chatcmpl-{self._translation.request_id}", "object": "chat.completion.chunk",
            "created": begin.created or now_ms() // 1000, "model": begin.model,
        }
        if begin.service_tier:
            head["service_tier"] = begin.service_tier
        if begin.fingerprint:
            head["system_fingerprint"] = begin.fingerprint
        self._usage = begin.usage or self._usage
        self._head = b"data: " + _encode(head)[:-1] + b',"choices":['

    def _record(self, choice: int, delta: bytes, logprobs: bytes = b"null", reason: bytes = b"null") -> bytes:
        return b'%b{"index":%d,"delta":%b,"logprobs":%b,"finish_reason":%b}]%b' % (
            self._head, choice, delta, logprobs, reason, self._tail,
        )

    def _voice(self, choice: int) -> tuple["_Voice", bytes]:
        """The choice, and its first record if this is its beginning."""
        voice = self._voices.get(choice)
        if voice is not None:
            return voice, b""
        voice = self._voices[choice] = _Voice()
        return voice, self._record(choice, b'{"role":"assistant","content":"","refusal":null}')

    def _part(self, begin: PartBegin) -> bytes:
        voice, first = self._voice(begin.choice)
        voice.kind = begin.kind
        voice.signature = ""
        voice.thought.clear()
        if begin.kind == "call":
            call: dict[str, Any] = {
                "index": voice.calls, "id": begin.id, "type": "function",
                "function": {"name": begin.name, "arguments": ""},
            }
            if begin.signature:
                call["extra_content"] = {"google": {"thought_signature": begin.signature}}
            voice.calls += 1
            return first + self._record(begin.choice, _encode({"tool_calls": [call]}))
        if begin.kind == "refusal":
            voice.refused = True
        if begin.kind == "thinking":
            voice.redacted = begin.redacted
            voice.signature = begin.signature
        return first

    def _delta(self, delta: Delta) -> bytes:
        voice, first = self._voice(delta.choice)
        out = first
        if delta.signature:
            voice.signature += delta.signature
        if delta.text:
            if voice.kind == "call":
                said = b'{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]}' % (
                    voice.calls - 1, _encode(delta.text),
                )
            else:
                said = _FIELDS.get(voice.kind, b'{"content":') + _encode(delta.text) + b"}"
            logprobs = b"null" if delta.logprobs is None else _encode(delta.logprobs)
            out += self._record(delta.choice, said, logprobs)
            if voice.kind == "text":
                voice.said += len(delta.text)
            elif voice.kind == "thinking":
                voice.thought.append(delta.text)
        elif delta.logprobs is not None:
            out += self._record(delta.choice, b"{}", _encode(delta.logprobs))
        if delta.citation is not None:
            note = annotation(delta.citation, voice.said, voice.said)
            out += self._record(delta.choice, _encode({"annotations": [note]}))
        return out

    def _ended(self, end: PartEnd) -> bytes:
        """Signed reasoning goes out once more when it is whole: so it comes back unchanged in a later request."""
        voice, first = self._voice(end.choice)
        if voice.kind != "thinking" or not voice.signature:
            return first
        origin = self._translation.origin
        thought = Thinking("".join(voice.thought), voice.signature, voice.redacted, origin)
        detail = detail_of(thought, voice.details)
        voice.details += 1
        voice.thought.clear()
        return first + self._record(end.choice, _encode({"reasoning_details": [detail]}))

    def _finish(self, end: ChoiceEnd) -> bytes:
        voice, first = self._voice(end.choice)
        reason = word_for(end.reason, refused=voice.refused)
        return first + self._record(end.choice, b"{}", reason=b'"%b"' % reason.encode())

    def _last(self) -> bytes:
        if not self._asked.include_usage or self._usage is None:
            return DONE
        return b'%b],"usage":%b}\n\n%b' % (self._head, _encode(usage_written(self._usage)), DONE)


class _Voice:
    """What is known of one choice."""

    def __init__(self) -> None:
        self.kind = ""
        self.calls = 0
        self.said = 0
        self.details = 0
        self.thought: list[str] = []  # of the open piece of reasoning
        self.signature = ""
        self.redacted = False
        self.refused = False
