"""The tap on recorded streams: bytes as they came at every split, and the same findings."""

import pytest
from recordings import is_stream, needs_recordings, openai_recordings, wire_body

from gateway.dialects.openai_tap import StreamTap

STREAMS = [(name, wire_body(r["response"])) for name, endpoint, r in openai_recordings() if is_stream(r)]
CHUNK = (
    b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"hello"},'
    b'"finish_reason":null}],"usage":null}\n\n'
)
FINISH = b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}\n\n'
USAGE = b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}}\n\n'
DONE = b"data: [DONE]\n\n"


def run(stream, cuts, **options):
    tap = StreamTap(strip_usage=options.pop("strip_usage", False), **options)
    out, start = b"", 0
    for cut in [*cuts, len(stream)]:
        out += tap.feed(stream[start:cut])
        start = cut
    return out + tap.rest(), tap


@needs_recordings
@pytest.mark.parametrize(("name", "stream"), STREAMS, ids=[name[-40:] for name, _ in STREAMS])
def test_a_recorded_stream_leaves_as_it_came_at_every_split(name, stream):
    """Cut at each byte: the same bytes go out, and the same usage, end and error are found."""
    whole, seen = run(stream, [])
    assert whole + seen.last == stream
    for cut in range(1, len(stream), max(1, len(stream) // 150)):
        out, tap = run(stream, [cut])
        assert out + tap.last == stream
        assert (tap.usage, tap.complete, tap.error) == (seen.usage, seen.complete, seen.error)
        assert tap.records == seen.records


@needs_recordings
def test_every_recording_but_the_failed_one_is_complete():
    """The end is recognised with and without a terminal record."""
    incomplete = [name for name, stream in STREAMS if not run(stream, [])[1].complete]
    assert all("tool-use-failed-error" in name for name in incomplete)
    assert len(STREAMS) > 50


@pytest.mark.parametrize("size", [1, 2, 3, 5, 11, 1000])
def test_the_terminal_record_is_held_at_every_split(size):
    """The bytes that end the stream stay behind until the books are closed."""
    stream = CHUNK * 3 + FINISH + USAGE + DONE
    out, tap = run(stream, range(size, len(stream), size))
    assert out + tap.last == stream
    assert tap.last.endswith(b"[DONE]\n\n")
    assert b"[DONE]" not in out


@pytest.mark.parametrize("size", [1, 2, 7, 100, 10_000])
@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
def test_the_usage_chunk_is_taken_out_and_nothing_else(size, end):
    """A client that did not ask for usage gets every other record unchanged."""
    kept = (CHUNK * 3 + FINISH).replace(b"\n\n", end)
    stream = kept + USAGE.replace(b"\n\n", end) + DONE.replace(b"\n\n", end)
    out, tap = run(stream, range(size, len(stream), size), strip_usage=True)
    assert out == kept
    assert tap.usage.input == 3
    assert tap.usage.output == 5


def test_what_is_not_text_is_seen_wherever_it_stands_in_a_burst():
    """An error, a finish reason and usage in the middle of a large read are not passed over."""
    many = CHUNK * 100
    error = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}],"error":{"code":"e"}}\n\n'
    assert run(many + error + many, [])[1].error == "e"
    assert run(many + USAGE + many, [])[1].usage.output == 5
    assert run(many + FINISH + many, [])[1].complete
    out, tap = run(many + DONE + many + DONE, [])
    assert out == many
    assert tap.last == DONE + many + DONE


def test_a_burst_is_sampled_but_its_end_is_seen():
    """In a large read the text is estimated, the finish and the usage are exact."""
    exact = run(CHUNK * 1000, range(500, len(CHUNK) * 1000, 500))[1]
    burst = run(CHUNK * 1000 + FINISH + USAGE + DONE, [])[1]
    assert exact.text_bytes == 5000
    assert abs(run(CHUNK * 1000, [])[1].text_bytes - 5000) < 50
    assert burst.complete
    assert burst.usage.output == 5


@pytest.mark.parametrize(
    "record",
    [
        b"data: {broken\n\n", b"data: []\n\n", b'data: {"choices":"x"}\n\n', b'data: {"choices":[{"delta":7}]}\n\n',
        b'data: {"usage":"many"}\n\n', b": comment\n\n", b"event: ping\n\n", b"\xff\xfe\n\n",
        b'data: {"choices":[{"index":0,"delta":{"content":[{"type":"text","text":"x"}]}}]}\n\n',
    ],
)
def test_odd_records_pass_and_harm_nothing(record):
    """A record that cannot be read goes on as it is, and the ones around it are still understood."""
    stream = CHUNK + record + FINISH + USAGE + DONE
    out, tap = run(stream, [])
    assert out + tap.last == stream
    assert tap.complete
    assert tap.usage.output == 5


def test_an_error_in_the_stream_is_noticed():
    """An error record is kept with its code."""
    _, tap = run(CHUNK + b'data: {"error":{"message":"m","code":"rate_limit_exceeded"}}\n\n', [])
    assert tap.error == "rate_limit_exceeded"
    assert not tap.complete


def test_done_inside_text_is_no_end():
    """The characters [DONE] in an answer do not end it."""
    text = CHUNK.replace(b"hello", b"data: [DONE]")
    out, tap = run(text + CHUNK, [])
    assert out == text + CHUNK
    assert not tap.done


def test_choices_must_all_finish():
    """With two choices, one finish reason is not the end."""
    other = CHUNK.replace(b'"index":0', b'"index":1')
    assert not run(CHUNK + other + FINISH, [])[1].complete
    assert run(CHUNK + other + FINISH + FINISH.replace(b'"index":0', b'"index":1'), [])[1].complete


def test_a_usage_chunk_in_odd_types_is_read_and_taken_out():
    """Numbers as strings or `12.0`, details of a wrong type, `choices: null`, `error: null`."""
    for usage in (
        USAGE.replace(b":3,", b':"3",'), USAGE.replace(b":3,", b":3.0,"), USAGE.replace(b"}}", b"},\"error\":null}"),
        USAGE.replace(b":3,", b':3,"prompt_tokens_details":[],'), USAGE.replace(b"[]", b"null"),
    ):
        for cuts in ([], [len(CHUNK)], [len(CHUNK), len(CHUNK + FINISH)]):
            out, tap = run(CHUNK + FINISH + usage + DONE, cuts, strip_usage=True)
            assert out == CHUNK + FINISH
            assert (tap.usage.input, tap.usage.output) == (3, 5)


def test_a_last_usage_chunk_without_its_blank_line_is_taken_out_too():
    out, tap = run(CHUNK + FINISH + USAGE.rstrip(), [len(CHUNK)], strip_usage=True)
    assert out == CHUNK + FINISH
    assert tap.usage.output == 5


@pytest.mark.parametrize(
    "delta",
    [
        b'{"content":"12345"}', b'{"reasoning":"12345","reasoning_content":"12345"}', b'{"refusal":"12345"}',
        b'{"function_call":{"name":"f","arguments":"12345"}}', b'{"content":[{"type":"text","text":"12345"}]}',
        b'{"tool_calls":[{"index":0,"function":{"arguments":"123"}},{"index":1,"function":{"arguments":"45"}}]}',
    ],
)
def test_text_is_measured_in_every_field(delta):
    """What was said before a cut is billed, wherever it stood."""
    record = b'data: {"choices":[{"index":0,"delta":' + delta + b"}]}\n\n"
    assert run(record, [])[1].text_bytes == run(record * 2, [len(record)])[1].text_bytes // 2
    assert run(record, [])[1].text_bytes >= 5
    assert run(record, [7])[1].text_bytes == run(record, [])[1].text_bytes
    assert run(record.replace(b'"delta"', b'"message"'), [])[1].text_bytes >= 5


def test_comments_are_no_records():
    """Records count as tokens at least; comments do not."""
    assert run(b": ping\n\n" + CHUNK + b": ping\n\n", [])[1].records == 1


def test_an_empty_finish_reason_is_none():
    """Some servers send `""` in every chunk."""
    assert not run(FINISH.replace(b'"stop"', b'""'), [])[1].complete


def test_odd_finish_reasons_end_a_choice():
    assert run(FINISH.replace(b'"stop"', b"7"), [])[1].complete
    assert not run(FINISH.replace(b'"stop"', b"false"), [])[1].complete


@pytest.mark.parametrize("size", [1, 3, 50, 10_000])
@pytest.mark.parametrize(
    "record",
    [
        b'data: {"error":{"message":"bad key sk-123"}}\n\n',
        b'data: {"choices":[{"index":0,"delta":{},"error":{"message":"bad key sk-123"}}]}\n\n',
        b'data: {"choices":[],"error":"bad key sk-123"}\r\n\r\n',
    ],
)
def test_an_error_leaves_without_credentials(record, size):
    """At the top or in a choice, in one read or in many; everything else leaves as it came."""
    stream = CHUNK + record + DONE
    for whole in (stream, stream[: -len(DONE) - 2]):
        out, tap = run(whole, range(size, len(whole), size), scrub=lambda data: data.replace(b"sk-123", b"***"))
        assert out + tap.last == whole.replace(b"sk-123", b"***")
