"""Reads files for requests: a process for each that can be slow, a deadline, and a memory of what was read before."""

import asyncio
import contextlib
import os
import signal
import sys
from collections import OrderedDict
from hashlib import blake2b

import msgspec

from gateway.files.extract import extract
from gateway.files.kinds import FileText, Limits, kind_of

_AT_ONCE = 2
_REMEMBERED_CHARACTERS = 8_000_000
_KEPT = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "TESSDATA_PREFIX", "TMPDIR")
_QUICK = 262_144


class Reader:
    """Reads files under these limits. A conversation is sent again with each turn: its files are read once."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._known: OrderedDict[bytes, FileText] = OrderedDict()
        self._characters = 0

    async def read(self, data: bytes) -> FileText:
        """What a file says, or the reason why that is not known."""
        if len(data) > self.limits.max_bytes:
            return FileText("unknown", reason="too_large")
        kind = await asyncio.to_thread(kind_of, data)
        if kind in ("empty", "encrypted", "unknown", "sound") or (kind == "text" and len(data) < _QUICK):
            return extract(data, self.limits)
        key = await asyncio.to_thread(_digest, data)
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        try:
            async with asyncio.timeout(self.limits.timeout), self._turns:
                told = await self._apart(data)
        except TimeoutError:
            return FileText(kind, reason="too_slow")
        if told is None:  # it was ended by its limits
            return FileText(kind, reason="too_large")
        if told.reason != "no_reader":
            self._remember(key, told)
        return told

    async def _apart(self, data: bytes) -> FileText | None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "gateway.files.worker", msgspec.json.encode(self.limits).decode(),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            env={**{name: os.environ[name] for name in _KEPT if name in os.environ}, "OMP_THREAD_LIMIT": "1"},
            start_new_session=True,
        )  # fmt: skip
        try:
            out, _ = await process.communicate(data)
        finally:
            if process.returncode is None:
                # Its group: what it started ends with it.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        return msgspec.msgpack.decode(out, type=FileText) if process.returncode == 0 else None

    def _remember(self, key: bytes, told: FileText) -> None:
        self._known[key] = told
        self._characters += len(told.text) + 1000
        while self._characters > _REMEMBERED_CHARACTERS and self._known:
            _, gone = self._known.popitem(last=False)
            self._characters -= len(gone.text) + 1000


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=20).digest()
