"""Messages of the common form -> Anthropic's system and alternating turns of content blocks."""

from base64 import b64decode
from collections.abc import Iterable, Sequence
from typing import Any

from gateway.codec import Translation, safe_id
from gateway.conversation import (
    Cache,
    MediaPart,
    Message,
    Part,
    Refusal,
    TextPart,
    Thinking,
    ToolCall,
    ToolResult,
)
from gateway.dialects.anthropic_read import DIALECT
from gateway.dialects.soundness import arguments_of
from gateway.dialects.written import foreign_name, is_plain
from gateway.errors import InvalidRequest

_MOST_BREAKPOINTS = 4
_FILES_BETA = "files-api-2025-04-14"
_PICTURES = ("image/jpeg", "image/png", "image/gif", "image/webp")


def cache_written(cache: Cache) -> dict[str, Any]:
    """A breakpoint."""
    return {"type": "ephemeral", **({"ttl": cache.ttl} if cache.ttl else {})}


class Blocks:
    """Writes one conversation. `called` has the names of the tools that were called, `betas` what must be asked for.

    `thought_before_calls` tells whether the calls that wait for their results have the reasoning that led to them.
    """

    def __init__(self, translation: Translation, *, same: bool) -> None:
        self._translation = translation
        self._drop = translation.drop
        self._same = same
        self._breakpoints = 0
        self.called: dict[str, None] = {}
        self.betas: set[str] = set()
        self.thought_before_calls = True

    def written(self, messages: Sequence[Message]) -> tuple[str | list[dict[str, Any]], list[dict[str, Any]]]:
        """The system's text or blocks, and the turns."""
        system: list[dict[str, Any]] = []
        turns: list[dict[str, Any]] = []
        for message in messages:
            if message.role in ("system", "developer") and not (self._same and turns):
                system += self._blocks(message.parts)
                continue
            role = {"assistant": "assistant", "system": "system"}.get(message.role, "user")
            blocks = self._blocks(message.parts)
            if not blocks:
                continue
            if turns and turns[-1]["role"] == role:
                turns[-1]["content"] += blocks
            else:
                turns.append({"role": role, "content": blocks})
        if not turns and system:  # a request of system turns only: the API wants a user's
            turns, system = [{"role": "user", "content": system}], []
        if not turns:
            raise InvalidRequest("No message has any content that this model takes.", param="messages")
        self._finish(turns)
        plain = all(block.keys() == {"type", "text"} for block in system)
        if plain and not (self._same and len(system) > 1):
            return "\n\n".join(block["text"] for block in system), turns
        return system, turns

    def _finish(self, turns: list[dict[str, Any]]) -> None:
        for turn in turns:
            blocks = turn["content"]
            if turn["role"] == "user":
                if len(blocks) > 1:
                    blocks.sort(key=lambda block: block["type"] != "tool_result")  # stable: results come first
            elif not self._same and any(block["type"] == "tool_use" for block in blocks):
                self.thought_before_calls = blocks[0]["type"] in ("thinking", "redacted_thinking")
            if len(blocks) == 1 and blocks[0]["type"] == "text" and len(blocks[0]) == 2:
                turn["content"] = blocks[0]["text"]
        last = turns[-1]
        if last["role"] == "assistant" and type(last["content"]) is str and not self._same:
            last["content"] = last["content"].rstrip()  # the API refuses a beginning of its answer that ends in blanks
            if not last["content"]:
                turns.pop()

    def _blocks(self, parts: Iterable[Part]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for part in parts:
            kind = type(part)
            if kind is ToolCall and part.cache is None:  # type: ignore[union-attr]
                found.append(self._call(part))  # type: ignore[arg-type]
                continue
            if kind is ToolResult and part.cache is None:  # type: ignore[union-attr]
                found.append(self._result(part))  # type: ignore[arg-type]
                continue
            if kind is TextPart and is_plain(part) and part.text and not part.text.isspace():  # type: ignore[union-attr]
                found.append({"type": "text", "text": part.text})  # type: ignore[union-attr]
                continue
            block = self._block(part)
            if block is None:
                continue
            cache = getattr(part, "cache", None)
            if cache is not None:
                self._breakpoints += 1
                if self._breakpoints > _MOST_BREAKPOINTS and not self._same:
                    self._drop("cache_control")
                else:
                    block["cache_control"] = cache_written(cache)
            found.append(block)
        return found

    def _block(self, part: Part) -> dict[str, Any] | None:
        if isinstance(part, TextPart):
            if not part.text.strip() and not self._same:
                return None  # refused by the API, and it says nothing
            block: dict[str, Any] = {"type": "text", "text": part.text}
            if part.citations and self._same:
                block["citations"] = list(part.citations)
            return block
        if isinstance(part, MediaPart):
            return self._media(part)
        if isinstance(part, ToolCall):
            return self._call(part)
        if isinstance(part, ToolResult):
            return self._result(part)
        if isinstance(part, Thinking):
            return self._thinking(part)
        if isinstance(part, Refusal):
            return {"type": "text", "text": part.text} if part.text.strip() else None
        if part.dialect == DIALECT:
            return dict(part.value)
        self._drop(foreign_name(part))
        return None

    def _call(self, call: ToolCall) -> dict[str, Any]:
        name = self._translation.named(call.name, 128)
        self.called[name] = None
        return {"type": "tool_use", "id": safe_id(call.id), "name": name, "input": arguments_of(call)}

    def _result(self, result: ToolResult) -> dict[str, Any]:
        block: dict[str, Any] = {"type": "tool_result", "tool_use_id": safe_id(result.id)}
        parts = result.parts
        if len(parts) == 1 and not result.error and is_plain(part := parts[0]) and part.text.strip():  # type: ignore[union-attr]
            block["content"] = part.text  # type: ignore[union-attr]
            return block
        content = self._blocks(result.parts)
        if len(content) == 1 and content[0]["type"] == "text" and len(content[0]) == 2:
            block["content"] = content[0]["text"]
        elif content:
            block["content"] = content
        if result.error:
            block["is_error"] = True
        return block

    def _thinking(self, part: Thinking) -> dict[str, Any] | None:
        if part.origin != DIALECT or not (part.signature or self._same):
            self._drop("reasoning_content")
            return None
        if part.redacted:
            return {"type": "redacted_thinking", "data": part.signature}
        return {"type": "thinking", "thinking": part.text, "signature": part.signature}

    def _media(self, part: MediaPart) -> dict[str, Any] | None:
        source = part.source
        if part.media == "image":
            if source.kind == "base64" and not (source.media_type in _PICTURES or self._same):
                raise InvalidRequest(
                    f"Images of the type `{source.media_type[:64]}` are not taken: send JPEG, PNG, GIF or WebP.",
                    param="messages",
                )
        elif part.media != "document" or (made := self._document(part)) is None:
            self._drop(f"{part.media}.{source.media_type or source.kind}")
            return None
        else:
            return made
        return {"type": "image", "source": self._source(part)}

    def _document(self, part: MediaPart) -> dict[str, Any] | None:
        source = part.source
        block: dict[str, Any] = {"type": "document"}
        if source.kind == "base64" and source.media_type not in ("application/pdf", "") and not self._same:
            if not source.media_type.startswith("text/") and source.media_type != "application/json":
                return None
            try:
                text = b64decode(source.data).decode()
            except ValueError:
                raise InvalidRequest("A document of text does not hold base64 of UTF-8.", param="messages") from None
            block["source"] = {"type": "text", "media_type": "text/plain", "data": text}
        else:
            block["source"] = self._source(part)
        if part.title:
            block["title"] = part.title
        if part.context:
            block["context"] = part.context
        if part.cite:
            block["citations"] = {"enabled": True}
        return block

    def _source(self, part: MediaPart) -> dict[str, Any]:
        source = part.source
        if source.kind == "url":
            return {"type": "url", "url": source.data}
        if source.kind == "file":
            self.betas.add(_FILES_BETA)
            return {"type": "file", "file_id": source.data}
        if source.kind == "text":
            return {"type": "text", "media_type": "text/plain", "data": source.data}
        default = "image/png" if part.media == "image" else "application/pdf"
        return {"type": "base64", "media_type": source.media_type or default, "data": source.data}
