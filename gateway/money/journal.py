"""The local journal: what holds each exchange until the database has it. One writer for each worker slot.

An `open` record is written before an upstream is touched, a `close` record (the ledger row) at the end. Both
survive kill -9 as soon as the call returns, and power loss after the next group fsync. Space for the end of
every open exchange is reserved first: a full disk refuses new requests and never loses a finished one. Reading
the files and filling the database is `drain.py`.
"""

import contextlib
import errno
import fcntl
import mmap
import os
import secrets
import threading
import zlib
from collections import deque
from pathlib import Path
from struct import Struct
from typing import Final

import msgspec
import structlog
from msgspec import structs

from gateway.clock import now_ms
from gateway.errors import Unavailable
from gateway.events import Usage
from gateway.exchange import Exchange
from gateway.money.cost import bill
from gateway.money.estimate import input_tokens
from gateway.money.ledger import AttemptRow, LedgerRow, asked_model
from gateway.store.ballast import given_up

SUFFIX: Final = ".journal"
HEAD: Final = Struct("<II")  # length of the payload, CRC-32 of the payload
OPEN: Final = b"O"           # first byte of a payload
CLOSE: Final = b"C"
MAX_RECORD: Final = 256 * 1024

_OVERWRITING: Final = frozenset({"ext2", "ext3", "ext4", "xfs", "tmpfs"})
_STEP: Final = 1 << 20
_PER_OPEN: Final = 2048
_SLACK: Final = 64 * 1024
_pack = msgspec.msgpack.Encoder().encode
_log = structlog.get_logger("gateway.journal")


class Opened(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An exchange that has begun: enough for its ledger row if its process is killed."""

    id: str
    ts_ms: int
    tenant: str
    key: str
    key_name: str
    owner: str
    environment: str
    endpoint: str
    model: str
    provider: str
    target_model: str
    streamed: bool
    input: int
    cost: int
    price_version: str
    unpriced: bool
    lines: str = ""
    team: str = ""

    def killed(self) -> LedgerRow:
        """The row of an exchange whose process was killed: what it had spent, and its input as estimated."""
        fields = structs.asdict(self)
        attempt = AttemptRow(
            self.provider, self.target_model, "killed", input=self.input, estimated=True, cost=self.cost,
            lines=fields.pop("lines"),
        )  # fmt: skip
        return LedgerRow(**fields, outcome="killed", estimated=True, attempts=(attempt,))


class Journal:
    """Appends to segments `<slot>-<nonce>-<number>.journal`; the newest is locked while this process lives."""

    def __init__(
        self, directory: Path, slot: int, *, fsync_ms: int, max_bytes: int, segment_bytes: int = 16 << 20
    ) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._slot = slot
        self._id = f"{slot}-{now_ms():x}{secrets.token_hex(3)}"
        self._max_bytes = max_bytes
        # Small enough that drained segments can be deleted long before the limit is reached.
        self._segment_bytes = max(_SLACK, min(segment_bytes, max_bytes // 8))
        self._step = min(_STEP, self._segment_bytes)
        self._open: dict[str, bytes] = {}
        self._number = 0
        self._mappable = mappable(directory)
        self._map: mmap.mmap | None = None
        self._fd, self._at, self._allocated = self._segment()
        self._remap()
        self._sync = _Sync(directory, self._fd, fsync_ms)

    @property
    def open_count(self) -> int:
        """How many exchanges are open."""
        return len(self._open)

    def has_room(self) -> bool:
        """Whether a new exchange could be opened now: for readiness, so that no traffic is sent here in vain."""
        try:
            self._make_room(_PER_OPEN)
        except Unavailable:
            return False
        return True

    def open(self, exchange: Exchange) -> None:
        """Record that `exchange` goes to its target. Again for the same exchange (next attempt): replaces it.

        Raises `Unavailable` (503, `ledger_unavailable`) when its end could not be recorded: disk full, or too
        much waits for the database. Then no upstream must be touched.
        """
        record = _record(OPEN, _opened(exchange))
        self._make_room(len(record))
        self._append(record)
        self._open[exchange.id] = record

    def close(self, finished: LedgerRow) -> None:
        """Record the end of an exchange, opened or not. When this returns the row survives kill -9."""
        record = _record(CLOSE, finished)
        if finished.id not in self._open or self._at + len(record) > self._allocated:
            self._make_room(len(record))
        self._append(record)
        self._open.pop(finished.id, None)

    def stop(self) -> None:
        """Make all durable and let go of the files; exchanges still open will be booked as killed."""
        if self._map is not None:
            self._map.close()
            self._map = None
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, self._at)
        self._sync.stop()

    def _append(self, record: bytes) -> None:
        end = self._at + len(record)
        if self._map is not None and end <= len(self._map):
            self._map[self._at : end] = record
            self._at = end
            self._sync.mark()
            return
        try:
            written = os.pwrite(self._fd, record, self._at)
        except OSError as error:
            raise self._refusal(error) from error
        if written != len(record):  # what came half will be overwritten by the next record
            raise self._refusal(OSError(errno.EIO, "short write"))
        self._at += written
        self._sync.mark()

    def _make_room(self, size: int) -> None:
        """Space for a record, and for the ends of all open exchanges."""
        try:
            if self._at >= self._segment_bytes:
                self._rotate()
            need = self._at + size + (len(self._open) + 1) * _PER_OPEN + _SLACK
            if need > self._allocated:
                self._check_total()
                self._allocated = _allocate(self._fd, self._allocated, need, self._step)
                self._remap()
        except OSError as error:
            raise self._refusal(error) from error

    def _rotate(self) -> None:
        """Go on in a new segment, which begins with what is open: so an older one can go once it is drained."""
        self._check_total()
        self._fd, self._at, self._allocated = self._segment()
        self._remap()
        self._sync.follow(self._fd)

    def _remap(self) -> None:
        """Write through memory where that is safe: a system call for each record costs as much as the record."""
        if self._map is not None:
            self._map.close()
            self._map = None
        if self._mappable:
            with contextlib.suppress(OSError, ValueError):
                self._map = mmap.mmap(self._fd, self._allocated)

    def _segment(self) -> tuple[int, int, int]:
        """A new segment, complete and locked before it has its name: file, end of data, end of space."""
        draft = self._directory / f".{self._slot}.new"
        carried = b"".join(self._open.values())
        fd = os.open(draft, os.O_CREAT | os.O_TRUNC | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            need = len(carried) + (len(self._open) + 1) * _PER_OPEN + _SLACK
            allocated = _allocate(fd, 0, need, self._step)
            os.pwrite(fd, carried, 0)  # cannot come short: the space is reserved
            draft.rename(self._directory / f"{self._id}-{self._number:08d}{SUFFIX}")
        except OSError:
            os.close(fd)
            draft.unlink(missing_ok=True)
            raise
        self._number += 1
        return fd, len(carried), allocated

    def _check_total(self) -> None:
        """Refuse to grow while too much waits for the database."""
        if given_up(self._directory.parent):
            raise OSError(errno.ENOSPC, "the disk is full; what space is left is for what was spent before")
        if waiting_bytes(self._directory) + self._allocated + self._step > self._max_bytes:
            raise OSError(errno.EDQUOT, f"more than {self._max_bytes} bytes wait for the database")

    def _refusal(self, error: OSError) -> Unavailable:
        _log.error("journal cannot take new exchanges", reason=str(error), directory=str(self._directory))
        return Unavailable(
            "The gateway cannot record usage at the moment, so it takes no new requests.",
            code="ledger_unavailable", retry_after=5,
        )


def mappable(directory: Path, mounts: Path = Path("/proc/self/mountinfo")) -> bool:
    """Whether reserved space there can be written through memory: only where a later write never needs new space.

    A file system that copies on write would answer a full disk with a signal that kills the process.
    """
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return False
    best, kind = "", ""
    for line in lines:
        fields, _, rest = line.partition(" - ")
        point = fields.split(" ")[4]
        if len(point) >= len(best) and directory.absolute().is_relative_to(point):
            best, kind = point, rest.split(" ")[0]
    return kind in _OVERWRITING


def waiting_bytes(directory: Path) -> int:
    """Size of all segments that are complete, of every worker. The newest of each journal is not counted:
    it stays until its process has gone on to the next, however much of it is in the database."""
    sizes: dict[str, int] = {}
    total = 0
    for path in sorted(directory.glob(f"*{SUFFIX}")):
        with contextlib.suppress(FileNotFoundError):
            size = path.stat().st_size
            total += size
            sizes[journal_of(path)] = size
    return total - sum(sizes.values())


def journal_of(path: Path) -> str:
    """The journal (slot and nonce) that a segment belongs to."""
    return path.name.rpartition("-")[0]


def is_live(path: Path) -> bool:
    """True while the process that writes this segment lives."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def record_at(data: bytes, at: int) -> bytes | None:
    """The payload of the record at `at`; `None` if there is none, or not a whole and sound one."""
    if at + HEAD.size > len(data):
        return None
    length, crc = HEAD.unpack_from(data, at)
    payload = data[at + HEAD.size:at + HEAD.size + length]
    if not 0 < length <= MAX_RECORD or len(payload) != length or zlib.crc32(payload) != crc:
        return None
    return payload


class _Sync:
    """A thread that makes what was written durable, in groups; it also closes segments that are finished."""

    def __init__(self, directory: Path, fd: int, fsync_ms: int) -> None:
        self._directory = directory
        self._fd = fd
        self._pause = fsync_ms / 1000
        self._finished: deque[int] = deque()
        self._new_name = True
        self._dirty = False
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal-fsync", daemon=True)
        self._thread.start()

    def mark(self) -> None:
        """Something was written."""
        if not self._pause:
            os.fdatasync(self._fd)
        elif not self._dirty:
            self._dirty = True
            self._wake.set()

    def follow(self, fd: int) -> None:
        """From now on `fd` is written; the one before gets a last fsync and is closed."""
        self._finished.append(self._fd)
        self._fd = fd
        self._new_name = True
        self._dirty = True
        self._wake.set()

    def stop(self) -> None:
        """A last fsync, then close."""
        self._stopping.set()
        self._wake.set()
        self._thread.join()
        self._finished.append(self._fd)
        try:
            self._flush()
        except OSError as error:
            _log.error("last fsync of the journal failed", reason=str(error))

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait()
            self._wake.clear()
            self._stopping.wait(self._pause)
            self._dirty = False  # before the fsync: what is written during it needs another one
            try:
                self._flush()
                if not self._stopping.is_set():
                    os.fdatasync(self._fd)
            except OSError as error:
                _log.error("fsync of the journal failed: a power loss now could lose rows", reason=str(error))

    def _flush(self) -> None:
        while self._finished:
            fd = self._finished.popleft()
            try:
                os.fdatasync(fd)
            finally:
                os.close(fd)
        if self._new_name:
            self._new_name = False
            _sync_directory(self._directory)


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _record(kind: bytes, value: Opened | LedgerRow) -> bytes:
    payload = kind + _pack(value)
    if len(payload) > MAX_RECORD:
        raise ValueError(f"a journal record of {len(payload)} bytes is over the limit of {MAX_RECORD}")
    return HEAD.pack(len(payload), zlib.crc32(payload)) + payload


def _allocate(fd: int, start: int, need: int, step: int) -> int:
    """Reserve disk space from `start` to `need`, in whole steps; returns its end."""
    end = -(-need // step) * step
    try:
        os.posix_fallocate(fd, start, end - start)
    except (AttributeError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
        # No such call on this system or file system: writing zeros reserves as well.
        if os.pwrite(fd, bytes(end - start), start) != end - start:
            raise OSError(errno.ENOSPC, "no space left") from None
    return end


def _opened(exchange: Exchange) -> Opened:
    caller, request, target = exchange.caller, exchange.request, exchange.target
    if caller is None or request is None or target is None:
        raise ValueError("only an authenticated exchange with a request and a target can be opened")
    price, tokens = target.price, input_tokens(exchange)
    cost, lines = bill(price, Usage(tokens), exchange.started_ms) if price else (0, "")
    return Opened(  # by position and from fields as they are: this is the hot path, `row()` takes three times as long
        exchange.id, exchange.started_ms, caller.tenant, caller.key, caller.key_name, caller.owner,
        caller.environment, exchange.endpoint, asked_model(exchange)[:256], target.provider.name, target.model,
        request.stream, tokens, exchange.cost + cost, price.version if price else "",
        price is None and not target.free, lines, caller.team,
    )
