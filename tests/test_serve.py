"""One process: what the terminal shows, signals, reload, and what survives kill -9."""

import asyncio
import re
import shlex
import shutil
import signal
import subprocess
import time

import aiohttp
import msgspec
import pytest
from processes import GatewayProcess, Load, client
from waiting import PATIENCE

TWO_MODELS = {
    "models": [
        {"name": "demo-small", "targets": ["demo/demo-small"]}, {"name": "second", "targets": ["demo/demo-large"]},
    ]
}


async def read_stream(reply: aiohttp.ClientResponse) -> bytes:
    return b"".join([piece async for piece in reply.content.iter_any()])


async def metric(gateway: GatewayProcess, name: str) -> float:
    async with client() as session, session.get(f"{gateway.url}/metrics") as reply:
        text = await reply.text()
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


async def test_the_first_start_prints_its_secrets_once_and_the_curl_line_works(tmp_path):
    with GatewayProcess(tmp_path) as gateway:
        assert re.search(r"^email: admin@localhost$", gateway.output, re.MULTILINE)
        password = re.search(r"^password: (\S{20,})$", gateway.output, re.MULTILINE)[1]
        line = next(line for line in gateway.output.splitlines() if line.startswith("curl "))
        if shutil.which("curl"):
            done = await asyncio.to_thread(subprocess.run, [*shlex.split(line), "-s"], capture_output=True, timeout=60)
            assert msgspec.json.decode(done.stdout)["object"] == "chat.completion"
        assert gateway.key in line
        assert password not in gateway.log
        assert gateway.key not in gateway.log
        assert gateway.stop() == 0
        gateway.start()
        assert gateway.output.splitlines() == [f"AI Gateway is running: {gateway.url} (API: {gateway.url}/api/v1)"]
        assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
        assert gateway.stop() == 0


async def test_after_sigterm_a_running_stream_finishes_and_nothing_new_is_taken(tmp_path):
    with GatewayProcess(tmp_path) as gateway:
        slowly = {"chunk_delay_ms": 60, "size": 20, "chunks": 12}
        async with client() as session, gateway.post(session, stream=True, demo=slowly) as reply:
            gateway.signal(signal.SIGTERM)
            await asyncio.to_thread(gateway.wait_for, "draining")
            with pytest.raises(aiohttp.ClientConnectionError):
                async with client() as other:
                    await gateway.ask(other)
            assert (await read_stream(reply)).endswith(b"data: [DONE]\n\n")
        assert await asyncio.to_thread(gateway.wait) == 0
        assert [row[1] for row in gateway.rows()] == ["ok"]


async def test_a_stream_that_outlasts_the_drain_ends_with_an_error_in_it(tmp_path):
    with GatewayProcess(tmp_path, server={"drain_timeout": 0.4}) as gateway:
        async with client() as session, gateway.post(session, stream=True, demo={"hang": "mid"}) as reply:
            await reply.content.readany()
            gateway.signal(signal.SIGTERM)
            rest = await read_stream(reply)
        assert b'"error"' in rest
        assert b"[DONE]" not in rest
        assert await asyncio.to_thread(gateway.wait) == 0
        assert [row[1] for row in gateway.rows()] == ["shutdown"]


async def test_a_second_signal_ends_the_drain_at_once(tmp_path):
    with GatewayProcess(tmp_path, server={"drain_timeout": 600}) as gateway:
        async with client() as session, gateway.post(session, stream=True, demo={"hang": "mid"}) as reply:
            await reply.content.readany()
            gateway.signal(signal.SIGINT)
            await asyncio.to_thread(gateway.wait_for, "draining")
            began = time.monotonic()
            gateway.signal(signal.SIGTERM)
            assert b'"error"' in await read_stream(reply)
        assert await asyncio.to_thread(gateway.wait) == 0
        assert time.monotonic() - began < PATIENCE
        assert [row[1] for row in gateway.rows()] == ["shutdown"]


async def test_sighup_takes_a_good_file_whole_and_a_bad_one_not_at_all(tmp_path):
    with GatewayProcess(tmp_path) as gateway:
        async with client() as session:
            assert (await gateway.ask(session, model="second"))[0] == 404
            gateway.write(**TWO_MODELS)
            gateway.signal(signal.SIGHUP)
            await asyncio.to_thread(gateway.wait_for, "configuration reloaded")
            assert (await gateway.ask(session, model="second"))[0] == 200

            gateway.write(plugins=[{"use": "auth.api_keis"}])
            gateway.signal(signal.SIGHUP)
            await asyncio.to_thread(gateway.wait_for, r"not reloaded.*plugins\[0\].use.*did you mean .auth.api_keys")
            gateway.write(server={"port": 1, "drain_timeout": 9}, journal={"fsync_ms": 7})
            gateway.signal(signal.SIGHUP)
            found = await asyncio.to_thread(gateway.wait_for, r"(server.\S+, server.\S+, journal.\S+) cannot change")
            assert found[1] == "server.port, server.drain_timeout, journal.fsync_ms"
            assert (await gateway.ask(session, model="second"))[0] == 200
        assert await metric(gateway, 'ai_gateway_config_reload_total{result="ok"}') == 1
        assert await metric(gateway, 'ai_gateway_config_reload_total{result="refused"}') == 2
        assert gateway.stop() == 0


async def test_a_watched_file_is_reloaded_without_a_signal(tmp_path):
    with GatewayProcess(tmp_path, watch=True) as gateway:
        gateway.write(watch=True, **TWO_MODELS)
        await asyncio.to_thread(gateway.wait_for, "configuration reloaded")
        async with client() as session:
            assert (await gateway.ask(session, model="second"))[0] == 200


async def test_reloads_under_load_lose_no_request(tmp_path):
    with GatewayProcess(tmp_path) as gateway:
        async with Load(gateway) as load:
            for turn in range(6):
                await load.at_least(10)
                gateway.write(**(TWO_MODELS if turn % 2 == 0 else {}))
                gateway.signal(signal.SIGHUP)
            await asyncio.to_thread(gateway.wait_for, "configuration reloaded")
            await load.at_least(20)
        assert not load.lost
        assert not load.refused
        assert gateway.stop() == 0
        assert sorted(load.received) == sorted(row[0] for row in gateway.rows())


async def test_after_kill_9_every_received_reply_is_in_the_ledger_once(tmp_path):
    with GatewayProcess(tmp_path) as gateway:
        received = []
        for _ in range(2):
            async with Load(gateway) as load:
                await load.at_least(60)
                gateway.kill()
                received += load.received
            assert not load.refused
            gateway.start()
        assert gateway.stop() == 0
        rows = gateway.rows()
        ids = [row[0] for row in rows]
        assert len(ids) == len(set(ids))
        assert set(received) <= {row[0] for row in rows if row[1] == "ok"}
        assert {row[1] for row in rows} <= {"ok", "killed", "client_closed"}


async def test_after_kill_9_the_budget_counters_equal_the_ledger(tmp_path):
    with GatewayProcess(tmp_path) as gateway:
        key = gateway.command("keys", "create", "--cost-daily", "0.0005").split()[0]
        async with client() as session:
            used = 0
            while (await gateway.ask(session, key, max_tokens=300, demo={"size": 300}))[0] == 200:
                used += 1
                assert used < 20
            assert used >= 1
            gateway.kill()
            gateway.start()
            assert (await gateway.ask(session, key, max_tokens=300, demo={"size": 300}))[0] == 429
        assert gateway.stop() == 0
        assert [row[1] for row in gateway.rows()] == ["ok"] * used + ["refused"] * 2


async def test_a_second_gateway_is_told_what_is_in_its_way(tmp_path):
    with GatewayProcess(tmp_path) as gateway:
        port = int(gateway.url.rpartition(":")[2])
        (tmp_path / "other").mkdir()
        other = GatewayProcess(tmp_path / "other", server={"port": port})
        other.launch()
        assert await asyncio.to_thread(other.wait) == 1
        assert f"127.0.0.1:{port} is in use by another program" in other.log
        assert "Traceback" not in other.log


async def test_a_signal_before_it_is_ready_ends_it(tmp_path):
    with GatewayProcess(tmp_path) as gateway:
        other = GatewayProcess(tmp_path / "data", data_dir=str(gateway.data_dir))
        other.launch()
        for _ in range(3):  # it waits for some seconds only, and a busy machine may be late with the signal
            await asyncio.to_thread(other.wait_for, r"waiting for the database.*Process \d+ owns the database")
            if (status := await asyncio.to_thread(other.stop)) == 0:
                break
            other.launch()
        assert status == 0
