"""A private directory for files that the workers of one gateway map into memory and nobody needs after it."""

import hashlib
import os
import stat
from pathlib import Path
from typing import Final

from gateway.store.lock import private_directory

_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a directory of our own is made in it, and checked
_MOUNTS: Final = Path("/proc/mounts")


def scratch_directory(data_dir: Path, size: int) -> Path:
    """One for `size` bytes, always the same for a `data_dir`: in memory if there is room, else in `data_dir`.

    On a disk the system would write out each changed page now and then, for nothing.
    """
    name = f"ai-gateway-{os.geteuid()}-{hashlib.blake2b(os.fsencode(data_dir), digest_size=8).hexdigest()}"
    if _has_room(size):
        directory = _MEMORY / name
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            if _is_ours(directory):  # everybody may write there, and the name can be guessed
                return directory
        except OSError:
            pass
    directory = data_dir / "run"
    private_directory(directory)
    return directory


def _has_room(size: int) -> bool:
    """Whether `/dev/shm` is memory, with twice the size left: containers often have a tiny one."""
    try:
        mounts = [line.split()[1:3] for line in _MOUNTS.read_text().splitlines()]
        left = os.statvfs(_MEMORY)
    except OSError:
        return False
    return [str(_MEMORY), "tmpfs"] in mounts and left.f_bavail * left.f_frsize > 2 * size


def _is_ours(directory: Path) -> bool:
    found = directory.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not stat.S_IMODE(found.st_mode) & 0o077
