"""Several workers: one process that owns the database and the listening sockets, and serves nothing itself.

Each worker slot has its own socket, kept open here: connections that come while a worker is being replaced wait in the
socket's queue for the next one. A slot whose workers keep dying leaves new connections to the others while it waits.
What one worker is, and how it is replaced, is in `slot.py`.
"""

import asyncio
import shutil
import socket
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog

from gateway import observe
from gateway.configfile import Loaded
from gateway.control import Source, Start
from gateway.errors import Unavailable
from gateway.interpolation import Absent
from gateway.scratch import scratch_directory
from gateway.service import Refused, check_plugins
from gateway.shared_state import SharedState
from gateway.shared_state.mapped import DEFAULT_SIZE, MappedState
from gateway.shared_state.opening import AUTO, life, server_state
from gateway.slot import Slot
from gateway.sockets import bind, url
from gateway.tasks import Tasks

if TYPE_CHECKING:
    from gateway.accounts.bootstrap import FirstRun
    from gateway.metrics import Metrics
    from gateway.owner import Owner

_log = structlog.get_logger("gateway.supervisor")


class Supervisor:
    """The service that consists of several workers."""

    def __init__(self, loaded: Loaded, workers: int) -> None:
        self._loaded = loaded
        self._config = loaded.config
        self._workers = workers
        self._data_dir = Path(loaded.config.data_dir).absolute()
        self._source = _source(1, loaded)
        self._sockets: tuple[socket.socket, ...] = ()
        self._slots: tuple[Slot, ...] = ()
        self._opened: asyncio.Future[Owner] = asyncio.get_running_loop().create_future()
        self._scratch: Path | None = None
        self._metrics: Metrics | None = None
        self._closing = AsyncExitStack()  # each part is closed, in turn, even if the closing of another fails
        self._tasks = Tasks()

    @property
    def url(self) -> str:
        """See `Service`."""
        return url(self._config.server.host, self._sockets[0])

    async def start(self) -> "FirstRun | None":
        """See `Service`."""
        server = self._config.server
        self._sockets = await asyncio.to_thread(bind, server.host, server.port, self._workers)
        for sock in self._sockets:
            self._closing.callback(sock.close)
        self._slots = tuple(Slot(number, sock, self) for number, sock in enumerate(self._sockets))
        for slot in self._slots:  # their imports run while the database is opened here
            self._tasks.spawn(slot.run(), f"worker {slot.number}")
        await asyncio.to_thread(check_plugins, self._loaded)  # a thread: the workers are started at the same time
        from gateway.owner import Owner

        self._closing.callback(self._forget_scratch)
        owner = await Owner.open(self._config, self._data_dir, self._make_state)
        self._closing.push_async_callback(owner.close)
        assert self._metrics is not None
        await owner.start(self._metrics)
        first = await owner.first_run()  # before any worker serves: ready means that there is a key to use
        self._opened.set_result(owner)
        failures = [text for text in await asyncio.gather(*(slot.first_start for slot in self._slots)) if text]
        if failures:
            raise Unavailable(failures[0])
        return first

    async def reload(self, loaded: Loaded) -> None:
        """See `Service`. Validated once, here; then every worker gets the same bytes."""
        from gateway.boot import snapshot

        await asyncio.to_thread(snapshot, loaded.config)
        old, new = self._source, _source(self._source.number + 1, loaded)
        self._source = new  # also for workers that start meanwhile
        answers = await asyncio.gather(*(slot.reload(new) for slot in self._slots))
        refusals = {slot: error for slot, error in zip(self._slots, answers, strict=True) if error is not None}
        if refusals and len(refusals) == len(self._slots):
            self._source = msgspec.structs.replace(old, number=new.number + 1)
            raise Refused(next(iter(refusals.values())))
        for slot, error in refusals.items():
            # One configuration for all: the worker that could not swap is replaced by one that starts with it.
            _log.error("defect: a worker refused what others took, replacing it", worker=slot.number, reason=error)
            self._tasks.spawn(slot.replace(self._config.server.drain_timeout), f"replace worker {slot.number}")
        observe.set_up(loaded.config.logging)
        self._config = loaded.config
        await (await asyncio.shield(self._opened)).configured.note(loaded.config, "config_changed")

    def count_reload(self, result: str) -> None:
        """See `Service`."""
        if self._metrics is not None:
            self._metrics.reloads.labels(result).inc()

    async def drain(self, timeout: float) -> None:
        """See `Service`. All workers at once; one that does not end in time is killed."""
        for sock in self._sockets:
            sock.close()
        await asyncio.gather(*(slot.end(timeout) for slot in self._slots))

    def hurry(self) -> None:
        """See `Service`."""
        for slot in self._slots:
            self._tasks.spawn(slot.hurry(), f"hurry worker {slot.number}")

    async def close(self) -> None:
        """See `Service`."""
        if not self._opened.done():
            self._opened.cancel()
        await asyncio.gather(*(slot.end(None) for slot in self._slots))
        await self._tasks.close()
        await self._closing.aclose()

    # What slots ask for.

    async def start_message(self, slot: int, name: str) -> Start:
        """All that a worker needs, when the database is open."""
        owner = await asyncio.shield(self._opened)
        return Start(
            slot=slot, workers=self._workers, owner=name, config=self._source, data_dir=str(self._data_dir),
            state=str(self._state_file()), secret=owner.secret,
        )  # fmt: skip

    @property
    def source(self) -> Source:
        """The configuration that every worker should have."""
        return self._source

    @property
    def serving(self) -> int:
        """How many workers are ready."""
        return sum(slot.ready for slot in self._slots)

    async def settle(self, slot: int, name: str) -> None:
        """A worker is gone: give back what it held."""
        if self._opened.done() and not self._opened.cancelled():
            await self._opened.result().worker_died(slot, name)

    def _make_state(self) -> SharedState:
        """Metrics and counters begin anew; once the database is ours, or they would be those of a living gateway."""
        from gateway.metrics import SUPERVISOR, Metrics, prepare

        prepare(self._data_dir)
        self._metrics = Metrics(self._data_dir, slot=SUPERVISOR, workers=self._workers)
        self._scratch = scratch_directory(self._data_dir, DEFAULT_SIZE)
        if self._config.shared_state != AUTO:
            return server_state(self._config.shared_state, self._data_dir, life("supervisor"))
        return MappedState(self._state_file(), "supervisor", create=True)

    def _forget_scratch(self) -> None:
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _state_file(self) -> Path:
        assert self._scratch is not None
        return self._scratch / "state"


def _source(number: int, loaded: Loaded) -> Source:
    given = {name: value for name, value in loaded.fetched.values.items() if not isinstance(value, Absent)}
    return Source(number, loaded.source, loaded.lines.origin, given)
