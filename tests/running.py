"""A whole gateway in the test's own loop, on a real socket, in front of a fake upstream."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
from waiting import PATIENCE

from gateway.configfile import parse
from gateway.serve import Alone
from gateway.testing import FakeUpstream

PLUGINS = [
    {"use": "auth.api_keys"}, {"use": "limiter.requests"}, {"use": "limiter.tokens"}, {"use": "limiter.concurrency"},
    {"use": "limiter.budget"}, {"use": "sink.ledger"}, {"use": "sink.prometheus"}, {"use": "sink.log"},
]


def provider(upstream: FakeUpstream, name: str = "up", **options) -> dict:
    """A YAML entry for a provider in front of `upstream`."""
    options = {"base_url": upstream.url, "api_key": "upstream-credential-000", **options}
    return {"name": name, "use": "provider.openai_compatible", "with": options}


class Running:
    """A started gateway: `url` is its base URL with /api/v1, `key` the first key."""

    def __init__(self, service: Alone, key: str, client: aiohttp.ClientSession) -> None:
        self.service = service
        self.key = key
        self.client = client
        self.root = service.url
        self.url = service.url + "/api/v1"
        self.port = int(service.url.rpartition(":")[2])

    @property
    def process(self):
        return self.service._process

    @property
    def store(self):
        return self.process.gateway.store

    def post(self, path="/chat/completions", json=None, **options):
        """An HTTP POST with the key."""
        headers = {"authorization": f"Bearer {self.key}", **options.pop("headers", {})}
        if json is not None:
            headers.setdefault("content-type", "application/json")
            options["data"] = msgspec.json.encode(json)
        return self.client.post(self.url + path, headers=headers, **options)

    def get(self, path, **options):
        """An HTTP GET with the key."""
        return self.client.get(self.url + path, headers={"authorization": f"Bearer {self.key}"}, **options)

    async def rows(self, count: int | None = None, seconds: float = PATIENCE):
        """The ledger's rows, oldest first, once there are `count` of them."""
        async with asyncio.timeout(seconds):
            while True:
                await self.service._owner._drain.drain_now()
                page = await self.store.usage_rows(0, 2**62)
                if count is None or len(page.items) >= count:
                    return list(page.items)
                await asyncio.sleep(0.02)


def chat(model: str = "m", text: str = "hello", **fields) -> dict:
    """A chat request."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


@contextlib.asynccontextmanager
async def running(directory: Path, **sections) -> AsyncIterator[Running]:
    """Start a gateway with these sections of YAML; `plugins` defaults to all of the core."""
    server = {"port": 0, **sections.pop("server", {})}
    tree = {"server": server, "data_dir": str(directory / "data"), "plugins": PLUGINS, **sections}
    config = parse(msgspec.yaml.encode(tree), "test.yaml", {})
    service = Alone(config)
    try:
        first = await service.start()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as client:
            yield Running(service, first.key if first else "", client)
    finally:
        await service.drain(0.2)
        await service.close()
