"""Streams' records as events: every text is seen once, and a changed one leaves without what it was before."""

import json
import random
from contextlib import suppress
from copy import deepcopy

import msgspec
import pytest
from recordings import is_stream, openai_recordings, wire_body

from gateway import sse
from gateway.dialects.openai_chat import Chat
from gateway.dialects.openai_chunks import events_of, record_of
from gateway.dialects.openai_tap import StreamTap
from gateway.errors import GatewayError, UpstreamCut
from gateway.events import End, Finish, Opaque, Text, Usage
from gateway.filters import FilterChain, filter_reply

RECORDED = [(name, endpoint, wire_body(r["response"]), is_stream(r)) for name, endpoint, r in openai_recordings()]
STREAMS = [(name, body) for name, _, body, stream in RECORDED if stream]


class Pass:
    """Changes nothing."""

    async def feed(self, event):
        return (event,)

    async def flush(self):
        return ()


class Censor(Pass):
    """Replaces whole texts that hold a word."""

    def __init__(self, word="secret"):
        self.word = word

    async def feed(self, event):
        if isinstance(event, Text) and self.word in event.text:
            return (msgspec.structs.replace(event, text="***"),)
        return (event,)


def record(*choices, **more):
    return sse.write(json.dumps({"id": "c", "choices": list(choices), **more}).encode())


def delta(index=0, finish=None, **fields):
    return {"index": index, "delta": fields, "finish_reason": finish}


def texts(raw):
    return [(e.part, e.tool, e.text) for e in events_of(raw) if isinstance(e, Text)]


async def censored(*records, word="secret"):
    """What leaves of records under a filter that censors a word."""
    dialect = Chat()
    chain = FilterChain([Censor(word)], dialect.events, dialect.encode)
    out = [piece for raw in records for piece in await chain.feed(raw)] + await chain.flush()
    return [piece for piece in out if piece]


def decoded(pieces):
    return [json.loads(sse.data(piece)) for piece in pieces]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"content": "a"}, [("content", 0, "a")]),
        ({"reasoning": "a", "reasoning_content": "a"}, [("reasoning", 0, "a")]),
        ({"reasoning": "a", "reasoning_content": "b"}, [("reasoning", 0, "a"), ("reasoning", 1, "b")]),
        (
            {"content": "", "reasoning": "ab", "reasoning_details": [
                {"type": "reasoning.text", "text": "a"}, {"type": "reasoning.summary", "summary": "b"}]},
            [("reasoning", 0, "ab")],
        ),
        ({"reasoning_details": [{"type": "reasoning.encrypted", "data": "QUJD", "id": "rs_1"}]}, []),
        ({"reasoning_details": [{"type": "reasoning.text", "signature": "c2ln"}]}, []),
        ({"reasoning_details": [{"text": "a", "signature": "c2ln"}]}, [("reasoning", 0, "a")]),
        ({"thinking": "a"}, [("reasoning", 0, "a")]),
        ({"refusal": "a"}, [("refusal", 0, "a")]),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, [("content", 0, "ab")]),
        (
            {"content": [{"type": "thinking", "thinking": [{"text": "a"}]}, {"type": "text", "text": "b"}]},
            [("reasoning", 0, "a"), ("content", 0, "b")],
        ),
        ({"content": {"text": "a"}}, [("content", 0, "a")]),
        ({"function_call": {"name": "f", "arguments": "a"}}, [("arguments", -1, "a")]),
        (
            {"tool_calls": [{"index": 1, "id": "x", "function": {"name": "f", "arguments": "a"}},
                            {"index": 2, "custom": {"name": "g", "input": "b"}}]},
            [("arguments", 1, "a"), ("arguments", 2, "b")],
        ),
        ({"tool_calls": [{"function": {"arguments": "a"}}, {"function": {"arguments": "b"}}]},
         [("arguments", 0, "a"), ("arguments", 1, "b")]),
        ({"tool_calls": [{"index": 0, "function": {"arguments": {"city": "a"}}}]}, [("arguments", 0, "a")]),
        ({"tool_calls": [{"index": 0, "function": {"name": "f"}, "extra_content": {"google": {"x": "y"}}}]}, []),
        ({"audio": {"id": "a", "transcript": "a", "data": "AAAA"}}, [("content", 0, "a")]),
        ({"role": "assistant", "content": None, "obfuscation": "xyz"}, []),
    ],
)  # fmt: skip
def test_each_text_of_a_delta_is_one_event(fields, expected):
    """Whatever field a server uses, its text is seen once, in its own voice; signatures and names are not texts."""
    assert texts(record(delta(**fields))) == expected
    assert texts(record({"index": 0, "message": fields})) == expected


@pytest.mark.parametrize(
    "choice", [{"index": 0, "text": "a"}, {"index": 0, "delta": "a"}, {"index": 0, "text": {"text": "a"}},
               {"index": 0, "delta": [{"text": "a"}]}, {"index": "0", "message": {"content": "a"}}, {"text": ["a"]}],
)  # fmt: skip
def test_texts_in_unusual_places_are_seen(choice):
    """Completions' `text`, a delta that is a string, a message in its place."""
    assert texts(record(choice)) == [("content", 0, "a")]


@pytest.mark.parametrize(
    "raw",
    [
        b"data: a secret\n\n", b'data: ["secret"]\n\n', b'data: {"choices":["secret"]}\n\n', b'data: "secret"\n\n',
        b'data: {"choices":"secret"}\n\n', b'data: {"type":"response.output_text.delta","delta":"secret"}\n\n',
        b'data: {"choices":[{"delta":{"content":"secret"}}\n\n', b"data: secret\r\ndata: more\r\n\r\n",
    ],
)
async def test_a_record_of_an_unknown_shape_is_one_text(raw):
    """It cannot pass a filter unseen; unchanged it leaves as it came."""
    assert b"secret" not in b"".join(await censored(raw))
    assert await censored(raw, word="absent") == [raw]
    first, last = events_of(raw)
    assert first.choice == last.choice < 0


@pytest.mark.parametrize(
    "content", [b'"\\ud83d secret"', b'"secret\xff"', b'"secret\x01"', b'"secret","n":NaN', b'"secret","n":1e999',
                b'"secret","n":' + b"9" * 40],
)  # fmt: skip
async def test_what_only_lenient_readers_read_is_seen(content):
    """NaN, lone surrogates, broken UTF-8, huge numbers: clients read such records, so filters do."""
    raw = b'data: {"choices":[{"index":0,"delta":{"content":' + content + b"}}]}\n\n"
    assert [e.part for e in events_of(raw) if isinstance(e, Text)] == ["content"]
    out = await censored(raw)
    assert b"secret" not in b"".join(out)
    assert decoded(out)[0]["choices"][0]["delta"]["content"] == "***"
    assert await censored(raw, word="absent") == [raw]


async def test_both_reasoning_fields_are_rewritten():
    raw = record(delta(role="assistant", reasoning="secret", reasoning_content="secret", content=""))
    [out] = decoded(await censored(raw))
    assert out["choices"][0]["delta"] == {
        "role": "assistant", "reasoning": "***", "reasoning_content": "***", "content": ""
    }


async def test_signed_reasoning_leaves_whole_or_not_at_all():
    """An entry under a signature is never edited."""
    details = [{"text": "a secret", "signature": "c2ln"}, {"type": "reasoning.encrypted", "data": "QQ=="}]
    raw = record(delta(reasoning="a secret", reasoning_details=details))
    [out] = decoded(await censored(raw))
    assert out["choices"][0]["delta"] == {
        "reasoning": "***", "reasoning_details": [{"type": "reasoning.encrypted", "data": "QQ=="}]
    }
    assert await censored(raw, word="absent") == [raw]


async def test_token_lists_of_a_changed_choice_are_dropped():
    """They repeat what was redacted; an unchanged choice keeps its own."""
    probabilities = {"content": [{"token": "secret", "logprob": -0.1}]}
    raw = record({**delta(content="secret"), "logprobs": probabilities, "token_ids": [1]},
                 {**delta(1, content="fine"), "logprobs": {"content": [{"token": "fine"}]}})  # fmt: skip
    first, second = decoded(await censored(raw))
    assert first["choices"][0]["logprobs"] is None
    assert first["choices"][0]["token_ids"] is None
    assert second["choices"][0]["logprobs"] == {"content": [{"token": "fine"}]}


async def test_a_changed_record_loses_nothing_else():
    """Role, tool call heads, finish reason and usage come out once each, in order."""
    raw = record(
        delta(role="assistant", content="secret", tool_calls=[
            {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}},
            {"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ], finish="tool_calls"),
        delta(1, role="assistant"),
        usage={"prompt_tokens": 3, "completion_tokens": 4}, x=1,
    )  # fmt: skip
    text, call, finish, usage = decoded(await censored(raw))
    assert [choice["delta"].get("role") for choice in text["choices"]] == ["assistant", "assistant"]
    assert text["choices"][0]["delta"]["content"] == "***"
    assert [call["id"] for call in text["choices"][0]["delta"]["tool_calls"]] == ["a"]
    assert call["choices"] == [delta(tool_calls=[
        {"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}}])]  # fmt: skip
    assert finish["choices"] == [delta(finish="tool_calls")]
    assert usage["usage"] == {"prompt_tokens": 3, "completion_tokens": 4}
    assert usage["choices"] == [delta()]
    assert ["usage" in piece for piece in (text, call, finish, usage)] == [False, False, False, True]
    assert all(piece["x"] == 1 for piece in (text, call, finish, usage))


async def test_usage_without_choices_keeps_that_form():
    """Alone in its record, it leaves with `choices: []`."""
    raw = record(usage={"prompt_tokens": 3, "completion_tokens": 4})
    [event] = events_of(raw)
    assert (event.input, event.output) == (3, 4)
    assert json.loads(sse.data(record_of(event)))["choices"] == []


async def test_completions_keep_their_form():
    raw = record(
        {"index": 0, "text": "secret", "logprobs": {"tokens": ["secret"]}, "finish_reason": "stop"},
        {"index": 1, "text": "b", "finish_reason": None}, usage={"prompt_tokens": 1, "completion_tokens": 1},
    )  # fmt: skip
    first, finish, other, usage = decoded(await censored(raw))
    assert first["choices"] == [{"index": 0, "text": "***", "logprobs": None, "finish_reason": None}]
    assert finish["choices"] == [{"index": 0, "text": "", "logprobs": None, "finish_reason": "stop"}]
    assert other["choices"] == [{"index": 1, "text": "b", "finish_reason": None}]
    assert usage["choices"] == [{"index": 0, "text": "", "finish_reason": None}]


async def test_the_text_of_an_error_is_seen():
    """Groq quotes the model's failed tool call in an error."""
    raw = record(error={"message": "failed", "failed_generation": "a secret", "code": "tool_use_failed"})
    [out] = decoded(await censored(raw))
    assert "secret" not in json.dumps(out)
    both = record(delta(content="secret"), error={"message": "m", "code": "c"})
    text, error = decoded(await censored(both))
    assert "error" not in text
    assert (error["error"]["message"], error["choices"]) == ("m", [])


async def test_a_snapshot_beside_a_delta_is_judged_and_leaves_only_unchanged():
    """Perplexity repeats all that was said in each record: once something was redacted, the repetitions go."""
    said = [record({"index": 0, "delta": {"role": "assistant", "content": text}, "message": {"content": snapshot}})
            for text, snapshot in (("a ", "a "), ("secret", "a secret"), (" b", "a secret b"))]  # fmt: skip
    last = record({"index": 0, "delta": {"role": "assistant", "content": ""}, "message": {"content": "a secret b"},
                   "finish_reason": "stop"})  # fmt: skip
    assert await censored(*said, last, word="absent") == [*said, last]
    out = await censored(*said, last)
    assert out[0] == said[0]
    assert b"secret" not in b"".join(out)
    choices = [chunk["choices"][0] for chunk in decoded(out)[1:]]
    assert [choice["delta"].get("content", "") for choice in choices] == ["***", " b", ""]
    assert [choice["finish_reason"] for choice in choices] == [None, None, "stop"]
    assert not any("message" in choice for choice in choices)


async def test_a_redacted_transcript_takes_its_sound_with_it():
    raw = record(delta(audio={"id": "a", "transcript": "secret", "data": "AAAA"}))
    [out] = decoded(await censored(raw))
    assert out["choices"][0]["delta"]["audio"] == {"id": "a", "transcript": "***"}


def test_records_without_texts_are_opaque_or_ends():
    assert isinstance(events_of(b": ping\n\n")[0], Opaque)
    assert isinstance(events_of(b"data:  [DONE] \n\n")[0], End)
    assert isinstance(events_of(record(delta(role="assistant", content="")))[0], Opaque)
    assert isinstance(events_of(record(prompt_filter_results=[{"x": "y"}]))[0], Opaque)
    for event in (events_of(b": ping\n\n")[0], events_of(sse.DONE)[0]):
        assert record_of(event) == event.record.raw


def test_what_stands_in_no_record_is_written_as_nothing():
    """An event that its record does not have, or a finish of no choice, adds no record."""
    event = events_of(record(delta(content="a")))[0]
    assert record_of(msgspec.structs.replace(event, choice=7)) == b""
    assert record_of(msgspec.structs.replace(event, part="refusal")) == b""
    assert record_of(Usage(record=event.record)) == b""
    assert record_of(Finish("", -1, event.record)) == b""


@pytest.mark.parametrize("end", ["stop", 7, ["x"]])
def test_any_finish_reason_is_a_finish(end):
    assert events_of(record(delta(finish=end)))[0].reason == str(end)


def test_recorded_streams_speak_in_one_voice_a_part():
    """Servers that repeat reasoning in several fields are heard once; nothing recorded is unreadable."""
    for name, body in STREAMS:
        events = [event for raw in sse.split(body) for event in events_of(raw)]
        voices = {(e.part, e.tool) for e in events if isinstance(e, Text) and e.part != "arguments"}
        snapshots = "perplexity" in name
        assert voices <= {("content", 0), ("reasoning", 0), ("refusal", 0)}, name
        failed = "failed-error" in name or "engine-death" in name
        assert failed or snapshots or all(event.choice >= 0 for event in events if isinstance(event, Text)), name


async def test_recorded_streams_pass_unchanged():
    """A filter that changes nothing gives every recorded stream back byte for byte."""
    for name, body in STREAMS:
        assert b"".join(await censored(*sse.split(body), word="\0")) == body, name


def mutated(raw, seed):
    """`raw` with a few of its bytes, or of its JSON values, replaced, doubled or taken away."""
    dice = random.Random(seed)
    if dice.random() < 0.4:
        data = bytearray(raw)
        for _ in range(dice.randint(1, 4)):
            at = dice.randrange(len(data) + 1)
            data[at : at + dice.choice((0, 1, 5))] = dice.choice((b"", b'"', b"}", b"\xff", b"\\ud800", b"\n", b"1"))
        return bytes(data)
    try:
        tree = json.loads(sse.data(raw) if raw.startswith(b"data:") else raw)
    except (ValueError, TypeError):
        return raw[: dice.randrange(len(raw) + 1)]
    odd = [None, 0, -1, 1.5, True, "x", "", [], {}, [1], [None], ["x"], {"a": 1}, {"index": {}}, [[]], "9" * 30, 2**70]
    for _ in range(dice.randint(1, 3)):
        holder, key = dice.choice(list(places(tree)))
        holder[key] = deepcopy(dice.choice(odd))
    made = json.dumps(tree).encode()
    return sse.write(made) if raw.startswith(b"data:") else made


def places(tree):
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield tree, key
        yield from places(value)


def one_of(name, records):
    return records[len(name) % len(records)], records[len(name) * 7 % len(records)], records[-1], records[-2:][0]


@pytest.mark.parametrize("seed", range(6))
async def test_mutated_streams_raise_nothing_else_and_lose_nothing(seed):
    """Broken records are events, can be changed and written, and pass the tap and an identity chain byte for byte."""
    for name, body in STREAMS:
        records = sse.split(body)
        for number, raw in enumerate(one_of(name, records)):
            broken = mutated(raw, f"{seed}{name}{number}")
            tap = StreamTap(strip_usage=False)
            assert tap.feed(records[0] + broken) + tap.rest() + tap.last == records[0] + broken
            StreamTap(strip_usage=True, whole=True).feed(broken + records[-1])
            assert b"".join(await censored(broken, word="\0")) == broken
            for event in events_of(broken):
                record_of(event)
                if isinstance(event, Text):
                    assert event.text
                    record_of(msgspec.structs.replace(event, text="changed\r\n"))
                elif isinstance(event, Finish):
                    record_of(msgspec.structs.replace(event, reason="length"))


@pytest.mark.parametrize("seed", range(6))
async def test_mutated_replies_raise_nothing_else(seed):
    """Whatever an upstream answers, finding and changing its texts ends well or with an error of the gateway's."""
    for name, _, body, stream in RECORDED:
        if stream or len(body) > 200_000:
            continue
        broken = mutated(body, f"{seed}{name}")
        try:
            assert Chat().map_reply_texts(broken, lambda text, _: text) is broken
            json.loads(Chat().map_reply_texts(broken, lambda text, _: text[1:]) or b"0")
        except GatewayError:
            continue
        except ValueError:  # our reader of the output, for input that is no strict JSON itself
            continue


async def test_nesting_without_end_is_no_crash():
    deep = b'{"choices":[{"index":0,"delta":{"content":' + b'["secret",' * 5000 + b"1" + b"]" * 5000 + b"}}]}"
    assert b"secret" not in b"".join(await censored(b"data: " + deep + b"\n\n"))
    less = b'{"choices":[{"index":0,"message":{"content":' + b'["s",' * 900 + b"1" + b"]" * 900 + b"}}]}"
    for body in (deep, less):
        with suppress(UpstreamCut):
            await filter_reply([Pass()], body, Chat().map_reply_texts)
        events_of(b"data: " + body + b"\n\n")
        StreamTap(strip_usage=True).feed(b"data: " + body + b"\n\n")
