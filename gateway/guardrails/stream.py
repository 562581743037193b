"""The filter of one reply: a queue of events in the order they came, whose decided head may leave.

Each text that the model says is a `Voice` (`voice.py`), and stays one when another speaks between its pieces.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from gateway.events import SEALED, End, Event, Finish, Text
from gateway.exchange import Exchange
from gateway.guardrails.chain import Chain
from gateway.guardrails.check import Hit
from gateway.guardrails.jsontext import is_json
from gateway.guardrails.voice import Held, Voice
from gateway.hookspecs import Context

Decide = Callable[[Sequence[Hit], str], None]
_Key = tuple[int, str, int]


class ReplyGuard:
    """Feeds each text of a reply to its voice. `decide` is told of hits as they are decided, and may raise.

    `said` is told of each text when it has ended, for checks that do not delay.
    """

    def __init__(
        self, chain: Chain, exchange: Exchange, decide: Decide, said: Callable[[str, str], None] | None = None
    ) -> None:
        self._chain = chain
        self._exchange = exchange
        self._decide = decide
        self._said = said
        self._queue: deque[Held] = deque()
        self._voices: dict[_Key, Voice] = {}
        self._texts: dict[_Key, list[str]] = {}
        self._sealed: frozenset[str] = getattr(exchange.dialect, "sealed_parts", frozenset())
        # Where the records of different texts do not depend on one another, one may leave before another that waits.
        self._open: set[int] = exchange.internal.setdefault("open_choices", set())
        self._loose = bool(getattr(exchange.dialect, "parts_are_independent", False))

    async def feed(self, event: Event) -> Iterable[Event]:
        """Take one event; return what may leave."""
        out: list[Event] = []
        await self.feed_all((event,), out)
        return out

    async def feed_all(self, events: Sequence[Event], out: list[Event]) -> None:
        """Take the events of one read; what may leave goes into `out`, before a look that may refuse the rest."""
        queue, voices, each = self._queue, self._voices, self._chain.windowed
        heard: dict[_Key, Voice] = {}
        for event in events:
            if type(event) is Text:
                key = (event.choice, event.part, event.tool)
                voice = voices.get(key)
                if voice is None:
                    voice = self._new_voice(event)
                if self._said is not None:
                    self._texts.setdefault(key, []).append(event.text)
                held = Held(event, voice)
                queue.append(held)
                voice.hear(held)
                if each:
                    if voice.due():
                        await self._look(voice, event.part, out)
                else:
                    heard[key] = voice
            elif type(event) is Finish or type(event) is End:
                out += self._leaving()
                await self._close(event)
                heard = {of: voice for of, voice in heard.items() if of in voices}  # what has ended is judged
            else:
                queue.append(Held(event))
        for of, voice in heard.items():
            if voice.due():
                await self._look(voice, of[1], out)
        if queue and (queue[0].free or self._loose):
            out += self._leaving()

    async def leaves_alone(self, texts: Sequence[Text]) -> bool:
        """Whether nothing is found in these whole texts: the answer may go as it came. `False` if that is not known."""
        chain = self._chain
        if chain.judges or self._said is not None:
            return False
        for event in texts:
            if "\\" in event.text and is_json(event.text, event.part):
                return False
            if event.text and await chain.scan_quickly(event.text, event.part):
                return False
        return True

    async def flush(self) -> Iterable[Event]:
        """The reply is complete."""
        await self._end(list(self._voices))
        return self._leaving()

    def _new_voice(self, event: Text) -> Voice:
        key = (event.choice, event.part, event.tool)
        if event.choice >= 0:
            self._open.add(event.choice)
        voice = self._voices[key] = Voice(
            self._chain, Context("output", self._exchange, event.part), sealed=event.part in self._sealed
        )
        return voice

    async def _look(self, voice: Voice, part: str, out: list[Event]) -> None:
        """Look at a text that has gone on; what is free before that need not wait for it."""
        out += self._leaving()
        await voice.judge()
        if voice.hits:
            self._tell(voice, part)

    async def _close(self, event: Finish | End) -> None:
        held = Held(event)
        self._queue.append(held)
        if isinstance(event, End):
            await self._end(list(self._voices))
            return
        self._open.discard(event.choice)
        withheld = await self._end([key for key in self._voices if key[0] == event.choice])
        if withheld and event.reason == SEALED:
            self._queue.remove(held)

    async def _end(self, keys: Sequence[_Key]) -> bool:
        """End these texts. Whether one of them was withheld."""
        withheld = False
        for key in keys:
            voice = self._voices.pop(key)
            await voice.judge(ended=True)
            withheld = withheld or voice.withheld
            if voice.hits:
                self._tell(voice, key[1])
            if self._said is not None:
                self._said("".join(self._texts.pop(key)), key[1])
        return withheld

    def _tell(self, voice: Voice, part: str) -> None:
        hits, voice.hits = voice.hits, []
        self._decide(hits, part)

    def _leaving(self) -> list[Event]:
        queue = self._queue
        out: list[Event] = []
        while queue and queue[0].free:
            out.append(queue.popleft().taken())
        if queue and self._loose and len(self._voices) > 1 and not self._chain.buffers:
            self._overtake(out)
        return out

    def _overtake(self, out: list[Event]) -> None:
        """Let out what is free behind a text that waits, up to the first thing that is of all texts."""
        waiting: set[int] = set()
        kept: list[Held] = []
        queue = self._queue
        while queue:
            held = queue[0]
            record = held.event.record
            if isinstance(held.event, Finish | End) or (record is not None and record.events > 1):
                break
            queue.popleft()
            if held.free and id(held.voice) not in waiting:
                out.append(held.taken())
            else:
                waiting.add(id(held.voice))
                kept.append(held)
        queue.extendleft(reversed(kept))
