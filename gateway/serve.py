"""Runs the gateway from a configuration file: in one process here, or in several (`supervisor.py`).

What takes long to import is imported where it is needed: workers are started before that, and do the same meanwhile.
"""

import asyncio
import os
import signal
import socket
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from gateway import configfile, observe
from gateway.config import Config
from gateway.configfile import Loaded
from gateway.service import Life, Service, check_plugins
from gateway.shared_state.memory import MemoryState
from gateway.shared_state.opening import AUTO, life, server_state
from gateway.sockets import bind, url
from gateway.supervisor import Supervisor
from gateway.tuning import loop_factory, raise_file_limit, settle_memory
from gateway.watch import signature

if TYPE_CHECKING:
    from gateway.accounts.bootstrap import FirstRun
    from gateway.boot import Process
    from gateway.owner import Owner
    from gateway.shared_state import SharedState


def serve(path: Path) -> int:
    """Run until a signal ends it, and return the exit status.

    Raises `ConfigError`, `GatewayError` or `OSError`, with a text for the person who starts it, if it cannot run.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to reload
    known = signature(path)
    loaded = configfile.load(path)
    config = loaded.config
    observe.set_up(config.logging)
    for doubt in configfile.warnings(config):
        structlog.get_logger("gateway.serve").warning(doubt, file=str(path))
    raise_file_limit()
    workers = worker_count(config)

    if workers == 1:
        check_plugins(loaded)

    async def life() -> int:
        service: Service = Alone(config) if workers == 1 else Supervisor(loaded, workers)
        return await Life(service, loaded, path, known).run()

    # The supervisor relays nothing: Python's own loop is enough, and the one that starts processes best.
    with asyncio.Runner(loop_factory=loop_factory(config) if workers == 1 else None) as runner:
        return runner.run(life())


def worker_count(config: Config) -> int:
    """`server.workers`, with `auto` as one for each core that this process may use."""
    if config.server.workers != "auto":
        return config.server.workers
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Alone:
    """One process that owns the database and serves."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._data_dir = Path(config.data_dir).absolute()
        self._opened = AsyncExitStack()  # each part is closed, in turn, even if the closing of another fails
        self._socket: socket.socket | None = None
        self._owner: Owner | None = None
        self._process: Process | None = None

    @property
    def url(self) -> str:
        """See `Service`."""
        assert self._socket is not None
        return url(self._config.server.host, self._socket)

    async def start(self) -> "FirstRun | None":
        """See `Service`."""
        from gateway.boot import open_process
        from gateway.owner import Owner

        config, data_dir = self._config, self._data_dir
        (self._socket,) = await asyncio.to_thread(bind, config.server.host, config.server.port)
        self._opened.callback(self._socket.close)
        self._owner = owner = await Owner.open(config, data_dir, self._make_state)
        self._opened.push_async_callback(owner.close)
        self._process = process = await open_process(
            config, slot=0, state=owner.state, store=owner.store, secret=owner.secret, data_dir=data_dir, workers=1
        )
        self._opened.push_async_callback(process.close)
        await owner.start(process.gateway.metrics)
        first = await owner.first_run()  # before the first connection: ready means that there is a key to use
        await process.listen(self._socket)
        settle_memory()
        return first

    def _make_state(self) -> "SharedState":
        if self._config.shared_state == AUTO:
            return MemoryState()
        return server_state(self._config.shared_state, self._data_dir, life("0"))

    async def reload(self, loaded: Loaded) -> None:
        """See `Service`."""
        assert self._process is not None
        await self._process.reload(loaded.config)
        assert self._owner is not None
        await self._owner.configured.note(loaded.config, "config_changed")
        observe.set_up(loaded.config.logging)

    def count_reload(self, result: str) -> None:
        """See `Service`."""
        assert self._process is not None
        self._process.gateway.metrics.reloads.labels(result).inc()

    async def drain(self, timeout: float) -> None:
        """See `Service`."""
        assert self._process is not None
        await self._process.drain(timeout)

    def hurry(self) -> None:
        """See `Service`."""
        if self._process is not None:
            self._process.hurry()

    async def close(self) -> None:
        """See `Service`."""
        await self._opened.aclose()
