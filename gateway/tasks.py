"""Tasks that cannot vanish: `spawn` keeps a reference and logs what one dies of; `shielded` outlives cancels."""

import asyncio
import types
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

import structlog

T = TypeVar("T")
_log = structlog.get_logger("gateway.tasks")


class Tasks:
    """The background tasks of one owner; `close` cancels and awaits them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Start `work`; if it fails, the log says so under `name`."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("background task failed", task=task.get_name(), exc_info=error)

    async def close(self) -> None:
        """Cancel all and wait until they are gone."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def shielded(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end even when the caller is cancelled meanwhile; the cancel is raised afterwards."""
    task = asyncio.get_running_loop().create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            if task.cancelled():
                raise
            cancelled = error
        except BaseException:  # the task's own error: raised below by result()
            break
    if cancelled is not None:
        task.exception()
        raise cancelled
    return task.result()


@types.coroutine
def resumed(work: Coroutine[Any, Any, T], waiting: object) -> Generator[Any, Any, T]:
    """Go on with `work`, which was stepped by hand and waits for `waiting`. To be awaited by a task of its own."""
    try:
        while True:
            try:
                sent = yield waiting
            except BaseException as error:
                waiting = work.throw(error)
            else:
                waiting = work.send(sent)
    except StopIteration as done:
        value: T = done.value
        return value
