"""The duties of the one process that owns the database: with one worker that worker, with several the supervisor.

`Owner.open` does all that must be done before the first request. A gateway that cannot read its database at start can
authenticate nobody and does not know what was spent: so it waits for it (`PATIENCE`), saying so, and then gives up
rather than serve without limits. Nothing is lost by that: what is not stored yet stays in the journal.
"""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, TypeVar

import structlog

from gateway.accounts.book import Book
from gateway.accounts.bootstrap import FirstPassword, FirstRun, bootstrap, first_password, load_master_secret
from gateway.accounts.configured import Configured
from gateway.accounts.retention import Keeping
from gateway.clock import now_ms
from gateway.config import Config
from gateway.errors import Unavailable
from gateway.exchange import Level
from gateway.instance import instance
from gateway.metrics import MAX_TENANTS, Metrics
from gateway.money import ledger
from gateway.money.budgets import budget_keys
from gateway.money.drain import Drain
from gateway.money.ledger import LedgerRow
from gateway.money.policies import BudgetPolicy
from gateway.money.policybook import PolicyBook
from gateway.money.rebuilding import fill_missing
from gateway.money.seeding import Baseline, aliases_of, seed
from gateway.shared_state import SharedState
from gateway.shared_state.opening import AUTO
from gateway.store import LedgerStore, SchemaError, Store, StoreUnavailable
from gateway.store.ballast import Ballast
from gateway.store.lock import OwnedElsewhere
from gateway.store.opening import own_store
from gateway.store.owner import OwnerServer
from gateway.tasks import Tasks

PATIENCE: Final = 30.0  # seconds that a locked, slow or missing database is waited for at start
OWNED_PATIENCE: Final = 3.0  # the same for another gateway on this data, which hardly ends by itself
_SAY_EVERY: Final = 5.0
_BEAT_EVERY: Final = 1.0
_SWEEP_EVERY: Final = 5  # beats
_MEASURE_EVERY: Final = 2.0
_LAST_DRAIN: Final = 10.0

T = TypeVar("T")
_log = structlog.get_logger("gateway.owner")


class Owner:
    """The open database with everything that runs beside it. Make it with `open`."""

    def __init__(self, store: Store, secret: bytes, state: SharedState, data_dir: Path, config: Config) -> None:
        self.store = store
        self.secret = secret
        self.state = state
        self._local = config.shared_state == AUTO
        self._aliases = aliases_of(config)
        self._book = PolicyBook(store, state)
        self._changed = asyncio.Event()
        self._drain = Drain(_Charging(store, state, self._book), data_dir / "journal")
        self._server = OwnerServer(store, data_dir)
        book, holder = Book(store, secret), instance(data_dir)
        self.keeping = Keeping(book, config.retention, holder)
        self.configured = Configured(book, holder)
        self._config = config
        self._ballast = Ballast(data_dir)
        self._tasks = Tasks()
        self._first_password: asyncio.Task[FirstPassword | None]

    @classmethod
    async def open(
        cls, config: Config, data_dir: Path, make_state: Callable[[], SharedState], *, patience: float | None = None
    ) -> "Owner":
        """Own `data_dir`: store what dead processes left behind, and load what was spent into a new shared state.

        `make_state` is called when no other gateway owns `data_dir` any more. Raises `StoreUnavailable` when the
        database does not give way in time, and after at most `OWNED_PATIENCE` its `OwnedElsewhere`.
        """

        async def changed(name: str) -> None:
            await state.bump(name)
            if owner is not None:
                owner._changed.set()

        owner: Owner | None = None
        secret = load_master_secret(config, data_dir)
        give_up = time.monotonic() + (PATIENCE if patience is None else patience)
        store = await _patiently(lambda: own_store(config, data_dir, changed), give_up)
        try:
            state = make_state()
            owner = cls(store, secret, state, data_dir, config)
            await _patiently(owner._catch_up, give_up)
        except BaseException:
            await store.close()
            raise
        # Hashed while the plugins are made. Nothing is stored before the gateway is sure to start.
        owner._first_password = owner._tasks.spawn(first_password(store, secret), "hash the first password")
        return owner

    async def start(self, metrics: Metrics) -> None:
        """Begin with the duties that last: writes for other processes, the ledger, dead holds, gauges."""
        await self._server.start()
        await self.configured.note(self._config, "gateway_started")
        if (listen := getattr(self.store, "listen", None)) is not None:
            self._tasks.spawn(listen(), "hear of other gateways' changes")
        self._tasks.spawn(self._drain.run(), "drain the journals")
        self._tasks.spawn(fill_missing(self.store), "add up the ledger")
        self._tasks.spawn(self._sweep(), "sweep the shared state")
        self._tasks.spawn(self.keeping.run(), "take away what is over its time")
        self._tasks.spawn(self._follow(), "give new budgets what was spent before them")
        self._tasks.spawn(self._measure(metrics), "measure what waits")
        self._tasks.spawn(self._watch_disk(metrics), "watch the disk")

    async def first_run(self) -> FirstRun | None:
        """On the very first start: the first tenant, user and key, which nobody else will ever see again."""
        return await bootstrap(self.store, self.secret, await self._first_password)

    async def worker_died(self, slot: int, owner: str) -> None:
        """Give back what a worker process held, and book what it left open. `owner` is its name in the shared state."""
        released = await self.state.release_owner(owner)
        try:
            killed = await self._drain.settle_dead(slot)
        except Unavailable as error:
            _log.warning("what the worker left open is booked later", worker=slot, reason=str(error))
        else:
            if released or killed:
                _log.warning("settled for a dead worker", worker=slot, holds=released, killed=killed)

    async def close(self) -> None:
        """Store what waits, then let go of everything. What cannot be stored now is stored at the next start."""
        async with AsyncExitStack() as opened:
            opened.push_async_callback(self.state.close)
            opened.push_async_callback(self.store.close)
            opened.push_async_callback(self._store_the_rest)
            opened.push_async_callback(self._server.close)
            opened.callback(self._ballast.drop)
            await self._tasks.close()

    async def _store_the_rest(self) -> None:
        try:
            async with asyncio.timeout(_LAST_DRAIN):
                await self._drain.settle_dead()
                await self._drain.drain_now()
        except (Unavailable, TimeoutError, OSError) as error:
            lag = self._drain.lag()
            _log.error(
                "not all rows are in the database: they wait in the journal for the next start",
                rows=lag.rows, bytes=lag.bytes, reason=str(error) or type(error).__name__,
            )

    async def _catch_up(self) -> None:
        """The ledger as the last process left it, and the budgets of today and this month."""
        await self._book.load()
        await self._drain.settle_dead()
        await self._seed(fresh=self._local or not await self.state.ready())

    async def _seed(self, *, fresh: bool) -> None:
        await self._drain.drain_now()
        await seed(self.state, self.store, self._book, self._aliases, rolling=fresh)

    async def _follow(self) -> None:
        """Budgets that were made, or count something else, since the last look; tenants that moved to another zone."""
        baseline = Baseline(self.state, self.store, self._aliases)
        while True:
            await self._changed.wait()
            self._changed.clear()
            known, zones = {(each.id, each.since) for each in self._book.policies}, dict(self._book.zones)
            await self._book.refresh()
            if self._book.stale:
                await asyncio.sleep(_BEAT_EVERY)
                self._changed.set()
            with contextlib.suppress(Unavailable, OSError):
                moved = {each for each in {*zones, *self._book.zones} if zones.get(each) != self._book.zones.get(each)}
                for tenant in moved:
                    await baseline.move(tenant, self._book.zone(tenant))
                for policy in self._book.policies:
                    if (policy.id, policy.since) not in known or policy.tenant in moved:
                        await baseline.establish(policy, self._book.zone(policy.tenant))

    async def _sweep(self) -> None:
        for turn in itertools.count():
            await self.state.beat()
            if not await self.state.ready():
                with contextlib.suppress(Unavailable, OSError):  # the drain says so already; the next turn tries again
                    await self._seed(fresh=True)
                    _log.warning("the shared state had lost its memory: it has the ledger's sums again")
            if turn % _SWEEP_EVERY == 0 and (released := await self.state.sweep()):
                _log.warning("gave back what silent workers held", holds=released)
            await asyncio.sleep(_BEAT_EVERY)

    async def _measure(self, metrics: Metrics) -> None:
        while True:
            reserved = (await self.state.totals())["reserved"]
            metrics.stores(self._drain.lag(), reserved, state_away=getattr(self.state, "away", False))
            with contextlib.suppress(StoreUnavailable):  # the drain says so already
                metrics.tenant_budgets(await self._tenant_budgets())
            await asyncio.sleep(_MEASURE_EVERY)

    async def _watch_disk(self, metrics: Metrics) -> None:
        while True:
            with contextlib.suppress(OSError):
                metrics.disk_free.set(await asyncio.to_thread(self._ballast.look))
            await asyncio.sleep(_BEAT_EVERY)

    async def _tenant_budgets(self) -> dict[str, float]:
        """How much of its monthly limit each tenant has used; of those that have one, as many as metrics name."""
        used: dict[str, float] = {}
        for tenant in (await self.store.list_tenants(limit=MAX_TENANTS)).items:
            limit = tenant.limits.cost_monthly
            if limit:
                monthly = budget_keys(Level("tenant", tenant.id, zone=tenant.time_zone), now_ms())[1]
                used[tenant.id] = sum(await self.state.spent(monthly)) / limit
        return used


class _Charging:
    """The ledger as the drain sees it. What a killed exchange had cost is charged to the budgets here: its hold was
    given back as if it had cost nothing, and nobody else is left to know better."""

    def __init__(self, store: LedgerStore, state: SharedState, book: PolicyBook) -> None:
        self._store = store
        self._state = state
        self._book = book
        self.position = store.position
        self.forget = store.forget
        self.usage_summary = store.usage_summary
        self.usage_rows = store.usage_rows
        self.budget_sums = store.budget_sums
        self.level_sums = store.level_sums
        self.spending = store.spending

    async def append(self, journal: str, position: int, rows: Sequence[LedgerRow]) -> int:
        """See `LedgerStore.append`."""
        fresh = await self._store.append(journal, position, rows)
        if fresh == len(rows):  # else it is a repetition
            for row in rows:
                if row.outcome == "killed" and row.cost:
                    found = self._book.budgets(row.tenant, ledger.levels(row), row.ts_ms)
                    mine = [each for each in found if each.policy is None or _about(each.policy, row)]
                    await self._state.charge([budget.charge(row.cost) for budget in mine])
        return fresh


def _about(policy: BudgetPolicy, row: LedgerRow) -> bool:
    return policy.about(row.provider, row.target_model, row.model)


async def _patiently(step: Callable[[], Awaitable[T]], give_up: float) -> T:
    """Repeat `step` while the database cannot be used, until `give_up` (monotonic).

    For another gateway only as long as one takes that is just ending: the person who starts a second one by mistake
    shall not wait to hear of it.
    """
    said = 0.0
    owned_until = min(give_up, time.monotonic() + OWNED_PATIENCE)
    while True:
        try:
            return await step()
        except SchemaError:
            raise
        except StoreUnavailable as error:
            now = time.monotonic()
            until = owned_until if isinstance(error, OwnedElsewhere) else give_up
            if now >= until:
                raise
            if now - said >= _SAY_EVERY:
                said = now
                _log.warning("waiting for the database", reason=error.message, seconds_left=round(until - now))
        await asyncio.sleep(0.1)
