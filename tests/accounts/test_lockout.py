"""Guessing gets slower, for accounts that exist and for those that do not."""

import pytest

from gateway.accounts import lockout
from gateway.accounts.lockout import Lockout
from gateway.errors import RateLimited
from gateway.store.sqlite import SqliteStore


@pytest.fixture
async def door(tmp_path, monkeypatch):
    store = await SqliteStore.open(tmp_path / "data")
    clock = [1_000_000_000]
    monkeypatch.setattr(lockout, "now_ms", lambda: clock[0])
    made = Lockout(store, b"m" * 32)
    made.clock, made.store = clock, store
    yield made
    await store.close()


async def fail(door, times, email="a@b.c", address="192.0.2.1"):
    for _ in range(times):
        await door.store.commit(door.failed(email, address))


async def wait_of(door, email="a@b.c", address="192.0.2.1"):
    try:
        await door.check(email, address)
    except RateLimited as refused:
        return refused.retry_after
    return 0


async def test_the_pause_begins_after_some_failures_and_doubles(door):
    await fail(door, 4)
    assert await wait_of(door) == 0
    seen = []
    for _ in range(9):
        await fail(door, 1)
        seen.append(await wait_of(door))
    assert seen == [15, 30, 60, 120, 240, 480, 900, 900, 900]
    door.clock[0] += 900_000
    assert await wait_of(door) == 0


async def test_an_account_waits_wherever_it_is_tried_from_and_in_any_case(door):
    await fail(door, 5)
    assert await wait_of(door, " A@B.c", "198.51.100.1") == 15
    assert await wait_of(door, "other@b.c", "198.51.100.1") == 0


async def test_an_address_that_tries_many_accounts_waits_too(door):
    for number in range(30):
        await fail(door, 1, f"user{number}@b.c")
    assert await wait_of(door, "new@b.c") == 15
    assert await wait_of(door, "new@b.c", "198.51.100.1") == 0


async def test_a_login_makes_the_accounts_failures_forgotten_and_so_does_time(door):
    await fail(door, 5)
    await door.store.commit(door.forgotten("a@b.c", "192.0.2.1"))
    assert await wait_of(door) == 0
    await fail(door, 4)
    door.clock[0] += 3_600_001
    await fail(door, 4)
    assert await wait_of(door) == 0


async def test_failures_at_the_same_time_all_count(door):
    import asyncio

    await asyncio.gather(*(fail(door, 1) for _ in range(6)))
    assert await wait_of(door) == 30


async def test_addresses_are_not_kept_in_clear(door, tmp_path):
    await fail(door, 1, "secretive@example.com", "203.0.113.77")
    rows = await door.store._lookups.rows("SELECT name FROM login_failures")
    assert len(rows) == 2
    assert "secretive" not in str(rows)
    assert "203.0.113.77" not in str(rows)
