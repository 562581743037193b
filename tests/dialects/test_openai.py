"""What the OpenAI dialects share: checks of common fields, errors, rate-limit headers."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import sse
from gateway.dialects.openai import common, duration, expect
from gateway.dialects.openai_chat import Chat
from gateway.dialects.openai_completions import Completions
from gateway.dialects.openai_embeddings import Embeddings
from gateway.errors import InvalidRequest, RateLimited, UpstreamCut
from gateway.hookspecs import Dialect, RateStanding

DIALECTS = [Chat(), Completions(), Embeddings()]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (-5, "0s"), (0.0004, "0s"), (0.006, "6ms"), (0.25, "250ms"), (0.9996, "1s"), (1, "1s"), (8.64, "8.64s"),
     (59.9999, "1m0s"), (60, "1m0s"), (60.198, "1m0.198s"), (864, "14m24s"), (3600, "60m0s"), (100, "1m40s")],
)  # fmt: skip
def test_durations_are_written_as_openai_does(seconds, text):
    assert duration(seconds) == text


@given(st.floats(0, 1e7))
def test_every_duration_reads_back(seconds):
    """Milliseconds are kept, nothing else is."""
    text = duration(seconds)
    minutes, _, rest = text.rpartition("m") if not text.endswith("ms") else ("", "", text)
    back = float(rest[:-2]) / 1000 if rest.endswith("ms") else float(rest[:-1])
    assert abs(int(minutes or 0) * 60 + back - seconds) <= 0.00051


def test_rate_headers_name_each_unit():
    standings = [RateStanding("requests", 60, 59, 1.0), RateStanding("tokens", 1000, 0, 6.0)]
    assert Chat().rate_headers(standings) == {
        "x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "59", "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-limit-tokens": "1000", "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6s",
    }
    assert Chat().rate_headers([]) == {}


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_errors_have_openais_envelope(dialect):
    """All four keys, in HTTP and in a stream."""
    assert isinstance(dialect, Dialect)
    error = RateLimited("Slow \n down.", param="model")
    expected = {"message": "Slow \n down.", "type": "rate_limit_error", "param": "model", "code": "rate_limit_exceeded"}
    assert msgspec.json.decode(dialect.error(error, "req_1")) == {"error": expected, "request_id": "req_1"}
    record = dialect.error_event(error, "req_1")
    assert len(sse.split(record)) == 1
    assert msgspec.json.decode(sse.data(record))["error"] == expected


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "model"), ({"model": None}, "model"), ({"model": 5}, "model"), ({"model": ""}, "model"),
        ({"model": "m" * 257}, "model"), ({"model": ["m"]}, "model"), ({"model": "m", "stream": "true"}, "stream"),
        ({"model": "m", "stream": 1}, "stream"), ({"model": "m", "stream_options": []}, "stream_options"),
        ({"model": "m", "n": "2"}, "n"), ({"model": "m", "n": True}, "n"),
        ({"model": "m", "max_tokens": 1.5}, "max_tokens"),
        ({"model": "m", "max_tokens": "9"}, "max_tokens"), ({"model": "m", "best_of": []}, "best_of"),
        ({"model": "m", "prompt": 7}, "prompt"), ({"model": "m", "prompt": {}}, "prompt"),
    ],
)  # fmt: skip
def test_wrong_types_are_refused_by_name(body, param):
    with pytest.raises(InvalidRequest) as caught:
        Completions().decode(b"", body)
    assert caught.value.param == param
    assert f"`{param}`" in caught.value.message


@pytest.mark.parametrize(
    ("dialect", "fields", "param"),
    [
        (Chat(), {"messages": "hi"}, "messages"), (Chat(), {"messages": {"role": "user"}}, "messages"),
        (Chat(), {"messages": ["hi"]}, "messages[0]"), (Chat(), {"messages": [None]}, "messages[0]"),
        (Chat(), {"messages": [{"role": 7}]}, "messages[0].role"),
        (Chat(), {"max_completion_tokens": {}}, "max_completion_tokens"),
        (Chat(), {"max_completion_tokens": -1}, "max_completion_tokens"), (Chat(), {"max_tokens": 0}, "max_tokens"),
        (Chat(), {"n": 0}, "n"), (Chat(), {"n": 129}, "n"), (Chat(), {"temperature": "hot"}, "temperature"), (Chat(), {"tools": 1}, "tools"),
        (Chat(), {"stop": 5}, "stop"), (Chat(), {"stream_options": {"include_usage": "yes"}}, "include_usage"),
        (Chat(), {"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
        (Chat(), {"messages": [{"role": "user", "content": [1]}]}, "messages[0].content"),
        (Embeddings(), {"input": 7}, "input"), (Embeddings(), {"input": {}}, "input"),
        (Embeddings(), {"stream": True}, "stream"),
    ],
)  # fmt: skip
def test_each_endpoint_checks_its_own_fields(dialect, fields, param):
    with pytest.raises(InvalidRequest) as caught:
        dialect.decode(b"", {"model": "m", **fields})
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, (False, False, None, 1)), ({"stream": None, "n": None, "max_tokens": None}, (False, False, None, 1)),
        ({"stream": True}, (True, False, None, 1)),
        ({"stream": True, "stream_options": {"include_usage": True}}, (True, True, None, 1)),
        ({"stream_options": {"include_usage": True}}, (False, False, None, 1)),
        ({"max_tokens": 5, "n": 3}, (False, False, 5, 3)), ({"max_tokens": 0, "echo": True}, (False, False, 0, 1)),
        ({"max_tokens": 5, "max_completion_tokens": 7}, (False, False, 7, 1)),
        ({"max_tokens": 7, "max_completion_tokens": 5}, (False, False, 7, 1)),
        ({"n": 128}, (False, False, None, 128)),
    ],
)  # fmt: skip
def test_what_stages_need_is_picked_out(fields, expected):
    request = Chat().decode(b"raw", {"model": "m", **fields})
    assert (request.stream, request.include_usage, request.max_output, request.choices) == expected
    assert request.raw == b"raw"


@pytest.mark.parametrize(
    ("fields", "answers"),
    [({}, 1), ({"prompt": "a", "n": 2}, 2), ({"prompt": ["a", "b"], "n": 2}, 4), ({"prompt": [1, 2, 3]}, 1),
     ({"prompt": [[1], [2]]}, 2), ({"prompt": [], "best_of": 3}, 3), ({"n": 2, "best_of": 5}, 5), ({"best_of": -1}, 1)],
)  # fmt: skip
def test_every_answer_of_a_completion_counts(fields, answers):
    """Several prompts and `best_of` multiply what is generated, hence what is reserved."""
    assert Completions().decode(b"", {"model": "m", **fields}).choices == answers


def test_common_and_expect_take_null_as_absent():
    assert expect({"a": None}, "a", int) is None
    assert expect({"a": 1}, "a", int) == 1
    assert common(b"", {"model": "m", "x": object()}).model == "m"


@pytest.mark.parametrize("body", [b"", b"{", b"<html>", b"\x00"])
def test_a_reply_that_is_no_json_is_a_failed_upstream(body):
    with pytest.raises(UpstreamCut):
        Chat().map_reply_texts(body, lambda text, _: text)


EVERYWHERE = (
    b'{"choices":[{"message":{"content":"secret","reasoning":"secret","reasoning_content":"secret",'
    b'"tool_calls":[{"function":{"name":"f","arguments":"secret"}},{"custom":{"input":"secret"}}],'
    b'"function_call":{"arguments":"secret"},"audio":{"transcript":"secret","data":"AA"}},'
    b'"logprobs":{"content":[{"token":"secret"}]}}],"error":{"failed_generation":"secret"}}'
)


@pytest.mark.parametrize(
    "body",
    [
        EVERYWHERE,
        b'{"choices":[{"text":"secret","logprobs":{"tokens":["secret"]}}]}', b'["secret"]', b'"secret"',
        b'{"choices":["secret"]}', b'{"choices":{"a":"secret"}}', b'{"output":[{"content":"secret"}]}',
        b'{"choices":[{"message":{"content":[{"type":"thinking","thinking":[{"text":"secret"}]}]}}]}',
        b'{"choices":[{"message":{"content":"secret","x":NaN}}]}',
    ],
)
def test_no_reply_keeps_a_redacted_text(body):
    """In whatever field or shape, with its token lists."""
    out = Chat().map_reply_texts(body, lambda text, _: text.replace("secret", "***"))
    assert b"secret" not in out
    assert b"***" in out
    assert Chat().map_reply_texts(body, lambda text, _: text) is body


def test_an_unchanged_choice_keeps_its_token_list():
    body = b'{"choices":[{"text":"a","logprobs":{"x":1}},{"message":{"content":"b"},"logprobs":{"y":1}}]}'
    out = msgspec.json.decode(Chat().map_reply_texts(body, lambda text, _: text.replace("a", "c")))
    assert [choice["logprobs"] for choice in out["choices"]] == [None, {"y": 1}]


def test_embeddings_have_no_text_in_reply():
    body = b'{"data":[{"embedding":"AAAA"}]}'
    assert Embeddings().map_reply_texts(body, lambda text, _: "x") is body
