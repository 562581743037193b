"""Guardrails on Anthropic's streams: blocks, signed reasoning, and an end as its clients expect it."""

import re

import msgspec
import pytest
from running import PLUGINS, provider, running

from gateway import Finding, sse
from gateway.config import Acting
from gateway.dialects.anthropic import Messages
from gateway.filters import FilterChain
from gateway.guardrails.stage import only
from gateway.testing import FakeUpstream, exchange

SECRET = "4711-0815-1234"


class Card:
    hold_back = 14

    def scan(self, text: str, part: str = "content") -> list[Finding]:
        return [Finding(*found.span(), "CARD") for found in re.finditer(r"\d{4}-\d{4}-\d{4}", text)]


def event(kind: str, **fields) -> bytes:
    return sse.write(msgspec.json.encode({"type": kind, **fields}), kind.encode())


def start(index: int, kind: str, **fields) -> bytes:
    return event("content_block_start", index=index, content_block={"type": kind, **fields})


def delta(index: int, kind: str, **fields) -> bytes:
    return event("content_block_delta", index=index, delta={"type": kind, **fields})


def stop(index: int) -> bytes:
    return event("content_block_stop", index=index)


BEGIN = event("message_start", message={"id": "msg_1", "role": "assistant", "content": [], "usage": {"input_tokens": 3}})
END = [event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 9}), event("message_stop")]


def thinking(text: str, size: int = 3) -> list[bytes]:
    pieces = [delta(0, "thinking_delta", thinking=text[at : at + size]) for at in range(0, len(text), size)]
    return [start(0, "thinking", thinking=""), *pieces, delta(0, "signature_delta", signature="c2ln"), stop(0)]


async def through(records: list[bytes], action: str = "redact") -> list[list[bytes]]:
    """What left at each record."""
    made = exchange()
    made.dialect = dialect = Messages()
    guard = await only("card", Card(), entry=Acting(action=action)).post_response(made)
    chain = FilterChain([guard], dialect.events, dialect.encode)
    steps = [await chain.feed(record) for record in records]
    return [*steps, await chain.flush()]


def said(out: list[bytes], field: str) -> str:
    deltas = [msgspec.json.decode(sse.data(record)).get("delta", {}) for record in out]
    return "".join(each.get(field, "") for each in deltas)


@pytest.mark.parametrize("size", [1, 2, 5, 100])
async def test_a_secret_leaves_in_no_part(size):
    text = f"so {SECRET} it is."
    arguments = '{"n": "' + SECRET + '"}'
    records = [
        BEGIN, start(0, "text", text=""), *[delta(0, "text_delta", text=text[a : a + size]) for a in range(0, len(text), size)],
        stop(0), start(1, "tool_use", id="t", name="f", input={}),
        *[delta(1, "input_json_delta", partial_json=arguments[a : a + size]) for a in range(0, len(arguments), size)],
        stop(1), *END,
    ]  # fmt: skip
    out = [record for step in await through(records) for record in step]
    assert said(out, "text") == "so [CARD_REDACTED] it is."
    assert msgspec.json.decode(said(out, "partial_json")) == {"n": "[CARD_REDACTED]"}
    assert [record for record in out if b"_delta\"" not in record] == [r for r in records if b"_delta\"" not in r]


async def test_signed_reasoning_passes_as_it_came_or_not_at_all():
    answer = [start(1, "text", text=""), delta(1, "text_delta", text="A long enough answer, said slowly."), stop(1)]
    clean = [BEGIN, *thinking("I know what to say."), *answer, *END]
    assert [record for step in await through(clean) for record in step] == clean
    steps = await through([BEGIN, *thinking(f"I know: {SECRET}."), *answer, *END])
    out = [record for step in steps for record in step]
    assert said(out, "thinking") == ""
    assert said(out, "signature") == ""
    assert said(out, "text") == "A long enough answer, said slowly."
    assert out[0] == BEGIN
    assert out[-2:] == END


async def test_the_answer_does_not_wait_for_reasoning_that_has_ended():
    records = [BEGIN, *thinking("Hm."), start(1, "text", text=""), *[delta(1, "text_delta", text="word ")] * 10]
    steps = await through(records)
    assert sum(b"text_delta" in record for step in steps[:-1] for record in step) >= 4


async def test_a_stream_that_is_stopped_ends_as_a_refusal(tmp_path):
    rule = {"use": "guardrail.keywords", "with": {"deny": {"fruit": ["banana"]}}, "stage": "output"}
    records = [BEGIN, start(0, "text", text=""), *[delta(0, "text_delta", text=word) for word in
               ("A long beginning ", "of an answer about ", "one ban", "ana and more")], stop(0), *END]  # fmt: skip
    async with FakeUpstream() as upstream, running(
        tmp_path, providers=[{**provider(upstream), "use": "provider.anthropic"}], plugins=[*PLUGINS, rule],
        models=[{"name": "m", "targets": ["up/m"]}], prices=[{"model": "up/*", "input": "1", "output": "1"}],
    ) as gw:
        upstream.script(*records, content_type="text/event-stream")
        body = {"model": "m", "max_tokens": 50, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        async with gw.post("/messages", json=body) as reply:
            out = [part + b"\n\n" for part in (await reply.read()).split(b"\n\n") if part]
        (row,) = await gw.rows(1)
    kinds = [msgspec.json.decode(sse.data(record))["type"] for record in out if sse.data(record)]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    end = msgspec.json.decode(sse.data(out[-2]))
    assert end["delta"]["stop_reason"] == "refusal"
    assert (end["gateway"]["code"], end["gateway"]["category"]) == ("content_policy_violation", "fruit")
    assert b"ban" not in b"".join(out)
    assert row.outcome == "refused"
    assert row.cost > 0
