"""One running text of a reply under its checks: what may leave, what is replaced, what must wait.

The rule: a character leaves only when all that a match could still need has been seen. Streams of events are in
`stream.py`; this is about one text.
"""

import time
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence

import msgspec

from gateway.events import Event, Text
from gateway.guardrails.chain import Chain
from gateway.guardrails.check import Hit
from gateway.guardrails.edits import edits_of, shifted
from gateway.guardrails.jsontext import JsonCursor, before_open_escape, fitted, looks_like_json, seen
from gateway.hookspecs import Context, Redaction

_FILL = "*"
_TELLING = 3         # characters that tell JSON from a text that begins with a bracket
_FIRST_LOOKS = 6    # at the beginning each chunk is looked at: first words should not wait


class Held:
    """An event in the queue, its text as it will leave, and whether it may."""

    __slots__ = ("event", "free", "text", "voice")

    def __init__(self, event: Event, voice: "Voice | None" = None) -> None:
        self.event = event
        self.voice = voice
        self.text = event.text if voice is not None and isinstance(event, Text) else ""
        self.free = voice is None

    def taken(self) -> Event:
        """The event to send: the very same one if nothing of it changed."""
        if isinstance(self.event, Text) and self.text != self.event.text:
            return msgspec.structs.replace(self.event, text=self.text)
        return self.event


class Voice:
    """A choice's answer, its reasoning, or the arguments of one tool call. `hits` are those that are decided."""

    def __init__(self, chain: Chain, context: Context, *, sealed: bool = False) -> None:
        self.hits: list[Hit] = []
        self.withheld = False        # a text that its provider signs: it would have been edited
        self._sealed = sealed
        self._chain = chain
        self._context = context
        self._held: deque[Held] = deque()
        self._cleared = 0            # characters at the front of the held events that are decided for good
        self._memory = ""            # the end of the decided text, for patterns that look back
        self._fresh = ""             # the rest of the held events: not looked at, or in doubt
        self._new: list[str] = []    # the end of that rest, not yet joined to it: long answers are joined once
        self._length = 0             # of both
        self._looked_at = 0          # the length after the last look
        self._last_look = 0.0
        self._looks = 0
        self._not_before = 0         # the length from which a look may help
        self._in_doubt = False       # a judge would block: it is asked once more when more is known
        self._json: JsonCursor | None = None
        self._begun = False

    def hear(self, held: Held) -> None:
        """Take the next piece."""
        self._held.append(held)
        self._new.append(held.text)
        self._length += len(held.text)

    def due(self) -> bool:
        """Whether it is time for a look."""
        chain, length = self._chain, self._length
        if chain.buffers or self._sealed or length < self._not_before:
            return False
        if not length:
            self._free()
            return False
        if chain.waits and length <= chain.reach:
            return False
        if self._looks < _FIRST_LOOKS and chain.patience < 1:
            return True
        return length - self._looked_at >= chain.step or time.monotonic() - self._last_look >= chain.patience

    async def judge(self, *, ended: bool = False) -> None:
        """Look at what is there, replace what is found, free the events that are decided to their end.

        While the text goes on, its last `reach` characters stay in doubt: a match there may grow or vanish.
        """
        if self._length and (ended or not (self._chain.buffers or self._sealed)):
            raw = self._joined()
            if not self._begun and not self._begin(raw) and not ended:
                return
            text, places = self._read(raw, ended=ended)
            hits = await self._look(text)
            final = ended or self._in_doubt
            if not final and any(_refuses_all(hit) for hit in hits):
                self._in_doubt, self._not_before = True, self._length + max(1, self._chain.reach)
                return
            self._in_doubt = False
            limit = len(text) if ended else self._limit(hits, text, places)
            decided = [hit for hit in hits if hit.end <= limit or _is_of_all(hit)]
            self.hits += decided
            self._settle(raw, text, places, decided, limit)
        self._free()

    def _read(self, raw: str, *, ended: bool) -> tuple[str, Sequence[int] | None]:
        """The text as a person would read it. In JSON without the beginning of an escape: its characters are not the
        text's, and would let go of what comes long before them."""
        if self._json is None:
            return raw, None
        return seen(raw if ended else raw[: before_open_escape(raw, len(raw))])

    async def _look(self, text: str) -> list[Hit]:
        """All hits in the fresh text, seen after what is remembered."""
        chain, before = self._chain, len(self._memory)
        both = self._memory + text
        found: Sequence[Hit] = await chain.scan_quickly(both, self._context.part) if chain.detectors else ()
        if not chain.judges:
            return shifted(found, before)
        judged = await chain.judge(both, self._context)
        if any(hit.text is not None and hit.start < before < hit.end for hit in judged):
            # A new text that differs in what has left already: its rest cannot be told from the replacement.
            return [*shifted(found, before), *await chain.judge(text, self._context)]
        return shifted([*found, *judged], before)

    def _limit(self, hits: Sequence[Hit], text: str, places: Sequence[int] | None) -> int:
        """Up to where nothing can change any more, though the text goes on."""
        if any(_is_of_all(hit) and hit.action not in ("warn", "monitor", "failed") for hit in hits):
            return len(text)
        limit = max(0, self._chain.settled(self._memory + text) - len(self._memory))
        last_first = sorted(hits, key=lambda hit: -hit.end) if hits else ()
        while True:
            before = limit
            for hit in last_first:
                if hit.end > limit and not _is_of_all(hit) and hit.check.hold_back:
                    limit = min(limit, hit.start)
            if self._json is None:
                return limit
            limit = _limit_in_json(self._json, self._fresh, places, limit)
            if limit == before:
                return limit

    def _settle(
        self, raw: str, text: str, places: Sequence[int] | None, hits: Sequence[Hit], limit: int
    ) -> None:
        """Replace what the hits say, and let go the first `limit` characters of `text`."""
        edits = edits_of(text, [hit for hit in hits if hit.start < limit])
        filled: list[str] = []
        at = 0
        for edit in edits:
            filled += (text[at : edit.start], _FILL * (edit.end - edit.start))
            at = edit.end
        remembered = "".join((*filled, text[at:limit]))
        if places is not None:
            edits = [Redaction(places[e.start], places[e.end], e.text) for e in edits]
        end = limit if places is None else places[limit]
        if edits:
            if self._sealed:  # it goes as it is or not at all
                edits, self.withheld = [Redaction(0, len(raw), "")], True
            elif self._json is not None:
                edits = fitted(raw, edits, self._json)
            self._replace(edits)
        self._let_go(end, remembered, end + sum([len(e.text) - (e.end - e.start) for e in edits]))
        self._looked_at, self._last_look = self._length, time.monotonic()
        self._looks += 1
        # What stays in doubt for long is looked at less and less often.
        self._not_before = self._length + self._length // 4 if self._length > 4 * self._chain.step else 0

    def _begin(self, raw: str) -> bool:
        """Find out whether the text is JSON; not yet, where its first characters leave that open."""
        beginning = raw.lstrip()[:_TELLING]
        if len(beginning) < _TELLING and beginning[:1] in ("", "{", "["):
            return False
        self._begun = True
        if looks_like_json(beginning, self._context.part):
            self._json = JsonCursor()
        return True

    def _let_go(self, length: int, remembered: str, cleared: int = -1) -> None:
        """The first `length` characters of the fresh text are decided, and have become `cleared` ones."""
        if self._json is not None:
            self._json.move(self._fresh[:length])
        self._cleared += length if cleared < 0 else cleared
        self._fresh = self._fresh[length:]
        self._length -= length
        if self._chain.memory:
            self._memory = (self._memory + remembered)[-self._chain.memory :]

    def _joined(self) -> str:
        if self._new:
            self._fresh = "".join((self._fresh, *self._new))
            self._new.clear()
        return self._fresh

    def _free(self) -> None:
        held = self._held
        while held and len(held[0].text) <= self._cleared:
            self._cleared -= len(held[0].text)
            held.popleft().free = True

    def _replace(self, edits: Sequence[Redaction]) -> None:
        """Rewrite the held events; a replacement goes into the event where its edit begins."""
        end, number = -self._cleared, 0
        for held in self._held:
            start, end = end, end + len(held.text)
            at = start
            parts: list[str] = []
            while number < len(edits) and edits[number].start < end:
                edit = edits[number]
                if edit.start >= start:
                    parts += (held.text[at - start : edit.start - start], edit.text)
                at = min(edit.end, end)
                if edit.end > end:
                    break
                number += 1
            if at > start or parts:
                held.text = "".join((*parts, held.text[at - start :]))
            if number == len(edits):
                return


def _is_of_all(hit: Hit) -> bool:
    """A judgement of a whole window or text: more text does not change it."""
    return hit.whole and not hit.check.hold_back


def _refuses_all(hit: Hit) -> bool:
    """A judge's block without a place: whether it stands can depend on what follows."""
    return hit.whole and hit.action == "block" and hit.check.scan is None and hit.check.hold_back > 0


def _limit_in_json(cursor: JsonCursor, raw: str, places: Sequence[int] | None, limit: int) -> int:
    """`limit`, or less where it would cut an escape that is not complete, or a number."""
    end = cursor.before_open_word(raw, limit if places is None else places[limit])
    end = before_open_escape(raw, end)
    return min(limit, end if places is None else bisect_left(places, end))
