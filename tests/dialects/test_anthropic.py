"""The Messages dialect: what is checked, where texts stand, how errors and limits are told, what a tap sees."""

import json
import random

import pytest
from recordings import is_stream, needs_recordings, recordings_of, wire_body

from gateway.dialects.anthropic import CountTokens, Messages
from gateway.dialects.anthropic_models import traits
from gateway.dialects.anthropic_tap import MessagesTap
from gateway.errors import (
    Forbidden,
    InvalidRequest,
    QuotaExceeded,
    RateLimited,
    Unauthenticated,
    Unavailable,
    UpstreamCut,
    UpstreamRefused,
)
from gateway.events import End, Finish, Opaque, Text
from gateway.hookspecs import RateStanding

DIALECT = Messages()
STREAMS = {case: wire_body(one["response"]) for case, one in recordings_of("messages", provider="anthropic") if is_stream(one)}
BODY = {
    "model": "m", "max_tokens": 5, "system": [{"type": "text", "text": "sys"}],
    "tools": [{"name": "tool", "description": "about", "input_schema": {"type": "object", "properties": {"a": {"type": "string", "description": "arg"}}}}],
    "messages": [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "think", "signature": "sig"}, {"type": "redacted_thinking", "data": "red"},
            {"type": "text", "text": "two"}, {"type": "tool_use", "id": "toolu_1", "name": "tool", "input": {"a": "three"}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "four"}]},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
            {"type": "document", "title": "five", "source": {"type": "text", "media_type": "text/plain", "data": "six"}},
            {"type": "brand_new", "note": "seven"},
        ]},
    ],
}


def decoded(**fields):
    body = {**BODY, **fields}
    return DIALECT.decode(json.dumps(body).encode(), body)


def record(kind, **fields):
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), json.dumps({"type": kind, **fields}).encode())


def test_what_stages_need_is_picked_out():
    request = decoded(stream=True)
    assert (request.model, request.stream, request.include_usage, request.max_output) == ("m", True, True, 5)
    counted = CountTokens().decode(b"{}", {"model": "m", "messages": [], "stream": True})
    assert (counted.stream, counted.max_output) == (False, 0)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": ""}, "model"), ({"model": 7}, "model"), ({"max_tokens": "5"}, "max_tokens"), ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"), ({"messages": {}}, "messages"), ({"messages": [7]}, "messages[0].role"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"), ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content"), ({"stream": "yes"}, "stream"), ({"system": 5}, "system"),
        ({"tools": {}}, "tools"), ({"thinking": []}, "thinking"),
    ],
)
def test_what_is_wrong_is_named(fields, param):
    with pytest.raises(InvalidRequest) as refusal:
        decoded(**fields)
    assert refusal.value.param == param


def test_every_text_is_found_and_nothing_else():
    texts = DIALECT.texts(decoded())
    assert [text for text in texts if text in ("sys", "one", "think", "two", "three", "four", "five", "six", "seven")] == [
        "sys", "one", "think", "two", "three", "four", "five", "six", "seven",
    ]
    assert not {"sig", "red", "toolu_1", "AAAA", "m", "tool"} & set(texts)
    assert {"about", "arg"} <= set(texts)


def test_changed_texts_stand_where_they_stood_and_signed_thinking_leaves():
    """A signature fits its text only: reasoning that a guardrail changes goes as a whole."""
    request = decoded()
    assert DIALECT.map_texts(request, lambda text, _: text) is request
    changed = DIALECT.map_texts(request, lambda text, _: text.upper()).body
    assert [block["type"] for block in changed["messages"][1]["content"]] == ["redacted_thinking", "text", "tool_use"]
    assert changed["messages"][1]["content"][2] == {"type": "tool_use", "id": "toolu_1", "name": "tool", "input": {"a": "THREE"}}
    assert changed["messages"][2]["content"][1] == BODY["messages"][2]["content"][1]
    assert changed["system"] == [{"type": "text", "text": "SYS"}]
    assert request.body == BODY


def test_texts_of_a_reply_are_mapped_and_other_bytes_stay():
    body = json.dumps({"type": "message", "content": [{"type": "text", "text": "a b"}, {"type": "tool_use", "id": "i", "name": "n", "input": {"x": "a"}}]}).encode()
    parts = []
    assert DIALECT.map_reply_texts(body, lambda text, part: parts.append(part) or text) is body
    assert parts == ["content", "arguments"]
    changed = json.loads(DIALECT.map_reply_texts(body, lambda text, _: text.replace("a", "*")))
    assert [changed["content"][0]["text"], changed["content"][1]["input"]] == ["* b", {"x": "*"}]
    with pytest.raises(UpstreamCut):
        DIALECT.map_reply_texts(b"<html>", lambda text, _: text)


def test_events_of_records_and_back():
    said = record("content_block_delta", index=1, delta={"type": "text_delta", "text": "hi"})
    (event,) = DIALECT.events(said)
    assert (event.text, event.part, event.choice) == ("hi", "content", 0)
    changed = Text("ho", 0, "content", 0, event.record)
    assert json.loads(DIALECT.encode(changed).partition(b"data: ")[2]) == {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "ho"}}
    (event,) = DIALECT.events(record("content_block_delta", index=3, delta={"type": "input_json_delta", "partial_json": "{"}))
    assert (event.part, event.tool) == ("arguments", 3)
    (event,) = DIALECT.events(record("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 1}))
    assert isinstance(event, Finish)
    (event,) = DIALECT.events(record("message_stop"))
    assert isinstance(event, End)
    (event,) = DIALECT.events(record("content_block_delta", index=0, delta={"type": "signature_delta", "signature": "secret"}))
    assert isinstance(event, Finish)
    assert DIALECT.encode(event) == event.record.raw
    for silent in (record("ping"), b": comment\n\n"):
        assert [type(event) for event in DIALECT.events(silent)] == [Opaque]


@pytest.mark.parametrize("raw", [
    record("content_block_start", index=0, content_block={"type": "web_search_tool_result", "content": [{"title": "hidden"}]}),
    record("content_block_start", index=0, content_block={"type": "text", "text": "hidden"}),
    record("content_block_delta", index=0, delta={"type": "brand_new_delta", "words": "hidden"}),
    record("content_block_delta", index=0, delta={"type": "citations_delta", "citation": {"cited_text": "hidden"}}),
    record("error", error={"type": "api_error", "message": "hidden"}), b"data: hidden, no JSON\n\n",
])
def test_no_text_passes_a_filter_unseen(raw):
    """Blocks that come whole, unknown events, errors, broken JSON: each is a text that can be replaced."""
    text, finish = DIALECT.events(raw)
    assert "hidden" in text.text
    assert isinstance(finish, Finish)
    assert b"hidden" not in DIALECT.encode(Text("x", text.choice, record=text.record))
    assert DIALECT.encode(finish) == b""


def test_errors_have_anthropics_words():
    told = {
        InvalidRequest("x"): (400, "invalid_request_error"), Unauthenticated("x"): (401, "authentication_error"),
        Forbidden("x"): (403, "permission_error"), RateLimited("x"): (429, "rate_limit_error"),
        QuotaExceeded("x"): (429, "billing_error"), Unavailable("x"): (503, "overloaded_error"),
        UpstreamCut("x"): (502, "api_error"), UpstreamRefused(503, "x", kind="overloaded"): (529, "overloaded_error"),
        UpstreamRefused(400, "x", kind="context_length"): (400, "invalid_request_error"),
    }
    for error, (status, kind) in told.items():
        assert DIALECT.head(error)[0] == status
        assert json.loads(DIALECT.error(error, "req_1")) == {"type": "error", "error": {"type": kind, "message": "x"}, "request_id": "req_1"}
        assert DIALECT.error_event(error, "r").startswith(b"event: error\ndata: ")
    assert DIALECT.is_error(DIALECT.error(InvalidRequest("x"), "r"))
    assert not DIALECT.is_error(b'{"error":{"message":"OpenAI\'s"}}')
    assert not DIALECT.is_error(b"<html>")


def test_limits_are_told_in_anthropics_headers():
    headers = DIALECT.rate_headers([RateStanding("requests", 50, 49, 30.0)])
    assert headers["anthropic-ratelimit-requests-limit"] == "50"
    assert headers["anthropic-ratelimit-requests-remaining"] == "49"
    assert headers["anthropic-ratelimit-requests-reset"][10] == "T"
    assert headers["anthropic-ratelimit-requests-reset"].endswith("Z")


@needs_recordings
@pytest.mark.parametrize("case", STREAMS)
def test_the_tap_passes_every_byte_and_sees_the_same_at_every_split(case):
    data = STREAMS[case]
    seen = []
    dice = random.Random(case)
    cuts = [[data], [data[at : at + 1] for at in range(len(data))]]
    cuts += [[data[at : at + size] for at in range(0, len(data), size)] for size in (3, dice.randint(10, 90), 900)]
    for pieces in cuts:
        tap = MessagesTap()
        out = b"".join(tap.feed(piece) for piece in pieces)
        assert tap.done
        assert tap.complete
        assert out + tap.rest() + tap.last == data
        assert b"message_stop" not in out
        seen.append((tap.usage, tap.records, tap.text_bytes, tap.error))
    assert all(each == seen[0] for each in seen)
    assert seen[0][0] is not None


def test_a_tap_keeps_half_a_record_back_and_scrubs_errors():
    tap = MessagesTap(lambda data: data.replace(b"secret", b"***"))
    assert tap.feed(record("ping") + b"event: content_bl") == record("ping")
    assert tap.rest() == b""
    assert not tap.complete
    tap = MessagesTap(lambda data: data.replace(b"secret", b"***"))
    assert b"secret" not in tap.feed(record("error", error={"type": "overloaded_error", "message": "secret"}))
    assert tap.error == "overloaded_error"


def test_a_tap_takes_the_later_usage_and_never_adds():
    tap = MessagesTap()
    tap.feed(record("message_start", message={"usage": {"input_tokens": 10, "cache_read_input_tokens": 5, "output_tokens": 3}}))
    assert (tap.usage.input, tap.usage.cached, tap.usage.output) == (15, 5, 3)
    tap.feed(record("message_delta", delta={}, usage={"output_tokens": 8}))
    assert (tap.usage.input, tap.usage.output) == (15, 8)
    tap.feed(record("message_delta", delta={}, usage={"input_tokens": 12, "output_tokens": 9}))
    assert (tap.usage.input, tap.usage.output) == (17, 9)


@pytest.mark.parametrize(
    ("model", "schema", "thinking", "sampling"),
    [
        ("claude-3-5-haiku-20241022", False, "none", True), ("claude-3-7-sonnet-20250219", False, "budget", True),
        ("claude-sonnet-4-20250514", False, "budget", True), ("claude-sonnet-4@20250514", False, "budget", True),
        ("claude-opus-4-1-20250805", True, "budget", True), ("anthropic.claude-haiku-4-5-20251001-v1:0", True, "budget", True),
        ("claude-opus-4-6", True, "adaptive", True), ("claude-opus-4-8", True, "adaptive", False), ("claude-sonnet-5", True, "adaptive", False),
        ("claude-mythos-preview", True, "adaptive", False), ("kimi-k2", False, "budget", True),
    ],
)
def test_a_models_name_says_what_it_takes(model, schema, thinking, sampling):
    known = traits(model)
    assert (known.schema, known.thinking, known.sampling) == (schema, thinking, sampling)
