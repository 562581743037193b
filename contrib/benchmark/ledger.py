"""How long reports take over a large ledger: fills a database with made-up rows, adds them up, and asks.

    python contrib/benchmark/ledger.py --rows 10000000                      # SQLite, in a directory of its own
    python contrib/benchmark/ledger.py --rows 10000000 --url postgresql://…  # a database with nothing in it
"""

import argparse
import asyncio
import shutil
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from gateway.clock import now_ms
from gateway.money.rebuilding import rebuild
from gateway.store import Store
from gateway.store.postgres import PostgresStore
from gateway.store.reports import By, Which
from gateway.store.sqlite import SqliteStore

DAY = 86_400_000
DAYS = 90
STEP = 250_000
# Twenty tenants with fifty keys each, ten models at four providers: a key uses two models.
ROW = """
SELECT 'req_' || n, {start} + n * {gap} + (n * 7919) % 997, 't' || (h % 20), 'k' || h, '', 'u' || (h % 200), '',
  'chat.completions', 'm' || (h % 5 + n % 2 * 5), 'p' || ((h % 5 + n % 2 * 5) % 4), 'x',
  CASE WHEN n % 50 = 0 THEN 'upstream_error' ELSE 'ok' END, 200, n % 2, n % 4000, n % 700, n % 100, 0, 0,
  CASE WHEN n % 97 = 0 THEN 1 ELSE 0 END, n % 1000 * 1000, 'v', 0, 400000 + n % 1000, 900000, 300, CAST(NULL AS TEXT),
  'g' || (h % 50)
FROM (SELECT n, n * 7919 / 13 % 1000 AS h FROM {numbers}) AS some
"""
COLUMNS = (
    "id, ts_ms, tenant, key, key_name, owner, environment, endpoint, model, provider, target_model, outcome, "
    "http_status, streamed, input, output, cached, cache_write, reasoning, estimated, cost, price_version, unpriced, "
    "ttfb_us, duration_us, overhead_us, error, team"
)
SERIES = {
    False: "(WITH RECURSIVE c(n) AS (SELECT {a} UNION ALL SELECT n + 1 FROM c WHERE n < {b}) SELECT n FROM c) AS c",
    True: "generate_series(CAST({a} AS BIGINT), {b}) AS c(n)",
}


async def fill(store: Store, rows: int, *, postgres: bool) -> None:
    """Make the rows, oldest first, and their sums."""
    began, start = time.monotonic(), now_ms() - DAYS * DAY
    for first in range(1, rows + 1, STEP):
        numbers = SERIES[postgres].format(a=first, b=min(rows, first + STEP - 1))
        made = ROW.format(start=start, gap=DAYS * DAY // rows, numbers=numbers)
        writer = store._writer  # type: ignore[attr-defined]
        await writer.write(lambda tx, made=made: tx.rows(f"INSERT INTO exchanges ({COLUMNS}) {made}"))
    print(f"{rows} rows made in {time.monotonic() - began:.0f} s")
    if postgres:
        await store._reports.rows("ANALYZE")  # type: ignore[attr-defined]
    began, total = time.monotonic(), 0
    async for _, count, _ in rebuild(store):
        total += count
    print(f"{total} rows added up in {time.monotonic() - began:.0f} s")
    if postgres:
        await store._reports.rows("ANALYZE")  # type: ignore[attr-defined]


async def ask(store: Store) -> None:
    """The questions of a dashboard, each a few times."""
    end = now_ms()
    month, quarter = end // DAY * DAY - 29 * DAY, end // DAY * DAY - (DAYS - 1) * DAY
    odd = month + 5 * 3_600_000  # midnight in another zone
    odd_days, days, hours = range(odd, end, DAY), range(month, end, DAY), range(end // DAY * DAY - DAY, end, 3_600_000)

    def sums(start: int, by: By | None, starts: range = range(0), **which: str) -> Callable[[], Awaitable[object]]:
        return lambda: store.usage_sums(Which(**which), start, end, by, starts)  # type: ignore[arg-type]

    questions: dict[str, Callable[[], Awaitable[object]]] = {
        "all tenants: 30 days": sums(month, None), "all tenants: 90 days": sums(quarter, None),
        "all tenants: by day": sums(month, None, days), "all tenants: by hour": sums(hours[0], None, hours),
        "all tenants: by model": sums(month, "model"), "all tenants: by provider": sums(month, "provider"),
        "all tenants: by tenant": sums(month, "tenant"), "all tenants: by team": sums(month, "team"),
        "all tenants: by key": sums(month, "key"), "all tenants: by day, of another zone": sums(odd, None, odd_days),
        "one tenant: 30 days": sums(month, None, tenant="t3"), "one tenant: by key": sums(month, "key", tenant="t3"),
        "one tenant: by user": sums(month, "owner", tenant="t3"),
        "one tenant: by day": sums(month, None, days, tenant="t3"),
        "one tenant: model by day, of another zone": sums(odd, "model", odd_days, tenant="t3"),
        "one key: by day, of another zone": sums(odd, None, odd_days, key="k63"),
        "one request": lambda: store.usage_row("req_4711"),
    }
    for name, question in questions.items():
        took = []
        for _ in range(5):
            began = time.perf_counter()
            await question()
            took.append((time.perf_counter() - began) * 1000)
        print(f"{name:44} {statistics.median(took):8.1f} ms   (first {took[0]:.1f})")


async def main(rows: int, url: str | None, keep: Path | None) -> None:
    """Fill, unless it was kept, and ask."""
    folder = keep or Path(tempfile.mkdtemp(prefix="gateway-ledger-"))
    store: Store
    if url is None:
        store = await SqliteStore.open(folder)
    else:
        store = await PostgresStore.open(url, data_dir=folder)
    try:
        if not await store.rollup_days():
            await fill(store, rows, postgres=url is not None)
        await ask(store)
    finally:
        await store.close()
        if keep is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--url", help="a PostgreSQL database; SQLite without it")
    parser.add_argument("--keep", type=Path, help="a directory for the data: kept, and used again")
    given = parser.parse_args()
    asyncio.run(main(given.rows, given.url, given.keep))
