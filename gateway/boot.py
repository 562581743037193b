"""Builds a serving process from a configuration, and swaps configurations while it runs."""

import asyncio
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from gateway.accounting import Accounting
from gateway.app import App
from gateway.catalogue import Catalogue
from gateway.config import Config
from gateway.dispatch import OnFailure, Plugins
from gateway.errors import Unavailable
from gateway.guardrails.building import model_policy
from gateway.guardrails.stage import GuardrailStage
from gateway.httpserver import HttpServer
from gateway.inner import InnerCalls
from gateway.metrics import Metrics
from gateway.money.estimate import Estimator
from gateway.money.journal import Journal
from gateway.money.prices import PriceBook
from gateway.pipeline import Pipeline
from gateway.registry import Registry
from gateway.router import Router
from gateway.runtime import Gateway, Snapshot, Use
from gateway.tasks import Tasks
from gateway.upstream import Upstream

if TYPE_CHECKING:
    from gateway.shared_state import SharedState
    from gateway.store import Store

_log = structlog.get_logger("gateway.boot")


class Process:
    """One serving process: its stores, the current configuration, and its server."""

    def __init__(self, gateway: Gateway, server: HttpServer, accounting: Accounting, app: App) -> None:
        self.gateway = gateway
        self.ready = False
        self._server = server
        self._accounting = accounting
        self._app = app
        self._tasks = Tasks()
        self._hurry = asyncio.Event()

    async def listen(self, sock: socket.socket) -> None:
        """Serve connections of `sock`; ready from now on."""
        await self._server.listen(sock)
        self._tasks.spawn(self._show(), "show running requests")
        self.ready = True

    async def reload(self, config: Config) -> None:
        """Swap to `config`. Raises and keeps the old one when it cannot start; running exchanges end under the old."""
        old = self.gateway.snapshot
        new = await asyncio.to_thread(snapshot, config, self.gateway.metrics.dropped, self.gateway.catalogue)
        if route_names(new.plugins, self.gateway) != route_names(old.plugins, self.gateway):
            raise Unavailable("the set of HTTP routes cannot change while running: restart the gateway for that")
        await new.plugins.startup(self.gateway)
        self.gateway.snapshot = new
        self._app.renew(new.plugins)
        old.use.retire()
        self._tasks.spawn(self._close_after_use(old), "close old configuration")

    async def drain(self, timeout: float) -> None:
        """End service: running exchanges finish; at the deadline they end with an error in their stream."""
        self.gateway.draining = True
        self.ready = False
        await self._server.stop()
        if not await self._idle(timeout):
            _log.warning("drain timeout: ending running exchanges", running=len(self._accounting.active))
            self._accounting.expire()
            await self._server.wait_idle(5.0)

    def hurry(self) -> None:
        """End the drain now."""
        self._hurry.set()

    async def close(self) -> None:
        """Release everything that `open_process` opened."""
        await self._server.close()
        await self._app.close()
        await self._tasks.close()
        await self.gateway.snapshot.plugins.shutdown(self.gateway)
        await self.gateway.catalogue.close()
        await self.gateway.upstream.close()
        self.gateway.journal.stop()

    async def _idle(self, timeout: float) -> bool:
        idle = asyncio.ensure_future(self._server.wait_idle(timeout))
        hurried = asyncio.ensure_future(self._hurry.wait())
        try:
            await asyncio.wait({idle, hurried}, return_when=asyncio.FIRST_COMPLETED)
            return idle.done() and idle.result()
        finally:
            idle.cancel()
            hurried.cancel()

    async def _show(self) -> None:
        """For the page of another worker, which adds up what each has written."""
        while True:
            self._accounting.show()
            await asyncio.sleep(1.0)

    async def _close_after_use(self, old: Snapshot) -> None:
        await old.use.idle.wait()
        await old.plugins.shutdown(self.gateway)


async def open_process(
    config: Config, *, slot: int, state: "SharedState", store: "Store", secret: bytes, data_dir: Path, workers: int
) -> Process:
    """Open a process's stores, start its plugins, and build its server. Raises what a plugin's start raises."""
    journal = Journal(
        data_dir / "journal", slot, fsync_ms=config.journal.fsync_ms, max_bytes=config.journal.max_bytes
    )
    gateway = Gateway(
        data_dir=data_dir, slot=slot, secret=secret, state=state, store=store, journal=journal, upstream=Upstream(),
        metrics=Metrics(data_dir, slot=slot, workers=workers),
    )
    # In a thread, here and at a reload: plugins take up to a quarter of a second to make, the loop has others to serve.
    gateway.snapshot = await asyncio.to_thread(snapshot, config, gateway.metrics.dropped, gateway.catalogue)
    await gateway.snapshot.plugins.startup(gateway)
    accounting = Accounting(Estimator(), gateway.metrics)
    pipeline = Pipeline(gateway, accounting)
    gateway.ask = InnerCalls(gateway, pipeline, accounting).ask
    app = App(gateway, pipeline, accounting)
    server = HttpServer(app.serve, config.server, render_error=app.render_error)
    process = Process(gateway, server, accounting, app)
    app.ready = lambda: process.ready
    return process


def snapshot(
    config: Config, on_failure: OnFailure | None = None, catalogue: Catalogue | None = None
) -> Snapshot:
    """All that follows from a configuration. Raises `ConfigError` with what is wrong."""
    plugins = Registry().build(config, on_failure=on_failure)
    prices = PriceBook(config.prices)
    for provider in plugins.providers.values():
        declared = getattr(provider, "prices", None)
        if declared:
            prices = prices.with_declared(provider.name, declared)
    router = Router(config, plugins.providers, prices, catalogue)
    for member in plugins.members:
        if isinstance(member.plugin, GuardrailStage):
            member.plugin.book.model_policy = model_policy(config, router.resolve)
    peers = {name: provider.peer(config.timeouts) for name, provider in plugins.providers.items()}
    return Snapshot(config, plugins, router, prices, peers, Use())


def route_names(plugins: Plugins, gateway: Gateway) -> set[tuple[str, str, str]]:
    """The routes that plugins add, by method, path and permission."""
    return {(route.method, route.path, route.permission) for route in plugins.routes(gateway)}

