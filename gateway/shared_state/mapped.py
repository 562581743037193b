"""Shared state of one machine's workers: an LMDB file that all of them map. `counters.py` says how they count.

The file is scratch: the supervisor makes it anew (`create=True`) at start and seeds it, each worker opens it
(a process that forks must not use, or open again, what its parent had open: start workers with exec).
Nothing waits for the disk; the file outlives killed workers, not the machine. Its whole size is allocated at
once, because a mapped page that a full disk cannot back would kill the process.
"""

import mmap
import os
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from zlib import crc32

import lmdb
import msgspec

from gateway.shared_state import Ask, Granted, Refused, Standing, counters

DEFAULT_SIZE = 64 << 20
STALE_AFTER = 15.0  # seconds without a beat after which a worker counts as dead

_SWEEP = 256         # rows looked at in one sweep
_ROOM_EVERY = 128    # takes between two looks at the room that is left
_ROOM_LEFT = 0.15    # of the file, kept for giving back: a deletion needs fresh pages too
_LONGEST = 400       # bytes of a name; LMDB takes 511
_SLOTS = 1024        # generations; two names in one slot only see each other's bumps
_MAX_WORKERS = 512
_LOCK_BYTES = 64 * _MAX_WORKERS + 8192


class StateFull(RuntimeError):
    """The mapped file has no room for more counters or holds."""


class MappedState:
    """Counters in a file that several processes map. `owner` names this process among them, for its holds."""

    def __init__(
        self,
        path: Path,
        owner: str,
        *,
        create: bool = False,
        map_size: int = DEFAULT_SIZE,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        if not owner or "\0" in owner:
            raise ValueError(f"{owner!r} cannot name a worker")
        self.owner = owner
        self._clock = clock
        if create:
            _make_anew(path, map_size)
        self._size = _size_of(path)
        self._env = _open(path, self._size)
        self._slots_map, self._slots = _map_slots(_slots_file(path))
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(tuple[counters.Entry, ...])
        self._takes = 0
        self._full = False
        self._swept = b""
        with self._env.begin(write=True) as txn:
            txn.put(b"o" + owner.encode(), _pack([clock()]))

    async def take(self, hold: str, asks: Sequence[Ask]) -> Granted | Refused:
        """Take all asks in one atomic step, or none."""
        self._check_room()
        name = _hold_name(self.owner, hold)
        txn = self._env.begin(write=True)
        try:
            if hold and txn.get(name) is not None:
                raise ValueError(f"hold {hold!r} is open already")
            outcome, entries = counters.take(_Rows(txn), hold, asks, self._clock())
            if type(outcome) is Refused:
                return outcome
            if hold:
                txn.put(name, self._encoder.encode(entries))
            txn.commit()
        except (lmdb.MapFullError, lmdb.TxnFullError) as error:
            raise self._no_room() from error
        finally:
            txn.abort()  # does nothing after a commit
        return outcome

    async def settle(self, hold: str, actual: Mapping[str, int] | None = None) -> bool:
        """Give a hold back; False if it is not open."""
        txn = self._env.begin(write=True)
        try:
            raw = txn.pop(_hold_name(self.owner, hold))
            if raw is None:
                return False
            counters.settle(_Rows(txn), self._decoder.decode(raw), actual or {}, self._clock())
            txn.commit()
        finally:
            txn.abort()
        return True

    async def peek(self, asks: Sequence[Ask]) -> tuple[Standing, ...]:
        """How the counters stand."""
        with self._env.begin() as txn:
            return counters.standings(_Rows(txn), asks, self._clock())

    async def charge(self, asks: Sequence[Ask], amount: int | None = None) -> None:
        """Add to what is spent without a hold."""
        with self._env.begin(write=True) as txn:
            counters.charge(_Rows(txn), asks, self._clock(), amount)

    async def seed(self, budgets: Mapping[str, int]) -> None:
        """Set what is spent, by budget key."""
        try:
            with self._env.begin(write=True) as txn:
                rows, now = _Rows(txn), self._clock()
                for key, spent in budgets.items():
                    rows["b" + key] = counters.seeded(spent, rows.get("b" + key), now)
        except (lmdb.MapFullError, lmdb.TxnFullError) as error:
            raise self._no_room() from error

    async def ready(self) -> bool:
        """It lives as long as what it counts for."""
        return True

    async def spent(self, key: str) -> tuple[int, int]:
        """(spent, reserved) of one budget."""
        with self._env.begin() as txn:
            row = _Rows(txn).get("b" + key)
        return (row[0], row[1]) if row else (0, 0)

    def generation(self, name: str) -> int:
        """The number that `bump` raises."""
        return self._slots[crc32(name.encode()) % _SLOTS]

    async def bump(self, name: str) -> int:
        """Raise a generation for every worker at once."""
        slot = crc32(name.encode()) % _SLOTS
        with self._env.begin(write=True):  # the one lock of all workers
            self._slots[slot] += 1
            return self._slots[slot]

    async def beat(self) -> None:
        """Say that this worker lives."""
        with self._env.begin(write=True) as txn:
            txn.put(b"o" + self.owner.encode(), _pack([self._clock()]))

    async def release_owner(self, owner: str) -> int:
        """Give back all holds of a dead worker."""
        prefix = _hold_name(owner, "")
        with self._env.begin(write=True) as txn:
            rows, now = _Rows(txn), self._clock()
            holds = list(_with_prefix(txn, prefix))
            for name, raw in holds:
                counters.settle(rows, self._decoder.decode(raw), {}, now)
                txn.delete(name)
            txn.delete(b"o" + owner.encode())
        return len(holds)

    async def sweep(self) -> int:
        """Give back the holds of workers that stopped beating, and forget some dead counters."""
        self._env.reader_check()  # a reader that was killed would keep old pages for ever
        late = self._clock() - int(STALE_AFTER * 1e9)
        with self._env.begin() as txn:
            owners = [(name[1:].decode(), _unpack(raw)[0]) for name, raw in _with_prefix(txn, b"o")]
        given_back = 0
        for owner, beaten in owners:
            if beaten < late and owner != self.owner:
                given_back += await self.release_owner(owner)
        self._forget_some()
        return given_back

    async def totals(self) -> Mapping[str, int]:
        """`open_holds` and `reserved`."""
        with self._env.begin() as txn:
            holds = [self._decoder.decode(raw) for _, raw in _with_prefix(txn, b"h")]
        reserved = sum(amount for hold in holds for name, _, amount in hold if name[0] in "br")
        return {"open_holds": len(holds), "reserved": reserved}

    async def close(self) -> None:
        """Unmap and close the files."""
        self._slots.release()
        self._slots_map.close()
        self._env.close()

    def _forget_some(self) -> None:
        """Look at the next rows in order; the file is locked only if some of them are dead."""
        with self._env.begin() as txn:
            seen, dead = self._look(txn, self._swept)
        self._swept = seen
        if dead:
            with self._env.begin(write=True) as txn:
                for name in dead:
                    raw = txn.get(name)
                    if raw is not None and counters.dead(chr(name[0]), _unpack(raw), self._clock()):
                        txn.delete(name)

    def _look(self, txn: lmdb.Transaction, after: bytes) -> tuple[bytes, list[bytes]]:
        dead: list[bytes] = []
        cursor = txn.cursor()
        found = cursor.set_range(after + b"\0")
        for _ in range(_SWEEP):
            if not found:
                return b"", dead
            name = bytes(cursor.key())
            if name[0] in b"wbr" and counters.dead(chr(name[0]), _unpack(cursor.value()), self._clock()):
                dead.append(name)
            found = cursor.next()
        return name, dead

    def _check_room(self) -> None:
        self._takes += 1
        if self._full or self._takes % _ROOM_EVERY == 0:
            stat = self._env.stat()
            pages = stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
            self._full = pages * stat["psize"] > self._size * (1 - _ROOM_LEFT)
            if self._full:
                raise self._no_room()

    def _no_room(self) -> StateFull:
        return StateFull(
            f"the shared state of {self._size >> 20} MiB is full: too many keys are active at once; "
            "raise its size and restart (dead counters are being removed)"
        )


class _Rows:
    """The rows of one LMDB transaction."""

    __slots__ = ("_txn",)

    def __init__(self, txn: lmdb.Transaction) -> None:
        self._txn = txn

    def get(self, name: str, /) -> counters.Row | None:
        raw = self._txn.get(_row_name(name))
        return None if raw is None else _unpack(raw)

    def __setitem__(self, name: str, row: counters.Row, /) -> None:
        self._txn.put(_row_name(name), _pack(row))

    def __delitem__(self, name: str, /) -> None:
        self._txn.delete(_row_name(name))


def _pack(row: counters.Row) -> bytes:
    return array("q", row).tobytes()


def _unpack(raw: bytes | memoryview) -> counters.Row:
    return array("q", raw).tolist()


def _row_name(name: str) -> bytes:
    encoded = name.encode()
    return encoded if len(encoded) <= _LONGEST else encoded[:1] + b"#" + blake2b(encoded).digest()


def _hold_name(owner: str, hold: str) -> bytes:
    encoded = hold.encode()
    if len(encoded) > _LONGEST - len(owner):
        encoded = b"#" + blake2b(encoded).digest()
    return b"h" + owner.encode() + b"\0" + encoded


def _with_prefix(txn: lmdb.Transaction, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    cursor = txn.cursor()
    if not cursor.set_range(prefix):
        return
    for name, raw in cursor:
        if bytes(name[: len(prefix)]) != prefix:
            return
        yield bytes(name), bytes(raw)


def _lock_file(path: Path) -> Path:
    return path.with_name(path.name + "-lock")


def _slots_file(path: Path) -> Path:
    return path.with_name(path.name + "-generations")


def _make_anew(path: Path, size: int) -> None:
    """Fresh files of full size: the old ones are unlinked, so a forgotten process cannot write into the new."""
    for file in (path, _lock_file(path), _slots_file(path)):
        file.unlink(missing_ok=True)
    _allocate(_slots_file(path), _SLOTS * 8)
    _allocate(_lock_file(path), _LOCK_BYTES)
    lmdb.open(str(path), subdir=False, map_size=size, mode=0o600).close()  # written, not mapped: may fail cleanly
    _allocate(path, size)


def _allocate(file: Path, size: int) -> None:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        raise OSError(error.errno, f"no room for {size} bytes of shared state", str(file)) from error
    finally:
        os.close(descriptor)


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        raise FileNotFoundError(f"no shared state at {path}: the supervisor makes it at start") from None


def _open(path: Path, size: int) -> lmdb.Environment:
    return lmdb.open(
        str(path), subdir=False, map_size=size, sync=False, metasync=False, writemap=True, readahead=False,
        meminit=False, max_readers=_MAX_WORKERS, mode=0o600,
    )


def _map_slots(file: Path) -> tuple[mmap.mmap, memoryview]:
    with file.open("r+b") as opened:
        mapped = mmap.mmap(opened.fileno(), _SLOTS * 8)
    return mapped, memoryview(mapped).cast("Q")
