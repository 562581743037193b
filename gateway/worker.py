"""One of several workers: `python -m gateway.worker CONTROL LISTEN`, started by the supervisor with two open sockets.

It does what the control socket says (`control.py`), and drains and ends when that is closed: the supervisor is gone.
"""

import asyncio
import os
import signal
import socket
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import structlog

from gateway import configfile, observe
from gateway.boot import Process, open_process
from gateway.config import Config
from gateway.control import Channel, Drain, Failed, Hurry, Ready, Reloaded, Source, Start, receive_blocking
from gateway.errors import GatewayError
from gateway.problems import ConfigError
from gateway.shared_state import SharedState
from gateway.shared_state.mapped import MappedState
from gateway.shared_state.opening import AUTO, server_state
from gateway.store.opening import worker_store
from gateway.tasks import Tasks
from gateway.tuning import loop_factory, settle_memory

_BEAT = 1.0
_log = structlog.get_logger("gateway.worker")


def main(arguments: list[str]) -> int:
    """Wait for the first message, then serve; returns the exit status."""
    control, listener = (socket.socket(fileno=int(argument)) for argument in arguments)
    for sock in (control, listener):
        sock.set_inheritable(False)  # a process that a plugin starts must not keep them open
    for number in (signal.SIGHUP, signal.SIGINT):  # the supervisor decides
        signal.signal(number, signal.SIG_IGN)
    start = receive_blocking(control)
    if not isinstance(start, Start):
        return 0
    try:
        config = _config(start.config)
    except ConfigError as error:
        return asyncio.run(_fail(control, str(error)))
    observe.set_up(config.logging, worker=start.slot)
    with asyncio.Runner(loop_factory=loop_factory(config)) as runner:
        return runner.run(_Worker(start, config, listener).run(control))


class _Worker:
    def __init__(self, start: Start, config: Config, listener: socket.socket) -> None:
        self._start = start
        self._config = config
        self._listener = listener
        self._timeout = config.server.drain_timeout
        self._end = asyncio.Event()
        self._turn = asyncio.Lock()
        self._tasks = Tasks()
        self._opened = AsyncExitStack()  # each part is closed, in turn, even if the closing of another fails

    async def run(self, control: socket.socket) -> int:
        channel = await Channel.over(control)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._end.set)
        try:
            process = await self._open()
        except Exception as error:
            if not isinstance(error, ConfigError | GatewayError | OSError):
                _log.exception("the worker cannot start")
            await channel.send(Failed(_text(error)))
            await self._opened.aclose()
            return 1
        settle_memory()
        await channel.send(Ready())
        self._tasks.spawn(self._obey(channel, process), "obey")
        await self._end.wait()
        await process.drain(self._timeout)
        await self._opened.aclose()
        channel.close()
        return 0

    async def _open(self) -> Process:
        start, data_dir = self._start, Path(self._start.data_dir)
        state: SharedState
        if self._config.shared_state == AUTO:
            state = MappedState(Path(start.state), start.owner)
        else:
            state = server_state(self._config.shared_state, data_dir, start.owner)
        self._opened.push_async_callback(state.close)
        store = await worker_store(self._config, data_dir, state.bump)
        self._opened.push_async_callback(store.close)
        process = await open_process(
            self._config, slot=start.slot, state=state, store=store, secret=start.secret, data_dir=data_dir,
            workers=start.workers,
        )  # fmt: skip
        self._opened.push_async_callback(process.close)
        self._opened.push_async_callback(self._tasks.close)
        self._tasks.spawn(_beat(state), "beat")
        await process.listen(self._listener)
        return process

    async def _obey(self, channel: Channel, process: Process) -> None:
        while (message := await channel.receive()) is not None:
            if isinstance(message, Source):
                # Apart: a plugin that starts slowly must not keep us from hearing what comes next.
                self._tasks.spawn(self._reload(channel, process, message), "reload")
            elif isinstance(message, Drain):
                self._timeout = message.timeout
                self._end.set()
            elif isinstance(message, Hurry):
                process.hurry()
        if not self._end.is_set():
            _log.error("the supervisor is gone: draining")
            self._end.set()

    async def _reload(self, channel: Channel, process: Process, source: Source) -> None:
        async with self._turn:
            try:
                config = _config(source)
                await process.reload(config)
                observe.set_up(config.logging, worker=self._start.slot)
            except Exception as error:
                _log.exception("reload failed: the old configuration stays")
                await channel.send(Reloaded(source.number, _text(error)))
            else:
                await channel.send(Reloaded(source.number))


def _config(source: Source) -> Config:
    return configfile.parse(source.source, source.origin, {**os.environ, **source.secrets})


async def _beat(state: SharedState) -> None:
    while True:
        await state.beat()
        await asyncio.sleep(_BEAT)


async def _fail(control: socket.socket, error: str) -> int:
    channel = await Channel.over(control)
    await channel.send(Failed(error))
    channel.close()
    return 1


def _text(error: Exception) -> str:
    known = isinstance(error, ConfigError | GatewayError | OSError)
    return str(error) if known else f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
