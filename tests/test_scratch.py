"""The directory of the shared state is private, and in memory where there is room."""

import os
from pathlib import Path

import pytest

from gateway import scratch
from gateway.scratch import scratch_directory


@pytest.fixture
def memory(tmp_path, monkeypatch):
    """A stand-in for /dev/shm."""
    directory = tmp_path / "shm"
    directory.mkdir()
    mounts = tmp_path / "mounts"
    mounts.write_text(f"tmpfs {directory} tmpfs rw 0 0\n")
    monkeypatch.setattr(scratch, "_MEMORY", directory)
    monkeypatch.setattr(scratch, "_MOUNTS", mounts)
    return directory


@pytest.fixture
def data_dir(tmp_path):
    directory = tmp_path / "data"
    directory.mkdir(mode=0o700)
    return directory


def test_it_is_in_memory_private_and_the_same_at_the_next_start(memory, data_dir):
    found = scratch_directory(data_dir, 1000)
    assert found.parent == memory
    assert found.stat().st_mode & 0o777 == 0o700
    assert scratch_directory(data_dir, 1000) == found
    assert scratch_directory(data_dir.parent / "other", 1000) != found


def test_without_room_it_is_in_the_data_directory(memory, data_dir):
    assert scratch_directory(data_dir, 1 << 60) == data_dir / "run"


def test_where_the_memory_file_system_is_missing_it_is_in_the_data_directory(memory, data_dir, tmp_path):
    (tmp_path / "mounts").write_text(f"/dev/sda1 {memory} ext4 rw 0 0\n")
    assert scratch_directory(data_dir, 1000) == data_dir / "run"


@pytest.mark.parametrize("trap", ["open to others", "a link"])
def test_a_directory_that_somebody_else_prepared_is_not_used(memory, data_dir, trap):
    name = scratch_directory(data_dir, 1000)
    if trap == "a link":
        name.rmdir()
        name.symlink_to(data_dir)
    else:
        name.chmod(0o755)
    assert scratch_directory(data_dir, 1000) == data_dir / "run"


def test_the_real_one_can_be_made(data_dir):
    found = scratch_directory(data_dir, 1000)
    assert os.access(found, os.W_OK)
    if found.parent == Path("/dev/shm"):
        found.rmdir()
