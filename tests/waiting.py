"""How tests wait: for a condition, with much patience, so that a slow machine is only slow; and how they measure time."""

import asyncio
import contextlib
import functools
import inspect
import time
from collections.abc import Callable
from typing import Any

import pytest

PATIENCE = 30.0  # seconds: only a defect takes this long, also on a busy machine with a slow disk
_PAUSES = (0.2, 1.0, 3.0)  # between the tries of a test that measures time


async def until(condition: Callable[[], Any], seconds: float = PATIENCE) -> float:
    """Wait for a condition, which may be asynchronous; how long it took. Fails when it does not come true."""
    began = time.monotonic()
    while True:
        true = condition()
        if inspect.isawaitable(true):
            true = await true
        if true:
            return time.monotonic() - began
        assert time.monotonic() - began < seconds, "it never came true"
        await asyncio.sleep(0.005)


def measured(test: Callable[..., Any]) -> Callable[..., Any]:
    """For a test that measures time: what a busy moment of the machine has spoilt is tried again; a defect stays.

    The test must be able to run several times with the same fixtures.
    """

    @functools.wraps(test)
    def again(**arguments: Any) -> None:
        for pause in _PAUSES:
            with contextlib.suppress(Exception, pytest.fail.Exception):
                test(**arguments)
                return
            time.sleep(pause)
        test(**arguments)

    @functools.wraps(test)
    async def again_async(**arguments: Any) -> None:
        for pause in _PAUSES:
            with contextlib.suppress(Exception, pytest.fail.Exception):
                await test(**arguments)
                return
            await asyncio.sleep(pause)
        await test(**arguments)

    return again_async if inspect.iscoroutinefunction(test) else again
