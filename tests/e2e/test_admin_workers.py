"""The admin API with two worker processes: what one of them changes holds for both, at once."""

import asyncio
import re

import msgspec
from processes import PLUGINS, GatewayProcess, client

WITH_ADMIN = [{"use": name} for name in (*PLUGINS, "admin.api")]


async def call(gateway, method, path, token="", body=None):
    """One request on a connection of its own, so that any worker may get it."""
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
    data = None if body is None else msgspec.json.encode(body)
    async with client() as session, session.request(method, gateway.url + path, data=data, headers=headers) as reply:
        raw = await reply.read()
        return reply.status, msgspec.json.decode(raw) if raw else None


async def statuses(gateway, key, count=24):
    """What as many requests with this key get, on as many connections."""
    return {status for status, _ in await asyncio.gather(*(gateway_ask(gateway, key) for _ in range(count)))}


async def gateway_ask(gateway, key):
    body = {"model": "demo-small", "messages": [{"role": "user", "content": "hello"}]}
    return await call(gateway, "POST", "/api/v1/chat/completions", key, body)


async def test_a_key_that_one_worker_revokes_is_dead_on_all_within_a_second(tmp_path):
    with GatewayProcess(tmp_path, server={"workers": 2}, plugins=WITH_ADMIN) as gateway:
        password = re.search(r"^password: (\S+)$", gateway.output, re.MULTILINE)[1]
        login = {"email": "admin@localhost", "password": password}
        status, signed_in = await call(gateway, "POST", "/api/v1/admin/auth/login", body=login)
        assert status == 200
        token = signed_in["access_token"]
        made = [await call(gateway, "POST", "/api/v1/admin/api-keys", token, {"name": "k"}) for _ in range(2)]
        (first, second) = (body for _, body in made)
        assert await statuses(gateway, first["api_key"]) == {200}
        status, _ = await call(gateway, "DELETE", f"/api/v1/admin/api-keys/{first['id']}", token)
        assert status == 204
        assert await statuses(gateway, first["api_key"]) == {401}
        assert await statuses(gateway, second["api_key"]) == {200}
        status, proof = await call(gateway, "GET", "/api/v1/admin/audit/verify", token)
        assert proof["intact"] is True
        status, _ = await call(gateway, "POST", "/api/v1/admin/auth/logout", token)
        answers = await asyncio.gather(*(call(gateway, "GET", "/api/v1/admin/auth/me", token) for _ in range(12)))
        assert {status for status, _ in answers} == {401}
        assert gateway.stop() == 0
        assert password not in gateway.log
        assert first["api_key"] not in gateway.log


async def test_of_parallel_repeats_at_two_workers_one_is_done(tmp_path):
    with GatewayProcess(tmp_path, server={"workers": 2}, plugins=WITH_ADMIN) as gateway:
        password = re.search(r"^password: (\S+)$", gateway.output, re.MULTILINE)[1]
        login = {"email": "admin@localhost", "password": password}
        token = (await call(gateway, "POST", "/api/v1/admin/auth/login", body=login))[1]["access_token"]

        async def make():
            headers = {"content-type": "application/json", "authorization": f"Bearer {token}", "idempotency-key": "x"}
            url = gateway.url + "/api/v1/admin/teams"
            async with client() as session, session.post(url, data=b'{"name": "blue"}', headers=headers) as reply:
                return reply.status

        assert set(await asyncio.gather(*(make() for _ in range(12)))) <= {201, 409}
        teams = (await call(gateway, "GET", "/api/v1/admin/teams", token))[1]["items"]
        assert [team["name"] for team in teams] == ["blue"]
