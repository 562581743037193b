"""The life of a gateway, whatever it consists of: start, reloads, signals, drain, end."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from gateway import configfile
from gateway.banner import banner
from gateway.config import Config
from gateway.configfile import ConfigError, Loaded
from gateway.errors import GatewayError
from gateway.tasks import Tasks
from gateway.watch import Signature, changes

if TYPE_CHECKING:
    from gateway.accounts.bootstrap import FirstRun

_CLOSING: Final = 20.0  # seconds for letting go of files and connections when nothing runs any more
_IDLE: Final = 60.0     # seconds until it is looked again whether there is a secret source
_FIXED: Final = ("server", "journal", "data_dir", "secret", "database", "shared_state")
_log = structlog.get_logger("gateway.serve")


class Refused(Exception):
    """The new configuration is right, but cannot be had without a restart; the text says why."""


class Service(Protocol):
    """Something that serves requests until it is drained."""

    @property
    def url(self) -> str:
        """Its address, once it has started."""

    async def start(self) -> "FirstRun | None":
        """Serve. On the very first start of all, returns what was made then."""

    async def reload(self, loaded: Loaded) -> None:
        """Go on with another configuration. Raises, and keeps the old one whole, if that cannot be."""

    def count_reload(self, result: str) -> None:
        """Count the end of a reload: `ok` or `refused`."""

    async def drain(self, timeout: float) -> None:
        """End: nothing new; what runs may finish until the deadline. Returns when nothing runs."""

    def hurry(self) -> None:
        """The drain's deadline is now."""

    async def close(self) -> None:
        """Let go of everything, whether it started or not."""


class Life:
    """One run of a service: `run` returns the exit status."""

    def __init__(self, service: Service, loaded: Loaded, path: Path, known: Signature) -> None:
        self._service = service
        self._loaded = loaded
        self._path = path
        self._known = known
        self._tried = loaded.source
        self._began = time.monotonic()
        self._stopping = asyncio.Event()
        self._reload = asyncio.Event()
        self._look = False  # the next reload is only for what secret sources have anew
        self._terminal = sys.stderr.isatty()
        self._tasks = Tasks()

    async def run(self) -> int:
        """Start, serve, drain. SIGTERM or SIGINT ends it, a second one hurries; SIGHUP reloads."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number.name)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        try:
            if await self._started():
                self._tasks.spawn(self._reloads(), "reload")
                self._tasks.spawn(self._watch(), "watch the configuration file")
                self._tasks.spawn(self._refresh(), "look at secret sources")
                await self._stopping.wait()
                await self._service.drain(self._loaded.config.server.drain_timeout)
        finally:
            await self._tasks.close()
            status = await self._close()
        return status

    async def _started(self) -> bool:
        """False if a signal came first."""
        loop = asyncio.get_running_loop()
        starting = loop.create_task(self._service.start())
        stopped = loop.create_task(self._stopping.wait())
        try:
            await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                return False
            first = starting.result()
        finally:
            for task in (starting, stopped):
                task.cancel()
            await asyncio.gather(starting, stopped, return_exceptions=True)
        # Standard output and not the log: logs are collected, and here is a password.
        sys.stdout.write(banner(self._service.url, self._loaded.config, first))
        sys.stdout.flush()
        _log.info("ready", url=self._service.url, pid=os.getpid(), seconds=round(time.monotonic() - self._began, 3))
        return True

    async def _close(self) -> int:
        try:
            async with asyncio.timeout(_CLOSING):
                await self._service.close()
        except Exception as error:
            _log.error("not everything could be closed; what was not stored waits in the journal", exc_info=error)
            return 1
        _log.info("ended")
        return 0

    def _stop(self, name: str) -> None:
        if self._stopping.is_set():
            _log.warning("second signal: running exchanges end now", signal=name)
            self._service.hurry()
            return
        timeout = self._loaded.config.server.drain_timeout
        _log.info("draining: running exchanges may finish", signal=name, seconds=timeout)
        self._stopping.set()

    def _hang_up(self) -> None:
        if self._terminal and not os.isatty(2):  # not an operator's SIGHUP: the terminal was closed
            self._stop("SIGHUP")
        else:
            self._look = False
            self._reload.set()

    async def _watch(self) -> None:
        async for _ in changes(self._path, known=self._known):
            with contextlib.suppress(ConfigError):  # gone again
                if self._loaded.config.watch and configfile.read_bytes(self._path) != self._tried:
                    self._look = False
                    self._reload.set()

    async def _refresh(self) -> None:
        """Ask secret sources again, as often as they want."""
        while True:
            await asyncio.sleep(self._loaded.fetched.refresh or _IDLE)
            if self._loaded.fetched.refresh and not self._reload.is_set():
                self._look = True
                self._reload.set()

    async def _reloads(self) -> None:
        """One at a time; signals that come meanwhile lead to one more."""
        while True:
            await self._reload.wait()
            self._reload.clear()
            look, self._look = self._look, False
            if not self._stopping.is_set():
                await self._reload_once(only_secrets=look)

    async def _reload_once(self, *, only_secrets: bool = False) -> None:
        began = time.monotonic()
        try:
            source = self._loaded.source if only_secrets else configfile.read_bytes(self._path)
            self._tried = self._tried if only_secrets else source
            # A thread: a long file takes a while, and streams are running.
            loaded = await asyncio.to_thread(configfile.read, source, str(self._path), os.environ)
            if only_secrets and loaded.fetched.values == self._loaded.fetched.values:
                return
            check_reloadable(self._loaded.config, loaded.config)
            check_plugins(loaded)
            await self._service.reload(loaded)
        except ConfigError as error:
            self._refused([str(problem) for problem in error.problems])
        except (Refused, GatewayError, OSError) as error:
            self._refused([str(error)])
        except Exception as error:
            _log.exception("reload failed: the old configuration stays")
            self._refused([f"{type(error).__name__}: {error}"])
        else:
            self._loaded = loaded
            self._service.count_reload("ok")
            _log.info("configuration reloaded", file=str(self._path), seconds=round(time.monotonic() - began, 3))

    def _refused(self, problems: Sequence[str]) -> None:
        self._service.count_reload("refused")
        for problem in problems:
            _log.error("configuration not reloaded, the old one stays", reason=problem)


def check_plugins(loaded: Loaded) -> None:
    """Raise `ConfigError` with the mistakes in the use and the options of plugins, with their lines."""
    from gateway.registry import Registry

    Registry().build(loaded.config, loaded.lines)


def check_reloadable(old: Config, new: Config) -> None:
    """Raise `Refused` that names every changed setting which only a restart can change."""
    changed: list[str] = []
    for name in _FIXED:
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            fields = getattr(before, "__struct_fields__", ())
            changed += [f"{name}.{field}" for field in fields if getattr(before, field) != getattr(after, field)]
            changed += [] if fields else [name]
    if changed:
        raise Refused(f"{', '.join(changed)} cannot change while running: restart the gateway for that")


