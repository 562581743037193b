"""Two gateways that share a Valkey server admit what one would, one of them with two workers; and go on without the server."""

import asyncio
import shutil
import time

import msgspec
import pytest
from processes import GatewayProcess, client
from valkey_server import valkey_server
from waiting import until

REQUESTS = 60
AWAY, BACK = "the shared state cannot be reached", "the shared state is back"


@pytest.fixture
def gateways(tmp_path):
    """Both know the same keys: the second is a copy of the first."""
    with valkey_server() as server:
        one = tmp_path / "one"
        one.mkdir()
        first = GatewayProcess(one, shared_state=server.url)
        first.start()
        limited = ("keys", "create", "--requests-per-minute", str(REQUESTS), "--json")
        keys = [msgspec.json.decode(first.command(*limited))["key"] for _ in range(4)]
        assert first.stop() == 0
        shutil.copytree(one, tmp_path / "two", ignore=shutil.ignore_patterns("instance", "*.sock"))
        second = GatewayProcess(tmp_path / "two", server={"workers": 2}, shared_state=server.url)
        with first, second:
            yield server, first, second, keys


async def ask_all(gateways, key, count):
    async with client() as session:
        asked = [gateways[n % len(gateways)].ask(session, key) for n in range(count)]
        return [status for status, _, _ in await asyncio.gather(*asked)]


def losses(*gateways):
    """How often a process of theirs could not reach the server, and whether each can again."""
    log = "".join(gateway.log for gateway in gateways)
    return log.count(AWAY), log.count(AWAY) == log.count(BACK)


async def together(first, second, keys):
    """The statuses of twice as many requests as a key may make, by two gateways that can reach their server all the time.

    On a machine that is busy enough the server counts as away for a moment; then that was another test.
    """
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
