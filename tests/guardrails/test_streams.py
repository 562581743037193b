"""No byte of what is forbidden leaves a stream, wherever it is cut, and a stream that is stopped ends as it should."""

import re
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from running import PLUGINS, chat, provider, running

from gateway import ContentBlocked, Finding, sse
from gateway.config import Acting
from gateway.dialects.anthropic import Messages
from gateway.dialects.openai_chat import Chat
from gateway.filters import FilterChain
from gateway.guardrails.book import Book
from gateway.guardrails.check import Check
from gateway.guardrails.stage import GuardrailStage, only
from gateway.guardrails.texts import read_text
from gateway.testing import FakeUpstream, exchange
from gateway_plugins.guardrails.pii import PII, Options

SECRETS = {
    "SSN": "123-45-6789", "card": "4111 1111 1111 1111", "e-mail": "jane.doe@example.org", "phone": "+1 415 555 0132",
    "IBAN": "DE89 3704 0044 0532 0130 00", "IP": "203.0.113.77",
}  # fmt: skip
BEFORE, AFTER = "Her social security number, card or address is ", ", as she said on the 3rd of May to all of us there."


PARTS = ("content", "reasoning", "refusal", "arguments")


class Numbers:
    """Finds numbers of four digits and more."""

    hold_back = 8

    def scan(self, text: str, part: str = "content") -> list[Finding]:
        return [Finding(*found.span(), "NUMBER") for found in re.finditer(r"\d{4,8}", text)]


def record(delta: dict, index: int = 0, finish: str | None = None) -> bytes:
    return sse.write(msgspec.json.encode({"id": "c", "choices": [{"index": index, "delta": delta, "finish_reason": finish}]}))


def call(arguments: str) -> dict:
    return {"tool_calls": [{"index": 0, "function": {"arguments": arguments}}]}


def pieces(text: str, places: list[int]) -> list[str]:
    cuts = sorted({0, len(text), *(min(place, len(text)) for place in places)})
    return [text[a:b] for a, b in pairwise(cuts)]


async def through(stage: GuardrailStage, deltas: list[dict], together: int = 1) -> list[bytes]:
    """What leaves where `together` records come in one read."""
    dialect, made = Chat(), exchange()
    guard = await stage.post_response(made)
    chain = FilterChain([guard], dialect.events, dialect.encode)
    records = [*map(record, deltas), record({}, finish="stop"), sse.DONE]
    out: list[bytes] = []
    for at in range(0, len(records), together):
        await chain.feed_all(records[at : at + together], out)
    return out + await chain.flush()


def said(out: list[bytes], part: str = "content") -> str:
    found = []
    for raw in out[:-1]:
        delta = msgspec.json.decode(raw[6:])["choices"][0]["delta"]
        found.append(delta["tool_calls"][0]["function"]["arguments"] if part == "arguments" and "tool_calls" in delta
                     else delta.get(part, ""))  # fmt: skip
    return "".join(found)


PERSONAL = PII(Options())


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
async def test_personal_data_does_not_leave_at_any_split(secret):
    text = BEFORE + secret + AFTER
    stage = only("pii", PERSONAL, entry=Acting(action="redact"))
    whole = said(await through(stage, [{"content": text}]))
    assert secret not in whole
    assert whole.startswith(BEFORE)
    assert whole.endswith(AFTER)
    start, end = len(BEFORE), len(BEFORE) + len(secret)
    for first in range(start - 1, end + 2):
        for second in {first + 1, (first + end) // 2, end + 1}:
            deltas = [{"content": piece} for piece in pieces(text, [first, second])]
            assert said(await through(stage, deltas)) == whole, (first, second)
    for together in (1, 2, 7, 1000):
        assert said(await through(stage, [{"content": sign} for sign in text], together)) == whole


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(st.sampled_from(PARTS), st.sampled_from(["1", "23", "4567", " ", "a", "89 ", "x1y"])), max_size=40),
    st.integers(1, 12),
)
async def test_texts_that_take_turns_are_each_redacted_as_a_whole(turns, together):
    deltas = [call(text) if part == "arguments" else {part: text} for part, text in turns]
    out = await through(only("g", Numbers(), entry=Acting(action="redact")), deltas, together)
    for part in PARTS:
        whole = "".join(text for of, text in turns if of == part)
        assert said(out, part) == re.sub(r"\d{4,8}", "[NUMBER_REDACTED]", whole)


VALUES = st.recursive(
    st.one_of(st.text(st.sampled_from('ab1234567 "\\\n\u00e9\U0001f600'), max_size=14), st.integers(-(10**9), 10**9),
              st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.none()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3), max_leaves=6,
)  # fmt: skip


@settings(deadline=None, max_examples=200)
@given(value=st.dictionaries(st.text(max_size=4), VALUES, max_size=4), places=st.lists(st.integers(0, 120), max_size=12),
       ascii_only=st.booleans(), spaced=st.booleans(), together=st.integers(1, 8))  # fmt: skip
async def test_arguments_stay_json_and_lose_what_is_redacted(value, places, ascii_only, spaced, together):
    text = dumped(value, ascii_only=ascii_only, spaced=spaced)
    stage = only("g", Numbers(), entry=Acting(action="redact"))
    left = said(await through(stage, [call(piece) for piece in pieces(text, places)], together), "arguments")
    assert not re.search(r"\d{4}", re.sub(r"\\u[0-9a-f]{4}", "|", left))
    after = msgspec.json.decode(left)
    assert set(map(cleaned, value)) == set(after)


def cleaned(name: str) -> str:
    return re.sub(r"\d{4,8}", "[NUMBER_REDACTED]", name)


def dumped(value, *, ascii_only: bool, spaced: bool) -> str:
    import json

    return json.dumps(value, ensure_ascii=ascii_only, separators=None if spaced else (",", ":"))


async def test_an_escaped_secret_in_arguments_is_seen():
    stage = only("g", Numbers(), entry=Acting(action="redact"))
    text = r'{"pin": "\u0031\u0032\u0033\u0034", "n": 4711, "ok": true}'
    for size in (1, 2, 3, 7, 100):
        out = await through(stage, [call(text[at : at + size]) for at in range(0, len(text), size)])
        assert msgspec.json.decode(said(out, "arguments")) == {
            "pin": "[NUMBER_REDACTED]", "n": "[NUMBER_REDACTED]", "ok": True,
        }


async def test_an_escaped_secret_behind_blanks_is_seen_in_a_whole_text():
    reading = read_text(" " * 40 + r'{"pin": "\u0031\u0032\u0033\u0034"}', "arguments")
    assert "1234" in reading.text


@pytest.mark.parametrize(
    ("text", "guardrail"),
    [(r'{"ssn": "of Ann: 123-45-678\u0039."}', PERSONAL), (r'{"of": "380\ud835\udfd1"}', Numbers()), (r'{"n": "\\ud835123\u0034"}', Numbers())],
    ids=["an escape", "a pair of them", "no pair"],
)
async def test_an_escape_that_is_cut_does_not_let_go_of_what_comes_before_it(text, guardrail):
    """Its half is longer than what it will be."""
    stage = only("g", guardrail, entry=Acting(action="redact"))
    whole = said(await through(stage, [call(text)]), "arguments")
    assert "_REDACTED]" in whole
    for first in range(len(text)):
        for second in range(first, len(text)):
            out = await through(stage, [call(piece) for piece in pieces(text, [first, second])])
            assert said(out, "arguments") == whole, (first, second)


async def test_a_window_lets_text_out_before_the_answer_is_complete():
    class Score:
        hold_back = 0

        def scan(self, text: str, part: str = "content") -> list[Finding]:
            return [Finding(0, len(text), "bad", 0.9)] if "bad" in text else []

    stage = only("s", Score(), entry=Acting(action="block", stream="window", window=50))
    guard = await stage.post_response(exchange())
    dialect = Chat()
    chain = FilterChain([guard], dialect.events, dialect.encode)
    assert await chain.feed(record({"content": "x" * 40})) == []
    assert len(await chain.feed(record({"content": "y" * 40}))) == 2
    with pytest.raises(ContentBlocked):
        await chain.feed(record({"content": "a bad end" + "z" * 50}))
    buffering = await only("s", Score(), entry=Acting(action="block")).post_response(exchange())
    chain = FilterChain([buffering], dialect.events, dialect.encode)
    assert await chain.feed(record({"content": "x" * 4000})) == []


async def test_checks_together_hold_what_any_of_them_needs():
    entries = {"digits": Acting(action="redact"), "pii": Acting(action="mask")}
    guards = {"digits": Numbers(), "pii": PERSONAL}
    book = Book(always=[Check(name, guards[name], entries[name]) for name in entries], entries={})
    out = await through(GuardrailStage(book), [{"content": sign} for sign in "mail bob@example.org or 4711 now"])
    assert said(out) == "mail ***@******e.org or [NUMBER_REDACTED] now"


@pytest.fixture
async def upstream():
    async with FakeUpstream() as server:
        yield server


@pytest.fixture
async def gw(tmp_path, upstream):
    rule = {"use": "guardrail.regex", "name": "word", "with": {"patterns": ["banana"], "category": "fruit"}}
    prices = [{"model": "up/*", "input": "1", "output": "1"}]
    async with running(
        tmp_path, providers=[provider(upstream)], models=[{"name": "m", "targets": ["up/m"]}], prices=prices,
        plugins=[*PLUGINS, {**rule, "stage": "output"}],
    ) as started:
        yield started


async def test_a_stream_that_is_stopped_ends_with_a_reason_usage_and_done(gw, upstream):
    words = ["One ", "more ", "ban", "ana ", "please"]
    records = [*(record({"content": word}) for word in words), record({}, finish="stop"), sse.DONE]
    upstream.script(*records, content_type="text/event-stream")
    async with gw.post(json=chat(stream=True, stream_options={"include_usage": True})) as reply:
        body = await reply.read()
    assert reply.status == 200
    assert b"ban" not in body.replace(b"banned", b"")
    *chunks, end, usage, done = [part for part in body.split(b"\n\n") if part and not part.startswith(b":")]
    assert all(b"finish_reason\":null" in chunk for chunk in chunks)
    last = msgspec.json.decode(end[6:])
    assert last["choices"] == [{"index": 0, "delta": {}, "finish_reason": "content_filter"}]
    assert last["id"] == "c"
    assert last["gateway"]["code"] == "content_policy_violation"
    assert (last["gateway"]["guardrail"], last["gateway"]["category"]) == ("word", "fruit")
    assert msgspec.json.decode(usage[6:])["usage"]["completion_tokens"] > 0
    assert done == b"data: [DONE]"
    (row,) = await gw.rows(1)
    assert row.cost > 0
    assert row.outcome == "refused"


async def test_an_answer_that_is_not_streamed_is_refused_whole(gw, upstream):
    said_whole = b'{"choices":[{"message":{"role":"assistant","content":"a banana"}}],'
    upstream.script(said_whole + b'"usage":{"prompt_tokens":5,"completion_tokens":7}}')
    async with gw.post(json=chat()) as reply:
        body = await reply.json()
    assert reply.status == 400
    assert body["error"]["code"] == "content_policy_violation"
    (row,) = await gw.rows(1)
    assert row.cost > 0


async def stopped(gw, upstream, path: str, body: dict) -> bytes:
    records = [*(record({"content": word}) for word in ("One ", "more ", "ban", "ana ", "please")), sse.DONE]
    upstream.script(b"".join(records), content_type="text/event-stream")  # all of it at once
    async with gw.post(path, json=body) as reply:
        assert reply.status == 200
        return await reply.read()


@pytest.fixture
async def plain(tmp_path, upstream):
    rule = {"use": "guardrail.regex", "name": "word", "stage": "output", "with": {"patterns": ["banana"]}}
    async with running(
        tmp_path, providers=[provider(upstream)], models=[{"name": "m", "targets": ["up/m"]}], plugins=[*PLUGINS, rule]
    ) as started:
        yield started


async def test_a_stopped_message_ends_as_a_refusal_with_usage(plain, upstream):
    body = {"model": "m", "max_tokens": 99, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    left = await stopped(plain, upstream, "/messages", body)
    events = [msgspec.json.decode(sse.data(part + b"\n\n")) for part in left.split(b"\n\n") if part]
    names = [event["type"] for event in events]
    assert names[:2] == ["message_start", "content_block_start"]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert b"ban" not in left
    end = events[-2]
    assert end["delta"]["stop_reason"] == "refusal"
    assert end["usage"]["output_tokens"] > 0
    assert (end["gateway"]["code"], end["gateway"]["guardrail"]) == ("content_policy_violation", "word")


@pytest.mark.parametrize("form", ["?alt=sse", ""])
async def test_a_stopped_answer_of_geminis_ends_for_safety_with_usage(plain, upstream, form):
    body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
    left = await stopped(plain, upstream, f"/v1beta/models/m:streamGenerateContent{form}", body)
    if form:
        chunks = [msgspec.json.decode(part.removeprefix(b"data: ")) for part in left.split(b"\r\n\r\n") if part]
    else:
        chunks = msgspec.json.decode(left)
    assert b"ban" not in left
    (candidate,) = chunks[-1]["candidates"]
    assert candidate["finishReason"] == "SAFETY"
    assert "content_policy_violation" in candidate["finishMessage"]
    assert chunks[-1]["usageMetadata"]["candidatesTokenCount"] > 0


@pytest.mark.parametrize(("sent", "first"), [
    (b'event: message_start\ndata: {"type":"message_start","message":{}}\n\n', "message_delta"),
    (b'event: content_block_delta\ndata: {"type":"content_block_delta","index":3,"delta":{}}\n\n', "content_block_stop"),
    (b'event: content_block_stop\ndata: {"type":"content_block_stop","index":3}\n\n', "message_delta"),
    (b'event: message_delta\ndata: {"type":"message_delta","delta":{},"usage":{}}\n\n', "message_stop"),
])  # fmt: skip
def test_a_stopped_message_closes_what_the_client_has_seen_open(sent, first):
    left = Messages().stopped(ContentBlocked("No.", guardrail="g", category="c"), "req", b"", [0], None, sent=sent)
    assert left.startswith(b"event: " + first.encode())
    assert left.endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')


def test_a_message_that_has_not_begun_has_no_end_of_its_own():
    assert Messages().stopped(ContentBlocked("No."), "req", b"", [0], None, sent=b"") == b""
