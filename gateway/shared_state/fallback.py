"""Shared state that goes on while its server is away: each process with its share, so that no limit is ever exceeded.

Rates and leases: the limit divided by the processes that lived when the server was last seen. Money: what was left of a
budget then, divided likewise; a budget that this process has not seen is refused. What was spent meanwhile is charged
when the server is back. A server that comes back empty is not trusted until it was seeded from the ledger; what is
charged on top may then be counted twice, never less than once.
"""

import asyncio
from collections.abc import Mapping, Sequence

import msgspec
import structlog

from gateway.shared_state import Ask, Granted, Refused, Standing
from gateway.shared_state.memory import MemoryState
from gateway.shared_state.valkey import StateAway, ValkeyState
from gateway.tasks import shielded

_REMEMBERED = 10_000  # budgets whose standing is kept
_MONEY = frozenset({"budget", "rolling"})
_log = structlog.get_logger("gateway.shared_state")


class CoordinatedState:
    """A `ValkeyState` with what this process may do alone."""

    def __init__(self, server: ValkeyState) -> None:
        self.owner = server.owner
        self.away = False
        self._server = server
        self._local = MemoryState(server.owner)
        self._left: dict[str, int] = {}                    # of each budget seen lately: nano-dollars
        self._open: dict[str, tuple[Ask, ...]] = {}        # holds on the server
        self._alone: dict[str, tuple[Ask, ...]] = {}       # holds taken while it was away
        self._owed: dict[str, Ask] = {}                    # to be charged when it is here again
        self._late: list[tuple[str, tuple[Ask, ...], Mapping[str, int]]] = []  # holds to give back then

    async def take(self, hold: str, asks: Sequence[Ask]) -> Granted | Refused:
        """Take all asks in one atomic step, or none; while the server is away, of this process's share.

        Whoever asks may be cancelled while the server answers: what it took then is given back.
        """
        try:
            return await shielded(self._take(hold, asks))
        except asyncio.CancelledError:
            if hold:
                await self.settle(hold)
            raise

    async def settle(self, hold: str, actual: Mapping[str, int] | None = None) -> bool:
        """Give a hold back, wherever it was taken, and to the end whoever is cancelled meanwhile."""
        return await shielded(self._settle(hold, actual or {}))

    async def peek(self, asks: Sequence[Ask]) -> tuple[Standing, ...]:
        """How the counters stand."""
        if not self.away:
            try:
                return await self._server.peek(asks)
            except StateAway as error:
                self._lost(error)
        shares = [self._share(ask) for ask in asks]
        return tuple(map(_scaled, asks, await self._local.peek(shares)))

    async def charge(self, asks: Sequence[Ask], amount: int | None = None) -> None:
        """Add to what is spent without a hold."""
        await shielded(self._charge(asks, amount))

    async def seed(self, budgets: Mapping[str, int]) -> None:
        """Raise what is spent to the ledger's sums. A server that is away is seeded when it is back."""
        try:
            await self._server.seed(budgets)
        except StateAway as error:
            self._lost(error)

    async def ready(self) -> bool:
        """Whether the server knows what was spent; true while it cannot be asked, for nothing can be done."""
        try:
            return await self._server.ready()
        except StateAway as error:
            self._lost(error)
            return True

    async def spent(self, key: str) -> tuple[int, int]:
        """(spent, reserved) of one budget."""
        try:
            return await self._server.spent(key)
        except StateAway as error:
            self._lost(error)
            return await self._local.spent(key)

    def generation(self, name: str) -> int:
        """The number that `bump` raises, as last seen."""
        return self._server.generation(name)

    async def bump(self, name: str) -> int:
        """Raise a generation. Raises `StateAway`: a revocation that nobody hears of must not look like one."""
        return await self._server.bump(name)

    async def beat(self) -> None:
        """Say that this process lives; find out whether the server is back, and tell it what it missed."""
        try:
            await self._server.beat()
            if not self.away:
                return
            if await self._server.ready():
                await self._tell()
                self.away = False
                self._local = MemoryState(self.owner) if not self._alone else self._local
                _log.warning("the shared state is back: limits are common again")
        except StateAway as error:
            self._lost(error)

    async def release_owner(self, owner: str) -> int:
        """Give back all holds of a dead worker; those of other processes come back by `sweep`."""
        try:
            return await self._server.release_owner(owner)
        except StateAway as error:
            self._lost(error)
            return 0

    async def sweep(self) -> int:
        """Give back the holds of all processes that stopped beating."""
        await self._local.sweep()
        try:
            return 0 if self.away else await self._server.sweep()
        except StateAway as error:
            self._lost(error)
            return 0

    async def totals(self) -> Mapping[str, int]:
        """`open_holds` and `reserved`."""
        try:
            return await (self._local if self.away else self._server).totals()
        except StateAway as error:
            self._lost(error)
            return await self._local.totals()

    async def close(self) -> None:
        """Let go of the server."""
        await self._server.close()

    async def _take(self, hold: str, asks: Sequence[Ask]) -> Granted | Refused:
        if not self.away:
            try:
                outcome = await self._server.take(hold, asks)
            except StateAway as error:
                self._lost(error)
                if hold:
                    self._late.append((hold, (), {}))  # it may have been taken all the same
            else:
                self._note(asks, outcome.standings)
                if hold and type(outcome) is Granted:
                    self._open[hold] = tuple(asks)
                return outcome
        outcome = await self._local.take(hold, [self._share(ask) for ask in asks])
        if hold and type(outcome) is Granted:
            self._alone[hold] = tuple(asks)
        return _translated(asks, outcome)

    async def _settle(self, hold: str, used: Mapping[str, int]) -> bool:
        alone = self._alone.pop(hold, None)
        if alone is not None:
            self._owe(alone, used)
            return await self._local.settle(hold, used)
        asks = self._open.pop(hold, None)
        if asks is None:
            return False
        if not self.away:
            try:
                await self._give_back(hold, asks, used)
            except StateAway as error:
                self._lost(error)
            else:
                return True
        self._late.append((hold, asks, used))
        return True

    async def _charge(self, asks: Sequence[Ask], amount: int | None) -> None:
        if not self.away:
            try:
                return await self._server.charge(asks, amount)
            except StateAway as error:
                self._lost(error)
        self._owe(asks, {ask.key: ask.amount if amount is None else amount for ask in asks})
        return None

    def _lost(self, error: StateAway) -> None:
        if not self.away:
            self.away = True
            _log.error(
                "the shared state cannot be reached: this process goes on with its share of each limit",
                share=f"1/{self._server.owners}", reason=str(error),
            )

    def _note(self, asks: Sequence[Ask], standings: Sequence[Standing]) -> None:
        for ask, standing in zip(asks, standings, strict=True):
            if ask.kind in _MONEY:
                if len(self._left) >= _REMEMBERED and ask.key not in self._left:
                    del self._left[next(iter(self._left))]
                self._left[ask.key] = standing.remaining

    def _share(self, ask: Ask) -> Ask:
        """The ask against what this process may take alone."""
        whole = ask.limit
        if ask.kind in _MONEY:
            if not ask.amount:
                return ask  # only its spending is counted
            if ask.key not in self._left:
                raise StateAway(f"how much of {ask.key} is left is not known while the shared state is away")
            whole = self._left[ask.key]
        return Ask(ask.kind, ask.key, max(0, whole // self._server.owners), ask.amount, ask.span, ask.keep)

    def _owe(self, asks: Sequence[Ask], used: Mapping[str, int]) -> None:
        for ask in _spent(asks, used):
            before = self._owed.get(ask.key)
            amount = ask.amount + (before.amount if before else 0)
            self._owed[ask.key] = msgspec.structs.replace(ask, amount=amount)

    async def _tell(self) -> None:
        """Charge what was spent alone, and give back what is over. What fails is told the next time."""
        while self._owed:
            key, ask = next(iter(self._owed.items()))
            await self._server.charge([ask])
            del self._owed[key]
        while self._late:
            await self._give_back(*self._late[-1], again=True)
            self._late.pop()

    async def _give_back(
        self, hold: str, asks: Sequence[Ask], used: Mapping[str, int], *, again: bool = False
    ) -> None:
        # It may have forgotten the hold: we have not forgotten the money.
        if not await self._server.settle(hold, used, again=again):
            await self._server.charge(_spent(asks, used))


def _spent(asks: Sequence[Ask], used: Mapping[str, int]) -> list[Ask]:
    """What a finished hold has cost, as charges."""
    return [
        msgspec.structs.replace(ask, amount=amount)
        for ask in asks if ask.kind in _MONEY and (amount := max(0, used.get(ask.key, 0)))
    ]


def _translated(asks: Sequence[Ask], outcome: Granted | Refused) -> Granted | Refused:
    """The outcome against a share in terms of the whole limits."""
    standings = tuple(map(_scaled, asks, outcome.standings))
    return Granted(standings) if type(outcome) is Granted else Refused(outcome.index, standings)  # type: ignore[union-attr]


def _scaled(ask: Ask, share: Standing) -> Standing:
    return Standing(ask.key, ask.limit, max(0, ask.limit - share.remaining), share.reset, share.retry_after)


