"""Counters, leases, reservations and generations that all workers share: one interface, several stores.

`memory.py` serves one worker, `mapped.py` the workers of one machine (a memory-mapped LMDB file). All
amounts are integers: requests, tokens, open requests, nano-dollars. Nothing here knows what they mean.

A *hold* is what one plugin took for one exchange in one atomic step. It is given back exactly once, by
`settle`; a second `settle` of the same hold does nothing. Holds belong to a worker (`owner`): when a worker
dies without settling, `release_owner` gives back all that it held.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec


class Ask(msgspec.Struct, frozen=True, gc=False):
    """What a hold needs of one counter.

    - `window`: at most `limit` units in any `span` seconds (a sliding window of `span`/60 s steps, never more
      than the limit in any window). Settling replaces `amount` by the actual amount, where it was counted. A key
      keeps its span until its window is empty.
    - `lease`: at most `limit` units at a time. Settling gives them back.
    - `budget`: spent + reserved + `amount` <= `limit`. Settling adds the actual amount to what is spent and
      takes `amount` from what is reserved. A budget that nobody touched for `keep` seconds may be forgotten (its
      day or month is over); without `keep` it never is.
    - `rolling`: a budget over the last `span` seconds, counted as a window is: settling replaces `amount` by the actual
      amount, nothing where none is given. `charge` may count it as spent `age` seconds ago.
    """

    kind: Literal["window", "lease", "budget", "rolling"]
    key: str
    limit: int
    amount: int = 1
    span: float = 60.0
    keep: float | None = None
    age: float = 0.0


class Standing(msgspec.Struct, frozen=True, gc=False):
    """How a counter stands: `used` of `limit` (for a budget: spent + reserved), and in how many seconds the
    window is empty again (`reset`, 0 where it has no window). `retry_after` is given for a refused ask: seconds
    until the same ask could pass, `None` where waiting alone does not help."""

    key: str
    limit: int
    used: int
    reset: float = 0.0
    retry_after: float | None = None

    @property
    def remaining(self) -> int:
        """What is left, never below 0."""
        return self.limit - self.used if self.used < self.limit else 0


class Granted(msgspec.Struct, frozen=True):
    """All asks were met; `standings` are after taking them, in the order of the asks."""

    standings: tuple[Standing, ...]


class Refused(msgspec.Struct, frozen=True):
    """Nothing was taken. `index` is the failed ask that blocks longest; `standings` are all of them as they are."""

    index: int
    standings: tuple[Standing, ...]


class SharedState(Protocol):
    """The interface that every store of shared state keeps."""

    async def take(self, hold: str, asks: Sequence[Ask]) -> Granted | Refused:
        """Take all asks in one atomic step, or none. `hold` is unique for each exchange and plugin.

        An empty `hold` counts for good, with nothing to settle: windows only. `ValueError` for a hold that is
        open already, two asks for one key, or a negative amount.
        """

    async def settle(self, hold: str, actual: Mapping[str, int] | None = None) -> bool:
        """Give a hold back. `actual` maps counter keys to what was really used; a key that is missing keeps
        its amount for a `window` and counts 0 for money. False if there is no such (open) hold."""

    async def peek(self, asks: Sequence[Ask]) -> tuple[Standing, ...]:
        """How the counters stand, taking nothing."""

    async def charge(self, asks: Sequence[Ask], amount: int | None = None) -> None:
        """Add the amount of each ask (`budget` or `rolling`) to what is spent, whatever its limit: without a hold.

        `amount`, where it is given, stands for that of all asks: so the same asks can be used again and again.
        """

    async def seed(self, budgets: Mapping[str, int]) -> None:
        """Set what is spent, by budget key: called at start with the ledger's sums, before any traffic."""

    async def ready(self) -> bool:
        """Whether it knows what was spent: false for a server that has lost its memory, until `seed`."""

    async def spent(self, key: str) -> tuple[int, int]:
        """(spent, reserved) of one budget key."""

    def generation(self, name: str) -> int:
        """A number that `bump` raises; caches compare it. Cheap enough for each request."""

    async def bump(self, name: str) -> int:
        """Raise a generation for every worker at once and return it."""

    async def beat(self) -> None:
        """Say that this worker lives; called every second or so."""

    async def release_owner(self, owner: str) -> int:
        """Give back all holds of a dead worker; returns how many."""

    async def sweep(self) -> int:
        """Give back the holds of all workers that stopped beating; returns how many."""

    async def totals(self) -> Mapping[str, int]:
        """`open_holds` and `reserved` (sum over all money in nano-dollars): for metrics and tests."""

    async def close(self) -> None:
        """Release files and memory."""
