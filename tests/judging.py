"""A judge's service on the loopback, for the tests of guardrails that ask one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec
from aiohttp import web

from gateway.upstream import Upstream


class Judge:
    """`answer` is what it says: a value, a status, or None to say nothing for a while."""

    def __init__(self) -> None:
        self.answer: object = {}
        self.seen: list[tuple[str, dict, dict]] = []
        self.url = ""

    async def serve(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.seen.append((request.path, headers, msgspec.json.decode(await request.read())))
        if self.answer is None:
            await asyncio.sleep(5)
        if isinstance(self.answer, int):
            return web.Response(status=self.answer, text="{}")
        return web.Response(body=self.answer if isinstance(self.answer, bytes) else msgspec.json.encode(self.answer))


class Counted:
    """A metric: `values` by labels."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, ...], float] = {}
        self._labels: tuple[str, ...] = ()

    def labels(self, *labels: str) -> "Counted":
        self._labels = labels
        return self

    def inc(self, amount: float = 1) -> None:
        self.values[self._labels] = self.values.get(self._labels, 0) + amount


class Metrics:
    """Those of services outside."""

    def __init__(self) -> None:
        self.judge_calls = Counted()
        self.judge_cost = Counted()


class Process:
    """As much of a gateway as a judge needs."""

    def __init__(self) -> None:
        self.upstream = Upstream()
        self.metrics = Metrics()


@contextlib.asynccontextmanager
async def judging() -> AsyncIterator[tuple[Judge, Process]]:
    """A judge, and a process whose HTTP client can ask it."""
    judge, app, process = Judge(), web.Application(), Process()
    app.router.add_route("*", "/{path:.*}", judge.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    judge.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield judge, process
    finally:
        await process.upstream.close()
        await runner.cleanup()
