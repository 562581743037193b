"""A changed file is noticed once, when it has come to rest."""

import asyncio
import os

import pytest
from waiting import PATIENCE

from gateway.watch import changes, signature

EVERY = 0.02


class Watching:
    """Counts changes of a file."""

    def __init__(self, path):
        self.count = 0
        self._task = asyncio.ensure_future(self._run(path))

    async def _run(self, path):
        async for _ in changes(path, known=signature(path), every=EVERY):
            self.count += 1

    async def settled(self, expected):
        async with asyncio.timeout(PATIENCE):
            while self.count < expected:
                await asyncio.sleep(EVERY / 4)
        await asyncio.sleep(EVERY * 5)
        assert self.count == expected

    async def stop(self):
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "gateway.yaml"
    file.write_text("one")
    return file


@pytest.fixture
async def watching(path):
    found = Watching(path)
    await asyncio.sleep(EVERY * 2)
    yield found
    await found.stop()


async def test_a_change_is_noticed_once(path, watching):
    path.write_text("two!")
    await watching.settled(1)
    path.write_text("three")
    await watching.settled(2)


async def test_nothing_is_noticed_when_nothing_changes(watching):
    await watching.settled(0)


async def test_a_file_that_is_replaced_by_another_of_the_same_size_and_time_is_a_change(path, watching):
    other = path.with_name("other")
    other.write_text("eno")
    times = path.stat()
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.replace(path)
    await watching.settled(1)


async def test_a_swapped_symbolic_link_is_a_change(tmp_path):
    """As Kubernetes does it with a ConfigMap: the name is a link to a link to a directory."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "gateway.yaml").write_text(name)
    (tmp_path / "data").symlink_to("a")
    (tmp_path / "gateway.yaml").symlink_to("data/gateway.yaml")
    watching = Watching(tmp_path / "gateway.yaml")
    await asyncio.sleep(EVERY * 2)
    (tmp_path / "new").symlink_to("b")
    (tmp_path / "new").replace(tmp_path / "data")
    await watching.settled(1)
    await watching.stop()


async def test_a_file_that_is_gone_for_a_while_is_noticed_when_it_is_back(path, watching):
    path.unlink()
    await watching.settled(0)
    path.write_text("back")
    await watching.settled(1)


async def test_a_file_that_is_still_being_written_is_left_to_settle(path, watching):
    for part in range(6):
        with path.open("a") as file:
            file.write(f"part {part}\n")
        await asyncio.sleep(EVERY * 0.6)
    assert watching.count <= 1
    async with asyncio.timeout(PATIENCE):
        while not watching.count:
            await asyncio.sleep(EVERY)


def test_a_file_that_is_not_there_has_no_signature(tmp_path):
    assert signature(tmp_path / "nothing") is None
