"""Reads a stream of OpenAI Responses by the `type` in each event's data; unknown events are passed over.

What came in no deltas is taken from the events that repeat a part or an item when it is done. Items that speak at the
same time (there are none today) are told one after the other.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from gateway import sse
from gateway.codec import Translation
from gateway.conversation import Foreign, Refusal, TextPart, ToolCall
from gateway.dialects import responses_usage
from gateway.dialects.openai_failure import in_stream
from gateway.dialects.responses_items import DIALECT, custom_arguments, neutral
from gateway.dialects.responses_reply import reason_of
from gateway.errors import UpstreamCut
from gateway.jsonbody import read_lenient
from gateway.pieces import Begin, ChoiceEnd, Delta, Fail, Over, PartBegin, PartEnd, Piece, Tokens

_decode = msgspec.json.Decoder().decode
_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
_SAID = {"response.output_text.delta": "text", "response.refusal.delta": "refusal"}
_WHOLE = {"response.output_text.done": ("text", "text"), "response.refusal.done": ("refusal", "refusal")}
_THOUGHT = ("response.reasoning_summary_text.delta", "response.reasoning_text.delta")
_CALLED = {"function_call": "arguments", "custom_tool_call": "input"}


class ResponsesReader:
    """One stream."""

    def __init__(self, translation: Translation) -> None:
        self._translation = translation
        self._splitter = sse.Splitter()
        self._parts = 0
        self._items: dict[int, _Item] = {}
        self._kinds: set[type] = set()
        self._open: _Part | None = None    # the one whose pieces go out
        self._waiting: list[_Part] = []    # those that began meanwhile
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
        """The rest. Raises `UpstreamCut` unless the response's end came."""
        out: list[Piece] = []
        if not self._over and (rest := self._splitter.rest()).strip():
            self._record(rest + b"\n\n", out)
        if not self._over:
            raise UpstreamCut("The upstream ended the stream before it was complete.")
        return out

    def _record(self, record: bytes, out: list[Piece]) -> None:
        payload = sse.data(record)
        if payload is None or not payload.strip() or payload.strip() == b"[DONE]":
            return
        try:
            event = _decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            event = read_lenient(payload)
        if type(event) is not dict:
            raise UpstreamCut("The upstream sent a stream record that is not a JSON object.")
        self._event(event, out)

    def _event(self, event: dict[str, Any], out: list[Piece]) -> None:
        kind = event.get("type")
        if type(kind) is not str:
            if event.get("error"):
                self._fail(event.get("error"), out)
            return
        if kind in _SAID:
            self._said(event, _SAID[kind], out)
        elif kind in _THOUGHT:
            self._thought(event, kind, out)
        elif kind == "response.function_call_arguments.delta":
            if (part := self._item(event).part) is not None:
                self._say(part, Delta(part.number, _text(event.get("delta"))), out)
        elif kind in _WHOLE:
            self._whole(event, *_WHOLE[kind], out)
        elif kind == "response.output_text.annotation.added" and type(note := event.get("annotation")) is dict:
            part = self._content(event, "text", out)
            self._say(part, Delta(part.number, citation=neutral(note)), out)
        elif kind == "response.output_item.added":
            self._added(event, out)
        elif kind == "response.output_item.done":
            self._done(event, out)
        elif kind == "response.created":
            self._begin(event.get("response"), out)
        elif kind == "error":
            self._fail(event.get("error") or event, out)
        elif kind in _ENDS:
            self._ending(event.get("response"), out)

    def _begin(self, response: Any, out: list[Piece]) -> None:  # noqa: ANN401 - whatever stands for the response
        response = response if type(response) is dict else {}
        created = response.get("created_at")
        tier = _text(response.get("service_tier"))
        out.append(
            Begin(
                _text(response.get("id")), _text(response.get("model")),
                int(created) if type(created) in (int, float) else 0, service_tier="" if tier == "auto" else tier,
            )
        )

    def _item(self, event: dict[str, Any]) -> "_Item":
        index = event.get("output_index")
        index = index if type(index) is int else 0
        found = self._items.get(index)
        if found is None:
            found = self._items[index] = _Item()
        return found

    def _added(self, event: dict[str, Any], out: list[Piece]) -> None:
        item = event.get("item")
        if type(item) is dict and item.get("type") in _CALLED:
            self._call(self._item(event), item, out)

    def _call(self, known: "_Item", item: dict[str, Any], out: list[Piece]) -> None:
        self._kinds.add(ToolCall)
        made = f"call_{self._translation.request_id}_{self._parts}"
        id_ = _text(item.get("call_id")) or _text(item.get("id")) or made
        name = self._translation.called(_text(item.get("name")))
        known.part = self._start(lambda number: PartBegin("call", number, id=id_, name=name), out)

    def _content(self, event: dict[str, Any], kind: str, out: list[Piece]) -> "_Part":
        item = self._item(event)
        index = event.get("content_index")
        index = index if type(index) is int else 0
        part = item.contents.get(index)
        if part is None:
            for other in item.contents.values():
                self._stop(other, out)
            self._kinds.add(TextPart if kind == "text" else Refusal)
            part = self._start(lambda number: PartBegin(kind, number), out)  # type: ignore[arg-type]
            item.contents[index] = part
        return part

    def _said(self, event: dict[str, Any], kind: str, out: list[Piece]) -> None:
        part = self._content(event, kind, out)
        entries = event.get("logprobs")
        logprobs = {"content": entries, "refusal": None} if entries and type(entries) is list else None
        self._say(part, Delta(part.number, _text(event.get("delta")), logprobs=logprobs), out)

    def _whole(self, event: dict[str, Any], kind: str, field: str, out: list[Piece]) -> None:
        """A part is done: what of it came in no delta."""
        part = self._content(event, kind, out)
        if not part.said:
            self._say(part, Delta(part.number, _text(event.get(field))), out)
        self._stop(part, out)

    def _thought(self, event: dict[str, Any], kind: str, out: list[Piece]) -> None:
        number = event.get("summary_index", event.get("content_index"))
        text, id_ = _text(event.get("delta")), _text(event.get("item_id"))
        self._say_thought(self._item(event), kind, number, text, id_, out)

    def _say_thought(
        self, item: "_Item", kind: str, number: Any, text: str, id_: str, out: list[Piece]  # noqa: ANN401
    ) -> None:
        """Reasoning: its summaries with a blank line between them, or the text itself where a server sends that."""
        if item.thought not in ("", kind) or not text:
            return  # told already in another form
        item.thought = kind
        part = self._thinking(item, id_, out)
        if number != item.number and part.said:
            text = "\n\n" + text
        item.number = number
        self._say(part, Delta(part.number, text), out)

    def _thinking(self, item: "_Item", id_: str, out: list[Piece], signature: str = "") -> "_Part":
        if item.part is None:
            redacted = bool(signature)
            item.part = self._start(
                lambda number: PartBegin("thinking", number, id=id_, signature=signature, redacted=redacted), out
            )
        return item.part

    def _done(self, event: dict[str, Any], out: list[Piece]) -> None:
        known, item = self._item(event), event.get("item")
        if type(item) is not dict or known.done:
            return
        known.done = True
        kind = item.get("type")
        if kind == "message":
            self._message(event, item, out)
        elif kind == "reasoning":
            self._reasoned(known, item, out)
        elif kind in _CALLED:
            if known.part is None:
                self._call(known, item, out)
            part = known.part
            assert part is not None
            if not part.said:
                given = item.get(_CALLED[kind])
                text = given if type(given) is str else msgspec.json.encode(given or {}).decode()
                text = custom_arguments(text) if kind == "custom_tool_call" else text or "{}"
                self._say(part, Delta(part.number, text), out)
            self._stop(part, out)
        else:
            self._stop(self._start(lambda number: PartBegin("foreign", number, value=Foreign(DIALECT, item)), out), out)

    def _message(self, event: dict[str, Any], item: dict[str, Any], out: list[Piece]) -> None:
        known, content = self._item(event), item.get("content")
        for index, part in enumerate(content if type(content) is list else ()):
            if index not in known.contents and type(part) is dict:
                kind = "refusal" if part.get("type") == "refusal" else "text"
                self._whole({**event, "content_index": index, kind: part.get(kind)}, kind, kind, out)
        for said in known.contents.values():
            self._stop(said, out)

    def _reasoned(self, known: "_Item", item: dict[str, Any], out: list[Piece]) -> None:
        signature, id_ = _text(item.get("encrypted_content")), _text(item.get("id"))
        if known.part is None:
            for kind, field in zip(_THOUGHT, ("summary", "content"), strict=True):
                entries = item.get(field)
                for number, entry in enumerate(entries if type(entries) is list else ()):
                    if type(entry) is dict and _text(entry.get("text")):
                        self._say_thought(known, kind, number, _text(entry.get("text")), id_, out)
        if known.part is None:
            if signature:
                self._thinking(known, id_, out, signature)
            else:
                return  # that there was reasoning is all it says
        elif signature:
            self._say(known.part, Delta(known.part.number, signature=signature), out)
        assert known.part is not None
        self._stop(known.part, out)

    def _start(self, begin: Callable[[int], PartBegin], out: list[Piece]) -> "_Part":
        """A part begins: at once, or behind those that are not at their end."""
        part = _Part(self._parts)
        self._parts += 1
        held = out if self._open is None else part.held
        if self._open is None:
            self._open = part
        else:
            self._waiting.append(part)
        held.append(begin(part.number))
        return part

    def _say(self, part: "_Part", delta: Delta, out: list[Piece]) -> None:
        if part.ended or not (delta.text or delta.signature or delta.citation or delta.logprobs):
            return
        part.said = part.said or bool(delta.text)
        (out if part is self._open else part.held).append(delta)

    def _stop(self, part: "_Part", out: list[Piece]) -> None:
        if part.ended:
            return
        part.ended = True
        if part is not self._open:
            part.held.append(PartEnd(part.number))
            return
        out.append(PartEnd(part.number))
        self._open = None
        while self._waiting and self._open is None:
            following = self._waiting.pop(0)
            out += following.held
            following.held.clear()
            if not following.ended:
                self._open = following

    def _ending(self, response: Any, out: list[Piece]) -> None:  # noqa: ANN401
        response = response if type(response) is dict else {}
        while self._open is not None:
            self._stop(self._open, out)
        if (usage := responses_usage.usage_in(response)) is not None:
            out.append(Tokens(usage))
        status = response.get("status")
        if status in ("failed", "cancelled") or response.get("error"):
            self._fail(response.get("error") or {"message": f"The response was {status}."}, out)
            return
        details = response.get("incomplete_details")
        raw = _text(details.get("reason")) if type(details) is dict else ""
        if status == "incomplete":
            raw = raw or "incomplete"
        out.append(ChoiceEnd(reason_of(raw, self._kinds), raw_reason=raw))
        out.append(Over())
        self._over = True

    def _fail(self, error: Any, out: list[Piece]) -> None:  # noqa: ANN401
        self._over = True
        out.append(Fail(in_stream(error)))


def _text(value: Any) -> str:  # noqa: ANN401
    return value if type(value) is str else ""


class _Item:
    """What is known of an output item."""

    __slots__ = ("contents", "done", "number", "part", "thought")

    def __init__(self) -> None:
        self.part: _Part | None = None              # of a call, or of reasoning
        self.contents: dict[int, _Part] = {}        # of a message
        self.thought = ""                           # in which events the reasoning comes
        self.number: Any = None                     # of the summary last heard
        self.done = False


class _Part:
    """A part on its way; `held` are its pieces while another one is told."""

    __slots__ = ("ended", "held", "number", "said")

    def __init__(self, number: int) -> None:
        self.number = number
        self.said = False
        self.ended = False
        self.held: list[Piece] = []
