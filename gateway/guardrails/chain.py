"""The checks of one direction under one policy: runs them over texts, detectors first and judges side by side.

What is done about the hits is in `edits.py` and `notes.py`; how a stream is cut for it in `voice.py`.
"""

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

from gateway.exchange import Exchange
from gateway.guardrails.cache import TextCache
from gateway.guardrails.check import Check, Hit
from gateway.hookspecs import Context

LONG = 65_536  # characters from which texts are scanned in a thread
_LONG_FOR_SLOW = 20
_STEP = 4096
_PATIENCE = 0.002
_NO_HITS: tuple[Hit, ...] = ()
Place = tuple[str, str]  # a text and its part


class Chain:
    """Checks in their order.

    A stream holds back `reach` characters, or all of it (`buffers`). It is looked at when `step` characters are new or
    `patience` seconds have passed: looks cost more than chunks.
    """

    def __init__(self, checks: Iterable[Check], *, cache: int = 8192) -> None:
        self.checks = tuple(check for check in checks if not check.background)
        self.detectors = tuple(check for check in self.checks if check.scan is not None)
        self.judges = tuple(check for check in self.checks if check.scan is None)
        self.buffers = any(not check.hold_back and not check.window for check in self.checks)
        self.reach = max((check.hold_back for check in self.checks), default=0)
        windows = [check.window for check in self.checks if check.window]
        self.windowed = bool(windows)
        self.step = max(windows, default=_STEP)
        self.patience = float("inf") if windows else _PATIENCE
        self.memory = max([self.reach, *windows])
        self._hold_backs = [(check.settled, check.hold_back) for check in self.checks if check.hold_back]
        self.waits = any(settled is None for settled, _ in self._hold_backs)
        # What is slow runs in a thread, but for texts so short that the way there is longer.
        self._long = _LONG_FOR_SLOW if any(getattr(check.guardrail, "slow", False) for check in self.checks) else LONG
        self._cache: TextCache[tuple[Hit, ...]] = TextCache(cache)

    def scan(self, text: str, part: str) -> tuple[Hit, ...]:
        """What the detectors find in a text."""
        hits: list[Hit] = []
        for check in self.detectors:
            hits += check.hits(text, part)
        return tuple(hits) if hits else _NO_HITS

    def settled(self, text: str) -> int:
        """How many characters at the front keep their hits whatever follows."""
        length = len(text)
        return min(
            [settled(text) if settled else length - hold_back for settled, hold_back in self._hold_backs],
            default=length,
        )

    async def scan_quickly(self, text: str, part: str) -> tuple[Hit, ...]:
        """The same; a long text in a thread, so that nobody waits for it."""
        return self.scan(text, part) if len(text) < self._long else await asyncio.to_thread(self.scan, text, part)

    async def judge(self, text: str, context: Context) -> list[Hit]:
        """What the judges say of a text, all asked at once."""
        if len(self.judges) == 1:
            return await self.judges[0].judge(text, context)
        return [hit for hits in await _all(judge.judge(text, context) for judge in self.judges) for hit in hits]

    async def examine(
        self, places: Sequence[Place], exchange: Exchange, direction: str
    ) -> list[tuple[Hit, ...]]:
        """The hits in each text. Judges are not asked where a detector blocks already."""
        found = await self._scanned(places)
        if self.judges and not any(hit.action == "block" for hits in found for hit in hits):
            asked = await _all(self._asked(place, Context(direction, exchange, place[1])) for place in places)
            found = [(*hits, *more) for hits, more in zip(found, asked, strict=True)]
        return found

    async def _scanned(self, places: Sequence[Place]) -> list[tuple[Hit, ...]]:
        if not self.detectors:
            return [_NO_HITS] * len(places)
        total = sum([len(text) for text, _ in places])
        return await asyncio.to_thread(self._scan_all, places) if total >= self._long else self._scan_all(places)

    def _scan_all(self, places: Sequence[Place]) -> list[tuple[Hit, ...]]:
        found: list[tuple[Hit, ...]] = []
        for text, part in places:
            key = self._cache.key(text, part)
            hits = self._cache.get(key)
            if hits is None:
                hits = self.scan(text, part)
                self._remember(key, hits)
            found.append(hits)
        return found

    async def _asked(self, place: Place, context: Context) -> Sequence[Hit]:
        if not all(judge.repeatable for judge in self.judges):
            return await self.judge(place[0], context)
        key = self._cache.key(place[0], f"judges {place[1]}")
        hits = self._cache.get(key)
        if hits is None:
            hits = tuple(await self.judge(place[0], context))
            self._remember(key, hits)
        return hits

    def _remember(self, key: bytes, hits: tuple[Hit, ...]) -> None:
        if not any(hit.action == "failed" for hit in hits):
            self._cache.put(key, hits)


async def _all(work: Iterable[Coroutine[Any, Any, Sequence[Hit]]]) -> list[Sequence[Hit]]:
    """All at once; when one refuses, the others are not waited for."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
