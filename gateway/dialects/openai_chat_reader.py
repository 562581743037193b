"""Reads a provider's stream of chat completion chunks: OpenAI's, and what servers that speak its API make of it.

Servers differ in where usage stands, whether reasoning is `reasoning` or `reasoning_content` (or both with the same
text), whether calls have an `index`, and whether `[DONE]` comes; all are read. A call's pieces come one call after the
other.
"""

from typing import Any

import msgspec

from gateway import sse
from gateway.codec import Translation
from gateway.dialects.openai_chat_read import thinking_detail
from gateway.dialects.openai_chat_reply import REASONS
from gateway.dialects.openai_failure import in_stream
from gateway.dialects.openai_texts import numbered
from gateway.dialects.openai_usage import usage_of, wire_from
from gateway.errors import UpstreamCut
from gateway.jsonbody import read_lenient
from gateway.pieces import Begin, ChoiceEnd, Delta, Fail, Over, PartBegin, PartEnd, Piece, Tokens

_decode = msgspec.json.Decoder().decode


class ChatReader:
    """One stream."""

    def __init__(self, translation: Translation) -> None:
        self._translation = translation
        self._splitter = sse.Splitter()
        self._choices: dict[int, _Voice] = {}
        self._begun = False
        self._over = False

    def feed(self, data: bytes) -> list[Piece]:
        """The pieces that `data` completes."""
        out: list[Piece] = []
        for record in self._splitter.feed(data):
            if self._over:
                break
            self._record(record, out)
        return out

    def end(self) -> list[Piece]:
        """The rest. Raises `UpstreamCut` where a choice has no finish reason."""
        out: list[Piece] = []
        if not self._over and (rest := self._splitter.rest()).strip():
            self._record(rest + b"\n\n", out)
        if self._over:
            return out
        if not self._choices or any(not voice.ended for voice in self._choices.values()):
            raise UpstreamCut("The upstream ended the stream before it was complete.")
        self._over = True
        return [*out, Over()]

    def _record(self, record: bytes, out: list[Piece]) -> None:
        payload = sse.data(record)
        if payload is None or not payload.strip():
            return
        try:
            chunk = _decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            if payload.strip() == b"[DONE]":
                self._done(out)
                return
            chunk = read_lenient(payload)
        if type(chunk) is not dict:
            raise UpstreamCut("The upstream sent a stream record that is not a JSON object.")
        self._chunk(chunk, out)

    def _done(self, out: list[Piece]) -> None:
        for number, voice in self._choices.items():
            if not voice.ended:
                voice.finish("", None, number, out)
        self._over = True
        out.append(Over())

    def _chunk(self, chunk: dict[str, Any], out: list[Piece]) -> None:
        choices = chunk.get("choices")
        if not self._begun and (choices or chunk.get("id")):  # Azure's first chunk has neither
            self._begun = True
            out.append(_begin(chunk))
        if type(choices) is list and choices:
            single = choices[0]
            if len(choices) == 1 and type(single) is dict and type(number := single.get("index", 0)) is int:
                self._choice(number, single, out)
            else:
                for number, choice in numbered(choices):
                    if type(choice) is dict:
                        self._choice(number, choice, out)
        if (reported := chunk.get("usage")) is not None:
            wire = wire_from(reported)
            tier = chunk.get("service_tier")
            if wire is not None and (usage := usage_of(wire, b'"%b"' % tier.encode() if type(tier) is str else b"")):
                out.append(Tokens(usage))
        if error := chunk.get("error"):
            self._over = True
            out.append(Fail(in_stream(error)))

    def _choice(self, number: int, choice: dict[str, Any], out: list[Piece]) -> None:
        voice = self._choices.get(number)
        if voice is None:
            voice = self._choices[number] = _Voice(self._translation)
        delta = choice.get("delta")
        if type(delta) is not dict:
            delta = choice.get("message")
        if type(delta) is dict and not voice.ended:
            voice.hear(delta, choice.get("logprobs"), number, out)
        if (reason := choice.get("finish_reason")) and not voice.ended:
            voice.finish(str(reason), choice.get("stop_reason"), number, out)


class _Voice:
    """One choice: which of its parts is open, and its calls."""

    def __init__(self, translation: Translation) -> None:
        self.ended = False
        self._translation = translation
        self._parts = 0
        self._kind = ""                 # of the open part, empty if there is none
        self._index = 0                 # of the open call
        self._calls: dict[int, str] = {}
        self._said = False              # the open call has arguments
        self._thought: list[str] = []   # plain reasoning in the open part
        self._kinds: set[str] = set()
        self._tags = _Tags() if translation.think_tags else None

    def hear(self, delta: dict[str, Any], logprobs: Any, number: int, out: list[Piece]) -> None:  # noqa: ANN401
        """Take a delta."""
        details = delta.get("reasoning_details")
        if details:
            self._details(details, number, out)
        elif (thought := delta.get("reasoning_content") or delta.get("reasoning")) and type(thought) is str:
            self._say("thinking", thought, number, out)
            self._thought.append(thought)
        content = delta.get("content")
        if content:
            if type(content) is list:
                self._listed(content, number, out)
            elif type(content) is str:
                self._content(content, number, out)
        if type(logprobs) is dict and (logprobs.get("content") or logprobs.get("refusal")):
            self._open("text", number, out)
            out.append(Delta(self._parts - 1, choice=number, logprobs=logprobs))
        refusal = delta.get("refusal")
        if type(refusal) is str and refusal:
            self._say("refusal", refusal, number, out)
        if calls := delta.get("tool_calls"):
            for call in calls if type(calls) is list else ():
                if type(call) is dict:
                    self._call(call, number, out)
        if type(legacy := delta.get("function_call")) is dict:
            self._call({"index": 0, "function": legacy}, number, out)

    def finish(self, raw: str, stopped: Any, number: int, out: list[Piece]) -> None:  # noqa: ANN401
        """The choice has ended."""
        if self._tags is not None:
            for kind, text in self._tags.rest():
                self._say(kind, text, number, out)
        self._close(number, out)
        self.ended = True
        reason = REASONS.get(raw, "stop")
        if reason == "stop":
            if "call" in self._kinds:
                reason = "tool_calls"
            elif "refusal" in self._kinds:
                reason = "refusal"
            elif type(stopped) is str:
                reason = "stop_sequence"
        out.append(ChoiceEnd(reason, number, raw, stopped if type(stopped) is str else None))

    def _content(self, text: str, number: int, out: list[Piece]) -> None:
        if self._tags is None:
            self._say("text", text, number, out)
            return
        for kind, piece in self._tags.feed(text):
            self._say(kind, piece, number, out)

    def _say(self, kind: str, text: str, number: int, out: list[Piece]) -> None:
        if self._kind != kind:
            self._open(kind, number, out)
        out.append(Delta(self._parts - 1, text, number))

    def _open(self, kind: str, number: int, out: list[Piece]) -> None:
        if self._kind != kind:
            self._close(number, out)
            self._kind = kind
            self._thought.clear()
            self._kinds.add(kind)
            out.append(PartBegin(kind, self._parts, number))  # type: ignore[arg-type]
            self._parts += 1

    def _close(self, number: int, out: list[Piece]) -> None:
        if self._kind:
            if self._kind == "call" and not self._said:
                out.append(Delta(self._parts - 1, "{}", number))
            out.append(PartEnd(self._parts - 1, number))
            self._kind = ""

    def _listed(self, content: list[Any], number: int, out: list[Piece]) -> None:
        """Mistral: a list of texts and thoughts."""
        for part in content:
            if type(part) is not dict:
                continue
            thoughts = part.get("thinking")
            for entry in thoughts if type(thoughts) is list else ():
                if type(entry) is dict and type(text := entry.get("text")) is str and text:
                    self._say("thinking", text, number, out)
            if type(text := part.get("text")) is str and text:
                self._say("text", text, number, out)

    def _details(self, details: Any, number: int, out: list[Piece]) -> None:  # noqa: ANN401
        for detail in details if type(details) is list else ():
            piece = thinking_detail(detail) if type(detail) is dict else None
            if piece is None:
                continue
            if piece.redacted:
                self._close(number, out)
                begin = PartBegin("thinking", self._parts, number, signature=piece.signature, redacted=True)
                out += (begin, PartEnd(self._parts, number))
                self._parts += 1
                continue
            text = piece.text
            if self._kind == "thinking" and text and text == "".join(self._thought):
                text = ""  # it came in pieces already, and once more as a whole with its signature
            self._open("thinking", number, out)
            if text or piece.signature:
                out.append(Delta(self._parts - 1, text, number, piece.signature))

    def _call(self, call: dict[str, Any], number: int, out: list[Piece]) -> None:
        function = call.get("function")
        if type(function) is not dict:
            return
        id_, index = call.get("id"), call.get("index")
        id_ = id_ if type(id_) is str else ""
        if type(index) is not int:
            index = len(self._calls) if id_ and id_ not in self._calls.values() else self._index
        if id_ and self._calls.get(index, id_) != id_:
            index = len(self._calls)  # one server numbers every call 0
            while index in self._calls:
                index += 1
        if index not in self._calls:
            self._begin(index, id_, call, function, number, out)
        elif self._kind != "call" or index != self._index:
            raise UpstreamCut("The upstream mixed the pieces of several tool calls.")
        arguments = function.get("arguments")
        if arguments is not None and type(arguments) is not str:
            arguments = msgspec.json.encode(arguments).decode()
        if arguments:
            self._said = True
            out.append(Delta(self._parts - 1, arguments, number))

    def _begin(
        self, index: int, id_: str, call: dict[str, Any], function: dict[str, Any], number: int, out: list[Piece]
    ) -> None:
        self._close(number, out)
        name = function.get("name")
        if type(name) is not str or not name:
            raise UpstreamCut("The upstream's stream has a tool call without a name.")
        extra = call.get("extra_content")
        google = extra.get("google") if type(extra) is dict else None
        signature = google.get("thought_signature") if type(google) is dict else None
        id_ = id_ or f"call_{self._translation.request_id}_{number}_{len(self._calls)}"
        self._calls[index] = id_
        self._index, self._said = index, False
        self._kind = "call"
        self._kinds.add("call")
        out.append(
            PartBegin(
                "call", self._parts, number, id_, self._translation.called(name),
                signature if type(signature) is str else "",
            )
        )
        self._parts += 1


class _Tags:
    """Takes `<think>…</think>` out of the beginning of a text that comes in pieces."""

    def __init__(self) -> None:
        self._held = ""
        self._state = "before"

    def feed(self, text: str) -> list[tuple[str, str]]:
        """What is known of the text so far, each piece with its kind."""
        if self._state == "after":
            return [("text", text)]
        self._held += text
        if self._state == "before":
            begun = self._held.lstrip()
            if begun.startswith("<think>"):
                self._state, self._held = "inside", begun[7:]
            elif "<think>".startswith(begun):
                return []
            else:
                self._state, held = "after", self._held
                self._held = ""
                return [("text", held)]
        thought, tag, rest = self._held.partition("</think>")
        if tag:
            self._state, self._held = "after", ""
            rest = rest.lstrip("\n")
            return [(kind, said) for kind, said in (("thinking", thought), ("text", rest)) if said]
        keep = next((size for size in range(7, 0, -1) if self._held.endswith("</think>"[:size])), 0)
        said, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return [("thinking", said)] if said else []

    def rest(self) -> list[tuple[str, str]]:
        """What was held when the text ended."""
        held, self._held = self._held, ""
        return [("thinking" if self._state == "inside" else "text", held)] if held else []


def _begin(chunk: dict[str, Any]) -> Begin:
    created, model, tier = chunk.get("created"), chunk.get("model"), chunk.get("service_tier")
    id_, fingerprint = chunk.get("id"), chunk.get("system_fingerprint")
    return Begin(
        id_ if type(id_) is str else "", model if type(model) is str else "",
        created if type(created) is int else 0, service_tier=tier if type(tier) is str else "",
        fingerprint=fingerprint if type(fingerprint) is str else "",
    )


