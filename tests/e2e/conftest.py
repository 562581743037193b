"""For tests with real clients: one gateway for each module, in front of the demo model, reached over its socket."""

import asyncio

import pytest
import pytest_asyncio
from running import running
from waiting import PATIENCE, until

from gateway.accounts.keys import issue, pepper
from gateway.accounts.records import Limits
from gateway.clock import now_ms

MODELS = [
    {"name": "demo-small", "targets": ["demo/demo-small"], "aliases": ["fast"]},
    {"name": "demo-large", "targets": ["demo/demo-large"]},
    {"name": "demo-embed", "targets": ["demo/demo-embed"]},
]


class View:
    """A started gateway as its clients know it (`url`, `key`), and what its operator can see."""

    def __init__(self, gw):
        self.gw = gw
        self.root, self.url, self.key = gw.root, gw.url, gw.key

    @property
    def upstream(self):
        """The demo model's server: `open` answers under way, `gone` clients that left before the end."""
        return self.gw.process.gateway.snapshot.plugins.providers["demo"]._upstream

    async def new_key(self, **limits):
        """Another key, with limits of its own."""
        gateway = self.gw.process.gateway
        text, record = issue(pepper(gateway.secret), tenant="default", created=now_ms(), limits=Limits(**limits))
        await gateway.store.create_key(record)
        return text

    async def row(self, request_id, seconds=PATIENCE):
        """The ledger's row of a request."""
        async with asyncio.timeout(seconds):
            while True:
                await self.gw.service._owner._drain.drain_now()
                began = int(request_id[4:16], 16)
                page = await self.gw.store.usage_rows(began, began + 600_000)
                for row in page.items:
                    if row.id == request_id:
                        return row
                await asyncio.sleep(0.02)

    async def rows_of(self, key, count=1):
        """All rows of a key, oldest first, once there are so many."""
        async with asyncio.timeout(PATIENCE):
            while True:
                await self.gw.service._owner._drain.drain_now()
                page = await self.gw.store.usage_rows(0, 2**62)
                rows = [row for row in page.items if row.key == key[6:18]]
                if len(rows) >= count:
                    return rows
                await asyncio.sleep(0.02)

    async def until_closed(self):
        """Wait until no upstream answer is under way; the seconds that it took."""
        return await until(lambda: not self.upstream.open)


@pytest.fixture(scope="session")
def gateway_view():
    """What makes a `View` of a started gateway."""
    return View


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def demo(tmp_path_factory):
    """A gateway with all the core's plugins and the demo model."""
    providers = [{"name": "demo", "use": "provider.demo"}]
    async with running(tmp_path_factory.mktemp("demo"), providers=providers, models=MODELS) as gw:
        yield View(gw)
