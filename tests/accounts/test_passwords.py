"""Passwords: hashed slowly, off the loop, with their parameters beside them."""

import asyncio
import os
import sys
import threading

import pytest
from waiting import measured

from gateway.accounts import passwords
from gateway.accounts.passwords import Passwords, generate
from gateway.errors import Unavailable

MASTER = b"m" * 32


@pytest.fixture
def cheap() -> Passwords:
    return Passwords(MASTER, cost=1 << 4)


async def test_the_right_password_verifies_and_others_do_not(cheap):
    record = await cheap.hash("correct horse")
    assert await cheap.verify("correct horse", record)
    for wrong in ("correct hors", "", "Correct horse", "correct horse\0", "x" * 10_000, "\udc80"):
        assert not await cheap.verify(wrong, record)


async def test_a_record_is_salted_peppered_and_not_a_password_itself(cheap):
    record = await cheap.hash("p")
    assert record != await cheap.hash("p")
    assert not await Passwords(b"n" * 32, cost=1 << 4).verify("p", record)
    assert not await cheap.verify(record, record)


async def test_a_record_made_with_other_parameters_still_verifies(cheap):
    record = await Passwords(MASTER, cost=1 << 6).hash("p")
    assert record.startswith("scrypt$64$8$1$")
    assert await cheap.verify("p", record)


@pytest.mark.parametrize("record", [None, "", "p", "scrypt$1$2", "md5$16$8$1$aa$bb", f"scrypt${1 << 30}$8$1$AA==$AA=="])
async def test_no_record_or_a_damaged_one_is_refused_after_the_same_work(cheap, record, monkeypatch):
    ran: list[int] = []
    monkeypatch.setattr(passwords.hashlib, "scrypt", lambda *args, n, **rest: ran.append(n) or b"")
    assert not await cheap.verify("p", record)
    assert ran == [16]


@measured
async def test_the_default_is_what_owasp_asks_for_and_runs_off_the_loop():
    lag = 0.0
    hashing = asyncio.ensure_future(Passwords(MASTER).hash("p"))
    loop = asyncio.get_running_loop()
    while not hashing.done():
        before = loop.time()
        await asyncio.sleep(0.005)
        lag = max(lag, loop.time() - before - 0.005)
    assert (await hashing).startswith("scrypt$131072$8$1$")
    assert lag < 1


async def test_at_most_two_hash_at_a_time(cheap, monkeypatch):
    running, most, lock = 0, 0, threading.Lock()
    pause = threading.Event()

    def scrypt(*args: object, **kwargs: object) -> bytes:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        pause.wait(0.02)
        with lock:
            running -= 1
        return b"x" * 32

    monkeypatch.setattr(passwords.hashlib, "scrypt", scrypt)
    await asyncio.gather(*(cheap.hash("p") for _ in range(6)))
    assert most == 2


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads have no priority of their own")
async def test_hashing_gives_way_to_requests(cheap, monkeypatch):
    nice: list[int] = []

    def scrypt(*args: object, **kwargs: object) -> bytes:
        nice.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return b"x" * 32

    monkeypatch.setattr(passwords.hashlib, "scrypt", scrypt)
    await cheap.hash("p")
    assert nice[0] >= os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) + 5


async def test_a_storm_is_not_kept_waiting_for_ever_and_who_gives_up_leaves_the_queue(cheap, monkeypatch):
    end, ran = threading.Event(), []

    def scrypt(*args: object, **kwargs: object) -> bytes:
        ran.append(1)
        end.wait(60)
        return b"x" * 32

    monkeypatch.setattr(passwords.hashlib, "scrypt", scrypt)
    waiting = [asyncio.ensure_future(cheap.hash("p")) for _ in range(passwords.MAX_WAITING)]
    await asyncio.sleep(0.05)
    with pytest.raises(Unavailable) as refused:
        await cheap.hash("p")
    assert refused.value.retry_after == 5
    for each in waiting[2:]:
        each.cancel()
    await asyncio.sleep(0.01)
    end.set()
    assert await cheap.hash("p")
    await asyncio.gather(*waiting, return_exceptions=True)
    assert len(ran) == 3


def test_a_generated_password_is_long_and_never_the_same():
    made = {generate() for _ in range(200)}
    assert len(made) == 200
    assert {len(one) for one in made} == {24}
