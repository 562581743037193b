"""What translation costs, in this process and without sockets: an OpenAI client of an Anthropic and a Gemini upstream.

    python contrib/benchmark/translation.py [--json]    # `make bench` runs it, too

A request of 10 kB with tools on its way there, a stream of 200 chunks on its way back (CPU time, the median of many),
and the memory of a stream that is half way: request, common form, both codecs.
"""

import argparse
import json
import statistics
import time
import tracemalloc
from types import SimpleNamespace

import msgspec

from gateway import Exchange
from gateway.bridge import Bridge
from gateway.exchange import Target
from gateway.testing import exchange

CHUNKS = 200
GOALS = {"us per chunk": 25.0, "us per request": 150.0, "kB per open stream": 150.0}
TOKEN = " token"


def body() -> dict[str, object]:
    """A client's request of about 10 kB: a long prompt, a turn with a tool, its result, and three tools."""
    call = {"id": "call_1", "type": "function", "function": {"name": "tool_1", "arguments": '{"city": "Paris"}'}}
    properties = {f"field_{number}": {"type": "string", "description": "What it is. " * 4} for number in range(8)}
    tools = [
        {"type": "function", "function": {
            "name": f"tool_{number}", "description": "Looks something up. " * 5,
            "parameters": {"type": "object", "properties": properties, "required": ["field_0"]},
        }} for number in range(3)
    ]
    messages = [
        {"role": "system", "content": "You are brief. " * 60}, {"role": "user", "content": "lorem ipsum dolor " * 285},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "18 degrees, some rain. " * 20},
        {"role": "user", "content": "And now?"},
    ]
    options = {"include_usage": True}
    return {
        "model": "bench", "messages": messages, "tools": tools, "temperature": 0.5, "max_completion_tokens": 1000,
        "stream": True, "stream_options": options,
    }


def anthropic_stream() -> list[bytes]:
    """A stream of `CHUNKS` text deltas as Anthropic sends it."""
    message = {
        "id": "msg_bench", "type": "message", "role": "assistant", "model": "claude-haiku-4-5", "content": [],
        "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 2000, "output_tokens": 1},
    }
    block = {"type": "text", "text": ""}
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": TOKEN}}
    over = {"stop_reason": "end_turn", "stop_sequence": None}
    events = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": block},
        *[delta] * CHUNKS, {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": over, "usage": {"output_tokens": CHUNKS}}, {"type": "message_stop"},
    ]
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]


def gemini_stream() -> list[bytes]:
    """A stream of `CHUNKS` chunks as Gemini sends it."""

    def chunk(text: str, number: int, **more: str) -> bytes:
        candidate = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0, **more}
        usage = {"promptTokenCount": 2000, "candidatesTokenCount": number, "totalTokenCount": 2000 + number}
        event = {
            "candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini-2.5-flash", "responseId": "bench"
        }
        return b"data: " + json.dumps(event).encode() + b"\r\n\r\n"

    chunks = [chunk(TOKEN, number) for number in range(1, CHUNKS)]
    return [*chunks, chunk(TOKEN, CHUNKS, finishReason="STOP")]


UPSTREAMS = {
    "anthropic": ("anthropic.messages", "claude-haiku-4-5", anthropic_stream),
    "gemini": ("gemini.generate", "gemini-2.5-flash", gemini_stream),
}


class Upstream:
    """One kind of target, and what it streams."""

    def __init__(self, name: str) -> None:
        self.wire, model, stream = UPSTREAMS[name]
        self.target = Target(SimpleNamespace(name=name, vertex=False), model, max_output=8192)
        self.stream = stream()
        self.asked = body()

    def exchange(self) -> Exchange:
        """A client's request, decoded as it is for any target."""
        made = exchange(body=self.asked)
        made.wire = self.wire
        return made

    def request(self, made: Exchange) -> tuple[Bridge, bytes]:
        """What a request costs: read into the common form, written in the target's, made into bytes."""
        bridge = Bridge(made, self.target, refuse=False)
        return bridge, msgspec.json.encode(bridge.body)


def per_request(upstream: Upstream, times: int) -> float:
    """Microseconds."""
    took = []
    for made in [upstream.exchange() for _ in range(times)]:
        began = time.process_time_ns()
        upstream.request(made)
        took.append(time.process_time_ns() - began)
    return statistics.median(took) / 1000


def per_chunk(upstream: Upstream, times: int) -> float:
    """Microseconds, with each chunk in a read of its own: the worst case."""
    took = []
    for _ in range(times):
        bridge, _ = upstream.request(upstream.exchange())
        tap = bridge.tap(bytes)
        began = time.process_time_ns()
        out = [tap.feed(chunk) for chunk in upstream.stream]
        took.append(time.process_time_ns() - began)
        told = b"".join(out) + tap.rest() + tap.last
        if not tap.complete or told.count(TOKEN.encode()) != CHUNKS or b"[DONE]" not in told:
            raise SystemExit(f"the translated stream of {upstream.wire} is not whole: {told[-500:]!r}")
    return statistics.median(took) / 1000 / CHUNKS


def per_stream(upstream: Upstream, streams: int) -> float:
    """kB that an open stream holds half way through."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        held = []
        for _ in range(streams):
            made = exchange(body=msgspec.json.decode(msgspec.json.encode(upstream.asked)))
            made.wire = upstream.wire
            made.bridge, _ = upstream.request(made)
            tap = made.bridge.tap(bytes)
            for chunk in upstream.stream[: CHUNKS // 2]:
                tap.feed(chunk)
            held.append((made, tap))
        return (tracemalloc.get_traced_memory()[0] - before) / len(held) / 1000
    finally:
        tracemalloc.stop()


def measure(times: int = 60) -> dict[str, dict[str, float]]:
    """Every number by upstream."""
    found = {}
    for name in UPSTREAMS:
        upstream = Upstream(name)
        per_request(upstream, 20), per_chunk(upstream, 5)  # warm
        values = (per_chunk(upstream, times), per_request(upstream, 5 * times), per_stream(upstream, 100))
        found[name] = dict(zip(GOALS, values, strict=True))
    return found


def report(found: dict[str, dict[str, float]]) -> None:
    """Print it as a table."""
    print(f"{'translated for OpenAI chat':28}" + "".join(f"{name:>16}" for name in found))
    for title, goal in GOALS.items():
        print(f"{title:28}" + "".join(f"{told[title]:>16.1f}" for told in found.values()) + f"  (goal {goal:.0f})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    results = measure()
    print(json.dumps(results)) if parser.parse_args().json else report(results)
