"""Where records end, in every spelling and at every split."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import sse
from gateway.errors import UpstreamCut

STREAMS = [
    b"data: a\n\ndata: b\n\n", b"data: a\r\n\r\ndata: b\r\n\r\n", b"data: a\r\rdata: b\r\rdata: c\r\r\n",
    b": comment\n\nevent: x\ndata: 1\ndata: 2\n\n", b"\n\n\n\ndata: a\n\n", b"data: a\r\n\ndata: b\n\r\ntail",
]


@pytest.mark.parametrize("stream", STREAMS)
def test_records_keep_their_bytes_at_every_split(stream):
    """Records and rest together are the stream, wherever it was cut."""
    for cut in range(len(stream) + 1):
        splitter = sse.Splitter()
        records = [*splitter.feed(stream[:cut]), *splitter.feed(stream[cut:])]
        assert b"".join(records) + splitter.rest() == stream
        assert [d for r in records if (d := sse.data(r))] == [d for r in sse.Splitter().feed(stream) if (d := sse.data(r))]


@given(st.binary(max_size=100), st.integers(1, 10))
def test_any_bytes_in_pieces_come_out_whole(stream, size):
    """Nothing is lost or added, whatever comes."""
    splitter = sse.Splitter()
    out = b"".join(record for i in range(0, len(stream), size) for record in splitter.feed(stream[i : i + size]))
    assert out + splitter.rest() == stream


def test_data_is_joined_from_its_lines():
    """Several data lines are one text; comments and other fields have none."""
    assert sse.data(b"event: x\ndata: 1\ndata:2\n\n") == b"1\n2"
    assert sse.data(b"data: {}\r\n\r\n") == b"{}"
    assert sse.data(b": ping\n\n") is None


def test_a_record_without_end_is_refused():
    """A record over the limit ends the stream with an error instead of filling the memory."""
    splitter = sse.Splitter(limit=100)
    with pytest.raises(UpstreamCut):
        splitter.feed(b"data: " + b"x" * 200)


def test_records_are_written_as_they_are_read():
    """What we write, we read."""
    assert sse.data(sse.write(b"{}", b"error")) == b"{}"
    assert sse.write(b"{}") == b"data: {}\n\n"
