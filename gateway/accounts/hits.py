"""What limits and guardrails refuse, for the audit: the first at once, then counted: a flood is few entries.

No clock and no database here: who feeds it says when it is, and writes what is due.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from gateway.accounts.records import Severity

WINDOW_MS: Final = 60_000
_MOST: Final = 2000
_MOST_DUE: Final = 5000
_MANY: Final = "many"


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """One refusal: of whom, by what. `what` tells apart the limits of one key; never a text that was checked."""

    action: str
    tenant: str
    key: str
    key_name: str = ""
    what: str = ""
    resource: tuple[str, str] = ("", "")
    severity: Severity = "warning"
    request_id: str = ""
    agent: str = ""
    detail: Mapping[str, Any] = {}

    @property
    def identity(self) -> tuple[str, ...]:
        """Equal for hits that are counted together."""
        return (self.action, self.tenant, self.key, self.what)


class Due(msgspec.Struct, frozen=True):
    """An entry to be written: the hit, how often there was one like it, and when the first and the last of them was."""

    hit: Hit
    count: int
    first_ms: int
    last_ms: int


class Hits:
    """Counts hits of each key in windows. Memory is bounded: past `most` windows those of a tenant share one."""

    def __init__(self, *, window_ms: int = WINDOW_MS, most: int = _MOST) -> None:
        self._window_ms = window_ms
        self._most = most
        self._windows: dict[tuple[str, ...], _Window] = {}
        self._due: deque[Due] = deque()
        self.lost = 0

    def add(self, hit: Hit, now: int) -> None:
        """Count a hit at `now` (Unix milliseconds)."""
        window = self._windows.get(hit.identity)
        if window is None and len(self._windows) >= self._most:
            hit = _of_many(hit, hit.tenant if len(self._windows) < 2 * self._most else "")
            window = self._windows.get(hit.identity)
        if window is None:
            self._windows[hit.identity] = _Window(now)
            self._add(Due(hit, 1, now, now))
            return
        window.first = window.first or now
        window.count, window.last, window.hit = window.count + 1, now, hit

    def due(self, now: int, *, all_of_them: bool = False) -> list[Due]:
        """Take what is to be written at `now`; `all_of_them` also counts whose window is not over yet."""
        for name, window in list(self._windows.items()):
            if not all_of_them and now < window.began + self._window_ms:
                continue
            if window.hit is None:
                del self._windows[name]
            else:
                self._add(Due(window.hit, window.count, window.first, window.last))
                self._windows[name] = _Window(now)
        found = list(self._due)
        self._due.clear()
        return found

    def back(self, entries: list[Due]) -> None:
        """They could not be written: keep them, as far as there is room."""
        room = _MOST_DUE - len(self._due)
        self.lost += max(0, len(entries) - room)
        self._due.extendleft(reversed(entries[: max(0, room)]))

    def _add(self, due: Due) -> None:
        if len(self._due) >= _MOST_DUE:
            self.lost += 1
        else:
            self._due.append(due)


class _Window:
    """What came since `began`, after the hit that opened it."""

    __slots__ = ("began", "count", "first", "hit", "last")

    def __init__(self, began: int) -> None:
        self.began = began
        self.count = self.first = self.last = 0
        self.hit: Hit | None = None


def _of_many(hit: Hit, tenant: str) -> Hit:
    return Hit(action=hit.action, tenant=tenant, key=_MANY, key_name="many keys", severity=hit.severity)
