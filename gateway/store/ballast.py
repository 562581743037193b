"""Space that is kept for the day on which the disk is full.

A database on a full disk can store nothing, and delete nothing either: without help it stays as it is. So some space is
reserved in a file, and given up when the disk runs full: what waits in the journal is stored then, keys can be revoked,
and what is over its time goes. New requests are refused meanwhile (`journal.py` looks at the same file), or they would
use that up as well.
"""

import errno
import os
from pathlib import Path
from typing import Final

import structlog

BALLAST: Final = "ballast"
MOST: Final = 64 << 20
_LEAST: Final = 1 << 20
_PART: Final = 8          # of the whole disk at most
_LOW: Final = 4           # it is given up when less than a quarter of it is free beside it
_SOON: Final = 8          # and this many times its size is little
_log = structlog.get_logger("gateway.disk")


class Ballast:
    """The file of one data directory. Not for several processes at once: the database's owner looks after it."""

    def __init__(self, data_dir: Path, most: int = MOST) -> None:
        self._path = data_dir / BALLAST
        self._data_dir = data_dir
        self._most = most
        self._warned = False
        self._possible = True

    def look(self) -> int:
        """Make the file or give it up, whichever is due. Returns the free bytes of the disk, without the file's."""
        disk = os.statvfs(self._data_dir)
        free = disk.f_bavail * disk.f_frsize
        size = min(self._most, disk.f_blocks * disk.f_frsize // _PART)
        low = size // _LOW
        if size < _LEAST or not self._possible:
            return free
        held = self._held()
        if held and free < low:
            os.truncate(self._path, 0)
            _log.error("the disk is full: new requests are refused until there is space", free=free, given_up=held)
        elif not held and free >= size + 2 * low:
            self._make(size)
        elif (free < _SOON * size) != self._warned:
            self._warned = not self._warned
            if self._warned:
                _log.warning("there is little space on the disk", free=free, directory=str(self._data_dir))
        return free

    def drop(self) -> None:
        """Nobody needs it while the gateway does not run."""
        self._path.unlink(missing_ok=True)

    def _held(self) -> int:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0

    def _make(self, size: int) -> None:
        again = self._path.exists()
        draft = self._path.with_suffix(".new")
        fd = os.open(draft, os.O_CREAT | os.O_TRUNC | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, size)
            draft.rename(self._path)
        except (AttributeError, OSError) as error:
            # Where space cannot be reserved there is no such help; where it went just now, the next look tries again.
            draft.unlink(missing_ok=True)
            self._possible = isinstance(error, OSError) and error.errno == errno.ENOSPC
            return
        finally:
            os.close(fd)
        if again:
            _log.info("there is space on the disk again: requests are served")


def given_up(data_dir: Path) -> bool:
    """Whether the disk is full, and what was kept for that day is in use."""
    try:
        return (data_dir / BALLAST).stat().st_size == 0
    except OSError:
        return False
