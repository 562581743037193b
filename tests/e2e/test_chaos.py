"""Everything goes wrong at once, and the books are right: errors, timeouts, cut streams, clients that leave, workers that
are killed, a database that stops. Each request says to the upstream who it is, and the upstream's numbers say it back.

`GATEWAY_CHAOS=20000` makes it as long as it is meant to be; without it a few hundred requests are enough.
"""

import asyncio
import contextlib
import os
import random
import re
import signal
import sqlite3
from collections import Counter

import aiohttp
import asyncpg
import msgspec
import pytest
from faults import serving
from postgres_server import Server, _programs
from processes import PLUGINS, GatewayProcess, client
from valkey_server import PROGRAM
from valkey_server import Server as Valkey
from waiting import until

REQUESTS = int(os.environ.get("GATEWAY_CHAOS", "700"))
CLIENTS = 24
IN, OUT = 1_000, 5_000   # nano-dollars per token
SAID = 10                # output tokens of each answer
SOON = 60.0              # seconds until nothing is reserved any more
ACTS = {"ok": 40, "stream": 25, "error": 10, "silent": 5, "cut": 5, "half": 5, "slow": 10}

pytestmark = pytest.mark.timeout(600 + REQUESTS // 5)


class Upstream:
    """Plays what each request asks for. `seen`: whoever came; `served`: whose whole answer was sent, and what for."""

    def __init__(self):
        self.seen, self.served = Counter(), {}

    async def serve(self, reader, writer):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(int(re.search(rb"content-length: (\d+)", head)[1]))
            number, act = msgspec.json.decode(body)["messages"][0]["content"].split()
            self.seen[int(number)] += 1
            if not await getattr(self, act)(writer, int(number)):
                writer.transport.abort()
                return

    async def ok(self, writer, number):
        usage = {"prompt_tokens": number, "completion_tokens": SAID, "total_tokens": number + SAID}
        message = {"role": "assistant", "content": "word " * SAID}
        body = msgspec.json.encode({
            "id": "x", "object": "chat.completion", "model": "m", "usage": usage,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        })  # fmt: skip
        self.served[number] = cost(number)
        return await self._send(writer, 200, "application/json", body)

    async def error(self, writer, number):
        body = b'{"error":{"message":"no","type":"server_error"}}'
        return await self._send(writer, random.choice((500, 503, 429)), "application/json", body)

    async def silent(self, writer, number):
        await asyncio.sleep(3)
        return False

    async def half(self, writer, number):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{\"id\":")
        await writer.drain()
        return False

    async def stream(self, writer, number, pause=0.0, whole=True):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(SAID):
            choice = {"index": 0, "delta": {"content": "word "}, "finish_reason": None}
            await self._chunk(writer, {"id": "x", "object": "chat.completion.chunk", "choices": [choice]})
            await asyncio.sleep(pause)
        if not whole:
            return False
        choice = {"index": 0, "delta": {}, "finish_reason": "stop"}
        usage = {"prompt_tokens": number, "completion_tokens": SAID, "total_tokens": number + SAID}
        await self._chunk(writer, {"id": "x", "object": "chat.completion.chunk", "choices": [choice]})
        self.served[number] = cost(number)
        await self._chunk(writer, {"id": "x", "object": "chat.completion.chunk", "choices": [], "usage": usage})
        end = b"data: [DONE]\n\n"
        writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(end), end))
        await writer.drain()
        return True

    async def slow(self, writer, number):
        return await self.stream(writer, number, pause=0.02)

    async def cut(self, writer, number):
        return await self.stream(writer, number, whole=False)

    async def _chunk(self, writer, value):
        data = b"data: " + msgspec.json.encode(value) + b"\n\n"
        writer.write(b"%x\r\n%s\r\n" % (len(data), data))
        await writer.drain()

    async def _send(self, writer, status, kind, body):
        writer.write(
            b"HTTP/1.1 %d X\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n%s" % (status, kind.encode(), len(body), body)
        )
        await writer.drain()
        return True


def cost(number):
    return number * IN + SAID * OUT


class Clients:
    """Those who ask: each request once, in any order, and some of them leave early."""

    def __init__(self, gateway, key):
        self.gateway, self.key = gateway, key
        self.told = {}           # request id -> cost that the answer named
        self.statuses = Counter()
        self.lost = 0
        self.done = 0

    async def run(self, count):
        waiting = list(range(1, count + 1))
        async with client(force_close=True) as session:
            await asyncio.gather(*(self._asks(session, waiting) for _ in range(CLIENTS)))

    async def _asks(self, session, waiting):
        while waiting:
            number = waiting.pop()
            act = random.choices(list(ACTS), ACTS.values())[0]
            patience = random.choice((20, 20, 20, 20, 20, 20, random.uniform(0, 0.3)))
            try:
                async with asyncio.timeout(patience):
                    await self._ask(session, number, act)
            except TimeoutError:
                self.statuses["left"] += 1
            except (aiohttp.ClientError, ConnectionError):
                self.lost += 1
                await asyncio.sleep(0.05)
            self.done += 1

    async def _ask(self, session, number, act):
        streamed = act in ("stream", "cut", "slow")
        body = {"messages": [{"role": "user", "content": f"{number} {act}"}], "stream": streamed, "max_tokens": 64}
        async with self.gateway.post(session, self.key, **body) as reply:
            await reply.read()
            self.statuses[reply.status] += 1
            if reply.status == 200 and "x-gateway-cost" in reply.headers:
                self.told[reply.headers["x-request-id"]] = round(float(reply.headers["x-gateway-cost"]) * 1e9)


class OnPostgres:
    """The database is a server, and is stopped. `twice`: what the counters may be above the ledger."""

    twice = 0

    def __init__(self, tmp_path):
        self.server = Server(_programs() or pytest.skip("PostgreSQL is not installed: `apt-get install postgresql`"))
        self.sections = {"database": self.server.url()}

    async def stop_for(self, seconds):
        await asyncio.to_thread(self.server.stop)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(self.server.start)

    async def rows(self, sql):
        connection = await asyncpg.connect(self.server.url())
        try:
            return [tuple(row) for row in await connection.fetch(sql)]
        finally:
            await connection.close()

    def close(self):
        self.server.remove()


class OnSqlite:
    """The database is a file, and somebody else locks it."""

    twice = 0

    def __init__(self, tmp_path):
        self.sections = {}
        self.file = tmp_path / "data" / "gateway.db"

    async def stop_for(self, seconds):
        connection = sqlite3.connect(self.file, isolation_level=None)
        with contextlib.closing(connection):
            connection.execute("PRAGMA busy_timeout = 20000")
            connection.execute("BEGIN IMMEDIATE")
            await asyncio.sleep(seconds)
            connection.execute("ROLLBACK")

    async def rows(self, sql):
        connection = sqlite3.connect(f"file:{self.file}?mode=ro", uri=True)
        with contextlib.closing(connection):
            return connection.execute(sql).fetchall()

    def close(self):
        pass


class OnValkey(OnPostgres):
    """The same, with the shared state of several machines: clients leave while its server answers.

    What a worker was just telling the server when it was killed is counted there, and once more as a killed exchange.
    """

    twice = 3 * CLIENTS * (REQUESTS * IN + SAID * OUT)

    def __init__(self, tmp_path):
        if PROGRAM is None:
            pytest.skip("neither Valkey nor Redis is installed: `apt-get install redis-server`")
        super().__init__(tmp_path)
        (tmp_path / "valkey").mkdir()
        self.state = Valkey(str(tmp_path / "valkey"))
        self.state.start()
        self.sections |= {"shared_state": self.state.url, "secret": "a secret that all machines know, of forty bytes"}

    def close(self):
        self.state.stop()
        super().close()


async def wreck(gateway, database, clients):
    """Workers die and the database stops, at moments that depend on how far the clients are."""
    for share, what in ((0.15, "kill"), (0.3, "database"), (0.5, "kill"), (0.7, "database"), (0.75, "kill")):
        await until(lambda share=share: clients.done >= REQUESTS * share, 60 + REQUESTS)
        if what == "database":
            await database.stop_for(3)
        elif workers := gateway.workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(random.choice(workers), signal.SIGKILL)


async def gauge(session, gateway, name):
    async with session.get(gateway.url + "/metrics") as reply:
        found = re.search(rf"^ai_gateway_{name}(?:\{{[^}}]*\}})? (\S+)$", await reply.text(), re.MULTILINE)
    return float(found[1]) if found else 0.0


async def spent(session, gateway, key):
    headers = {"authorization": f"Bearer {key}"}
    async with session.get(gateway.url + "/api/v1/usage/limits", headers=headers) as reply:
        told = msgspec.json.decode(await reply.read())
    daily = next(each for each in told["costs"] if (each["level"], each["period"]) == ("key", "daily"))
    return round(float(daily["spent"]) * 1e9), round(float(daily["reserved"]) * 1e9)


@pytest.mark.parametrize("kind", [OnPostgres, OnSqlite, OnValkey])
async def test_the_books_are_right_after_everything_went_wrong(tmp_path, kind):
    upstream, database = Upstream(), kind(tmp_path)
    try:
        async with serving(upstream.serve) as server:
            provider = {"base_url": f"http://127.0.0.1:{server.port}/v1", "api_key": "upstream-credential-000"}
            gateway = GatewayProcess(
                tmp_path, server={"workers": 2}, timeouts={"first_byte": 1, "idle": 1}, max_attempts=1,
                providers=[{"name": "up", "use": "provider.openai_compatible", "with": provider}],
                models=[{"name": "demo-small", "targets": ["up/m"]}],
                prices=[{"model": "up/m", "input": "1", "output": "5"}],
                plugins=[{"use": name} for name in (*PLUGINS, "admin.api")], **database.sections,
            )  # fmt: skip
            with gateway:
                made = await asyncio.to_thread(gateway.command, "keys", "create", "--cost-daily", "90000", "--json")
                key = msgspec.json.decode(made)["key"]
                clients = Clients(gateway, key)
                await asyncio.gather(clients.run(REQUESTS), wreck(gateway, database, clients))
                await settled(gateway, database, upstream, clients, key)
                before = await ledger_sum(database)
                assert await asyncio.to_thread(gateway.stop) == 0
                gateway.start()
                async with client() as session:
                    counted, reserved = await spent(session, gateway, key)
                    assert (before <= counted <= before + database.twice, reserved) == (True, 0)
                assert await asyncio.to_thread(gateway.stop) == 0
    finally:
        database.close()


async def settled(gateway, database, upstream, clients, key):
    """What must be true within a minute of the last request."""
    async with client() as session:
        await until(lambda: _quiet(session, gateway), SOON)
        rows = await database.rows(
            "SELECT id, outcome, input, cost, estimated, provider, (SELECT COUNT(*) FROM attempts a WHERE "
            "a.exchange_id = e.id) FROM exchanges e"
        )
        (counted, reserved), charged = await spent(session, gateway, key), sum(row[3] for row in rows)
        assert (charged <= counted <= charged + database.twice, reserved) == (True, 0), (counted, charged)
    by_id = {row[0]: row for row in rows}
    assert len(by_id) == len(rows), "two rows of one request"
    for ident, told in clients.told.items():
        assert by_id[ident][3] == told
    exact = {row[2]: row[3] for row in rows if not row[4] and row[3]}
    assert len(exact) == sum(1 for row in rows if not row[4] and row[3]), "one answer was charged twice"
    assert exact.items() <= upstream.served.items()
    unclear = sum(1 for row in rows if row[4])
    assert len(upstream.served) - len(exact) <= unclear, "an answer was served and charged to nobody"
    assert not [number for number, count in upstream.seen.items() if count != 1]
    asked = sum(1 for row in rows if row[6])
    killed = sum(1 for row in rows if row[1] == "killed")
    gone = sum(1 for row in rows if row[1] in ("client_closed", "upstream_error", "upstream_timeout"))
    assert len(upstream.seen) <= asked <= len(upstream.seen) + killed + gone
    assert killed <= 3 * CLIENTS
    outcomes = Counter(row[1] for row in rows)
    assert {"ok", "upstream_error", "upstream_timeout", "upstream_cut", "client_closed"} <= outcomes.keys(), outcomes
    assert not [row for row in rows if row[1] == "internal_error"]
    assert clients.statuses[200] > REQUESTS // 3
    assert await lost_sums(database) == []


async def _quiet(session, gateway):
    if await gauge(session, gateway, "active_requests") or await gauge(session, gateway, "journal_waiting_rows"):
        return False
    return await gauge(session, gateway, "budget_reserved_dollars") == 0


async def ledger_sum(database):
    return int((await database.rows("SELECT COALESCE(SUM(cost), 0) FROM exchanges"))[0][0])


async def lost_sums(database):
    """What the roll-ups and the ledger tell differently."""
    found = []
    for table in ("usage_hours", "usage_days"):
        for grain in ("all", "model"):
            (rolled,) = await database.rows(
                f"SELECT CAST(SUM(requests) AS BIGINT), CAST(SUM(cost) AS BIGINT) FROM {table} h "
                f"JOIN usage_dims d ON d.id = h.dim WHERE d.grain = '{grain}'"
            )
            (told,) = await database.rows("SELECT COUNT(*), CAST(SUM(cost) AS BIGINT) FROM exchanges")
            if tuple(rolled) != tuple(told):
                found.append((table, grain, rolled, told))
    return found
