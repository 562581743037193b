"""Moves rows from the journals of all workers into the store, each exactly once. Runs where the database is written.

While the store cannot take them, rows wait in the files and the drain tries again; requests go on. Exchanges that
a dead process left open are booked as killed.
"""

import asyncio
import contextlib
import random
import time
from pathlib import Path
from typing import Final

import msgspec
import structlog

from gateway.errors import Unavailable
from gateway.money.journal import Opened
from gateway.money.ledger import LedgerRow
from gateway.money.segments import Segment, dead_journals, segments
from gateway.store import LedgerStore

_BATCH: Final = 400
_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
_SETTLE_EVERY: Final = 2.0
_LOG_EVERY: Final = 10.0
_log = structlog.get_logger("gateway.drain")


class Lag(msgspec.Struct, frozen=True):
    """What waits in the journals."""

    rows: int
    bytes: int


class Drain:
    """Reads every segment in `directory`; `run` is its loop, for the life of the process."""

    def __init__(self, store: LedgerStore, directory: Path) -> None:
        self._store = store
        self._directory = directory
        self._known: dict[str, Segment] = {}
        self._ahead: dict[str, Segment] = {}
        self._lock = asyncio.Lock()
        self._failing_since: float | None = None
        self._logged = 0.0

    async def run(self) -> None:
        """Drain for ever; cancel to end."""
        pause, settled = _PAUSE, 0.0
        while True:
            try:
                await self.drain_now()
                if time.monotonic() - settled >= _SETTLE_EVERY:
                    await self.settle_dead()
                    settled = time.monotonic()
                self._recovered()
                pause = _PAUSE
            except Exception as error:  # whatever it is, rows wait and the next turn tries again
                self._failed(error)
                pause = min(_LONGEST_PAUSE, pause * 2)
            await asyncio.sleep(pause * random.uniform(0.75, 1.25))  # noqa: S311

    async def drain_now(self) -> None:
        """Store all that is in the journals now. Raises `Unavailable` when the store cannot take it."""
        async with self._lock:
            for paths in segments(self._directory).values():
                for path in paths:
                    segment = await self._segment(path)
                    await self._empty(segment, writing=path == paths[-1])
                    if path != paths[-1]:
                        await self._remove(segment)

    async def settle_dead(self, slot: int | None = None) -> int:
        """Book what dead processes (of one worker slot) left open as killed, and remove their journals.

        Raises `Unavailable` when the store cannot take it. Returns how many exchanges were killed.
        """
        killed = 0
        async with self._lock:
            for paths in dead_journals(self._directory, slot).values():
                killed += await self._settle([await self._segment(path) for path in paths])
        return killed

    def lag(self) -> Lag:
        """What the store does not have yet: for metrics."""
        rows = size = 0
        paths = [path for each in segments(self._directory).values() for path in each]
        # Segments that the drain has not come to: while the database is away it stops at the first one.
        self._ahead = {
            path.name: self._ahead.get(path.name) or Segment(path) for path in paths if path.name not in self._known
        }
        for segment in (*self._known.values(), *self._ahead.values()):
            with contextlib.suppress(FileNotFoundError):
                more_rows, more_bytes = segment.waiting()
                rows, size = rows + more_rows, size + more_bytes
        return Lag(rows, size)

    async def _segment(self, path: Path) -> Segment:
        if path.name not in self._known:
            self._known[path.name] = Segment(path, await self._store.position(path.name))
        return self._known[path.name]

    async def _empty(self, segment: Segment, *, writing: bool) -> None:
        while True:
            position, rows = segment.batch(_BATCH, writing)
            if position == segment.position:
                return
            if rows:
                await self._append(segment, position, rows)
            segment.stored(position, len(rows))

    async def _append(self, segment: Segment, position: int, rows: list[tuple[int, LedgerRow]]) -> None:
        """Store a batch; of a batch that is refused, all but the rows that the database cannot hold."""
        try:
            await self._store.append(segment.name, position, [row for _, row in rows])
        except (Unavailable, asyncio.CancelledError):
            raise
        except Exception as error:
            if len(rows) == 1:
                # If even this fails it is the store's fault: then the row waits like all others.
                await self._store.append(segment.name, position, [])
                segment.damaged = True
                _log.exception("row cannot be stored, its file is kept", file=str(segment.path), id=rows[0][1].id)
                return
            _log.warning("batch refused, trying its rows apart", file=str(segment.path), reason=str(error))
            half = len(rows) // 2
            await self._append(segment, rows[half - 1][0], rows[:half])
            await self._append(segment, position, rows[half:])

    async def _settle(self, journal: list[Segment]) -> int:
        for segment in journal:
            await self._empty(segment, writing=False)
        opened: dict[str, Opened] = {}
        for segment in journal:
            segment.left_open(opened)
        last = journal[-1]
        rows = [(last.position, begun.killed()) for begun in opened.values()]
        for start in range(0, len(rows), _BATCH):
            await self._append(last, last.position, rows[start:start + _BATCH])
        for segment in journal:
            await self._remove(segment)
        if rows:
            _log.warning("exchanges were cut by the end of their process", count=len(rows), journal=last.name)
        return len(rows)

    async def _remove(self, segment: Segment) -> None:
        """The database has all of it: delete the file, or put it aside if something in it was not readable."""
        if segment.damaged:
            segment.path.rename(segment.path.with_suffix(".damaged"))
        else:
            segment.path.unlink()
        self._known.pop(segment.name, None)
        await self._store.forget(segment.name)

    def _failed(self, error: Exception) -> None:
        now = time.monotonic()
        self._failing_since = self._failing_since or now
        if now - self._logged >= _LOG_EVERY:
            self._logged = now
            lag = self.lag()
            _log.error(
                "the ledger's database takes no rows; they wait in the journal", reason=str(error),
                error=type(error).__name__, rows=lag.rows, bytes=lag.bytes,
            )

    def _recovered(self) -> None:
        if self._failing_since is not None:
            _log.info("the ledger's database takes rows again", after=round(time.monotonic() - self._failing_since, 1))
            self._failing_since = None
            self._logged = 0.0
