"""The mapped file: the same as memory on any script, exact over processes, and nothing lost to a killed worker."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.shared_state import Ask, Granted, Refused, SharedState
from gateway.shared_state.mapped import MappedState, StateFull
from gateway.shared_state.memory import MemoryState

SECOND = 1_000_000_000

WORKER = """
import asyncio, sys
from pathlib import Path
from gateway.shared_state import Ask, Granted
from gateway.shared_state.mapped import MappedState

async def main(path, owner, tries):
    state = MappedState(Path(path), owner)
    asks = [Ask("window", "w", 500, 1, 3600.0), Ask("lease", "l", 500), Ask("budget", "b", 3500, 7)]
    print("ready", flush=True)
    sys.stdin.readline()
    admitted = 0
    for i in range(int(tries)):
        admitted += isinstance(await state.take(f"h{i}", asks), Granted)
    print(admitted, flush=True)
    sys.stdin.readline()
    await state.close()

asyncio.run(main(*sys.argv[1:]))
"""


class Clock:
    def __init__(self) -> None:
        self.now = 5_000 * SECOND

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def state(tmp_path, clock):
    state = MappedState(tmp_path / "state", "0", create=True, map_size=4 << 20, clock=clock)
    yield state
    await state.close()


def start_worker(path: Path, owner: str, tries: int) -> subprocess.Popen:
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(path), owner, str(tries)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )
    assert worker.stdout.readline() == "ready\n"
    return worker


def tell(worker: subprocess.Popen) -> None:
    worker.stdin.write("go\n")
    worker.stdin.flush()


def end(worker: subprocess.Popen) -> None:
    worker.kill()
    worker.wait(10)
    worker.stdin.close()
    worker.stdout.close()


def test_it_keeps_the_interface(state):
    checked: SharedState = state
    assert checked is state


keys = st.sampled_from(["a", "b"])
step = st.one_of(
    st.tuples(
        st.just("take"), st.integers(0, 8),
        st.lists(
            st.builds(
                Ask, st.sampled_from(["window", "lease", "budget"]), keys, st.integers(0, 20), st.integers(0, 9),
                st.sampled_from([1.0, 60.0]), st.sampled_from([None, 90.0]),
            ),
            min_size=1, max_size=2, unique_by=lambda ask: ask.key,
        ),
    ),
    st.tuples(st.just("settle"), st.integers(0, 8), st.dictionaries(keys, st.integers(0, 30))),
    st.tuples(st.just("charge"), st.integers(0, 8), keys),
    st.tuples(st.just("seed"), st.integers(0, 50), keys),
    st.tuples(st.just("wait"), st.integers(0, 70 * SECOND), st.none()),
    st.tuples(st.just("sweep"), st.none(), st.none()),
    st.tuples(st.just("release"), st.none(), st.none()),
)


async def perform(state: SharedState, clock: Clock, name: str, number: int, what) -> object:
    if name == "take":
        try:
            return await state.take(f"h{number}", what)
        except ValueError as error:
            return str(error)
    if name == "settle":
        return await state.settle(f"h{number}", what)
    if name == "charge":
        return await state.charge([Ask("budget", what, 0, number, keep=90.0)])
    if name == "seed":
        return await state.seed({what: number})
    if name == "wait":
        clock.now += number
        return None
    return await (state.sweep() if name == "sweep" else state.release_owner("0"))


async def look(state: SharedState) -> object:
    asks = [Ask(kind, key, 10) for kind in ("window", "lease", "budget") for key in ("a", "b")]
    standings = [(await state.peek([ask]))[0] for ask in asks]
    return standings, [await state.spent(key) for key in ("a", "b")], await state.totals()


async def compare(script) -> None:
    with tempfile.TemporaryDirectory() as folder:
        clocks = Clock(), Clock()
        states = (
            MemoryState("0", clock=clocks[0]),
            MappedState(Path(folder) / "state", "0", create=True, map_size=1 << 20, clock=clocks[1]),
        )
        for move in script:
            outcomes = [await perform(state, clock, *move) for state, clock in zip(states, clocks, strict=True)]
            assert outcomes[0] == outcomes[1]
            seen = [await look(state) for state in states]
            assert seen[0] == seen[1]
            check_invariants(states[0])
        for state in states:
            await state.close()


def check_invariants(state: MemoryState) -> None:
    held = [entry for hold in state._holds.values() for entry in hold]
    for name, row in state._rows.items():
        mine = sum(amount for entry, _, amount in held if entry == name)
        if name[0] == "b":
            assert row[0] >= 0
            assert row[1] == mine
        elif name[0] == "l":
            assert row[0] == mine > 0 or row[0] == mine == 0


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(step, max_size=40))
def test_memory_and_the_mapped_file_do_the_same_on_any_script(script):
    asyncio.run(compare(script))


async def test_four_processes_admit_exactly_the_limit(tmp_path):
    path = tmp_path / "state"
    state = MappedState(path, "supervisor", create=True, map_size=4 << 20)
    workers = [start_worker(path, f"w{i}", 300) for i in range(4)]
    try:
        for worker in workers:
            tell(worker)
        assert sum(int(worker.stdout.readline()) for worker in workers) == 500
        assert await state.totals() == {"open_holds": 500, "reserved": 3500}
        assert (await state.peek([Ask("window", "w", 500)]))[0].used == 500
    finally:
        for worker in workers:
            end(worker)
    for i in range(4):
        await state.release_owner(f"w{i}")
    assert await state.totals() == {"open_holds": 0, "reserved": 0}
    assert await state.spent("b") == (0, 0)
    assert (await state.peek([Ask("lease", "l", 500)]))[0].used == 0
    await state.close()


async def test_a_worker_killed_in_the_middle_of_its_work_blocks_nobody_and_its_holds_come_back(tmp_path):
    path = tmp_path / "state"
    state = MappedState(path, "supervisor", create=True, map_size=4 << 20)
    worker = start_worker(path, "w0", 10_000_000)
    try:
        tell(worker)
        while (await state.totals())["open_holds"] < 100:
            await asyncio.sleep(0.005)
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait(10)
    finally:
        end(worker)
    held = (await state.totals())["open_holds"]
    assert held >= 100
    assert await state.release_owner("w0") == held
    assert await state.release_owner("w0") == 0
    assert await state.totals() == {"open_holds": 0, "reserved": 0}
    assert isinstance(await state.take("h", [Ask("lease", "l", 500, 500)]), Granted)
    await state.close()


async def test_a_worker_that_stops_beating_for_15_seconds_is_swept(tmp_path):
    path, clock = tmp_path / "state", Clock()
    clock.now = 10**15  # far behind the real clock of the worker process, so that it beats in the future
    state = MappedState(path, "supervisor", create=True, map_size=4 << 20)
    worker = start_worker(path, "w0", 20)
    try:
        tell(worker)
        assert worker.stdout.readline() == "20\n"
        assert await state.sweep() == 0
    finally:
        end(worker)
    real, state._clock = state._clock, lambda: real() + 14 * SECOND
    assert await state.sweep() == 0
    state._clock = lambda: real() + 16 * SECOND
    assert await state.sweep() == 20
    assert await state.totals() == {"open_holds": 0, "reserved": 0}
    await state.close()


async def test_a_beating_worker_keeps_its_holds(state, clock):
    await state.take("h", [Ask("lease", "l", 5)])
    clock.now += 100 * SECOND
    await state.beat()
    assert await state.sweep() == 0
    assert await state.settle("h") is True


async def test_a_full_file_refuses_in_words_and_still_gives_back(tmp_path, clock):
    state = MappedState(tmp_path / "state", "0", create=True, map_size=1 << 20, clock=clock)
    holds = 0
    refusal = ""
    while not refusal:
        try:
            await state.take(f"h{holds}", [Ask("lease", f"key {holds}", 5), Ask("window", f"w {holds}", 5)])
            holds += 1
        except StateFull as error:
            refusal = str(error)
    assert "1 MiB is full" in refusal
    assert holds > 1000
    for i in range(holds):
        assert await state.settle(f"h{i}") is True
    clock.now += 120 * SECOND
    for _ in range(holds // 200 + 2):
        await state.sweep()
    assert isinstance(await state.take("again", [Ask("lease", "k", 5)]), Granted)
    await state.close()


async def test_dead_windows_are_forgotten_and_living_ones_stay(state, clock):
    for i in range(600):
        await state.take("", [Ask("window", f"old{i}", 5)])
    clock.now += 120 * SECOND
    await state.beat()
    await state.take("", [Ask("window", "young", 5)])
    await state.take("h", [Ask("budget", "b", 5)])
    for _ in range(4):
        await state.sweep()
    assert state._env.stat()["entries"] == 4  # one window, one budget, one hold, one worker
    assert (await state.peek([Ask("window", "young", 5)]))[0].used == 1


async def test_a_generation_is_seen_by_other_processes(state, tmp_path):
    script = (
        "import sys, asyncio; from pathlib import Path; from gateway.shared_state.mapped import MappedState\n"
        "s = MappedState(Path(sys.argv[1]), 'w'); print(asyncio.run(s.bump('keys')))"
    )
    before = state.generation("keys")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(tmp_path / "state"), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert int(out) == state.generation("keys") == before + 1


async def test_creating_makes_the_state_anew_at_full_size_and_for_the_owner_only(tmp_path):
    path = tmp_path / "state"
    first = MappedState(path, "0", create=True, map_size=4 << 20)
    await first.take("h", [Ask("lease", "l", 5)])
    await first.bump("keys")
    await first.close()
    second = MappedState(path, "0", create=True, map_size=4 << 20)
    assert await second.totals() == {"open_holds": 0, "reserved": 0}
    assert second.generation("keys") == 0
    await second.close()
    for file in tmp_path.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.stat().st_blocks * 512 >= file.stat().st_size


async def test_reopening_finds_what_was_there(tmp_path):
    path = tmp_path / "state"
    first = MappedState(path, "0", create=True, map_size=4 << 20)
    await first.take("h", [Ask("lease", "l", 5)])
    await first.close()
    second = MappedState(path, "0")
    assert await second.settle("h") is True
    await second.close()


def test_a_missing_file_says_who_makes_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="the supervisor makes it at start"):
        MappedState(tmp_path / "nothing", "0")


def test_a_disk_without_room_is_refused_at_start(tmp_path, monkeypatch):
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="no room for"):
        MappedState(tmp_path / "state", "0", create=True)


@pytest.mark.parametrize("owner", ["", "a\0b"])
def test_an_owner_needs_a_usable_name(tmp_path, owner):
    with pytest.raises(ValueError, match="cannot name a worker"):
        MappedState(tmp_path / "state", owner, create=True)


async def test_long_names_work(state):
    asks = [Ask("lease", "é" * 900, 5)]
    await state.take("x" * 900, asks)
    assert (await state.peek(asks))[0].used == 1
    assert await state.settle("x" * 900) is True
    assert isinstance(await state.take("y", [Ask("lease", "é" * 900, 0)]), Refused)
