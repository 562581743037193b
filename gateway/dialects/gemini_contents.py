"""The turns of a conversation as Gemini's `contents`, and its system texts as the `systemInstruction`."""

from typing import Any

import msgspec

from gateway.codec import Translation
from gateway.conversation import (
    Conversation,
    Foreign,
    MediaPart,
    Message,
    Part,
    Refusal,
    TextPart,
    Thinking,
    ToolCall,
    ToolResult,
)
from gateway.dialects.gemini_fields import NAME
from gateway.dialects.gemini_parts import MADE, write_call, write_media, write_part
from gateway.dialects.written import foreign_name
from gateway.errors import InvalidRequest

Json = dict[str, Any]

# Google's own word for "this call comes from elsewhere": newer models refuse a call of the running turn without it.
LONGEST = 64  # characters of a function's name
_UNSIGNED = "skip_thought_signature_validator"


def write_contents(
    conversation: Conversation, generation: float, translation: Translation
) -> tuple[list[Json], list[Json]]:
    """The parts of the system instruction, and the contents. System texts come together, in their order."""
    writer = _Writer(generation, translation)
    turn = max((number for number, message in enumerate(conversation.messages) if message.role == "user"), default=-1)
    system: list[Json] = []
    contents: list[Json] = []
    for number, message in enumerate(conversation.messages):
        if message.name:
            translation.drop("name")
        if message.role in ("system", "developer"):
            system.extend(writer.system(message))
        elif message.role == "tool":
            parts = writer.results(message)
            if number and conversation.messages[number - 1].role == "tool" and contents:
                contents[-1]["parts"].extend(parts)  # all results of one turn belong into one content
            elif parts:
                contents.append({"role": "user", "parts": parts})
        elif parts := writer.parts(message, running=number > turn):
            contents.append({"role": "model" if message.role == "assistant" else "user", "parts": parts})
    if system and not contents:  # Gemini answers contents only
        return [], [{"role": "user", "parts": system}]
    if not contents:
        raise InvalidRequest("No message has any content that this model takes.", param="messages")
    return system, contents


_PLAIN = frozenset({TextPart, ToolCall})


class _Writer:
    """Writes one conversation's messages; remembers the names of its calls, which results must give."""

    def __init__(self, generation: float, translation: Translation) -> None:
        self._generation = generation
        self._translation = translation
        self._names: dict[str, str] = {}
        self._sent: dict[str, str] = {}

    def system(self, message: Message) -> list[Json]:
        """The texts of a system message."""
        found: list[Json] = []
        for part in message.parts:
            if isinstance(part, TextPart):
                if part.text:
                    found.append({"text": part.text})
                self._note(part)
            else:
                self._translation.drop("messages.system.content")
        return found

    def parts(self, message: Message, *, running: bool) -> list[Json]:
        """The parts of a turn. `running`: the model is still at it, so that its calls must be signed."""
        found: list[Json] = []
        for part in message.parts:
            kind = type(part)
            written: Json | None = None
            if kind is ToolCall:
                self._names[part.id] = part.name  # type: ignore[union-attr]
                written = write_call(part, self._named(part.name))  # type: ignore[arg-type, union-attr]
            elif kind is TextPart and not part.signature and part.text:  # type: ignore[union-attr]
                written = {"text": part.text}  # type: ignore[union-attr]
            elif isinstance(part, Thinking) and (part.origin != NAME or part.redacted):
                self._translation.drop("reasoning_content")  # it goes back only to whom it came from
                continue
            elif kind is not ToolResult:
                written = write_part(part)
            if kind not in _PLAIN or part.cache is not None:  # type: ignore[union-attr]
                self._note(part)
            if written is not None:
                found.append(written)
            elif kind is not TextPart:
                self._translation.drop(_name_of(part))
        if running and self._generation >= 3:
            _sign(found)
        return found

    def results(self, message: Message) -> list[Json]:
        """The results of tools."""
        found: list[Json] = []
        for part in message.parts:
            if isinstance(part, ToolResult):
                found.extend(self._result(part))
            elif isinstance(part, TextPart) and part.text:
                found.append({"text": part.text})
        return found

    def _result(self, result: ToolResult) -> list[Json]:
        name = result.name or self._names.get(result.id)
        if not name:
            raise InvalidRequest(
                f"A tool's result answers the call {result.id!r}, which no message before it made.", param="messages"
            )
        if result.cache is not None:
            self._translation.drop("cache_control")
        made: Json = {"name": self._named(name), "response": _response(result)}
        if result.id and not result.id.startswith(MADE):
            made["id"] = result.id
        media = [
            written for part in result.parts
            if (type(part) is not TextPart or part.cache is not None) and (written := self._media(part)) is not None
        ]
        if media and self._generation >= 3:
            made["parts"] = media
            media = []
        return [{"functionResponse": made}, *media]

    def _media(self, part: Part) -> Json | None:
        """What of a result is no text."""
        self._note(part)
        if isinstance(part, TextPart):
            return None
        written = write_media(part) if isinstance(part, MediaPart) else None
        if written is None:
            self._translation.drop(_name_of(part))
        return written

    def _named(self, name: str) -> str:
        sent = self._sent.get(name)
        if sent is None:
            sent = self._sent[name] = self._translation.named(name, LONGEST)
        return sent

    def _note(self, part: Part) -> None:
        """What a part says besides, and Gemini has no place for."""
        if isinstance(part, MediaPart):
            for name, given in (("context", part.context), ("citations", part.cite)):
                if given:
                    self._translation.drop(name)
        if isinstance(part, TextPart | MediaPart | ToolCall | ToolResult) and part.cache is not None:
            self._translation.drop("cache_control")


def _response(result: ToolResult) -> Json:
    """A tool's answer as the object that Gemini wants: the one it is, or its text as `result` or `error`."""
    texts = [part.text for part in result.parts if isinstance(part, TextPart)]
    if not texts:
        return {"error": "The tool failed."} if result.error else {}
    text = texts[0] if len(texts) == 1 else "\n".join(texts)
    if result.error:
        return {"error": text}
    if text.startswith("{"):
        try:
            found = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            found = None
        if type(found) is dict:
            return found
    return {"result": text}


def _sign(parts: list[Json]) -> None:
    for part in parts:
        if "functionCall" in part:  # the first of a group carries the signature of all
            part.setdefault("thoughtSignature", _UNSIGNED)
            return


def _name_of(part: Part) -> str:
    """How the caller knows a part that cannot be carried."""
    match part:
        case Foreign():
            return foreign_name(part)
        case MediaPart(media=media, source=source):
            return f"{media}.{source.kind}"
        case Refusal():
            return "refusal"
    return "messages.content"
