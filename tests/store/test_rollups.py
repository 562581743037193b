"""Roll-ups equal the ledger: as rows come, after they were built anew, and for any piece of time."""

import asyncio
import itertools
import random
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from gateway.money.ledger import LedgerRow
from gateway.money.rebuilding import fill_missing, rebuild
from gateway.store.reports import Which

HOUR = 3_600_000
DAY = 24 * HOUR
T0 = 20_000 * DAY
COUNTS = ("requests", "succeeded", "refused", "input", "output", "cached", "cost", "unpriced", "estimated", "answered")


def rows(count, seed=1, days=4):
    dice = random.Random(seed)
    made = []
    for n in range(count):
        tenant = dice.choice(["acme", "zeta"])
        model = dice.choice(["gpt", "claude", "x" * 256, "\u00e9\u4e2d"])
        made.append(LedgerRow(
            id=f"r{seed}-{n}", ts_ms=T0 + dice.randrange(days * DAY), tenant=tenant, key=f"{tenant}-k{n % 5}",
            owner=f"u{n % 3}", team=dice.choice(["", "t1", "t2"]), model=model,
            provider=dice.choice(["openai", "azure", ""]), target_model=model + "-1",
            outcome=dice.choice(["ok", "ok", "refused", "upstream_error"]), input=dice.randrange(10_000),
            output=n, cached=n % 7, cost=dice.randrange(10**12), unpriced=n % 11 == 0, estimated=n % 13 == 0,
            duration_us=n * 10, ttfb_us=n if n % 4 else None,
        ))  # fmt: skip
    return made


def added(found, name, group=None, since=0, until=1 << 60):
    """What the ledger says, by plain Python."""
    sums = {}
    for row in found:
        if since <= row.ts_ms < until:
            model = row.model if row.provider else ""
            key = "" if group is None else model if group == "model" else getattr(row, group)
            known = sums.setdefault(key, dict.fromkeys(COUNTS, 0))
            for count in COUNTS:
                known[count] += {
                    "requests": 1, "succeeded": row.outcome == "ok", "refused": row.outcome == "refused",
                    "answered": row.ttfb_us is not None,
                }.get(count, getattr(row, count, 0))  # fmt: skip
    return {key: values[name] for key, values in sums.items()}


async def told(store, which, start, end, by=None):
    return {(each.group): {name: getattr(each, name) for name in COUNTS}
            for each in await store.usage_sums(which, start, end, by)}  # fmt: skip


@pytest.fixture
async def filled(store):
    made = rows(400)
    for at in range(0, 400, 90):
        await store.append("w0", at + 90, made[at : at + 90])
    await store.append("w0", 500, made[:10])  # repeated: counts once
    return made


SPANS = [
    (0, 1 << 60), (T0, T0 + DAY), (T0 + 1, T0 + 4 * DAY - 1), (T0 + 5 * HOUR, T0 + 2 * DAY + 7 * HOUR),
    (T0 + 90_000, T0 + 100_000), (T0 + HOUR - 1, T0 + HOUR + 1), (T0 + DAY // 2, T0 + DAY // 2), (T0 - DAY, T0),
    (T0 + 13 * HOUR + 1, T0 + 14 * HOUR), (T0 + 30 * HOUR, T0 + 3 * DAY),
]  # fmt: skip


@pytest.mark.parametrize("by", [None, "tenant", "team", "owner", "key", "provider", "model"])
async def test_any_piece_of_time_is_what_the_ledger_says_for_each_group(store, filled, by):
    for start, end in SPANS:
        found = await told(store, Which(), start, end, by)
        for name in COUNTS:
            assert {group: sums[name] for group, sums in found.items()} == added(filled, name, by, start, end), (
                start - T0, end - T0, name,
            )  # fmt: skip


@pytest.mark.parametrize(
    "which",
    [
        {"tenant": "acme"}, {"teams": ("t1",)}, {"teams": ()}, {"owner": "u1"}, {"key": "acme-k1"},
        {"model": "gpt"}, {"provider": "azure", "tenant": "zeta"}, {"tenant": "acme", "teams": ("t1", "t2")},
        {"tenant": "nobody"},
    ],
)  # fmt: skip
async def test_filters_are_those_of_the_ledger(store, filled, which):
    def fits(row):
        model = row.model if row.provider else ""
        return all(
            row.team in value if name == "teams" else (model if name == "model" else getattr(row, name)) == value
            for name, value in which.items()
        )

    mine = [row for row in filled if fits(row)]
    for start, end in SPANS[:5]:
        found = await told(store, Which(**which), start, end)
        assert found.get("", {}).get("cost", 0) == added(mine, "cost", None, start, end).get("", 0)
        assert found.get("", {}).get("requests", 0) == added(mine, "requests", None, start, end).get("", 0)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu", "America/New_York"])
async def test_days_of_every_zone_are_exact(store, filled, zone):
    first = datetime.fromtimestamp(T0 / 1000, ZoneInfo(zone)).replace(hour=0, minute=0, second=0, microsecond=0)
    days = [int((first.replace(tzinfo=None) + timedelta(days=n)).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)
            for n in range(7)]  # fmt: skip
    for by in (None, "model"):
        found = await store.usage_sums(Which(), days[0], days[-1], by, days[:-1])
        for start, end in itertools.pairwise(days):
            here = {each.group: each.cost for each in found if each.start_ms == start}
            assert here == added(filled, "cost", by, start, end)


async def test_what_is_built_anew_is_what_was_there(store, filled):
    before = [await told(store, Which(), *span, "key") for span in SPANS]
    await spoilt(store)
    assert [found async for found in _counted(store)] == [len(filled)]
    assert [await told(store, Which(), *span, "key") for span in SPANS] == before


async def _counted(store):
    total = 0
    async for _, found, _ in rebuild(store):
        total += found
    yield total


async def spoilt(store, extra=""):
    """Roll-ups that are wrong in every way: too much, too little, and of something that is not in the ledger."""
    async def steps(tx):
        await tx.rows("UPDATE usage_hours SET cost = cost + 5, requests = 0")
        await tx.rows("DELETE FROM usage_days WHERE span % 2 = 0")
        await tx.rows(
            "INSERT INTO usage_dims (id, grain, tenant, team, owner, key, provider, model, target_model) "
            "VALUES (1, 'all', 'acme', '', '', 'made-up', '', '', '')"
        )
        zeros = ", ".join("7" for _ in range(14))
        await tx.rows(f"INSERT INTO usage_hours VALUES (1, {T0 // HOUR + 2}, {zeros})")
        if extra:
            await tx.rows(extra)

    await store._writer.write(steps)


async def test_what_retention_took_from_the_ledger_stays_in_the_roll_ups(store, filled):
    before = await told(store, Which(), 0, 1 << 60, "key")
    await store._writer.write(lambda tx: tx.rows(
        "DELETE FROM exchanges WHERE tenant = 'acme' AND ts_ms < $1", T0 + 2 * DAY + 1234567
    ))  # fmt: skip
    async for _ in rebuild(store):
        pass
    assert await told(store, Which(), 0, 1 << 60, "key") == before


async def test_a_ledger_from_before_roll_ups_is_added_up_once(store, filled):
    whole = await told(store, Which(), 0, 1 << 60, "key")
    await spoilt(store, "INSERT INTO meta (name, value) VALUES ('rollups', 'missing')")
    assert await store.rollups_missing()
    await fill_missing(store)
    assert await told(store, Which(), 0, 1 << 60, "key") == whole
    assert not await store.rollups_missing()


async def test_ten_thousand_different_things_in_one_hour_all_reach_the_roll_up(store):
    made = [LedgerRow(f"r{n}", T0 + n, "acme", f"k{n % 5000}", model=f"m{n // 5000}", provider="p", cost=n)
            for n in range(10_000)]  # fmt: skip
    await store.append("w0", 1, made)
    found = await store.usage_sums(Which(), T0, T0 + DAY, "key")
    assert (len(found), sum(each.cost for each in found)) == (5000, sum(range(10_000)))
    assert {each.group: each.requests for each in await store.usage_sums(Which(), T0, T0 + HOUR, "model")} == {
        "m0": 5000, "m1": 5000,
    }  # fmt: skip


async def test_rows_that_come_while_days_are_built_anew_are_counted_once(store, filled):
    late = rows(120, seed=2)

    async def come():
        for at in range(0, 120, 10):
            await store.append("w1", at + 10, late[at : at + 10])

    async def build():
        async for _ in rebuild(store):
            pass

    await asyncio.gather(come(), build(), build())
    found = await told(store, Which(), 0, 1 << 60, "key")
    assert {group: sums["cost"] for group, sums in found.items()} == added([*filled, *late], "cost", "key")
