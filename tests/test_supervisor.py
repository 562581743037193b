"""Several workers: one limit, one revocation, one reload; one that dies is replaced and what it held comes back."""

import asyncio
import os
import re
import signal
import time

from processes import GatewayProcess, Load, client
from waiting import PATIENCE, until

TWO = {"server": {"workers": 2}}


async def served_by(gateway: GatewayProcess) -> int:
    """How many workers have counted requests."""
    files = (gateway.data_dir / "metrics").glob("counter_*.db")
    return sum(b"ai_gateway_requests_total" in path.read_bytes() for path in files)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_a_limit_is_one_limit_and_a_revoked_key_is_dead_in_every_worker(tmp_path):
    with GatewayProcess(tmp_path, **TWO) as gateway:
        key = gateway.command("keys", "create", "--requests-per-minute", "20").split()[0]
        async with client(force_close=True) as session:
            answers = await asyncio.gather(*(gateway.ask(session, key) for _ in range(60)))
            statuses = [status for status, _, _ in answers]
            assert (statuses.count(200), statuses.count(429)) == (20, 40)
            assert await served_by(gateway) == 2

            answers = await asyncio.gather(*(gateway.ask(session) for _ in range(20)))
            assert {status for status, _, _ in answers} == {200}
            await asyncio.to_thread(gateway.command, "keys", "revoke", gateway.key)
            answers = await asyncio.gather(*(gateway.ask(session) for _ in range(30)))
            assert {status for status, _, _ in answers} == {401}  # at once
            async with session.get(f"{gateway.url}/metrics") as reply:
                text = await reply.text()
        finished = re.findall(r"^ai_gateway_requests_total\{.*\} (\S+)$", text, re.MULTILINE)
        assert sum(map(float, finished)) == 80
        assert gateway.stop() == 0
        assert len(gateway.rows()) == 80


async def test_a_killed_worker_is_replaced_and_loses_only_what_it_was_serving(tmp_path):
    with GatewayProcess(tmp_path, **TWO) as gateway:
        async with Load(gateway, clients=6) as load:
            await load.at_least(20)
            before = gateway.workers()
            os.kill(before[0], signal.SIGKILL)
            await asyncio.to_thread(gateway.wait_for, "worker ended, starting another.*killed by SIGKILL")
            await until(lambda: len(gateway.workers()) == 2)
            await load.at_least(60)
        assert not load.refused
        assert len(load.lost) <= 6, load.lost
        assert before[0] not in gateway.workers()
        assert before[1] in gateway.workers()
        assert gateway.stop() == 0
        rows = gateway.rows()
        assert len({row[0] for row in rows}) == len(rows)
        assert set(load.received) <= {row[0] for row in rows if row[1] == "ok"}


async def test_while_a_worker_that_keeps_dying_is_not_replaced_the_others_have_its_connections(tmp_path):
    with GatewayProcess(tmp_path, **TWO) as gateway:
        healthy = gateway.workers()[0]
        async with asyncio.timeout(PATIENCE):
            while "the other workers have its connections" not in gateway.log:
                for sick in set(gateway.workers()) - {healthy}:
                    os.kill(sick, signal.SIGKILL)
                await asyncio.sleep(0.02)
        gateway.signal(signal.SIGSTOP)  # nobody is replaced now
        async with client(force_close=True) as session:
            answers = await asyncio.gather(*(gateway.ask(session) for _ in range(20)))
            assert {status for status, _, _ in answers} == {200}
        gateway.signal(signal.SIGCONT)
        await until(lambda: len(gateway.workers()) == 2)
        assert gateway.stop() == 0


async def test_what_a_killed_worker_held_comes_back(tmp_path):
    with GatewayProcess(tmp_path, **TWO) as gateway:
        key = gateway.command("keys", "create", "--concurrency", "2", "--cost-daily", "1").split()[0]
        async with client(force_close=True) as session:
            streams = [await gateway.post(session, key, stream=True, demo={"hang": "mid"}) for _ in range(2)]
            for stream in streams:
                assert await stream.content.readany()
            assert (await gateway.ask(session, key))[0] == 429
            for pid in gateway.workers():
                os.kill(pid, signal.SIGKILL)
            async with asyncio.timeout(PATIENCE):
                while (await try_ask(gateway, session, key)) != 200:
                    await asyncio.sleep(0.02)
            for stream in streams:
                stream.close()
        assert gateway.stop() == 0
        assert [row[1] for row in gateway.rows()].count("killed") == 2


async def try_ask(gateway: GatewayProcess, session, key: str) -> int:
    try:
        return (await gateway.ask(session, key))[0]
    except OSError:
        return 0


async def test_a_reload_reaches_every_worker_and_loses_no_request(tmp_path):
    with GatewayProcess(tmp_path, **TWO) as gateway:
        async with Load(gateway) as load:
            for turn in range(4):
                await load.at_least(10)
                names = ("demo-small", f"m{turn}")
                gateway.write(**TWO, models=[{"name": name, "targets": ["demo/demo-small"]} for name in names])
                gateway.signal(signal.SIGHUP)
                await asyncio.to_thread(gateway.wait_for, f"(?s)(configuration reloaded.*){{{turn + 1}}}")
                answers = await asyncio.gather(*(gateway.ask(load._session, model=f"m{turn}") for _ in range(12)))
                assert {status for status, _, _ in answers} == {200}
            gateway.write(**TWO, plugins=[{"use": "auth.nothing"}])
            gateway.signal(signal.SIGHUP)
            await asyncio.to_thread(gateway.wait_for, "not reloaded, the old one stays.*auth.nothing")
            await load.at_least(20)
        assert not load.lost
        assert not load.refused
        assert gateway.stop() == 0
        assert set(load.received) <= {row[0] for row in gateway.rows()}


async def test_a_worker_that_is_replaced_starts_with_the_configuration_of_the_last_reload(tmp_path):
    with GatewayProcess(tmp_path, **TWO) as gateway:
        gateway.write(**TWO, models=[{"name": "new", "targets": ["demo/demo-small"]}])
        gateway.signal(signal.SIGHUP)
        await asyncio.to_thread(gateway.wait_for, "configuration reloaded")
        gateway.file.write_text("this: is no configuration")
        for pid in gateway.workers():
            os.kill(pid, signal.SIGKILL)
        async with client(force_close=True) as session:
            answers = await asyncio.gather(*(gateway.ask(session, model="new") for _ in range(10)))
            assert {status for status, _, _ in answers} == {200}


async def test_when_the_supervisor_is_killed_its_workers_end_and_the_next_start_finds_all_rows(tmp_path):
    with GatewayProcess(tmp_path, **TWO) as gateway:
        async with Load(gateway) as load:
            await load.at_least(40)
            workers = gateway.workers()
            os.kill(gateway.pid, signal.SIGKILL)
            gateway.wait()
            await until(lambda: all(map(gone, workers)))
        assert "the supervisor is gone: draining" in gateway.log
        gateway.start()
        assert gateway.stop() == 0
        rows = gateway.rows()
        assert len({row[0] for row in rows}) == len(rows)
        assert set(load.received) <= {row[0] for row in rows if row[1] == "ok"}


async def test_sigterm_drains_all_workers_at_once(tmp_path):
    with GatewayProcess(tmp_path, server={"workers": 2, "drain_timeout": 0.5}) as gateway:
        async with client(force_close=True) as session:
            streams = [await gateway.post(session, stream=True, demo={"hang": "mid"}) for _ in range(6)]
            for stream in streams:
                await stream.content.readany()
            began = time.monotonic()
            gateway.signal(signal.SIGTERM)
            rests = await asyncio.gather(*(stream.read() for stream in streams))
        assert all(b'"error"' in rest for rest in rests)
        assert await asyncio.to_thread(gateway.wait) == 0
        assert time.monotonic() - began < PATIENCE
        assert [row[1] for row in gateway.rows()] == ["shutdown"] * 6


async def test_a_worker_that_cannot_start_is_the_reason_that_is_given(tmp_path):
    with GatewayProcess(tmp_path) as gateway:
        assert gateway.stop() == 0
        (gateway.data_dir / "journal").rmdir()
        (gateway.data_dir / "journal").write_bytes(b"")
        gateway.write(**TWO)
        gateway.launch()
        assert await asyncio.to_thread(gateway.wait) == 1
        assert "journal" in gateway.log
