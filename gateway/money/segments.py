"""Reads journal segments: rows from a position on, past damage, and how much is still unread. Writes nothing."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import structlog

from gateway.money.journal import CLOSE, HEAD, MAX_RECORD, OPEN, Opened, is_live, journal_of, record_at
from gateway.money.ledger import LedgerRow

_CHUNK: Final = HEAD.size + MAX_RECORD
# A length up to MAX_RECORD, any CRC, a payload's first byte.
_LIKELY: Final = re.compile(rb"(?s)(?=..[\x00-\x04]\x00.{4}[OC])")
_log = structlog.get_logger("gateway.journal")
_row = msgspec.msgpack.Decoder(LedgerRow).decode
_opened = msgspec.msgpack.Decoder(Opened).decode


class Segment:
    """One file. `position` is how far the database has it; `damaged` is set when something in it was unreadable."""

    def __init__(self, path: Path, position: int = 0) -> None:
        self.path = path
        self.position = position
        self.damaged = False
        self._counted = position
        self._waiting = 0

    @property
    def name(self) -> str:
        """Under which its position is stored."""
        return self.path.name

    def batch(self, limit: int, writing: bool) -> tuple[int, list[tuple[int, LedgerRow]]]:
        """Up to `limit` rows from `position` on, each with the position after it, and the position after all.

        `writing` says that its process may still be at the last record: then what is incomplete there is waited for,
        otherwise it is damage.
        """
        data = self._read(self.position, _CHUNK)
        at, rows = 0, list[tuple[int, LedgerRow]]()
        while len(rows) < limit:
            payload = record_at(data, at)
            if payload is None:
                if at + _CHUNK > len(data) == _CHUNK and at:
                    break  # a record may go on after this chunk
                skipped = self._skip(self.position + at, writing)
                if skipped is None:
                    break
                return skipped, rows
            at += HEAD.size + len(payload)
            row = self._decoded(payload, self.position + at)
            if row is not None:
                rows.append((self.position + at, row))
        return self.position + at, rows

    def stored(self, position: int, rows: int) -> None:
        """The database has everything before `position`: `rows` more than before."""
        self.position = position
        self._waiting = max(0, self._waiting - rows)
        if position >= self._counted:
            self._counted, self._waiting = position, 0

    def waiting(self) -> tuple[int, int]:
        """Rows and bytes that the database does not have yet; a long backlog is counted piece by piece."""
        data = self._read(self._counted, _CHUNK)
        at = 0
        while (payload := record_at(data, at)) is not None:
            at += HEAD.size + len(payload)
            self._waiting += payload[:1] == CLOSE
        self._counted += at
        return self._waiting, self._counted - self.position

    def left_open(self, opened: dict[str, Opened]) -> None:
        """Follow `opened` through this segment: put in what was begun, take out what was ended."""
        for payload in self._payloads():
            try:
                if payload[:1] == OPEN:
                    begun = _opened(payload[1:])
                    opened[begun.id] = begun
                else:
                    opened.pop(_row(payload[1:]).id, None)
            except msgspec.DecodeError:
                continue  # was logged when it was drained

    def _payloads(self) -> Iterator[bytes]:
        data, at = self.path.read_bytes(), 0
        while True:
            payload = record_at(data, at)
            if payload is None:
                found = _next_record(data, at)
                if found is None:
                    return
                at = found
                continue
            yield payload
            at += HEAD.size + len(payload)

    def _decoded(self, payload: bytes, end: int) -> LedgerRow | None:
        if payload[:1] == OPEN:
            return None
        try:
            return _row(payload[1:])
        except msgspec.DecodeError as error:
            self._report(end - len(payload), len(payload), f"a record that is no ledger row: {error}")
            return None

    def _skip(self, at: int, writing: bool) -> int | None:
        """No sound record at `at`: where to go on, or `None` at the end of what is written (so far)."""
        if writing and not self._read(at, HEAD.size).strip(b"\0"):
            return None
        rest = self._read(at, max(0, self.path.stat().st_size - at))
        if not rest.strip(b"\0"):
            return None
        found = _next_record(rest, 1)
        if writing and (found is None or record_at(self._read(at, _CHUNK), 0) is not None):
            # Nothing whole follows yet; or what follows is whole, and so by now is the record before it, which was
            # being written while it was read. Either way the next turn takes it.
            return None
        end = len(rest.rstrip(b"\0")) if found is None else found
        self._report(at, end, "torn or corrupt records")
        return at + (len(rest) if found is None else found)

    def _report(self, offset: int, size: int, what: str) -> None:
        self.damaged = True
        _log.error("journal damaged, the file is kept", file=str(self.path), offset=offset, bytes=size, reason=what)

    def _read(self, at: int, size: int) -> bytes:
        with self.path.open("rb", buffering=0) as file:
            return os.pread(file.fileno(), size, at)


def segments(directory: Path) -> dict[str, list[Path]]:
    """The segments of each journal, oldest first."""
    found: dict[str, list[Path]] = {}
    for path in sorted(directory.glob("*.journal")):
        found.setdefault(journal_of(path), []).append(path)
    return found


def dead_journals(directory: Path, slot: int | None = None) -> dict[str, list[Path]]:
    """The journals (of one worker slot) whose process is gone, with their segments."""
    mine = {name: paths for name, paths in segments(directory).items()
            if slot is None or name.partition("-")[0] == str(slot)}
    dead = [name for name, paths in mine.items() if not any(is_live(path) for path in paths)]
    # Its process may have gone on to a new segment between listing and asking: then there is one more now.
    again = segments(directory)
    return {name: mine[name] for name in dead if again.get(name) == mine[name]}


def _next_record(data: bytes, start: int) -> int | None:
    """Where the next sound record begins, at or after `start`."""
    likely = (found.start() for found in _LIKELY.finditer(data, start))
    return next((at for at in likely if record_at(data, at) is not None), None)
