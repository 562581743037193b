"""The strict JSON reader, and edits that leave all other bytes alone."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidRequest
from gateway.jsonbody import UNREADABLE, edited, outgoing, read_lenient, read_object
from gateway.testing import exchange

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
OBJECTS = st.dictionaries(st.text(), VALUES, max_size=6)


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"{", b'{"a":NaN}', b'{"a":Infinity}', b'{"a":1e999}', b'{"a":"\xff"}', b'{"a":"\\ud800"}',
        b"\xef\xbb\xbf{}", b'{"a":' + b"9" * 30 + b"}", b'{"a":' + b"9" * 5000 + b"}", b'{"a":1}x', b"[]", b'"a"', b"1",
        b'{"a":1,"a":2}', b'{"x":{"b":1,"b":1}}', b'{"x":[{"b":1,"c":{},"b":1}]}', b'{"a":1,"\\u0061":2}',
        b'{"a":' + b"[" * 64 + b"]" * 64 + b"}", b"[" * 100_000, b'{"a":' * 100_000, b'{"a":"\x01"}', b"\x00",
        "{\"a\":1}".encode("utf-16"), b'{"a":-9223372036854775809}', b'{"a":[18446744073709551616]}',
    ],
)
def test_what_is_not_one_strict_object_is_refused(raw):
    """Malformed, too deep, too large numbers, wrong encodings and duplicate keys are 400 with a text."""
    with pytest.raises(InvalidRequest) as caught:
        read_object(raw)
    assert caught.value.status == 400
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b" ", "is empty"), (b"\xef\xbb\xbf{}", "byte order mark"), (b'{"a":"\\ud800"}', "half of a surrogate pair"),
        (b'{"a":"\\ud800 and on"}', "half of a surrogate pair"), (b'{"a":"\\uDC00"}', "half of a surrogate pair"),
        (b'{"a":', "truncated"),
    ],
)
def test_the_text_says_what_is_wrong_in_words_of_the_sender(raw, said):
    """Not in those of the decoder, which calls half a surrogate pair an end of its input."""
    with pytest.raises(InvalidRequest, match=said):
        read_object(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"{}", b' {"a" : 1 }\n', b'{"a":18446744073709551615,"b":-9223372036854775808}', b'{"a":"\\"b\\":{"}',
        b'{"a\\"":1,"a":{"x":":::"}}', b'{"a":"\\\\","b":"\\\\\\""}', b'{"a":' + b"[" * 63 + b"]" * 63 + b"}",
        b'{"a":0.12345678901234567890123}', '{"ü":"日本 😀"}'.encode(),
    ],
)
def test_ordinary_objects_are_read(raw):
    """What JSON allows is read as Python's own reader reads it."""
    assert read_object(raw) == json.loads(raw)


@given(OBJECTS, st.booleans(), st.booleans())
def test_every_valid_object_is_read_the_same(value, ascii_only, spaced):
    """Whatever the spelling, the decoded form is that of the standard library."""
    raw = json.dumps(value, ensure_ascii=ascii_only, indent=1 if spaced else None)
    try:
        data = raw.encode()
    except UnicodeEncodeError:
        return
    assert read_object(data) == json.loads(raw)


@given(st.binary(max_size=200))
def test_any_bytes_give_an_object_or_a_refusal(raw):
    """No other error ever leaves the reader."""
    try:
        assert isinstance(read_object(raw), dict)
    except InvalidRequest:
        return


@given(OBJECTS, st.sampled_from(["model", "stream_options", "max_tokens"]), VALUES, st.booleans())
def test_an_edit_sets_the_field_and_keeps_everything_else(value, name, new, spaced):
    """After an edit the field has the new value and all other fields their old ones."""
    raw = json.dumps(value, indent=2 if spaced else None).encode()
    body = read_object(raw)
    assert json.loads(edited(raw, body, {name: new})) == {**value, name: new}


def test_only_the_models_name_changes_in_the_bytes():
    """A nested or quoted `model` is not touched, and neither is any space."""
    raw = b'{ "metadata":{"model":"x"}, "note":"\\"model\\": \\"x\\"",\n "model" : "x" , "n":1.0}'
    assert edited(raw, read_object(raw), {"model": "y/z"}) == raw.replace(b'"model" : "x"', b'"model" : "y/z"')


def test_a_new_field_is_appended():
    """A field that is not there comes last; the bytes before it stay."""
    raw = b'{"a":1 }\n'
    assert edited(raw, read_object(raw), {"b": {"c": True}}) == b'{"a":1,"b":{"c":true}}\n'
    assert edited(b"{}", {}, {"b": 1}) == b'{"b":1}'


def test_an_escaped_key_is_found_by_writing_the_decoded_form():
    """A key that is spelled with escapes still gets the new value."""
    raw = b'{"mod\\u0065l":"x","n":1}'
    assert json.loads(edited(raw, read_object(raw), {"model": "y"})) == {"model": "y", "n": 1}


@pytest.mark.parametrize(
    "raw",
    [
        b'{"model":"x","n":1}', b'{"n":1,"model" : "x"}', b'{"a":{"model":"y"},"model": \n"x"}', b'{"model":"a\\"b\\\\","n":1}',
        b'{"a":"model","model":"x"}', b'{"a":"\\"model\\"","model":"x"}', b'{"a":"x \\"model","model":"x"}',
        b'{"a":{"model":"y"},"mod\\u0065l":"x"}', b'{"a":["model",{"model":[1]}],"model":{"b":["}",{}]}}', b'{"model":7}',
        b'{"a":{"model":"y"},"b":"\\u00e4","model":"x"}', b'{"model":null }', b'{"a":"\\"model\\":","model":[1,"]"]}',
    ],
)
def test_the_right_model_is_set_however_it_is_spelled(raw):
    """Keys of the same name elsewhere, quoted ones, escapes and spaces mislead nobody."""
    body = read_object(raw)
    assert json.loads(edited(raw, body, {"model": "new", "extra": True})) == {**body, "model": "new", "extra": True}


def test_what_goes_out_differs_only_where_it_must():
    """The model's name and the request for usage; a client's own stream options stay."""
    same = exchange()
    assert outgoing(same, "demo-small") is same.request.raw
    streamed = exchange(stream=True, stream_options={"include_obfuscation": False})
    sent = json.loads(outgoing(streamed, "other"))
    assert sent == {
        **streamed.request.body, "model": "other",
        "stream_options": {"include_obfuscation": False, "include_usage": True},
    }
    asked = exchange(stream=True, stream_options={"include_usage": True})
    assert outgoing(asked, "demo-small") is asked.request.raw
    assert json.loads(outgoing(exchange(stream=True, stream_options=None), "demo-small"))["stream_options"] == {
        "include_usage": True
    }


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"a":NaN}', None), (b'"\\ud83d"', "?"), (b'"\xff"', "\ufffd"), (b'"\x01"', "\x01"), (b"[1e999]", [float("inf")]),
        (b"9" * 30, 10**30 - 1), (b"[1]", [1]), (b"{", UNREADABLE), (b"", UNREADABLE), (b"[" * 100_000, UNREADABLE),
        (b'{"a":1}x', UNREADABLE),
    ],
)  # fmt: skip
def test_replies_are_read_as_clients_read_them(raw, expected):
    """What a strict reader refuses is still seen, and can be written again."""
    found = read_lenient(raw)
    if expected is None:
        assert found["a"] != found["a"]
    else:
        assert found == expected
    if found is not UNREADABLE:
        assert msgspec.json.encode(found)


@given(st.binary(max_size=60) | st.text().map(str.encode))
def test_the_lenient_reader_takes_any_bytes(raw):
    found = read_lenient(raw)
    assert found is UNREADABLE or msgspec.json.encode(found)
