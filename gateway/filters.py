"""Runs output filters: records of a stream go through a `FilterChain`, a whole reply through `filter_reply`.

What leaves is whole records. A record of which no filter changed anything leaves as the bytes that came; in one
that a filter did change, each event gets a record of its own. What a record means is the dialect's business, and
comes in as two functions. Nothing here knows guardrails (`guard.py`) or the network (`relay.py`).
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence

from gateway.events import Event, Finish, Opaque, Record, Text
from gateway.hookspecs import Filter

Decode = Callable[[bytes], Sequence[Event]]
Encode = Callable[[Event], bytes]
Change = Callable[[str, str], str]
FeedAll = Callable[[Sequence[Event], list[Event]], Awaitable[None]]


class FilterChain:
    """The filters of one streamed reply, one behind the other.

    `decode` gives the events of a record, each with its `Record`; `encode` writes one event as a record of its
    own, without anything of the other events that shared its record. After an error the chain is spent: nothing
    that the filters still hold may leave.
    """

    def __init__(self, filters: Sequence[Filter], decode: Decode, encode: Encode) -> None:
        self._filters = tuple(filters)
        # Where one filter takes all events of a read at once, it is asked so: most of a chunk's cost is in the steps.
        self._feed_all: FeedAll | None = getattr(filters[0], "feed_all", None) if len(filters) == 1 else None
        self._decode = decode
        self._outbox = _Outbox(encode)

    async def feed(self, record: bytes) -> list[bytes]:
        """Take one record; return the records that may leave now."""
        events: Sequence[Event] = self._decode(record) or (Opaque(Record(record)),)
        self._outbox.expect(events)
        out: Iterable[Event] = events
        for stage in self._filters:
            out = await _through(stage, out)
        return self._outbox.take(out)

    async def feed_all(self, records: Iterable[bytes], ready: list[bytes]) -> None:
        """Take the records of one read; those that may leave now go into `ready`, also where a filter raises."""
        if self._feed_all is None:
            for record in records:
                ready += await self.feed(record)
            return
        decode, expect = self._decode, self._outbox.expect
        events: list[Event] = []
        for record in records:
            found = decode(record) or (Opaque(Record(record)),)
            expect(found)
            events += found
        out: list[Event] = []
        try:
            await self._feed_all(events, out)
        finally:
            ready += self._outbox.take(out)

    async def flush(self) -> list[bytes]:
        """The reply is complete: return what is still held. For a reply that was cut, do not call it."""
        out: list[Event] = []
        for stage in self._filters:
            out = await _through(stage, out)
            out.extend(await stage.flush())
        return self._outbox.take(out) + self._outbox.close()


async def filter_reply(
    filters: Sequence[Filter], body: bytes, map_texts: Callable[[bytes, Change], bytes]
) -> bytes:
    """An unstreamed reply after the filters: each of its texts goes through them as a choice of its own.

    `map_texts(body, change)` gives the reply with every text replaced by `change(text, part)`, and the same
    bytes when none was. Raises what a filter raises.
    """
    said: list[Text] = []

    def note(text: str, part: str) -> str:
        said.append(Text(text, len(said), part))  # type: ignore[arg-type]
        return text

    map_texts(body, note)
    if len(filters) == 1 and hasattr(filters[0], "leaves_alone") and await filters[0].leaves_alone(said):
        return body
    changed = await _texts(filters, said)
    if all(new == event.text for new, event in zip(changed, said, strict=True)):
        return body
    new = iter(changed)
    return map_texts(body, lambda _text, _part: next(new))


async def _texts(filters: Sequence[Filter], said: Sequence[Text]) -> list[str]:
    out: list[Event] = []
    for text in said:
        out += (text, Finish("stop", text.choice))
    for stage in filters:
        out = await _through(stage, out)
        out.extend(await stage.flush())
    texts = [""] * len(said)
    for event in out:
        if isinstance(event, Text):
            texts[event.choice] += event.text
    return texts


async def _through(stage: Filter, events: Iterable[Event]) -> list[Event]:
    out: list[Event] = []
    feed_all: FeedAll | None = getattr(stage, "feed_all", None)
    if feed_all is not None:
        await feed_all(list(events), out)
        return out
    for event in events:
        out.extend(await stage.feed(event))
    return out


class _Outbox:
    """Turns events back into records, once all events of a record are out; knows whether one changed."""

    def __init__(self, encode: Encode) -> None:
        self._encode = encode
        self._alone: dict[int, Event] = {}     # the only events of their records, by the record's identity
        self._inside: dict[int, _Inside] = {}  # the other records on their way, in the order they came

    def expect(self, events: Sequence[Event]) -> None:
        """A record has gone in."""
        if len(events) == 1:
            self._alone[id(events[0].record)] = events[0]
        else:
            self._inside[id(events[0].record)] = _Inside(events)

    def take(self, events: Iterable[Event]) -> list[bytes]:
        """Events have come out: the records that they complete."""
        ready: list[bytes] = []
        alone = self._alone
        for event in events:
            record = event.record
            came = alone.pop(id(record), None)
            if came is not None:
                if self._inside:
                    ready += self._begun(None)
                ready.append(record.raw if event is came and record is not None else self._encode(event))
                continue
            of = self._inside.get(id(record))
            if of is None:
                ready += [*self._begun(None), self._encode(event)]  # a filter's own, or one whose record has left
                continue
            if len(self._inside) > 1 and next(iter(self._inside.values())) is not of:
                ready += self._begun(of)
            of.out.append(event)
            if len(of.out) == len(of.events):
                del self._inside[id(record)]
                ready += self._written(of)
        return ready

    def close(self) -> list[bytes]:
        """No more events will come."""
        return self._begun(None)

    def _begun(self, of: "_Inside | None") -> list[bytes]:
        """What is out of the records before `of` (of all, if it is `None`) leaves first, each event alone."""
        ready: list[bytes] = []
        for key, inside in list(self._inside.items()):
            if inside is of:
                break
            if inside.out:
                del self._inside[key]
                ready += self._written(inside)
        return ready

    def _written(self, inside: "_Inside") -> list[bytes]:
        came, went = inside.events, inside.out
        record = came[0].record
        if len(went) == len(came) and all(new is old for new, old in zip(went, came, strict=True)):
            return [record.raw] if record is not None else []
        pieces = [self._encode(event) for event in went]
        # The record as it came holds what a filter took away: it must not slip out under another event of it.
        return [piece for piece in pieces if record is None or piece != record.raw]


class _Inside:
    """The events of a record that is on its way, and those of them that came out."""

    __slots__ = ("events", "out")

    def __init__(self, events: Sequence[Event]) -> None:
        self.events = events
        self.out: list[Event] = []
