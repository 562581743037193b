"""What is kept for a full disk: made where there is room, given up when there is none, and made again."""

import errno
import os
from types import SimpleNamespace

import pytest
import structlog

from gateway.store.ballast import Ballast, given_up

MIB = 1 << 20


@pytest.fixture
def disk(monkeypatch):
    """A disk of 100 MiB with as much free as it is told."""
    told = SimpleNamespace(free=50 * MIB)

    def statvfs(path):
        return SimpleNamespace(f_frsize=4096, f_blocks=100 * MIB // 4096, f_bavail=told.free // 4096)

    monkeypatch.setattr(os, "statvfs", statvfs)
    return told


def size(directory):
    path = directory / "ballast"
    return path.stat().st_size if path.exists() else None


def test_it_is_given_up_once_when_the_disk_is_full_and_made_again_when_it_is_not(tmp_path, disk):
    ballast = Ballast(tmp_path, most=8 * MIB)
    assert (ballast.look(), size(tmp_path), given_up(tmp_path)) == (50 * MIB, 8 * MIB, False)
    assert (tmp_path / "ballast").stat().st_mode & 0o077 == 0
    disk.free = 3 * MIB
    ballast.look()
    assert size(tmp_path) == 8 * MIB
    with structlog.testing.capture_logs() as logs:
        disk.free = MIB
        ballast.look()
        assert (size(tmp_path), given_up(tmp_path)) == (0, True)
        disk.free = 9 * MIB  # what it gave, and a little more: not enough to take it back
        ballast.look()
        assert given_up(tmp_path)
        disk.free = 12 * MIB
        ballast.look()
    assert (size(tmp_path), given_up(tmp_path)) == (8 * MIB, False)
    assert [line["log_level"] for line in logs] == ["error", "info"]
    ballast.drop()
    assert list(tmp_path.iterdir()) == []


def test_little_space_is_said_once(tmp_path, disk):
    ballast = Ballast(tmp_path, most=2 * MIB)
    ballast.look()
    with structlog.testing.capture_logs() as logs:
        for free in (15, 15, 40, 15):
            disk.free = free * MIB
            ballast.look()
    assert [line["event"] for line in logs] == ["there is little space on the disk"] * 2


def test_a_small_disk_gives_an_eighth_and_a_tiny_one_nothing(tmp_path, disk):
    Ballast(tmp_path).look()
    assert size(tmp_path) == 100 * MIB // 8
    Ballast(tmp_path, most=MIB - 1).drop()
    Ballast(tmp_path, most=MIB - 1).look()
    assert size(tmp_path) is None


@pytest.mark.parametrize("kind", [errno.EOPNOTSUPP, errno.ENOSPC])
def test_where_no_space_can_be_reserved_there_is_none_and_nothing_is_refused(tmp_path, disk, monkeypatch, kind):
    def refused(*_):
        raise OSError(kind, "no")

    monkeypatch.setattr(os, "posix_fallocate", refused)
    ballast = Ballast(tmp_path, most=MIB)
    ballast.look()
    assert list(tmp_path.iterdir()) == []
    assert not given_up(tmp_path)
    monkeypatch.undo()
    ballast.look()
    assert (size(tmp_path) is None) == (kind == errno.EOPNOTSUPP)
