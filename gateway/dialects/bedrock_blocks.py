"""Messages of the common form -> Converse's system blocks and alternating turns of content blocks."""

import re
from base64 import b64encode
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
from gateway.dialects.bedrock_models import Traits, format_of
from gateway.dialects.bedrock_read import DIALECT
from gateway.dialects.soundness import arguments_of
from gateway.dialects.written import foreign_name, is_plain
from gateway.errors import InvalidRequest

MOST_NAME = 64
_MOST_POINTS = 4
_ODD = re.compile(r"[^A-Za-z0-9\-()\[\] ]")
_IN_RESULTS = ("text", "image", "document", "video", "searchResult")


def point(cache: Cache) -> dict[str, Any]:
    """A cache point."""
    return {"cachePoint": {"type": "default", **({"ttl": cache.ttl} if cache.ttl else {})}}


class Blocks:
    """Writes one conversation. `called` has the names of the tools that were called.

    `thought_before_calls` tells whether the calls that wait for their results have the reasoning that led to them.
    """

    def __init__(self, translation: Translation, traits: Traits, *, same: bool) -> None:
        self._translation = translation
        self._drop = translation.drop
        self._traits = traits
        self._same = same
        self._points = 0
        self._documents: set[str] = set()
        self.called: dict[str, None] = {}
        self.thought_before_calls = True

    def written(self, messages: Sequence[Message]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The system's blocks, and the turns."""
        system: list[dict[str, Any]] = []
        turns: list[dict[str, Any]] = []
        for message in messages:
            blocks = self._blocks(message.parts)
            if message.role in ("system", "developer"):
                system += [block for block in blocks if self._fits(block, ("text", "cachePoint", "guardContent"))]
                continue
            role = "assistant" if message.role == "assistant" else "user"
            if not blocks:
                continue
            if turns and turns[-1]["role"] == role:
                turns[-1]["content"] += blocks
            else:
                turns.append({"role": role, "content": blocks})
            if role == "assistant" and not self._same and any("toolUse" in block for block in blocks):
                self.thought_before_calls = "reasoningContent" in turns[-1]["content"][0]
        if not turns and system:  # a request of system turns only: the API wants a user's
            turns, system = [{"role": "user", "content": system}], []
        if not turns:
            raise InvalidRequest("No message has any content that this model takes.", param="messages")
        last = turns[-1]
        if last["role"] == "assistant" and not self._same and "text" in last["content"][-1]:
            last["content"][-1]["text"] = last["content"][-1]["text"].rstrip()  # refused where it ends in blanks
        return system, turns

    def cached(self, cache: Cache | None) -> list[dict[str, Any]]:
        """The cache point behind something, where the model takes one more."""
        if cache is None:
            return []
        self._points += 1
        if not self._same and (not self._traits.caches or self._points > _MOST_POINTS):
            self._drop("cache_control")
            return []
        return [point(cache)]

    def _blocks(self, parts: Iterable[Part]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for part in parts:
            kind = type(part)
            if kind is ToolCall:
                block: dict[str, Any] | None = self._call(part)  # type: ignore[arg-type]
            elif kind is ToolResult:
                block = self._result(part)  # type: ignore[arg-type]
            else:
                block = self._block(part)
            if block is not None:
                found.append(block)
                cache = getattr(part, "cache", None)
                if cache is not None:
                    found += self.cached(cache)
        return found

    def _block(self, part: Part) -> dict[str, Any] | None:
        if isinstance(part, TextPart):
            if part.citations and self._same:
                return {"citationsContent": {"content": [{"text": part.text}], "citations": list(part.citations)}}
            if not part.text.strip() and not self._same:
                return None  # refused by the API, and it says nothing
            return {"text": part.text}
        if isinstance(part, MediaPart):
            return self._media(part)
        if isinstance(part, ToolCall):
            return self._call(part)
        if isinstance(part, ToolResult):
            return self._result(part)
        if isinstance(part, Thinking):
            return self._thinking(part)
        if isinstance(part, Refusal):
            return {"text": part.text} if part.text.strip() else None
        if part.dialect == DIALECT:
            return dict(part.value)
        self._drop(foreign_name(part))
        return None

    def _fits(self, block: dict[str, Any], kinds: Sequence[str]) -> bool:
        kind = next(iter(block))
        if kind not in kinds:
            self._drop(kind)
        return kind in kinds

    def _call(self, call: ToolCall) -> dict[str, Any]:
        name = self._translation.named(call.name, MOST_NAME)
        self.called[name] = None
        return {"toolUse": {"toolUseId": safe_id(call.id), "name": name, "input": arguments_of(call)}}

    def _result(self, result: ToolResult) -> dict[str, Any]:
        parts = result.parts
        if len(parts) == 1 and not result.error and is_plain(text := parts[0]) and text.text.strip():  # type: ignore[union-attr]
            held = [{"text": text.text}]  # type: ignore[union-attr]
            return {"toolResult": {"toolUseId": safe_id(result.id), "content": held}}
        content = []
        for part in parts:
            block = self._block(part)
            if block is not None and self._fits(block, _IN_RESULTS):
                content.append(block)
        written: dict[str, Any] = {"toolUseId": safe_id(result.id), "content": content}
        if result.error:
            written["status"] = "error"
        return {"toolResult": written}

    def _thinking(self, part: Thinking) -> dict[str, Any] | None:
        if part.origin != DIALECT or not (part.signature or self._same):
            self._drop("reasoning_content")
            return None
        if part.redacted:
            return {"reasoningContent": {"redactedContent": part.signature}}
        said = {"text": part.text, **({"signature": part.signature} if part.signature else {})}
        return {"reasoningContent": {"reasoningText": said}}

    def _media(self, part: MediaPart) -> dict[str, Any] | None:
        source = part.source
        kind = source.media_type or {"image": "image/png", "document": "application/pdf"}.get(part.media, "")
        if source.kind == "text":
            kind = source.media_type or "text/plain"
        name = format_of(part.media, kind)
        if source.kind not in ("base64", "text") or name is None:
            if part.media == "image" and source.kind == "base64":
                raise InvalidRequest(
                    f"Images of the type `{kind[:64]}` are not taken: send JPEG, PNG, GIF or WebP.", param="messages"
                )
            self._drop(f"{part.media}.{source.media_type or source.kind}")
            return None
        if source.kind == "base64":
            held = {"bytes": source.data}
        elif self._same:
            held = {"text": source.data}
        else:
            held = {"bytes": b64encode(source.data.encode("utf-8", "replace")).decode()}
        block: dict[str, Any] = {"source": held}
        if source.media_type or not self._same:
            block = {"format": name, **block}
        if part.media == "document":
            block["name"] = self._document(part.title or source.name)
            if part.context:
                block["context"] = part.context
            if part.cite:
                block["citations"] = {"enabled": True}
        return {part.media: block}

    def _document(self, title: str) -> str:
        """A name for a document: the API takes few signs, and no name twice."""
        if self._same and title:
            return title
        name = " ".join(_ODD.sub(" ", title.rpartition(".")[0] or title).split())[:190] or "document"
        made, number = name, 2
        while made in self._documents:
            made, number = f"{name} {number}", number + 1
        self._documents.add(made)
        return made
