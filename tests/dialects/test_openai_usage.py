"""Usage objects of many servers: what is billed, counted once."""

import msgspec
import pytest
from recordings import is_stream, needs_recordings, openai_recordings, wire_body

from gateway.dialects.openai_usage import reported, usage_of, wire_from
from gateway.events import Usage


def counted(**usage):
    return reported(msgspec.json.encode({"usage": usage}))


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}, Usage(3, 5)),
        ({"prompt_tokens": 3, "total_tokens": 3}, Usage(3, 0)),
        ({"completion_tokens": 5}, Usage(0, 5)),
        (
            {"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4},
             "completion_tokens_details": {"reasoning_tokens": 2}},
            Usage(9, 5, cached=4, reasoning=2),
        ),
        ({"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": None,
          "completion_tokens_details": None}, Usage(9, 5)),
        ({"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": None}}, Usage(9, 5)),
        ({"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": []}, Usage(9, 5)),
        ({"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": "4"}},
         Usage(9, 5, cached=4)),
        ({"prompt_tokens": "9", "completion_tokens": 5.0}, Usage(9, 5)),
        ({"prompt_tokens": "nine", "completion_tokens": 5}, Usage(0, 5)),
        # DeepSeek, Moonshot, OpenRouter
        ({"prompt_tokens": 9, "completion_tokens": 5, "prompt_cache_hit_tokens": 4}, Usage(9, 5, cached=4)),
        ({"prompt_tokens": 9, "completion_tokens": 5, "cached_tokens": 4}, Usage(9, 5, cached=4)),
        ({"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4,
          "cache_write_tokens": 7}}, Usage(9, 5, cached=4, cache_write=5)),
        # xAI: reasoning is beside the completion; Gemini: the same, and it does not say so
        ({"prompt_tokens": 331, "completion_tokens": 11, "total_tokens": 674,
          "completion_tokens_details": {"reasoning_tokens": 332}}, Usage(331, 343, reasoning=332)),
        ({"prompt_tokens": 66, "completion_tokens": 6, "total_tokens": 100}, Usage(66, 34, reasoning=28)),
        ({"prompt_tokens": 66, "completion_tokens": 6, "total_tokens": 100,
          "completion_tokens_details": {"reasoning_tokens": 2}}, Usage(66, 6, reasoning=2)),
        ({"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 2}, Usage(9, 5)),
        ({"prompt_tokens": 3, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 99}},
         Usage(3, 5, cached=3)),
        ({}, None), ({"prompt_tokens": None}, None), ({"prompt_tokens": True}, None), ({"total_tokens": 5}, None),
        ({"prompt_tokens": -1, "completion_tokens": 5}, None), ({"prompt_tokens": 3, "completion_tokens": -5}, None),
        ({"prompt_tokens": 3, "completion_tokens": 2**60}, None), ({"prompt_tokens": 1.5}, None),
    ],
)  # fmt: skip
def test_usage_is_read_as_billed(usage, expected):
    """Missing is not zero, impossible is not usage, and what is billed is in the sums."""
    assert counted(**usage) == expected


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b"7", b'{"usage":null}', b'{"usage":[]}', b'{"usage":"7"}', b'{"usage":7}']
)
def test_replies_without_usage_report_none(body):
    assert reported(body) is None


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"usage":', b"\xff"])
def test_what_is_no_json_is_an_error(body):
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        reported(body)


@pytest.mark.parametrize("value", [None, 7, "x", [], [{}], True])
def test_what_is_no_object_is_no_usage(value):
    assert wire_from(value) is None


@needs_recordings
def test_recorded_replies_add_up():
    """In every recorded reply input and output are the total that the provider names."""
    seen = 0
    for name, _, recording in openai_recordings():
        body = recording["response"].get("body")
        if is_stream(recording) or not isinstance(body, dict) or not isinstance(body.get("usage"), dict):
            continue
        usage = reported(wire_body(recording["response"]))
        total = body["usage"].get("total_tokens")
        if usage is not None and total is not None:
            assert usage.input + usage.output == total, name
            seen += 1
        assert usage == usage_of(wire_from(body["usage"]))
    assert seen > 50
