"""Golden invoices: real answers of every provider, and what each costs by hand (`invoices/*.yaml`), to the last unit.

A case is an entry of such a file, and needs no code. Recordings that are not beside the project are skipped.
"""

import base64
import json
import random
from pathlib import Path

import msgspec
import pytest
from recordings import SHARED, needs_recordings, wire_body

from gateway import eventstream
from gateway.config import PriceEntry
from gateway.dialects.anthropic import Messages
from gateway.dialects.bedrock import Converse, ConverseStream
from gateway.dialects.gemini import GeminiArray, GeminiDialect
from gateway.dialects.openai_chat import Chat
from gateway.dialects.openai_completions import Completions
from gateway.dialects.openai_embeddings import Embeddings
from gateway.dialects.responses import Responses
from gateway.exchange import Request
from gateway.money import NANO, dollars
from gateway.money.cost import bill, cost_nano, lines_cost, read_lines
from gateway.money.tariffs import stated_price

pytestmark = needs_recordings

LEAST = {"openai": 15, "azure": 15, "anthropic": 15, "gemini": 15, "bedrock": 15, "vllm": 15, "compatible": 15}
DIALECTS = {
    "openai.chat": Chat, "openai.completions": Completions, "openai.embeddings": Embeddings,
    "openai.responses": Responses, "anthropic.messages": Messages, "gemini.generate": GeminiDialect,
    "bedrock.converse": Converse,
}  # fmt: skip
ASKED = Request(b"{}", {}, "m", stream=True)


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of an invoice."""

    recording: str
    dialect: str
    price: str
    cost: str


class Invoice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file: what its models cost, in dollars per million tokens, and its cases."""

    prices: dict[str, dict[str, str]]
    cases: tuple[Case, ...]

    def price(self, name):
        entry = msgspec.convert({"model": name, **self.prices[name]}, PriceEntry)
        return stated_price(entry, "invoice", name)


INVOICES = {
    path.stem: msgspec.yaml.decode(path.read_bytes(), type=Invoice)
    for path in sorted(Path(__file__).with_name("invoices").glob("*.yaml"))
}
CASES = [(name, case) for name, invoice in INVOICES.items() for case in invoice.cases]


def read(case):
    """The recording, whether it is a stream, and its bytes."""
    recording = json.loads((SHARED / case.recording).read_text())
    response = recording["response"]
    data = base64.b64decode(response["body_base64"]) if "body_base64" in response else wire_body(response)
    return bool(recording.get("stream")), data


def streamed(dialect, data, pieces=1, seed=""):
    """The usage of a stream that comes in so many pieces."""
    if data[:1] == b"[":
        dialect = GeminiArray()
    elif isinstance(dialect, Converse):
        dialect = ConverseStream()
    tap = dialect.tap(ASKED, whole=False, scrub=lambda record: record)
    cuts = sorted(random.Random(seed).sample(range(1, len(data)), min(pieces, len(data)) - 1))
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        tap.feed(data[start:end])
    tap.rest()
    return tap.usage


def test_every_provider_has_its_invoice():
    assert {name: least for name, least in LEAST.items() if len(INVOICES[name].cases) < least} == {}
    assert all(len({case.recording for case in invoice.cases}) == len(invoice.cases) for invoice in INVOICES.values())


@pytest.mark.parametrize(("name", "case"), CASES, ids=[f"{name}-{Path(case.recording).stem}" for name, case in CASES])
def test_a_real_answer_costs_what_it_costs_by_hand(name, case):
    stream, data = read(case)
    dialect, price = DIALECTS[case.dialect](), INVOICES[name].price(case.price)
    found = [streamed(dialect, data, n, case.recording) for n in (1, 7, 60)] if stream else [dialect.reported(data)]
    for usage in found:
        cost, lines = bill(price, usage)
        assert dollars(cost) == case.cost, usage
        assert cost == cost_nano(price, usage) == lines_cost(read_lines(lines))


def twin(dialect, body):
    """A stream that says of its usage what the unstreamed `body` says."""

    def sse(value, event=""):
        return (f"event: {event}\n" if event else "").encode() + b"data: " + json.dumps(value).encode() + b"\n\n"

    usage = body["usage"] if "usage" in body else body["usageMetadata"]
    tier = {"service_tier": body["service_tier"]} if "service_tier" in body else {}
    if dialect == "openai.responses":
        return sse({"type": "response.completed", "response": body}, "response.completed")
    if dialect == "anthropic.messages":
        first = {name: value for name, value in usage.items() if name != "server_tool_use"} | {"output_tokens": 1}
        start = {"type": "message_start", "message": {**body, "content": [], "usage": first}}
        last = {name: usage[name] for name in usage if name in ("output_tokens", "server_tool_use")}
        end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": last}
        return sse(start, "message_start") + sse(end, "message_delta") + sse({"type": "message_stop"}, "message_stop")
    if dialect == "gemini.generate":
        early = {**body, "usageMetadata": {**usage, "candidatesTokenCount": 1}}
        return sse(early) + sse(body)
    if dialect == "bedrock.converse":
        events = [("messageStart", {"role": "assistant"}), ("messageStop", {"stopReason": "end_turn"}),
                  ("metadata", {"usage": usage, "metrics": {"latencyMs": 1}})]  # fmt: skip
        return b"".join(eventstream.event(kind, json.dumps(value).encode()) for kind, value in events)
    chunk = {"id": "x", "object": "chat.completion.chunk", "model": "m", **tier}
    return sse({**chunk, "choices": [], "usage": None}) + sse({**chunk, "choices": [], "usage": usage}) + b"data: [DONE]\n\n"


TWINS = [
    (name, case) for name, case in CASES
    if "stream" not in case.recording and case.dialect not in ("openai.embeddings", "openai.completions")
]


@pytest.mark.parametrize(("name", "case"), TWINS, ids=[f"{name}-{Path(case.recording).stem}" for name, case in TWINS])
def test_a_streamed_twin_costs_the_same(name, case):
    _, data = read(case)
    usage = streamed(DIALECTS[case.dialect](), twin(case.dialect, json.loads(data)), 5, case.recording)
    assert dollars(bill(INVOICES[name].price(case.price), usage)[0]) == case.cost


def test_amounts_are_not_all_alike_and_have_fractions_of_a_micro_dollar():
    amounts = [round(float(case.cost) * NANO) for _, case in CASES]
    assert len(set(amounts)) > len(amounts) // 2
    assert sum(amount % 1000 != 0 for amount in amounts) > 20
