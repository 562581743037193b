"""The lock that makes two writers impossible, and the directory that only its user can enter."""

import os
import subprocess
import sys

import pytest

from gateway.store import StoreUnavailable
from gateway.store.lock import OwnedElsewhere, Ownership, private_directory


def test_a_second_owner_is_refused_and_told_who_is_the_first(data_dir):
    first = Ownership.acquire(data_dir)
    with pytest.raises(OwnedElsewhere, match=f"Process {os.getpid()} owns"):
        Ownership.acquire(data_dir)
    first.release()
    first.release()
    Ownership.acquire(data_dir).release()


def test_another_process_is_refused_too(data_dir):
    lock = Ownership.acquire(data_dir)
    code = (
        "import sys, pathlib\nfrom gateway.store.lock import *\n"
        "try: Ownership.acquire(pathlib.Path(sys.argv[1]))\nexcept OwnedElsewhere: print('refused')"
    )
    out = subprocess.run([sys.executable, "-c", code, str(data_dir)], capture_output=True, text=True, check=True)
    assert out.stdout == "refused\n"
    lock.release()


def test_a_new_directory_is_private_whatever_the_umask(tmp_path):
    old = os.umask(0)
    try:
        private_directory(tmp_path / "a" / "b")
    finally:
        os.umask(old)
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_a_directory_that_others_can_enter_is_refused_and_left_alone(tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o755)
    (shared / "theirs").write_text("")
    with pytest.raises(StoreUnavailable, match=r"mode 0755.*chmod 700"):
        private_directory(shared)
    assert shared.stat().st_mode & 0o777 == 0o755


def test_an_empty_directory_of_ones_own_is_closed_to_others(tmp_path):
    """As a fresh volume, or one that was made beforehand."""
    made = tmp_path / "made"
    made.mkdir()
    made.chmod(0o755)
    private_directory(made)
    assert made.stat().st_mode & 0o777 == 0o700


def test_a_file_in_the_place_of_the_directory_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="cannot be used"):
        private_directory(tmp_path / "file" / "data")
