"""Two gateways that share a Valkey server admit what one would, one of them with two workers; and go on without the server."""

import asyncio
import shutil
import time

import pytest
from processes import GatewayProcess, client
from valkey_server import losses, valkey_server
from waiting import until

from gateway.accounts.bootstrap import load_master_secret
from gateway.accounts.keys import issue, pepper
from gateway.accounts.records import Limits
from gateway.clock import now_ms
from gateway.configfile import parse
from gateway.store.sqlite import SqliteStore

REQUESTS = 60


@pytest.fixture
def gateways(tmp_path):
    """Both know the same keys: the second is a copy of the first."""
    with valkey_server() as server:
        one = tmp_path / "one"
        one.mkdir()
        first = GatewayProcess(one, shared_state=server.url)
        first.start()
        assert first.stop() == 0
        keys = asyncio.run(limited_keys(first, 4))
        shutil.copytree(one, tmp_path / "two", ignore=shutil.ignore_patterns("instance", "*.sock"))
        second = GatewayProcess(tmp_path / "two", server={"workers": 2}, shared_state=server.url)
        with first, second:
            yield server, first, second, keys


async def limited_keys(gateway, count):
    """So many keys, made while it is stopped."""
    store = await SqliteStore.open(gateway.data_dir)
    try:
        secret = pepper(load_master_secret(parse(gateway.file.read_bytes(), "gateway.yaml", {}), gateway.data_dir))
        limits = Limits(requests_per_minute=REQUESTS)
        made = [issue(secret, tenant="default", created=now_ms(), limits=limits) for _ in range(count)]
        for _, record in made:
            await store.create_key(record)
    finally:
        await store.close()
    return [key for key, _ in made]


async def ask_all(gateways, key, count):
    async with client() as session:
        asked = [gateways[n % len(gateways)].ask(session, key) for n in range(count)]
        return [status for status, _, _ in await asyncio.gather(*asked)]


async def together(first, second, keys):
    """The statuses of twice as many requests as a key may make, by two gateways that reach their server all the time."""
    for key in keys:
        await until(lambda: losses(first, second)[1])
        before, began = losses(first, second), time.monotonic()
        statuses = await ask_all([first, second], key, 2 * REQUESTS)
        if losses(first, second) == before and time.monotonic() - began < 30:
            return statuses
    return pytest.fail("the server was away, or the window over, each time")


async def test_a_limit_is_one_limit_for_both_and_a_share_of_it_for_each_alone(gateways):
    server, first, second, (alone, *keys) = gateways
    statuses = await together(first, second, keys)
    assert sorted(set(statuses)) == [200, 429]
    assert statuses.count(200) == REQUESTS
    server.stop()
    statuses = await ask_all([first, second], first.key, 20)  # the unlimited key: nothing stands in its way
    assert statuses == [200] * 20
    await until(lambda: not losses(first)[1])
    statuses = await ask_all([first], alone, REQUESTS)
    assert 0 < statuses.count(200) <= REQUESTS // 2
    server.start()
    await until(lambda: losses(first)[1])
