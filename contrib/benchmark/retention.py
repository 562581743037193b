"""Does retention slow requests down? Fills a ledger, starts a gateway that takes most of it away, and measures both.

    python contrib/benchmark/retention.py --rows 10000000                       # SQLite
    python contrib/benchmark/retention.py --rows 10000000 --url postgresql://…  # a database with nothing in it

A hundred requests a second go to the demo provider: in the half minute before the job begins, and while it runs.
"""

import argparse
import asyncio
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
import ledger
import msgspec

from gateway.clock import now_ms
from gateway.money.rebuilding import rebuild
from gateway.store import Store
from gateway.store.postgres import PostgresStore
from gateway.store.sqlite import SqliteStore

RATE = 100
BEFORE, PAUSE, DURING = 24, 10, 60  # seconds; the job begins half a minute after the start
PLUGINS = ("auth.api_keys", "limiter.requests", "limiter.budget", "sink.ledger", "sink.prometheus")


async def fill(folder: Path, rows: int, url: str | None) -> None:
    """A ledger of ninety days of one tenant, its attempts, and their sums."""
    data = folder / "data"
    data.mkdir(mode=0o700)
    store: Store = await SqliteStore.open(data) if url is None else await PostgresStore.open(url, data_dir=data)
    began, start, gap = time.monotonic(), now_ms() - 90 * ledger.DAY, 90 * ledger.DAY // rows
    for first in range(1, rows + 1, ledger.STEP):
        numbers = ledger.SERIES[url is not None].format(a=first, b=min(rows, first + ledger.STEP - 1))
        made = ledger.ROW.format(start=start, gap=gap, numbers=numbers).replace("'t' || (h % 20)", "'default'")
        tried = "SELECT 'req_' || n, 1, 'p', 'x', 'ok', 200, CAST(NULL AS TEXT), 1, 1, 1, 0, 0, 0, 0, 5, '', ''"
        tried = f"INSERT INTO attempts {tried} FROM {numbers}"
        for statement in (f"INSERT INTO exchanges ({ledger.COLUMNS}) {made}", tried):
            await store._writer.write(lambda tx, text=statement: tx.rows(text))  # type: ignore[attr-defined]
    async for _ in rebuild(store):
        pass
    await store.close()
    print(f"{rows} rows made in {time.monotonic() - began:.0f} s")


async def measure(folder: Path, url: str | None) -> None:
    """Start the gateway, ask, and say how long answers took."""
    tree = {
        "server": {"port": 0}, "data_dir": str(folder / "data"), "retention": {"usage_days": 30},
        "providers": [{"name": "demo", "use": "provider.demo"}],
        "models": [{"name": "m", "targets": ["demo/demo-small"]}],
        "plugins": [{"use": name} for name in PLUGINS], **({"database": url} if url else {}),
    }  # fmt: skip
    (folder / "gateway.yaml").write_bytes(msgspec.json.encode(tree))
    log = folder / "log"
    with log.open("wb") as out:
        command = [sys.executable, "-m", "gateway", "serve", "--config", str(folder / "gateway.yaml")]
        gateway = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    try:
        while (ready := re.search(r"ready .*url=(\S+)", log.read_text())) is None:
            await asyncio.sleep(0.05)
        key = re.search(r"^key: (\S+)$", log.read_text(), re.MULTILINE)
        headers = {"authorization": f"Bearer {key[1] if key else ''}"}
        async with aiohttp.ClientSession(headers=headers) as session:
            for name, seconds in (("before", BEFORE), ("", PAUSE), ("while it runs", DURING)):
                took = sorted(await load(session, ready[1], seconds))
                middle, slow = took[len(took) // 2] * 1000, took[len(took) * 99 // 100] * 1000
                status = Path(f"/proc/{gateway.pid}/status").read_text()
                memory = int(status.partition("VmRSS:")[2].split()[0]) // 1024
                if name:
                    print(f"{name:14} p50 {middle:6.1f} ms   p99 {slow:6.1f} ms   memory {memory} MiB")
    finally:
        gateway.terminate()
        gateway.wait()


async def load(session: aiohttp.ClientSession, url: str, seconds: int) -> list[float]:
    """How long each request took, sent at a steady rate."""
    body = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}

    async def ask() -> float:
        began = time.monotonic()
        async with session.post(url + "/api/v1/chat/completions", json=body) as reply:
            await reply.read()
            reply.raise_for_status()
        return time.monotonic() - began

    tasks, begin = [], time.monotonic()
    for number in range(seconds * RATE):
        await asyncio.sleep(max(0.0, begin + number / RATE - time.monotonic()))
        tasks.append(asyncio.create_task(ask()))
    return await asyncio.gather(*tasks)


async def main(rows: int, url: str | None) -> None:
    """Fill, measure, and leave nothing."""
    folder = Path(tempfile.mkdtemp(prefix="gateway-retention-"))
    try:
        await fill(folder, rows, url)
        await measure(folder, url)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--url", help="a PostgreSQL database; SQLite without it")
    given = parser.parse_args()
    asyncio.run(main(given.rows, given.url))
