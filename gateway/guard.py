"""Makes a guardrail into hooks: `GuardStage` checks requests, and gives replies a filter that holds back.

A guardrail judges texts and knows nothing of streams; here is what makes that safe on a stream. The rule
is in `_Voice.judge`: a character leaves only when everything that a match could still need has been seen.
"""

import re
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec
import structlog

from gateway.errors import ContentBlocked, GatewayError, Unavailable
from gateway.events import End, Event, Finish, Text
from gateway.exchange import Exchange
from gateway.hookspecs import Context, Filter, Guardrail, Redaction, Verdict, hookimpl

_log = structlog.get_logger("gateway.guard")
_PASS = Verdict()
_CATEGORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.:/-]{0,63}")


class GuardStage:
    """The hooks of one guardrail. When it fails, `on_error` decides: refuse, or go on unchecked with a warning."""

    def __init__(
        self, name: str, guardrail: Guardrail, on_error: Literal["open", "closed"] = "closed"
    ) -> None:
        self.name = name
        self.guardrail = guardrail
        self._on_error = on_error
        directions = getattr(guardrail, "apply_to", "both")
        self._input = directions in ("input", "both")
        self._output = directions in ("output", "both")

    @hookimpl
    async def pre_request(self, exchange: Exchange) -> None:
        """Check every text that the model would read; replace what the guardrail redacts."""
        request = exchange.request
        if not self._input or request is None:
            return
        found: dict[tuple[str, str], str] = {}

        def note(text: str, part: str) -> str:
            if text:
                found[text, part] = text
            return text

        exchange.dialect.map_texts(request, note)
        for text, part in found:
            verdict = await self.judge(text, Context("input", exchange, part))
            found[text, part] = _redacted(text, verdict)
        if any(new != text for (text, _), new in found.items()):
            exchange.request = exchange.dialect.map_texts(
                request, lambda text, part: found.get((text, part), text)
            )

    @hookimpl
    async def post_response(self, exchange: Exchange) -> Filter | None:
        """A filter for the reply, if the guardrail judges replies at all."""
        return _Guard(self, exchange) if self._output else None

    async def judge(self, text: str, context: Context, *, final: bool = True) -> Verdict:
        """The guardrail's verdict, noted on the exchange. A `final` block raises `ContentBlocked`."""
        try:
            verdict = await self.guardrail.check(text, context)
        except GatewayError:
            raise
        except Exception as error:
            return self._failed(error, context)
        if verdict.action != "pass" and (final or verdict.action != "block"):
            context.exchange.internal.setdefault("triggered", set()).add((self.name, verdict.action))
        if verdict.action == "block" and final:
            raise self._blocked(verdict, text, context)
        if verdict.action == "warn":
            category = _category(verdict, text)
            _note(context.exchange, f"guardrail {self.name}: {category or 'flagged'} ({context.direction})")
        if verdict.action in ("warn", "redact"):
            headers = context.exchange.reply_headers
            headers.setdefault("x-gateway-guardrail", f"{self.name};action={verdict.action}")
        return verdict

    def _failed(self, error: Exception, context: Context) -> Verdict:
        # Not the error's text: it may quote what was checked.
        _log.error(
            "guardrail failed", guardrail=self.name, error=type(error).__name__, on_error=self._on_error,
            request_id=context.exchange.id,
        )
        if self._on_error == "open":
            _note(context.exchange, f"guardrail {self.name}: failed, not checked ({context.direction})")
            return _PASS
        raise Unavailable(f"The guardrail {self.name} cannot check this now. Try again later.") from error

    def _blocked(self, verdict: Verdict, text: str, context: Context) -> ContentBlocked:
        context.exchange.reply_headers["x-gateway-guardrail"] = f"{self.name};action=block"
        category = _category(verdict, text)
        what = "request" if context.direction == "input" else "answer"
        advice = "Remove it and send the request again." if what == "request" else "Rephrase the request."
        return ContentBlocked(
            f"The {what} was refused by the guardrail {self.name}{f' ({category})' if category else ''}: "
            f"its text has something that the policy does not allow. {advice}"
        )


class _Guard:
    """The filter of one reply: a queue of events in the order they came, whose judged head may leave."""

    def __init__(self, stage: GuardStage, exchange: Exchange) -> None:
        self._stage = stage
        self._exchange = exchange
        self._queue: deque[_Held] = deque()
        self._voices: dict[tuple[int, str, int], _Voice] = {}
        self._speaking: dict[int, _Voice] = {}  # by choice

    async def feed(self, event: Event) -> Iterable[Event]:
        if isinstance(event, Text):
            await self._hear(event)
        else:
            self._queue.append(_Held(event))
            if isinstance(event, Finish):
                await self._end([voice for key, voice in self._voices.items() if key[0] == event.choice])
            elif isinstance(event, End):
                await self._end(self._voices.values())
        return self._leaving()

    async def flush(self) -> Iterable[Event]:
        await self._end(self._voices.values())
        return self._leaving()

    async def _hear(self, event: Text) -> None:
        key = (event.choice, event.part, event.tool)
        voice = self._voices.get(key)
        if voice is None:
            voice = self._voices[key] = _Voice(self._stage, Context("output", self._exchange, event.part))
        before = self._speaking.get(event.choice)
        if before is not voice:
            self._speaking[event.choice] = voice
            if before is not None and self._stage.guardrail.hold_back > 0:
                await before.judge(ended=True)  # models speak one part after the other: this one is complete
        held = _Held(event)
        self._queue.append(held)
        voice.hear(held)
        await voice.judge()

    async def _end(self, voices: Iterable["_Voice"]) -> None:
        for voice in voices:
            await voice.judge(ended=True)

    def _leaving(self) -> list[Event]:
        out: list[Event] = []
        while self._queue and self._queue[0].free:
            out.append(self._queue.popleft().taken())
        return out


class _Held:
    """An event in the queue, its text as it will leave, and whether it may."""

    __slots__ = ("event", "free", "text")

    def __init__(self, event: Event) -> None:
        self.event = event
        self.text = event.text if isinstance(event, Text) else ""
        self.free = not isinstance(event, Text)

    def taken(self) -> Event:
        """The event to send: the very same one if nothing of it changed."""
        if isinstance(self.event, Text) and self.text != self.event.text:
            return msgspec.structs.replace(self.event, text=self.text)
        return self.event


class _Voice:
    """One running text of a reply: a choice's answer, its reasoning, or the arguments of one tool call."""

    def __init__(self, stage: GuardStage, context: Context) -> None:
        self._stage = stage
        self._context = context
        self._reach = stage.guardrail.hold_back
        self._held: deque[_Held] = deque()
        self._cleared = 0       # characters at the front of the held events that are judged for good
        self._seen = ""         # the end of the judged text, for patterns that look back
        self._fresh = ""        # the rest of the held events: not judged, or in doubt
        self._new: list[str] = []  # the end of that rest, not yet joined to it: long answers are joined once
        self._length = 0        # of both
        self._second_look = 0   # the length at which a block in doubt is looked at again

    def hear(self, held: _Held) -> None:
        """Take the next piece."""
        self._held.append(held)
        self._new.append(held.text)
        self._length += len(held.text)

    async def judge(self, *, ended: bool = False) -> None:
        """Judge what can be judged, replace what is redacted, free the events that are judged to their end.

        While the text goes on, its last `hold_back` characters stay in doubt: a match there may grow or vanish.
        So a redaction counts when that many characters follow it, and a block when that many more were seen.
        """
        if self._length and (ended or self._worth_judging()):
            self._fresh = "".join((self._fresh, *self._new))
            self._new.clear()
            redactions = await self._redactions(final=ended or self._second_look > 0)
            if redactions is None:
                self._second_look = self._length + self._reach
                return
            self._second_look = 0
            self._clear(redactions, self._length - (0 if ended else self._reach))
        while self._held and len(self._held[0].text) <= self._cleared:
            held = self._held.popleft()
            self._cleared -= len(held.text)
            held.free = True

    async def _redactions(self, *, final: bool) -> Sequence[Redaction] | None:
        """What to replace in the fresh text; `None` for a block that is not final."""
        text = self._seen + self._fresh
        verdict = await self._stage.judge(text, self._context, final=final)
        found = _redactions(text, verdict)
        if found and not verdict.redactions and found[0].start < len(self._seen):
            # A new text that differs in what has left already: its rest cannot be told from the replacement.
            verdict = await self._stage.judge(self._fresh, self._context, final=final)
            found = _redactions(self._fresh, verdict)
        else:
            found = _shifted(found, len(self._seen))
        return None if verdict.action == "block" else found

    def _worth_judging(self) -> bool:
        """Could an event leave after a verdict?"""
        if self._reach == 0 or self._length < self._second_look:
            return False
        limit = self._length - self._reach
        return limit > 0 and self._cleared + limit >= len(self._held[0].text)

    def _clear(self, redactions: Sequence[Redaction], limit: int) -> None:
        """Judge the fresh text for good, up to `limit` or to the first redaction that is still in doubt."""
        limit = next((min(limit, r.start) for r in redactions if r.end > limit), limit)
        done = [r for r in redactions if r.end <= limit]
        if done:
            self._replace(done)
        judged = _applied(self._fresh[:limit], done)
        self._fresh = self._fresh[limit:]
        self._length = len(self._fresh)
        self._cleared += len(judged)
        self._seen = (self._seen + judged)[-self._reach :] if self._reach else ""

    def _replace(self, redactions: Sequence[Redaction]) -> None:
        """Rewrite the held events; a replacement goes into the event where its redaction begins."""
        end, number = -self._cleared, 0
        for held in self._held:
            start, end = end, end + len(held.text)
            at = start
            parts: list[str] = []
            while number < len(redactions) and redactions[number].start < end:
                redaction = redactions[number]
                if redaction.start >= start:
                    parts += (held.text[at - start : redaction.start - start], redaction.text)
                at = min(redaction.end, end)
                if redaction.end > end:
                    break
                number += 1
            if at > start or parts:
                held.text = "".join((*parts, held.text[at - start :]))
            if number == len(redactions):
                return


def _redactions(text: str, verdict: Verdict) -> Sequence[Redaction]:
    """What a verdict replaces, in order and without overlaps."""
    if verdict.action != "redact":
        return ()
    if not verdict.redactions:
        return _difference(text, verdict.text) if verdict.text is not None else ()
    merged: list[Redaction] = []
    for redaction in sorted(verdict.redactions, key=lambda r: (r.start, -r.end)):
        start, end = max(0, redaction.start), min(len(text), redaction.end)
        if merged and start < merged[-1].end:
            last = merged.pop()
            merged.append(Redaction(last.start, max(last.end, end), last.text))
        elif start < end:
            merged.append(Redaction(start, end, redaction.text))
    return merged


def _difference(old: str, new: str) -> Sequence[Redaction]:
    """The one stretch in which two texts differ."""
    if old == new:
        return ()
    shorter = min(len(old), len(new))
    start = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), shorter)
    room = shorter - start
    backwards = zip(reversed(old), reversed(new), strict=False)
    tail = min(room, next((i for i, (a, b) in enumerate(backwards) if a != b), room))
    return (Redaction(start, len(old) - tail, new[start : len(new) - tail]),)


def _shifted(redactions: Iterable[Redaction], by: int) -> Sequence[Redaction]:
    """The redactions in a text that lacks the first `by` characters; of one that lies across, the rest."""
    return [Redaction(max(0, r.start - by), r.end - by, r.text) for r in redactions if r.end > by]


def _applied(text: str, redactions: Sequence[Redaction]) -> str:
    parts: list[str] = []
    at = 0
    for redaction in redactions:
        parts += (text[at : redaction.start], redaction.text)
        at = redaction.end
    return "".join((*parts, text[at:]))


def _redacted(text: str, verdict: Verdict) -> str:
    return _applied(text, _redactions(text, verdict))


def _category(verdict: Verdict, text: str) -> str:
    """The verdict's reason, if it is a plain name that does not stand in the text."""
    reason = verdict.reason
    return reason if _CATEGORY.fullmatch(reason) and reason.casefold() not in text.casefold() else ""


def _note(exchange: Exchange, warning: str) -> None:
    if warning not in exchange.warnings:
        exchange.warnings.append(warning)
