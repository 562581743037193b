"""The load: closed loop, open loop at a fixed rate, streams. Prints one JSON object.

    python contrib/benchmark/load.py closed|open|streams|first|hold PORT PATH KEY [options as JSON]
"""

import asyncio
import json
import statistics
import sys
import time

import httptools
import uvloop

MESSAGES = [{"role": "system", "content": "You are brief."}, {"role": "user", "content": "lorem ipsum dolor " * 50}]


def request(path: str, key: str, **extra) -> bytes:
    """A whole HTTP request, about 1 kB of body."""
    body = json.dumps({"model": "bench", "messages": MESSAGES, **extra}, separators=(",", ":")).encode()
    return (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode() + body


class Client(asyncio.Protocol):
    """One keep-alive connection that sends one request at a time."""

    def __init__(self):
        self.done = None
        self.first = 0.0
        self.bytes = 0
        self.seen = b""

    @classmethod
    async def open(cls, port: int) -> "Client":
        _, client = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return client

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.parser.feed_data(data)

    def connection_lost(self, exc):
        if self.done and not self.done.done():
            self.done.set_exception(exc or ConnectionError("closed"))

    def on_body(self, body):
        if not self.bytes:
            self.first = time.perf_counter()
        self.bytes += len(body)
        if len(self.seen) < 100:
            self.seen += body[:100]

    def on_message_complete(self):
        self.status = self.parser.get_status_code()
        if not self.done.done():
            self.done.set_result(None)

    def send(self, raw: bytes) -> asyncio.Future:
        self.parser = httptools.HttpResponseParser(self)
        self.bytes, self.seen = 0, b""
        self.done = asyncio.get_running_loop().create_future()
        self.transport.write(raw)
        return self.done


def quantile(values: list[float], q: float) -> float:
    """The q-quantile in milliseconds."""
    return sorted(values)[min(len(values) - 1, int(len(values) * q))] * 1000


async def closed(port, raw, connections=64, seconds=4.0, **_):
    """As many requests as the subject answers."""
    clients = [await Client.open(port) for _ in range(connections)]
    counted, errors, stop = 0, 0, time.perf_counter() + seconds

    async def loop(client):
        nonlocal counted, errors
        while time.perf_counter() < stop:
            await client.send(raw)
            counted += 1
            errors += client.status != 200

    start = time.perf_counter()
    await asyncio.gather(*(loop(client) for client in clients))
    return {"requests": counted, "errors": errors, "per_second": counted / (time.perf_counter() - start)}


async def open_loop(port, raw, rate=200, seconds=5.0, **_):
    """Latency at a fixed rate, from the moment a request was due."""
    idle = [await Client.open(port) for _ in range(32)]
    took, tasks = [], []

    async def one(due):
        client = idle.pop() if idle else await Client.open(port)
        await client.send(raw)
        took.append(time.perf_counter() - due)
        idle.append(client)

    start = time.perf_counter()
    for number in range(int(rate * seconds)):
        due = start + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.ensure_future(one(due)))
    await asyncio.gather(*tasks)
    return {"p50_ms": quantile(took, 0.5), "p99_ms": quantile(took, 0.99), "requests": len(took)}


async def streams(port, raw, connections=16, seconds=4.0, chunks=200, **_):
    """Chunks per second over streams that never pause."""
    clients = [await Client.open(port) for _ in range(connections)]
    done, stop = 0, time.perf_counter() + seconds

    async def loop(client):
        nonlocal done
        while time.perf_counter() < stop:
            await client.send(raw)
            assert client.status == 200, client.seen
            done += 1

    start = time.perf_counter()
    await asyncio.gather(*(loop(client) for client in clients))
    return {"chunks_per_second": done * chunks / (time.perf_counter() - start)}


async def first(port, raw, connections=16, rounds=10, **_):
    """The delay until a paced stream's first bytes."""
    clients = [await Client.open(port) for _ in range(connections)]
    delays = []

    async def loop(client):
        for _ in range(rounds):
            sent = time.perf_counter()
            await client.send(raw)
            delays.append(client.first - sent)

    await asyncio.gather(*(loop(client) for client in clients))
    return {"p50_ms": statistics.median(delays) * 1000, "p99_ms": quantile(delays, 0.99)}


async def hold(port, raw, connections=1000, **_):
    """Open streams and keep them: says `open` and waits for a line on standard input."""
    clients = []
    for _ in range(connections):
        client = await Client.open(port)
        client.send(raw)
        clients.append(client)
    while sum(client.bytes > 0 for client in clients) < connections:
        await asyncio.sleep(0.05)
    print(json.dumps({"open": len(clients)}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    return {"open": sum(not client.done.done() for client in clients)}


KINDS = {"closed": closed, "open": open_loop, "streams": streams, "first": first, "hold": hold}


async def main() -> None:
    """Run one kind of load."""
    kind, port, path, key = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
    options = json.loads(sys.argv[5]) if len(sys.argv) > 5 else {}
    print(json.dumps(await KINDS[kind](port, request(path, key, **options.pop("body", {})), **options)), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
