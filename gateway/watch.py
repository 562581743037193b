"""Notices that a file was changed, by asking once a second.

Polling, because inotify is not in the standard library, does not see a bind-mounted or network file change, and loses
track when Kubernetes swaps the symbolic link of a ConfigMap. One `stat` a second costs nothing.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

Signature = tuple[int, int, int, int] | None


def signature(path: Path) -> Signature:
    """What tells one version of a file from the next; `None` while there is no such file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev


async def changes(path: Path, *, known: Signature, every: float = 1.0) -> AsyncIterator[None]:
    """Yield each time the file differs from `known` and has come to rest: two looks in a row found it the same.

    A file that is being written is so rarely read half, and one that is gone for a moment is no change.
    """
    before = known
    while True:
        await asyncio.sleep(every)
        # A thread, because a network file system may let `stat` wait.
        now = await asyncio.to_thread(signature, path)
        if now is not None and now == before and now != known:
            known = now
            yield
        before = now
