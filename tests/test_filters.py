"""Filters: what no filter touches leaves byte for byte; what one changes leaves alone, in order, without the rest."""

import json
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import sse
from gateway.dialects.openai_chat import Chat
from gateway.dialects.openai_completions import Completions
from gateway.events import Event, Finish, Opaque, Record, Text, Usage
from gateway.filters import FilterChain, filter_reply

SHARED = Path(__file__).parents[2] / "shared"


class Pass:
    """Changes nothing."""

    async def feed(self, event: Event) -> Iterable[Event]:
        return (event,)

    async def flush(self) -> Iterable[Event]:
        return ()


class Hold(Pass):
    """Keeps the last `depth` events back."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.held: list[Event] = []

    async def feed(self, event: Event) -> Iterable[Event]:
        self.held.append(event)
        out = self.held[: -self.depth or None]
        del self.held[: len(out)]
        return out

    async def flush(self) -> Iterable[Event]:
        return self.held


class Upper(Pass):
    """Changes texts that hold an `x`."""

    async def feed(self, event: Event) -> Iterable[Event]:
        if isinstance(event, Text) and "x" in event.text:
            return (msgspec.structs.replace(event, text=event.text.upper()),)
        return (event,)


class NoReasoning(Pass):
    """Drops reasoning."""

    async def feed(self, event: Event) -> Iterable[Event]:
        return () if isinstance(event, Text) and event.part == "reasoning" else (event,)


def chunk(*choices: dict, **more: object) -> bytes:
    return sse.write(msgspec.json.encode({"id": "c", "choices": list(choices), **more}))


def said(text: str, index: int = 0, finish: str | None = None, **delta: object) -> dict:
    return {"index": index, "delta": {"content": text, **delta}, "finish_reason": finish}


def chain(*filters: Pass) -> FilterChain:
    dialect = Chat()
    return FilterChain(filters, dialect.events, dialect.encode)


async def run(one: FilterChain, records: Iterable[bytes]) -> list[bytes]:
    out: list[bytes] = []
    for record in records:
        out += await one.feed(record)
    return out + await one.flush()


def recorded() -> list[tuple[str, str, bytes]]:
    found = []
    for folder in ("recordings/openai", "recordings/vllm", "recordings/azure", "recordings/other", "recordings-vllm"):
        for file in sorted((SHARED / folder).rglob("*.json")):
            exchange = json.loads(file.read_bytes())
            body = (exchange.get("response") or {}).get("body_text")
            endpoint = exchange.get("endpoint", "")
            if body and "data:" in body and "completions" in endpoint:
                found.append((file.stem, endpoint, body.encode()))
    return found


RECORDED = recorded()


@pytest.mark.skipif(not RECORDED, reason="no recordings beside this checkout")
@settings(deadline=None, max_examples=25)
@given(depths=st.lists(st.integers(0, 9), min_size=1, max_size=3))
async def test_identity_filters_give_every_recorded_stream_back_byte_for_byte(depths: list[int]) -> None:
    for name, endpoint, body in RECORDED:
        dialect = Chat() if "chat" in endpoint else Completions()
        one = FilterChain([Hold(depth) for depth in depths], dialect.events, dialect.encode)
        records = sse.split(body)
        assert b"".join(await run(one, records)) == b"".join(records), name


async def test_a_changed_event_is_encoded_and_its_neighbours_keep_their_bytes() -> None:
    records = [chunk(said("a"), note="1"), chunk(said("x"), note="2"), chunk(said("c"), note="3"), sse.DONE]
    out = await run(chain(Upper()), records)
    assert [out[0], *out[2:]] == [records[0], *records[2:]]
    assert json.loads(out[1][6:])["choices"][0]["delta"]["content"] == "X"
    assert json.loads(out[1][6:])["note"] == "2"


async def test_a_record_waits_until_all_its_events_are_out() -> None:
    one = chain(Hold(1))
    record = chunk(said("a", 0), said("b", 1))
    assert await one.feed(record) == []
    assert await one.feed(sse.DONE) == [record]
    assert await one.flush() == [sse.DONE]


async def test_in_a_record_with_a_change_each_event_gets_its_own_record_and_nothing_old_slips_out() -> None:
    record = chunk(
        said("secret x", 0, finish="stop"), said("b", 1), usage={"prompt_tokens": 1, "completion_tokens": 2}
    )
    out = await run(chain(Upper()), [record])
    assert b"secret" not in b"".join(out)
    deltas = [choice["delta"] for piece in out for choice in json.loads(piece[6:])["choices"]]
    assert [delta["content"] for delta in deltas if "content" in delta] == ["SECRET X", "b"]


async def test_a_filter_may_drop_events_and_the_rest_keeps_order_and_bytes() -> None:
    records = [
        chunk({"index": 0, "delta": {"reasoning": "hm"}}), chunk(said("a")),
        chunk({"index": 0, "delta": {"reasoning": "so", "content": "b"}}), chunk(said("c")), sse.DONE,
    ]
    out = await run(chain(NoReasoning()), records)
    assert [out[0], *out[2:]] == [records[1], *records[3:]]
    assert json.loads(out[1][6:])["choices"][0]["delta"] == {"content": "b"}


async def test_a_dropped_event_does_not_keep_later_records_waiting() -> None:
    one = chain(NoReasoning())
    assert await one.feed(chunk({"index": 0, "delta": {"reasoning": "hm"}})) == []
    record = chunk(said("a"))
    assert await one.feed(record) == [record]


async def test_filters_are_chained_and_each_flushes_into_the_next() -> None:
    out = await run(chain(Hold(5), Upper()), [chunk(said("x")), sse.DONE])
    assert json.loads(out[0][6:])["choices"][0]["delta"]["content"] == "X"
    assert out[1] == sse.DONE


async def test_a_record_that_says_nothing_passes() -> None:
    one = FilterChain([Pass()], lambda _: [], lambda event: b"never")
    assert await one.feed(b": ping\n\n") == [b": ping\n\n"]


async def test_an_event_out_of_turn_or_of_the_filters_own_still_leaves() -> None:
    class Twice(Pass):
        async def feed(self, event: Event) -> Iterable[Event]:
            return (event, event) if isinstance(event, Text) else (event,)

    record = chunk(said("a"))
    out = await run(chain(Twice()), [record, sse.DONE])
    assert out[0] == record
    assert json.loads(out[1][6:])["choices"][0]["delta"]["content"] == "a"
    assert out[2] == sse.DONE


async def test_the_whole_reply_goes_through_the_filters_text_by_text() -> None:
    body = b'{"choices":[{"message":{"content":"ax"}},{"message":{"content":"b","refusal":"x"}}],"z":1}'
    changed = json.loads(await filter_reply([Upper(), Hold(3)], body, Chat().map_reply_texts))
    assert [c["message"] for c in changed["choices"]] == [{"content": "AX"}, {"content": "b", "refusal": "X"}]


async def test_the_whole_reply_keeps_its_bytes_when_no_text_changes() -> None:
    body = b'{ "choices": [ {"message": {"content": "a"}} ], "n": 1.0 }'
    assert await filter_reply([Pass(), Hold(2)], body, Chat().map_reply_texts) is body


def test_records_compare_by_identity() -> None:
    assert Record(b"a") != Record(b"a")
    assert Opaque(Record(b"a")) != Finish("stop")
    assert Usage() == Usage()
