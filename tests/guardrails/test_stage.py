"""A guardrail as hooks: whatever the split of a stream, what it forbids does not leave; the rest leaves unchanged."""

import re

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import sse
from gateway.dialects.openai_chat import Chat
from gateway.errors import ContentBlocked, RateLimited, Unavailable
from gateway.events import Event, Finish, Opaque, Record, Text
from gateway.filters import FilterChain, filter_reply
from gateway.guardrails.stage import only
from gateway.hookspecs import Context, Redaction, Verdict
from gateway.testing import answered, exchange


class Pattern:
    """A guardrail for tests: one pattern, one action; it tells the spans, or only the new text."""

    def __init__(self, pattern: str, hold_back: int, action: str = "redact", spans: bool = True) -> None:
        self.pattern = re.compile(pattern)
        self.hold_back = hold_back
        self.action = action
        self.spans = spans
        self.seen: list[tuple[str, str, str]] = []

    async def check(self, text: str, context: Context) -> Verdict:
        self.seen.append((text, context.direction, context.part))
        found = list(self.pattern.finditer(text))
        if not found:
            return Verdict()
        if self.action != "redact":
            return Verdict(self.action, reason="digits")
        if not self.spans:
            return Verdict("redact", text=self.pattern.sub("[R]", text))
        return Verdict("redact", redactions=tuple(Redaction(*match.span(), "[R]") for match in found))


class Broken:
    hold_back = 4

    async def check(self, text: str, context: Context) -> Verdict:
        raise RuntimeError(f"cannot read {text}")


def cut(text: str, places: list[int]) -> list[str]:
    places = sorted({min(place, len(text)) for place in places})
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


SECRET = "123-45-6789"
BEFORE, AFTER = "the number is ", " and that is all there is to say."


@pytest.mark.parametrize("spans", [True, False])
@pytest.mark.parametrize("hold_back", [len(SECRET), 40, 0])
async def test_no_split_of_a_stream_lets_a_secret_out(hold_back: int, spans: bool) -> None:
    whole = BEFORE + SECRET + AFTER
    for first in range(len(whole)):
        for second in range(first, min(len(whole), first + 14)):
            guardrail = Pattern(r"\d{3}-\d{2}-\d{4}", hold_back, spans=spans)
            steps = await answered(guardrail, cut(whole, [first, second]), exchange())
            assert "".join(steps) == BEFORE + "[R]" + AFTER


@settings(deadline=None, max_examples=150)
@given(
    text=st.lists(st.sampled_from(["12", "345", "6", "a", " b", "-", "\u00e9\U0001f600"]), max_size=30).map("".join),
    places=st.lists(st.integers(0, 60), max_size=20),
    spans=st.booleans(),
)
async def test_a_stream_is_redacted_as_the_whole_text_would_be(text: str, places: list[int], spans: bool) -> None:
    steps = await answered(Pattern(r"\d{3,5}(?!\d)", 6, spans=spans), cut(text, places), exchange())
    assert "".join(steps) == re.sub(r"\d{3,5}(?!\d)", "[R]", text)


@settings(deadline=None, max_examples=100)
@given(places=st.lists(st.integers(0, 60), max_size=12), hold_back=st.sampled_from([0, len(SECRET), 30]))
async def test_a_block_stops_the_stream_before_any_of_it_left(places: list[int], hold_back: int) -> None:
    guardrail = Pattern(r"\d{3}-\d{2}-\d{4}", hold_back, "block")
    checks = await only("ssn", guardrail).post_response(made := exchange())
    assert checks is not None
    left = ""
    with pytest.raises(ContentBlocked) as caught:  # noqa: PT012
        for piece in cut(BEFORE + SECRET + AFTER, places):
            left += "".join(event.text for event in await checks.feed(Text(piece)) if isinstance(event, Text))
        await checks.feed(Finish("stop"))
    assert BEFORE.startswith(left)
    assert SECRET not in caught.value.message
    assert made.reply_headers["x-gateway-guardrail"] == "ssn;action=block"


async def test_a_match_that_grows_into_something_harmless_is_no_block() -> None:
    pieces = ["order ", "1234", "567890", " has shipped, thanks for waiting"]
    steps = await answered(Pattern(r"\b\d{4}\b", 5, "block"), pieces, exchange())
    assert "".join(steps) == "".join(pieces)


async def test_only_the_hold_back_is_kept_while_the_stream_runs() -> None:
    steps = await answered(Pattern("never", 5), ["abc", "def", "ghi", "jkl"], exchange())
    assert steps == ["", "", "abc", "def", "ghijkl", ""]


async def test_without_hold_back_nothing_leaves_before_the_answer_is_complete() -> None:
    steps = await answered(Pattern("never", 0), ["abc", "def"], exchange())
    assert steps == ["", "", "abcdef", ""]


def chunk(delta: dict, index: int = 0, finish: str | None = None) -> bytes:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return sse.write(msgspec.json.encode({"id": "c", "choices": [choice]}))


async def guarded(guardrail: Pattern, records: list[bytes]) -> list[bytes]:
    dialect = Chat()
    checks = await only("g", guardrail).post_response(exchange())
    chain = FilterChain([checks], dialect.events, dialect.encode)
    out: list[bytes] = []
    for record in records:
        out += await chain.feed(record)
    return out + await chain.flush()


def call(arguments: str, index: int = 0) -> dict:
    return {"tool_calls": [{"index": index, "function": {"arguments": arguments}}]}


async def test_redaction_changes_the_affected_records_only() -> None:
    records = [chunk({"content": piece}) for piece in ("say ", "12", "34 ", "once ", "and ", "77", "77", " more")]
    out = await guarded(Pattern(r"\d{4}", 4), [*records, chunk({}, finish="stop"), sse.DONE])
    texts = [msgspec.json.decode(record[6:])["choices"][0]["delta"]["content"] for record in out[:8]]
    assert texts == ["say ", "[R]", " ", "once ", "and ", "[R]", "", " more"]
    assert [out[i] for i in (0, 3, 4, 7)] == [records[i] for i in (0, 3, 4, 7)]
    assert out[9] == sse.DONE


async def test_records_leave_in_the_order_they_came_whatever_is_held() -> None:
    records = [
        chunk({"role": "assistant", "content": ""}), chunk({"reasoning": "hmm"}), b": ping\n\n",
        chunk({"content": "a"}),
        chunk({"content": "b"}, 1), chunk(call("{", 0)), chunk(call("}", 0)), chunk(call("{}", 1)),
        chunk({}, 1, "stop"), chunk({}, 0, "tool_calls"), sse.DONE,
    ]
    assert await guarded(Pattern("never", 0), records) == records
    out = await guarded(Pattern("never", 3), records)
    assert sorted(out) == sorted(records)
    for one in (b"reasoning", b'"index":0,"delta":{"content', b'arguments', b"finish_reason\":\"", b"ping", b"DONE"):
        assert [record for record in out if one in record] == [record for record in records if one in record]


async def test_every_part_and_choice_is_judged_on_its_own() -> None:
    guardrail = Pattern("1234", 4)
    records = [
        chunk({"reasoning": "12"}), chunk({"reasoning": "34"}), chunk({"content": "12"}), chunk({"content": "34"}),
        chunk({"content": "12"}, 1), chunk(call("12")), chunk({"content": "34"}, 1), chunk(call("34")),
        chunk({}, 0, "stop"), chunk({}, 1, "stop"), sse.DONE,
    ]
    out = b"".join(await guarded(guardrail, records))
    assert out.count(b"[R]") == 4
    assert not re.search(rb"[1-4]{2}", out)
    assert {part for _, _, part in guardrail.seen} == {"reasoning", "content", "arguments"}


async def test_a_part_that_goes_on_after_another_still_loses_the_rest_of_a_match() -> None:
    records = [chunk({"content": "12"}), chunk(call("{}")), chunk({"content": "34."}), chunk({}, 0, "stop"), sse.DONE]
    out = b"".join(await guarded(Pattern("1234", 4), records))
    assert b"34" not in out


async def test_an_answer_does_not_wait_for_the_rest_of_the_reasoning_before_it() -> None:
    checks = await only("g", Pattern("never", 3)).post_response(exchange())
    rest: Event = Text("hmm", part="reasoning")
    answer: list[Event] = [Text("a long"), Text(" answer")]
    assert list(await checks.feed(rest)) == []
    assert list(await checks.feed(answer[0])) == []
    assert list(await checks.feed(answer[1])) == answer[:1]
    assert list(await checks.feed(Finish("stop"))) == [rest, answer[1], Finish("stop")]


@pytest.mark.parametrize("apart", [1, 2, 5])
async def test_a_secret_whose_pieces_come_between_those_of_another_text_does_not_leave(apart: int) -> None:
    records: list[bytes] = []
    for start in range(0, len(SECRET), apart):
        records += [chunk({"content": SECRET[start : start + apart]}), chunk({"reasoning": "so "}), chunk(call("1"))]
    out = await guarded(Pattern(r"\d{3}-\d{2}-\d{4}", 11), [*records, chunk({}, 0, "stop"), sse.DONE])
    deltas = [msgspec.json.decode(record[6:])["choices"][0]["delta"] for record in out[:-1]]
    assert "".join(delta.get("content", "") for delta in deltas) == "[R]"
    assert "".join(delta.get("reasoning", "") for delta in deltas) == "so " * (len(records) // 3)
    assert out[-1] == sse.DONE
    unchanged = [record for record in records if b"reasoning" in record or b"arguments" in record]
    assert sorted(record for record in out if record in unchanged) == sorted(unchanged)


async def test_a_whole_reply_is_judged_text_by_text() -> None:
    body = b'{"choices":[{"message":{"content":"12"}},{"message":{"content":"34 and 1234"}}]}'
    checks = await only("g", Pattern("1234", 4)).post_response(exchange())
    assert checks is not None
    changed = await filter_reply([checks], body, Chat().map_reply_texts)
    assert [c["message"]["content"] for c in msgspec.json.decode(changed)["choices"]] == ["12", "34 and [R]"]


async def test_a_request_is_redacted_before_anyone_reads_it() -> None:
    made = exchange("my number is 1234", tools=[{"type": "function", "function": {"description": "x 1234"}}])
    await only("g", Pattern(r"\d{4}", 4)).pre_request(made)
    assert made.request is not None
    assert made.request.body["messages"][0]["content"] == "my number is [R]"
    assert b"1234" not in made.request.raw
    assert made.reply_headers["x-gateway-guardrail"] == "g;action=redact"


async def test_a_request_that_passes_keeps_its_bytes() -> None:
    made = exchange("hello")
    before = made.request
    await only("g", Pattern(r"\d{4}", 4)).pre_request(made)
    assert made.request is before
    assert made.reply_headers == {}


async def test_a_refused_request_says_who_refused_and_not_what() -> None:
    made = exchange("my number is 1234")
    with pytest.raises(ContentBlocked) as caught:
        await only("pin", Pattern(r"\d{4}", 4, "block")).pre_request(made)
    assert "pin (digits)" in caught.value.message
    assert "1234" not in caught.value.message
    assert caught.value.status == 400
    assert made.reply_headers["x-gateway-guardrail"] == "pin;action=block"


@pytest.mark.parametrize("reason", ["1234", "number", "a\r\nb", "x" * 80])
async def test_a_reason_that_could_quote_the_text_is_left_out(reason: str) -> None:
    class Quoting:
        hold_back = 1

        async def check(self, text: str, context: Context) -> Verdict:
            return Verdict("block", reason=reason)

    with pytest.raises(ContentBlocked) as caught:
        await only("g", Quoting()).pre_request(exchange("my number is 1234"))
    assert reason not in caught.value.message


async def test_a_warning_is_noted_once_and_changes_nothing() -> None:
    made = exchange("1234 and 5678", messages=[{"content": "1234"}, {"content": "5678"}])
    before = made.request
    await only("g", Pattern(r"\d{4}", 4, "warn")).pre_request(made)
    assert made.request is before
    assert made.warnings == ["guardrail g: digits (input)"]
    assert made.reply_headers["x-gateway-guardrail"] == "g;action=warn"


async def test_a_guardrail_that_fails_refuses_and_does_not_quote() -> None:
    with pytest.raises(Unavailable) as caught:
        await only("g", Broken()).pre_request(exchange("secret"))
    assert "secret" not in caught.value.message


async def test_a_guardrail_that_may_fail_open_leaves_a_warning() -> None:
    made = exchange("secret")
    await only("g", Broken(), "open").pre_request(made)
    assert made.warnings == ["guardrail g: failed, not checked (input)"]
    checks = await only("g", Broken(), "open").post_response(made)
    out = [*await checks.feed(Text("abc")), *await checks.flush()]
    assert [event.text for event in out] == ["abc"]


async def test_a_guardrail_may_refuse_in_its_own_words() -> None:
    class Busy:
        hold_back = 1

        async def check(self, text: str, context: Context) -> Verdict:
            raise RateLimited("The judge is busy.")

    with pytest.raises(RateLimited):
        await only("g", Busy(), "open").pre_request(exchange())


@pytest.mark.parametrize(("apply_to", "sees_input", "sees_output"), [("input", 1, 0), ("output", 0, 1), ("both", 1, 1)])
async def test_a_guardrail_sees_the_directions_it_asks_for(apply_to: str, sees_input: int, sees_output: int) -> None:
    guardrail = Pattern("never", 1)
    guardrail.apply_to = apply_to
    stage = only("g", guardrail)
    await stage.pre_request(exchange("hello"))
    assert len(guardrail.seen) == sees_input
    assert (await stage.post_response(exchange()) is not None) == bool(sees_output)


async def test_overlapping_and_impossible_redactions_do_no_harm() -> None:
    class Odd:
        hold_back = 3

        async def check(self, text: str, context: Context) -> Verdict:
            spans = ((2, 4), (3, 6), (0, 0), (90, 99), (-5, 1))
            return Verdict("redact", redactions=tuple(Redaction(*span, "_") for span in spans))

    made = exchange("abcdefgh")
    await only("g", Odd()).pre_request(made)
    assert made.request is not None
    assert made.request.body["messages"][0]["content"] == "_b_gh"


async def test_events_without_text_wait_for_the_text_before_them() -> None:
    checks = await only("g", Pattern("never", 4)).post_response(exchange())
    opaque = Opaque(Record(b": ping\n\n"))
    assert list(await checks.feed(opaque)) == [opaque]
    assert list(await checks.feed(Text("abc"))) == []
    assert list(await checks.feed(opaque)) == []
    assert [type(event) for event in await checks.feed(Finish("stop"))] == [Text, Opaque, Finish]
