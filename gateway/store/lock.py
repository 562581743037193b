"""Who owns a data directory: one process at a time, proved by a lock that dies with it."""

import fcntl
import os
import stat
from pathlib import Path

from gateway.store import StoreUnavailable


class OwnedElsewhere(StoreUnavailable):
    """Another living process owns the database."""

    code = "owned_elsewhere"


class Ownership:
    """The held lock `owner.lock`. A forked child keeps it alive: start workers by exec, or close the file there."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, data_dir: Path) -> "Ownership":
        """Take the lock, or raise `OwnedElsewhere` at once."""
        private_directory(data_dir)
        path = data_dir / "owner.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pid = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise OwnedElsewhere(
                f"Process {pid} owns the database in {data_dir}. One gateway at a time can use a data directory."
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        return cls(descriptor)

    def release(self) -> None:
        """Give the lock back; a second time does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def private_directory(path: Path) -> None:
    """Make a directory that only this user can enter.

    An existing one that others can enter is closed to them while it is empty and this user's own; else it is refused.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
        if found.st_mode & 0o077 and found.st_uid == os.geteuid() and not any(path.iterdir()):
            path.chmod(0o700)
            found = path.stat()
    except OSError as error:
        raise StoreUnavailable(f"The data directory {path} cannot be used: {error.strerror}.") from error
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        raise StoreUnavailable(
            f"The data directory {path} has mode {mode:04o}: others could read keys and usage. "
            f"Run `chmod 700 {path}`, or name a directory inside it, which is then made."
        )
