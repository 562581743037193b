"""Forms in any pieces: the same fields, the same bytes; what two readers could read differently is refused."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidRequest, UnsupportedMedia
from gateway.multipart import MAX_FIELDS, Data, FormReader, Head, Tail, boundary_of
from gateway.upload import Upload

FORM = (
    b'--abc\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
    b'--abc\r\nContent-Disposition: form-data; name="file"; filename="a \\"b\\".wav"\r\nContent-Type: audio/wav\r\n\r\n'
    b"XX\r\n--ab\r\n--abd\r\nYY\r\n--abc\r\nContent-Disposition: form-data; name=empty\r\n\r\n\r\n--abc--\r\n"
)


def read(form, sizes, boundary="abc"):
    reader, pieces, at = FormReader(boundary), [], 0
    for size in [*sizes, len(form)]:
        pieces += reader.feed(form[at : at + size])
        at += size
    reader.end()
    return pieces


@given(st.lists(st.integers(1, 40), max_size=200))
def test_a_form_in_any_pieces_is_the_same_form(sizes):
    pieces = read(FORM, sizes)
    assert b"".join(piece.raw for piece in pieces) == FORM
    heads = [(piece.name, piece.file) for piece in pieces if isinstance(piece, Head)]
    assert heads == [("model", None), ("file", 'a "b".wav'), ("empty", None)]
    kinds = [type(piece) for piece in pieces]
    assert kinds.count(Tail) == 1
    at = kinds.index(Head, 1)
    assert b"".join(piece.raw for piece in pieces[1:at]) == b"whisper-1"


@given(st.binary(max_size=300))
def test_any_bytes_end_in_a_form_or_a_clear_error(data):
    reader = FormReader("abc")
    with contextlib.suppress(InvalidRequest):
        reader.feed(b"--abc\r\n" + data)
        reader.end()


def disposition(value):
    return b"--abc\r\n" + value + b"\r\n\r\nx\r\n--abc--\r\n"


@pytest.mark.parametrize(
    "form",
    [
        b"", b"\r\n" + FORM, b"preamble\r\n" + FORM, FORM + b"more", FORM[:-4], b"--abc--\r\n", b"--abc \r\n\r\n",
        FORM.replace(b"--abc\r\n", b"--abcd\r\n"),
        disposition(b"Content-Type: text/plain"),
        disposition(b"Content-Disposition: attachment; name=a"),
        disposition(b"Content-Disposition: form-data"),
        disposition(b'Content-Disposition: form-data; name="a"; name="b"'),
        disposition(b'Content-Disposition: form-data; name="a"\r\nContent-Disposition: form-data; name="b"'),
        disposition(b'Content-Disposition: form-data; name*=utf-8\'\'a; name="b"'),
        disposition(b'Content-Disposition: form-data; name="a'),
        disposition(b'Content-Disposition: form-data; name=""'),
        disposition(b'Content-Disposition: form-data; name="a"\r\nContent-Transfer-Encoding: base64'),
        disposition(b'Content-Disposition: form-data; name="a"\r\n folded: yes'),
        disposition(b'Content-Disposition : form-data; name="a"'),
        b"--abc\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n" * (MAX_FIELDS + 1) + b"--abc--",
    ],
)
def test_what_is_no_plain_form_is_refused(form):
    with pytest.raises(InvalidRequest) as caught:
        read(form, [7] * 20)
    assert caught.value.code == "invalid_form"


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [("multipart/form-data; boundary=abc", "abc"), ('Multipart/Form-Data; charset=x; Boundary="a b"', "a b")],
)
def test_the_boundary_is_found(content_type, boundary):
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    ("content_type", "error"),
    [
        ("", UnsupportedMedia), ("application/json", UnsupportedMedia), ("multipart/mixed; boundary=a", UnsupportedMedia),
        ("multipart/form-data", InvalidRequest), ("multipart/form-data; boundary=", InvalidRequest),
        ("multipart/form-data; boundary=a; boundary=b", InvalidRequest),
        ("multipart/form-data; boundary=" + "a" * 71, InvalidRequest), ("multipart/form-data; boundary=ä", InvalidRequest),
    ],
)
def test_a_form_without_a_boundary_is_refused(content_type, error):
    with pytest.raises(error):
        boundary_of(content_type)


async def pieces_of(data, size):
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def sent(upload, changes):
    body = b"".join([part async for part in upload.parts(changes)])
    assert len(body) == upload.size(changes)
    return body


@pytest.mark.parametrize("size", [1, 10, 1000])
@pytest.mark.parametrize("held", [False, True])
async def test_a_field_is_changed_on_the_way_and_the_length_is_known_before(size, held):
    upload = Upload("multipart/form-data; boundary=abc", pieces_of(FORM, size), len(FORM))
    await upload.read_head()
    assert upload.fields == {"model": ["whisper-1"]} if size < 1000 else upload.fields["model"] == ["whisper-1"]
    if held:
        await upload.read_all(10_000, "too long")
    assert await sent(upload, {"model": "ears"}) == FORM.replace(b"whisper-1", b"ears")
    assert upload.complete
    assert upload.sent is not held
    if held:
        assert await sent(upload, {}) == FORM
        with_new = await sent(upload, {"language": "en"})
        assert read(with_new, [])[1] == Data(b"en")
        assert with_new.endswith(FORM)


async def test_a_form_that_is_too_long_to_be_held_says_why():
    upload = Upload("multipart/form-data; boundary=abc", pieces_of(FORM, 10), None)
    with pytest.raises(InvalidRequest, match="put it first"):
        await upload.read_all(50, "put it first")
    assert upload.size({}) is None
