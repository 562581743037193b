"""Frames are read whole at any split, checked, and written as AWS's own library reads them."""

import itertools

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import eventstream
from gateway.errors import UpstreamCut

headers = st.dictionaries(st.text(":abc-", min_size=1, max_size=20), st.text(max_size=40), max_size=4)


@settings(deadline=None)
@given(st.lists(st.tuples(headers, st.binary(max_size=200)), max_size=5), st.lists(st.integers(1, 64), min_size=1))
def test_what_was_written_is_read_at_any_split(frames, sizes):
    whole = b"".join(eventstream.write(payload, heads) for heads, payload in frames)
    splitter, found, start = eventstream.Splitter(), [], 0
    for size in itertools.cycle(sizes):
        if start >= len(whole):
            break
        found += splitter.feed(whole[start : start + size])
        start += size
    assert [(dict(frame.headers), frame.payload) for frame in found] == frames
    assert splitter.rest() == b""
    assert b"".join(eventstream.split(whole)) == whole
    assert eventstream.last_boundary(whole) == len(whole)


@settings(deadline=None)
@given(headers, st.binary(max_size=200))
def test_aws_reads_what_we_write(heads, payload):
    buffer = EventStreamBuffer()
    buffer.add_data(eventstream.write(payload, heads))
    (event,) = list(buffer)
    assert (event.headers, event.payload) == (heads, payload)


@settings(deadline=None)
@given(st.integers(0, 79), st.integers(1, 255))
def test_a_changed_byte_is_found(position, change):
    whole = bytearray(eventstream.event("messageStart", b'{"role":"assistant"}'))
    whole[position % len(whole)] ^= change
    splitter = eventstream.Splitter()
    try:
        frames = splitter.feed(bytes(whole))
    except UpstreamCut:
        return
    assert frames == []  # a longer length: it waits for more, which never is a frame
    with pytest.raises(UpstreamCut):
        splitter.feed(bytes(eventstream.MAX_FRAME))


def test_headers_of_every_type_are_passed_over():
    odd = b"".join((
        b"\x01a\x00", b"\x01b\x01", b"\x01c\x02x", b"\x01d\x03xx", b"\x01e\x04xxxx", b"\x01f\x05xxxxxxxx", b"\x01g\x06\x00\x02zz",
        b"\x01h\x07\x00\x02hi", b"\x01i\x08xxxxxxxx", b"\x01j\x09xxxxxxxxxxxxxxxx",
    ))
    assert eventstream._headers(odd) == {"h": "hi"}


@pytest.mark.parametrize("bad", [b"\x01a\x0b", b"\x05a\x07", b"\x01h\x07\x00\x09hi", b"\x01d\x03x"])
def test_headers_that_cannot_be_read_are_an_error_of_the_upstream(bad):
    import binascii
    import struct

    lengths = struct.pack("!II", 16 + len(bad), len(bad))
    message = lengths + struct.pack("!I", binascii.crc32(lengths)) + bad
    with pytest.raises(UpstreamCut):
        eventstream.Splitter().feed(message + struct.pack("!I", binascii.crc32(message)))


def test_text_is_no_frame():
    with pytest.raises(UpstreamCut):
        eventstream.Splitter().feed(b"<html><body>Bad gateway</body></html>")
