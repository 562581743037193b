"""Shared state of one worker: plain dicts, no locks (nothing here waits). `counters.py` says how they count."""

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

from gateway.shared_state import Ask, Granted, Refused, Standing, counters

_SWEEP = 256  # rows looked at in one sweep


class MemoryState:
    """Counters in this process's memory. `clock` gives monotonic nanoseconds."""

    def __init__(self, owner: str = "0", *, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.owner = owner
        self._clock = clock
        self._rows: dict[str, counters.Row] = {}
        self._holds: dict[str, tuple[counters.Entry, ...]] = {}
        self._generations: dict[str, int] = {}

    async def take(self, hold: str, asks: Sequence[Ask]) -> Granted | Refused:
        """Take all asks in one atomic step, or none."""
        if hold in self._holds:
            raise ValueError(f"hold {hold!r} is open already")
        outcome, entries = counters.take(self._rows, hold, asks, self._clock())
        if hold and type(outcome) is Granted:
            self._holds[hold] = entries
        return outcome

    async def settle(self, hold: str, actual: Mapping[str, int] | None = None) -> bool:
        """Give a hold back; False if it is not open."""
        entries = self._holds.pop(hold, None)
        if entries is None:
            return False
        counters.settle(self._rows, entries, actual or {}, self._clock())
        return True

    async def peek(self, asks: Sequence[Ask]) -> tuple[Standing, ...]:
        """How the counters stand."""
        return counters.standings(self._rows, asks, self._clock())

    async def charge(self, asks: Sequence[Ask], amount: int | None = None) -> None:
        """Add to what is spent without a hold."""
        counters.charge(self._rows, asks, self._clock(), amount)

    async def seed(self, budgets: Mapping[str, int]) -> None:
        """Set what is spent, by budget key."""
        now = self._clock()
        for key, spent in budgets.items():
            self._rows["b" + key] = counters.seeded(spent, self._rows.get("b" + key), now)

    async def ready(self) -> bool:
        """It lives as long as what it counts for."""
        return True

    async def spent(self, key: str) -> tuple[int, int]:
        """(spent, reserved) of one budget."""
        row = self._rows.get("b" + key)
        return (row[0], row[1]) if row else (0, 0)

    def generation(self, name: str) -> int:
        """The number that `bump` raises."""
        return self._generations.get(name, 0)

    async def bump(self, name: str) -> int:
        """Raise a generation."""
        self._generations[name] = self._generations.get(name, 0) + 1
        return self._generations[name]

    async def beat(self) -> None:
        """Nothing to do: if this worker is gone, so is its memory."""

    async def release_owner(self, owner: str) -> int:
        """Give back all holds, if `owner` is this worker."""
        if owner != self.owner:
            return 0
        holds, self._holds = self._holds, {}
        now = self._clock()
        for entries in holds.values():
            counters.settle(self._rows, entries, {}, now)
        return len(holds)

    async def sweep(self) -> int:
        """Forget some dead counters; there is no other worker to give back for."""
        now = self._clock()
        for name in list(islice(self._rows, _SWEEP)):
            row = self._rows.pop(name)
            if not counters.dead(name, row, now):
                self._rows[name] = row  # at the end again: the next sweep looks at others
        return 0

    async def totals(self) -> Mapping[str, int]:
        """`open_holds` and `reserved`."""
        reserved = sum(amount for hold in self._holds.values() for name, _, amount in hold if name[0] in "br")
        return {"open_holds": len(self._holds), "reserved": reserved}

    async def close(self) -> None:
        """Nothing to release."""
