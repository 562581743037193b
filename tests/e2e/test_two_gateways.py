"""Two gateways that share a Valkey server admit what one would, one of them with two workers; and go on without the server."""

import asyncio
import shutil

import msgspec
import pytest
from processes import GatewayProcess, client
from valkey_server import valkey_server

pytestmark = pytest.mark.timeout(90)

REQUESTS = 60


@pytest.fixture
def gateways(tmp_path):
    """Both know the same keys: the second is a copy of the first."""
    with valkey_server() as server:
        one = tmp_path / "one"
        one.mkdir()
        first = GatewayProcess(one, shared_state=server.url)
        first.start()
        key = first.command("keys", "create", "--name", "limited", "--requests-per-minute", str(REQUESTS), "--json")
        assert first.stop() == 0
        shutil.copytree(one, tmp_path / "two", ignore=shutil.ignore_patterns("instance", "*.sock"))
        second = GatewayProcess(tmp_path / "two", server={"workers": 2}, shared_state=server.url)
        with first, second:
            yield server, first, second, msgspec.json.decode(key)["key"]


async def ask_all(gateways, key, count):
    async with client() as session:
        asked = [gateways[n % len(gateways)].ask(session, key) for n in range(count)]
        return [status for status, _, _ in await asyncio.gather(*asked)]


async def test_a_limit_is_one_limit_for_both_and_a_share_of_it_for_each_alone(gateways):
    server, first, second, key = gateways
    statuses = await ask_all([first, second], key, 2 * REQUESTS)
    assert sorted(set(statuses)) == [200, 429]
    assert statuses.count(200) == REQUESTS
    server.stop()
    statuses = await ask_all([first, second], first.key, 20)  # the unlimited key: nothing stands in its way
    assert statuses == [200] * 20
    server.start()
    await asyncio.to_thread(first.wait_for, "the shared state is back")
