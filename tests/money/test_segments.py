"""Reading segments: whatever happened to a file, all that is sound comes out, in order, and nothing else."""

import zlib

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.money.journal import CLOSE, HEAD, OPEN, Journal, Opened, _record
from gateway.money.ledger import LedgerRow
from gateway.money.segments import Segment, dead_journals

ROWS = [LedgerRow(id=f"r{n}", ts_ms=n, tenant="acme", key="k", error="x" * (n % 7) or None) for n in range(12)]
RECORDS = [_record(CLOSE, row) for row in ROWS]
DATA = b"".join(RECORDS)
ENDS = [len(b"".join(RECORDS[:n])) for n in range(len(RECORDS) + 1)]


def opened(name="r0"):
    """The record of an exchange that began."""
    return Opened(name, 1, "acme", "k", "", "", "", "chat", "m", "p", "t", False, 5, 7, "v", False)


def read(path, data, writing=False, limit=5):
    """All rows of a file with this content, and the segment that read them."""
    path.write_bytes(data)
    segment, found = Segment(path), []
    while True:
        position, rows = segment.batch(limit, writing)
        if position == segment.position:
            return [row.id for _, row in found], segment
        found += rows
        segment.stored(position, len(rows))


def ids(count):
    """The names of the first rows."""
    return [f"r{n}" for n in range(count)]


def test_every_prefix_gives_the_rows_that_are_whole_in_it(tmp_path):
    for end in range(len(DATA) + 1):
        whole = sum(end >= stop for stop in ENDS[1:])
        got, segment = read(tmp_path / "0-a-0.journal", DATA[:end] + bytes(200))
        assert got == ids(whole), end
        assert segment.damaged == bool(DATA[ENDS[whole]:end].strip(b"\0")), end


def test_a_live_tail_that_is_half_written_is_waited_for(tmp_path):
    path = tmp_path / "0-a-0.journal"
    path.write_bytes(DATA[:ENDS[3] + 20] + bytes(500))
    segment = Segment(path)
    position, rows = segment.batch(100, writing=True)
    segment.stored(position, len(rows))
    assert (position, len(rows), segment.damaged) == (ENDS[3], 3, False)
    path.write_bytes(DATA + bytes(500))
    position, rows = segment.batch(100, writing=True)
    assert [row.id for _, row in rows] == ids(12)[3:]


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, len(DATA) * 8 - 1), writing=st.booleans())
def test_a_flipped_bit_costs_no_more_than_its_own_record(tmp_path_factory, at, writing):
    flipped = bytearray(DATA)
    flipped[at // 8] ^= 1 << at % 8
    hit = next(n for n in range(len(ROWS)) if at // 8 < ENDS[n + 1])
    got, segment = read(tmp_path_factory.mktemp("s") / "0-a-0.journal", bytes(flipped) + bytes(100), writing)
    waits = writing and hit == len(ROWS) - 1
    assert got == [f"r{n}" for n in range(len(ROWS)) if n != hit]
    assert segment.damaged is not waits


@settings(max_examples=100, deadline=None)
@given(keep=st.integers(0, len(DATA)), noise=st.binary(max_size=300))
def test_noise_at_the_end_never_hides_or_invents_a_row(tmp_path_factory, keep, noise):
    whole = sum(keep >= stop for stop in ENDS[1:])
    got, _ = read(tmp_path_factory.mktemp("s") / "0-a-0.journal", DATA[:keep] + noise)
    assert got[:whole] == ids(whole)
    assert set(got) <= set(ids(12))


def test_a_hole_of_zeros_left_by_a_power_loss_does_not_hide_what_follows(tmp_path):
    data = DATA[:ENDS[2]] + bytes(ENDS[5] - ENDS[2]) + DATA[ENDS[5]:]
    got, segment = read(tmp_path / "0-a-0.journal", data + bytes(100))
    assert got == ids(2) + ids(12)[5:]
    assert segment.damaged


def test_a_sound_record_that_is_no_row_is_passed_over(tmp_path):
    payload = b"C\x93\x01\x02\x03"
    strange = HEAD.pack(len(payload), zlib.crc32(payload)) + payload
    got, segment = read(tmp_path / "0-a-0.journal", DATA[:ENDS[2]] + strange + DATA[ENDS[2]:])
    assert got == ids(12)
    assert segment.damaged


def test_rows_come_in_batches_across_chunks(tmp_path):
    many = [LedgerRow(id=f"r{n}", ts_ms=n, tenant="acme", key="k", error="x" * 250) for n in range(2000)]
    data = b"".join(_record(CLOSE, row) for row in many)
    assert len(data) > 600_000
    got, segment = read(tmp_path / "0-a-0.journal", data + bytes(1 << 20), writing=True, limit=128)
    assert got == [row.id for row in many]
    assert not segment.damaged


def test_what_waits_is_counted_without_being_read_twice(tmp_path):
    path = tmp_path / "0-a-0.journal"
    path.write_bytes(_record(OPEN, opened()) + DATA + bytes(1000))
    segment = Segment(path)
    assert segment.waiting() == (12, len(_record(OPEN, opened())) + len(DATA))
    position, rows = segment.batch(5, writing=True)
    segment.stored(position, len(rows))
    assert segment.waiting()[0] == 7
    assert segment.waiting()[0] == 7


def test_what_was_opened_and_not_closed_is_left(tmp_path):
    path = tmp_path / "0-a-0.journal"
    path.write_bytes(_record(OPEN, opened("r1")) + _record(OPEN, opened("zz")) + b"torn" * 9 + DATA)
    left = {}
    Segment(path).left_open(left)
    assert set(left) == {"zz"}


def test_dead_journals_are_those_of_the_asked_slot_that_nobody_writes(tmp_path):
    for name in ("0-a-0.journal", "0-a-1.journal", "1-b-0.journal", "10-c-0.journal"):
        (tmp_path / name).write_bytes(b"")
    assert set(dead_journals(tmp_path)) == {"0-a", "1-b", "10-c"}
    assert set(dead_journals(tmp_path, 1)) == {"1-b"}
    assert [path.name for path in dead_journals(tmp_path, 0)["0-a"]] == ["0-a-0.journal", "0-a-1.journal"]


def test_a_record_that_was_half_written_while_it_was_read_is_no_damage(tmp_path, monkeypatch):
    """The writer may finish a record, and the next, between two looks: both are taken in the next turn."""
    journal = Journal(tmp_path, 0, fsync_ms=5, max_bytes=1 << 30)
    journal.close(LedgerRow("r1", 1, "t", "k"))
    journal.close(LedgerRow("r2", 2, "t", "k"))
    (path,) = tmp_path.glob("*.journal")
    segment = Segment(path)
    whole = Segment._read
    looks = iter([True])

    def torn(self, at, size):
        data = whole(self, at, size)
        return data[:10] + bytes(90) + data[100:] if next(looks, False) else data

    monkeypatch.setattr(Segment, "_read", torn)
    assert segment.batch(10, True)[1] == []
    assert [row.id for _, row in segment.batch(10, True)[1]] == ["r1", "r2"]
    assert not segment.damaged
    journal.stop()
