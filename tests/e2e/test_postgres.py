"""The whole gateway on PostgreSQL, alone and two of them; with the database gone under load."""

import asyncio

import asyncpg
import msgspec
import pytest
from postgres_server import Server, _programs, postgres
from processes import GatewayProcess, Load, client
from valkey_server import losses, valkey_server
from waiting import until

SECRET = "a secret that both gateways know, of forty bytes"
A_CENT_EACH = [{"model": "demo/*", "input": "0", "output": "0", "per_request": "0.01"}]


def rows(url, key="%"):
    sql = "SELECT id, outcome, cost FROM exchanges WHERE key LIKE $1 ORDER BY ts_ms"

    async def read():
        connection = await asyncpg.connect(url)
        try:
            return [tuple(row) for row in await connection.fetch(sql, key)]
        finally:
            await connection.close()

    return asyncio.run(read())


async def test_keys_requests_and_the_ledger_live_there_and_survive_a_restart(tmp_path):
    url = postgres().new_database()
    with GatewayProcess(tmp_path, database=url) as gateway:
        made = msgspec.json.decode(await asyncio.to_thread(gateway.command, "keys", "create", "--name", "second", "--json"))
        async with client() as session:
            assert (await gateway.ask(session))[0] == 200
            assert (await gateway.ask(session, made["key"]))[0] == 200
            await asyncio.to_thread(gateway.command, "keys", "revoke", made["key"])

            async def dead():
                return (await gateway.ask(session, made["key"]))[0] == 401

            assert await until(dead) < 10  # much less, but for a busy machine
        assert gateway.stop() == 0
        finished = [row for row in await asyncio.to_thread(rows, url) if row[1] == "ok"]
        assert len(finished) >= 2
        gateway.start()
        assert "key: " not in gateway.output
        async with client() as session:
            assert (await gateway.ask(session))[0] == 200
        assert "second" in await asyncio.to_thread(gateway.command, "keys", "list")
        assert url not in gateway.log
        assert gateway.stop() == 0
        assert not (tmp_path / "data" / "gateway.db").exists()


async def test_two_gateways_and_a_shared_state_spend_a_budget_to_the_cent(tmp_path):
    url = postgres().new_database()
    common = {"database": url, "secret": SECRET, "prices": A_CENT_EACH}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with valkey_server() as server:
        first = GatewayProcess(tmp_path / "one", shared_state=server.url, **common)
        second = GatewayProcess(tmp_path / "two", server={"workers": 2}, shared_state=server.url, **common)
        with first, second:
            for _ in range(3):
                await until(lambda: losses(first, second)[1])
                before = losses(first, second)
                made = await asyncio.to_thread(first.command, "keys", "create", "--cost-daily", "0.25", "--json")
                key = msgspec.json.decode(made)["key"]
                async with client() as session:
                    answers = await asyncio.gather(*((first, second)[n % 2].ask(session, key) for n in range(100)))
                if losses(first, second) == before:
                    break
            statuses = [status for status, _, _ in answers]
            assert (statuses.count(200), statuses.count(429)) == (25, 75)
            assert b"insufficient_quota" in next(body for status, _, body in answers if status == 429)
            assert first.stop() == 0
            assert second.stop() == 0
    stored = await asyncio.to_thread(rows, url, key[6:18])
    assert sum(cost for _, _, cost in stored) == 250_000_000
    assert len(stored) == len({ident for ident, _, _ in stored}) == 100


async def test_a_database_that_goes_and_comes_back_costs_no_request_and_no_row(tmp_path):
    programs = _programs() or pytest.skip("PostgreSQL is not installed: `apt-get install postgresql`")
    server = Server(programs)
    try:
        url = server.url()
        with GatewayProcess(tmp_path, database=url) as gateway:
            async with Load(gateway, clients=4) as load:
                await load.at_least(50)
                await asyncio.to_thread(server.stop)
                await load.at_least(200)
                await asyncio.to_thread(server.start)
                await load.at_least(50)
            assert load.refused == []
            assert load.lost == []
            received = set(load.received)
            assert gateway.stop() == 0
        stored = [ident for ident, outcome, _ in await asyncio.to_thread(rows, url) if outcome == "ok"]
        assert received <= set(stored)
        assert len(stored) == len(set(stored))
    finally:
        server.remove()
