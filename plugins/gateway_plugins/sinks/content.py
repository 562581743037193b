"""Keeps what was asked and answered, for tenants and keys whose logging policy says so: `metadata` or `content`.

    - use: sink.content

It comes with `admin.api` by itself, and keeps nothing while all policies are `off`, as they are at first. A request is
kept as the model got it and an answer as it left, after guardrails; what was refused before that is not. It is written
after the answer, in batches, sealed with a key that is derived from the master secret; when the database is away for
long the newest are dropped, counted and logged: requests never wait for it.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
import structlog
from msgspec import Meta

from gateway import Caller, Event, Exchange, Filter, Text, Unavailable, hookimpl
from gateway.accounts.contents import Document, Said, sealer, stored
from gateway.accounts.records import Content
from gateway.contentlog import about, request_kept
from gateway.store.work import Put
from gateway.tasks import Tasks

if TYPE_CHECKING:
    from gateway import Gateway

_PAUSE: Final = 0.25
_LONGEST_PAUSE: Final = 30.0
_BATCH: Final = 20
_LAST: Final = 5.0
_LOG_EVERY: Final = 10.0
_log = structlog.get_logger("gateway.content")


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How much is kept of one exchange, and how much may wait for the database."""

    max_bytes: Annotated[
        int, Meta(ge=1024, le=64 << 20, description="Kept of a request, and of an answer; the rest is cut off.")
    ] = 256 * 1024
    waiting_bytes: Annotated[
        int, Meta(ge=1 << 20, description="What may wait to be written, in one worker; what is more is dropped.")
    ] = 64 << 20


class _Waiting(msgspec.Struct, frozen=True):
    """An exchange that is to be kept: `raw` is its request's body, `None` where only metadata is."""

    content: Content
    raw: bytes | None
    answer: tuple[Said, ...]
    truncated: bool
    size: int


class ContentSink:
    """Listens to answers, and writes beside the requests."""

    Config = Options
    name = "sink.content"

    def __init__(self, config: Options) -> None:
        self._config = config
        self._tasks = Tasks()
        self._queue: deque[_Waiting] = deque()
        self._waiting = 0
        self._logged = 0.0

    @hookimpl
    async def startup(self, gateway: "Gateway") -> None:
        """Begin to write."""
        self._store, self._metrics = gateway.store, gateway.metrics
        self._sealer = sealer(gateway.secret)
        self._tasks.spawn(self._run(), "logged content")

    @hookimpl
    async def shutdown(self, gateway: "Gateway") -> None:  # noqa: ARG002 - the hook's signature
        """Write what waits."""
        await self._tasks.close()
        try:
            async with asyncio.timeout(_LAST):
                while self._queue:
                    await self._write()
        except (Unavailable, TimeoutError) as error:
            _log.error("logged content is lost", exchanges=len(self._queue), reason=str(error) or "too slow")

    @hookimpl
    async def post_response(self, exchange: Exchange) -> Filter | None:
        """Listen to the answer, where it is to be kept."""
        caller = exchange.caller
        if caller is None or caller.logging != "content" or "inner" in exchange.internal:
            return None
        listener = exchange.local[self.name] = _Listener(self._config.max_bytes)
        return listener

    @hookimpl
    async def on_usage(self, exchange: Exchange) -> None:
        """Take what is to be kept."""
        caller = exchange.caller
        if caller is None or caller.logging == "off" or "inner" in exchange.internal:
            return
        item = self._item(exchange, caller, caller.logging)
        if self._waiting + item.size > self._config.waiting_bytes:
            self._dropped()
            return
        self._waiting += item.size
        self._queue.append(item)

    def _item(self, exchange: Exchange, caller: Caller, policy: Literal["metadata", "content"]) -> _Waiting:
        listener: _Listener | None = exchange.local.get(self.name)
        raw = None
        # Without a target it was refused on the way there, perhaps before the guardrails had seen all of it.
        if policy == "content" and exchange.request is not None and exchange.target is not None:
            raw = exchange.request.raw
        answer = listener.said(exchange) if listener is not None else ()
        content = Content(
            id=exchange.id, tenant=caller.tenant, key_id=caller.key, owner=caller.owner, model=exchange.model,
            created=exchange.started_ms, metadata=about(exchange, answer) | {"content": raw is not None},
        )  # fmt: skip
        size = 2048 + len(raw or b"") + sum(len(each.text) for each in answer)
        return _Waiting(content, raw, answer, listener is not None and listener.truncated, size)

    async def _run(self) -> None:
        pause = _PAUSE
        while True:
            await asyncio.sleep(pause)
            try:
                while self._queue:
                    await self._write()
                pause = _PAUSE
            except Unavailable as error:
                pause = min(_LONGEST_PAUSE, pause * 2)
                _log.warning("logged content waits to be written", exchanges=len(self._queue), reason=error.message)

    async def _write(self) -> None:
        batch = [self._queue[n] for n in range(min(_BATCH, len(self._queue)))]
        try:
            steps = await asyncio.to_thread(self._sealed, batch)
            await self._store.commit(steps)
        except Unavailable:
            raise
        except Exception:  # something in it cannot be stored, whenever it is tried
            _log.exception("logged content cannot be stored", exchanges=[item.content.id for item in batch])
        for item in batch:
            self._queue.popleft()
            self._waiting -= item.size

    def _sealed(self, batch: Sequence[_Waiting]) -> list[Put]:
        """In a thread: compressing and sealing long texts takes a while."""
        return [stored(self._sealer, item.content, self._document(item)) for item in batch]

    def _document(self, item: _Waiting) -> Document | None:
        if item.raw is None:
            return None
        kept, cut = request_kept(item.raw, self._config.max_bytes)
        truncated = cut or item.truncated
        if cut:
            return Document(request_text=kept.decode("utf-8", "replace"), answer=item.answer, truncated=truncated)
        return Document(request=msgspec.Raw(kept), answer=item.answer, truncated=truncated)

    def _dropped(self) -> None:
        self._metrics.dropped(self.name, "on_usage")
        if time.monotonic() - self._logged > _LOG_EVERY:
            self._logged = time.monotonic()
            _log.error("an exchange's content was dropped: too much waits for the database", waiting=len(self._queue))


class _Listener:
    """A filter that changes nothing and remembers the texts, up to a size."""

    def __init__(self, most: int) -> None:
        self._left = most
        self._texts: dict[tuple[int, str, int], list[str]] = {}
        self.truncated = False

    async def feed(self, event: Event) -> Iterable[Event]:
        """See `Filter`."""
        if type(event) is Text:
            text = event.text
            if len(text) > self._left:
                text, self.truncated = text[: self._left], True
            self._left -= len(text)
            if text:
                self._texts.setdefault((event.choice, event.part, event.tool), []).append(text)
        return (event,)

    async def flush(self) -> Iterable[Event]:
        """See `Filter`."""
        return ()

    def said(self, exchange: Exchange) -> tuple[Said, ...]:
        """The texts; where stand-ins were sent for personal data, with these: no more is kept than was sent."""
        made = exchange.internal.get("guardrail_pseudonyms")
        originals: Mapping[str, str] = made.originals if made is not None else {}
        return tuple(
            Said(_hidden("".join(texts), originals), choice, part, tool)
            for (choice, part, tool), texts in self._texts.items()
        )


def _hidden(text: str, originals: Mapping[str, str]) -> str:
    for stand_in, original in originals.items():
        text = text.replace(original, stand_in)
    return text
