"""The ledger in SQL: exactly once, whatever is repeated; sums; and exports page by page."""

import random

import pytest

from gateway.money.ledger import AttemptRow, LedgerRow
from gateway.store import Spent, StoreUnavailable
from gateway.store.sqlite import SqliteStore

DAY = 86_400_000


def row(number: int, **fields: object) -> LedgerRow:
    values = {
        "ts_ms": 20_000 * DAY + number, "tenant": "acme", "key": "k1", "model": "m", "provider": "p", "input": 10,
        "output": 5, "cached": 3, "cost": 7, "attempts": (AttemptRow("p", "m", "ok", 200, cost=7),),
    }
    return LedgerRow(id=f"r{number}", **(values | fields))


async def total(store: SqliteStore) -> tuple[int, int]:
    (all_of_it,) = await store.usage_summary(0, 1 << 60)
    return all_of_it.requests, all_of_it.cost


async def test_rows_and_position_arrive_together(store):
    assert await store.position("w0") == 0
    assert await store.append("w0", 123, [row(1), row(2)]) == 2
    assert await store.position("w0") == 123
    await store.append("w0", 456, [])
    assert await store.position("w0") == 456
    assert await store.position("w1") == 0
    await store.forget("w0")
    assert await store.position("w0") == 0
    assert await total(store) == (2, 14)


async def test_a_row_that_is_there_counts_nowhere_again(store):
    await store.append("w0", 1, [row(1), row(2)])
    assert await store.append("w0", 2, [row(2), row(3), row(3)]) == 1
    assert await store.append("w1", 9, [row(1)]) == 0
    assert await total(store) == (3, 21)
    assert await store.budget_sums("2024-10-04", "2024-10") == {
        ("key", "k1"): Spent(21, 21), ("tenant", "acme"): Spent(21, 21),
    }  # fmt: skip
    page = await store.usage_rows(0, 1 << 60)
    assert [len(one.attempts) for one in page.items] == [1, 1, 1]


async def test_any_sequence_of_overlapping_batches_gives_each_row_once(store):
    chance = random.Random(7)
    rows = [row(n, key=f"k{n % 3}", ts_ms=20_000 * DAY + n * DAY // 50) for n in range(200)]
    for _ in range(30):
        start = chance.randrange(200)
        await store.append("w0", start, rows[start : start + chance.randrange(60)])
    await store.append("w0", 200, chance.sample(rows, 200))
    assert await total(store) == (200, 1400)
    sums = await store._reports.rows("SELECT SUM(requests), SUM(tokens), SUM(cost) FROM usage_daily")
    assert sums == [(200, 3000, 1400)]


async def test_a_batch_larger_than_one_statement_may_name(store):
    rows = [row(n) for n in range(2_000)]
    assert await store.append("w0", 1, rows) == 2_000
    assert await store.append("w0", 2, rows) == 0


async def test_a_batch_that_fails_leaves_no_row_and_no_position(store):
    await store.append("w0", 1, [row(1)])
    bad = row(3, attempts=(AttemptRow("p", "m", "ok", cost=1 << 70),))
    with pytest.raises(Exception, match=r"too large|out of int64"):
        await store.append("w0", 2, [row(2), bad])
    assert await store.position("w0") == 1
    assert await total(store) == (1, 7)
    assert await store.append("w0", 2, [row(2)]) == 1


async def test_an_append_to_a_closed_store_can_be_repeated_later(data_dir):
    store = await SqliteStore.open(data_dir)
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.append("w0", 1, [row(1)])
    store = await SqliteStore.open(data_dir)
    assert await store.append("w0", 1, [row(1)]) == 1
    await store.close()


async def test_a_row_comes_back_as_it_was(store):
    whole = row(
        1, key_name="n", owner="u", environment="e", endpoint="/v1/x", target_model="t", outcome="refused",
        http_status=429, streamed=True, cache_write=1, reasoning=2, estimated=True, price_version="v", unpriced=True,
        ttfb_us=None, duration_us=5, overhead_us=6, error="rate_limit_exceeded",
        attempts=(AttemptRow("p", "m", "upstream_error", 500, "boom", 1), AttemptRow("q", "m", "ok", estimated=True)),
    )  # fmt: skip
    await store.append("w0", 1, [whole, row(2, attempts=())])
    assert (await store.usage_rows(0, 1 << 60)).items == (whole, row(2, attempts=()))


async def test_an_export_sees_each_row_once_also_at_equal_times(store):
    rows = [row(n, ts_ms=20_000 * DAY + n // 4, tenant="ab"[n % 2]) for n in range(40)]
    await store.append("w0", 1, rows)
    seen, cursor = [], None
    while True:
        page = await store.usage_rows(0, 1 << 60, cursor=cursor, limit=7)
        seen += [one.id for one in page.items]
        if (cursor := page.next) is None:
            break
    assert sorted(seen) == sorted(one.id for one in rows)
    assert {one.tenant for one in (await store.usage_rows(0, 1 << 60, tenant="a")).items} == {"a"}
    middle = await store.usage_rows(20_000 * DAY + 1, 20_000 * DAY + 3)
    assert len(middle.items) == 8


async def test_summaries_by_every_group_add_up_to_the_same(store):
    rows = [
        row(n, model=f"m{n % 2}", provider=f"p{n % 3}", key=f"k{n % 5}", tenant=f"t{n % 2}", cost=n,
            outcome="ok" if n % 4 else "refused", ts_ms=20_000 * DAY + n * DAY // 10, unpriced=n == 3)
        for n in range(30)
    ]  # fmt: skip
    await store.append("w0", 1, rows)
    for group, count in {"model": 2, "provider": 3, "key": 5, "tenant": 2, "day": 3, None: 1}.items():
        groups = await store.usage_summary(0, 1 << 60, group)
        assert len(groups) == count
        assert sum(one.cost for one in groups) == sum(range(30))
        assert sum(one.requests for one in groups) == 30
        assert sum(one.succeeded for one in groups) == 22
        assert sum(one.unpriced for one in groups) == 1
    days = [one.group for one in await store.usage_summary(0, 1 << 60, "day")]
    assert days == ["2024-10-04", "2024-10-05", "2024-10-06"]
    costs = [one.cost for one in await store.usage_summary(0, 1 << 60, "key")]
    assert costs == sorted(costs, reverse=True)


async def test_a_summary_keeps_to_its_tenant_key_and_time(store):
    await store.append("w0", 1, [row(1), row(2, tenant="b"), row(3, key="k2"), row(4, ts_ms=5)])
    one = (await store.usage_summary(20_000 * DAY, 20_001 * DAY, tenant="acme", key="k1"))[0]
    assert one.requests == 1
    nothing = (await store.usage_summary(20_000 * DAY, 20_001 * DAY, tenant="nobody"))[0]
    assert (nothing.requests, nothing.cost) == (0, 0)
    assert await store.usage_summary(20_000 * DAY, 20_001 * DAY, "day", tenant="nobody") == ()


async def test_budget_sums_are_of_the_day_and_its_month(store):
    def at(day: int) -> int:
        return (20_000 + day) * DAY  # day 0 is 4 October 2024

    await store.append("w0", 1, [
        row(1, ts_ms=at(0)), row(2, ts_ms=at(1)), row(3, ts_ms=at(-4)), row(4, ts_ms=at(27), key="k2"),
        row(5, ts_ms=at(28)),
    ])  # fmt: skip
    assert await store.budget_sums("2024-10-04", "2024-10") == {
        ("key", "k1"): Spent(7, 14), ("key", "k2"): Spent(0, 7), ("tenant", "acme"): Spent(7, 21),
    }  # fmt: skip


async def test_budget_sums_are_of_teams_and_users_too_each_row_once(store):
    rows = [row(1, owner="u1", team="t1"), row(2, owner="u1", key="k2"), row(3, owner="u2", team="t1"), row(4)]
    await store.append("w0", 1, rows)
    await store.append("w0", 2, rows)
    sums = await store.budget_sums("2024-10-04", "2024-10")
    assert {name: spent.monthly for name, spent in sums.items()} == {
        ("tenant", "acme"): 28, ("team", "t1"): 14, ("user", "u1"): 14, ("user", "u2"): 7, ("key", "k1"): 21,
        ("key", "k2"): 7,
    }  # fmt: skip
    page = await store.usage_rows(0, 1 << 60)
    assert [one.team for one in page.items] == ["t1", "", "t1", ""]


async def test_the_largest_sums_stay_exact(store):
    big = 1 << 53
    await store.append("w0", 1, [row(n, cost=big, input=big, output=0) for n in range(500)])
    (one,) = await store.usage_summary(0, 1 << 60)
    assert (one.cost, one.input) == (500 * big, 500 * big)
