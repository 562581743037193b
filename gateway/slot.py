"""One worker slot: a listening socket and the process that serves it, replaced when it dies."""

import asyncio
import contextlib
import random
import secrets
import signal
import socket
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import structlog

from gateway.control import Channel, Drain, Failed, Hurry, Ready, Reloaded, Source, Start
from gateway.sockets import close_door

_START: Final = 30.0     # seconds for a worker to be ready
_RELOAD: Final = 30.0    # seconds for a worker to answer a reload
_GRACE: Final = 10.0     # seconds past the drain's deadline after which a worker is killed
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 30.0
_DOOR_OPEN: Final = 0.5  # a pause up to this long: new connections may wait for it in the socket's queue
_STEADY: Final = 60.0    # seconds of life after which a worker counts as sound again
_log = structlog.get_logger("gateway.supervisor")


class Superior(Protocol):
    """What a slot needs of its supervisor."""

    @property
    def source(self) -> Source:
        """The configuration that every worker should have."""

    @property
    def serving(self) -> int:
        """How many workers are ready."""

    async def start_message(self, slot: int, name: str) -> Start:
        """All that a worker needs; waits until it can be known."""

    async def settle(self, slot: int, name: str) -> None:
        """A worker is gone: give back what it held."""


class Slot:
    """Keeps one worker running from `run` until `end`. `first_start` is why the first could not start, or `None`."""

    def __init__(self, number: int, sock: socket.socket, superior: Superior) -> None:
        self.number = number
        self.first_start: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._socket = sock
        self._superior = superior
        self._worker: _Worker | None = None
        self._ending = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def ready(self) -> bool:
        """Whether its worker serves."""
        return self._worker is not None and self._worker.ready

    async def run(self) -> None:
        """Start workers, one after another."""
        failures = 0
        while not self._ending.is_set():
            began = time.monotonic()
            self._idle.clear()
            name = f"{self.number}-{secrets.token_hex(4)}"
            try:
                reason = await self._one(name)
                failures = 1 if time.monotonic() - began >= _STEADY else failures + 1
                # Jitter: workers that died of one cause must not all come back at the same moment.
                pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (failures - 1)) * random.uniform(0.5, 1)  # noqa: S311
                if not self._ending.is_set():
                    self._report(reason, pause)
                await self._superior.settle(self.number, name)
            finally:
                self._idle.set()
            await self._wait_for_end(pause)

    async def reload(self, source: Source) -> str | None:
        """Give the worker a configuration; returns why it kept its old one. One that starts now gets it later."""
        worker = self._worker
        return await worker.reload(source) if worker is not None and worker.ready else None

    async def replace(self, timeout: float) -> None:
        """Drain the worker that runs now; another follows."""
        if self._worker is not None:
            await self._worker.end(timeout)

    async def hurry(self) -> None:
        """The drain's deadline is now."""
        if self._worker is not None:
            await self._worker.channel.send(Hurry())

    async def end(self, timeout: float | None) -> None:
        """Drain the worker within `timeout`, or kill it (`None`); no other follows."""
        self._ending.set()
        if self._worker is not None:
            await self._worker.end(timeout)
        await self._idle.wait()

    async def _one(self, name: str) -> str:
        """The whole life of one worker; returns why it ended."""
        try:
            worker = self._worker = await _Worker.spawn(self._socket)
        except OSError as error:  # no process or no file to be had: there will be another try
            return f"cannot be started: {error}"
        try:
            start = await self._superior.start_message(self.number, name)
            status = await worker.serve(start, self._became_ready)
        finally:
            self._worker = None
            worker.kill()
            await worker.process.wait()
            worker.channel.close()
        return worker.failure or f"{status} (process {worker.process.pid})"

    def _report(self, reason: str, pause: float) -> None:
        if not self._settled(f"worker {self.number} does not start: {reason}"):
            _log.error("worker ended, starting another", worker=self.number, reason=reason, seconds=round(pause, 1))
        if pause > _DOOR_OPEN and self._superior.serving:
            close_door(self._socket)
            _log.error("the other workers have its connections until it is back", worker=self.number)

    def _settled(self, first_start: str | None) -> bool:
        """Note how the first start went; false if that is known already."""
        if self.first_start.done():
            return False
        self.first_start.set_result(first_start)
        return True

    async def _became_ready(self, worker: "_Worker") -> None:
        self._settled(None)
        source = self._superior.source
        if worker.number_of_source != source.number:  # a reload came while it was starting
            await worker.channel.send(source)

    async def _wait_for_end(self, pause: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), pause)


class _Worker:
    """One worker process and the connection to it."""

    def __init__(self, process: Process, channel: Channel) -> None:
        self.process = process
        self.channel = channel
        self.ready = False
        self.failure: str | None = None
        self.number_of_source = 0
        self._number = 0                     # of its slot
        self._answers: dict[int, asyncio.Future[str | None]] = {}

    @classmethod
    async def spawn(cls, sock: socket.socket) -> "_Worker":
        """A new Python: a fork would share the event loop and the mapped files of this process."""
        ours, theirs = socket.socketpair()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "gateway.worker", str(theirs.fileno()), str(sock.fileno()),
                stdin=asyncio.subprocess.DEVNULL, pass_fds=(theirs.fileno(), sock.fileno()),
                start_new_session=True,  # a Ctrl-C is for the supervisor, which then drains the workers
            )  # fmt: skip
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return cls(process, await Channel.over(ours))

    async def serve(self, start: Start, became_ready: Callable[["_Worker"], Awaitable[None]]) -> str:
        """Start it, listen to it until it is gone; returns how it ended, in words."""
        self.number_of_source = start.config.number
        self._number = start.slot
        await self.channel.send(start)
        too_late = asyncio.get_running_loop().call_later(_START, self._too_late)
        try:
            while (message := await self.channel.receive()) is not None:
                if isinstance(message, Ready):
                    too_late.cancel()
                    self.ready = True
                    await became_ready(self)
                elif isinstance(message, Reloaded):
                    self._answered(message)
                elif isinstance(message, Failed):
                    self.failure = message.error
        finally:
            too_late.cancel()
            self.ready = False
            for answer in self._answers.values():
                answer.cancel()
        await self._gone(_GRACE)
        return _how(self.process.returncode)

    async def reload(self, source: Source) -> str | None:
        """Why the worker keeps its old configuration; `None` if it swapped, or died (the next starts with the new)."""
        answer = self._answers[source.number] = asyncio.get_running_loop().create_future()
        try:
            await self.channel.send(source)
            return await asyncio.wait_for(answer, _RELOAD)
        except TimeoutError:
            return f"no answer within {_RELOAD:g} s"
        except asyncio.CancelledError:
            if answer.cancelled() and not self.ready:
                return None
            raise
        finally:
            del self._answers[source.number]

    async def end(self, timeout: float | None) -> None:
        """Drain it, or kill it at once (`None`), or when it does not end in time."""
        if timeout is not None:
            await self.channel.send(Drain(timeout))
            await self._gone(timeout + _GRACE)
        self.kill()

    def kill(self) -> None:
        """End it now, if it lives."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()

    async def _gone(self, patience: float) -> None:
        try:
            await asyncio.wait_for(self.process.wait(), patience)
        except TimeoutError:
            _log.error("worker does not end, killing it", worker=self._number, pid=self.process.pid, seconds=patience)
            self.kill()
            await self.process.wait()

    def _answered(self, message: Reloaded) -> None:
        answer = self._answers.get(message.number)
        if answer is not None and not answer.done():
            answer.set_result(message.error)
        elif message.error is not None:
            _log.error(
                "worker kept an older configuration", worker=self._number, pid=self.process.pid, reason=message.error
            )
        self.number_of_source = message.number

    def _too_late(self) -> None:
        _log.error("worker is not ready in time, killing it", worker=self._number, pid=self.process.pid, seconds=_START)
        self.kill()


def _how(status: int | None) -> str:
    if status is not None and status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit status {status}"
