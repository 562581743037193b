"""Every recorded usage, of every provider, against its own raw numbers: nothing is missed and nothing is counted twice.

What a provider's numbers mean is written down here a second time, from its documentation and without our code. Then the
same usage goes through every other dialect's fields and back.
"""

import base64
import json
from collections import Counter

import pytest
from recordings import SHARED, needs_recordings, wire_body

from gateway import eventstream
from gateway.dialects import (
    anthropic_usage,
    bedrock_usage,
    gemini_usage,
    openai_chat_reply,
    openai_usage,
    responses_usage,
)
from gateway.dialects.anthropic import Messages
from gateway.dialects.bedrock import Converse, ConverseStream
from gateway.dialects.gemini import GeminiArray, GeminiDialect
from gateway.dialects.openai_chat import Chat
from gateway.dialects.openai_completions import Completions
from gateway.dialects.responses import Responses
from gateway.exchange import Request

pytestmark = needs_recordings

ASKED = Request(b"{}", {}, "m", stream=True)
DIALECTS = {
    "chat.completions": Chat, "completions": Completions, "responses": Responses, "messages": Messages,
    "rawPredict": Messages, "streamRawPredict": Messages, "converse": Converse, "converse-stream": ConverseStream,
    "generateContent": GeminiDialect, "streamGenerateContent": GeminiDialect,
}  # fmt: skip


def number(tree, *path):
    for name in path:
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree if isinstance(tree, int) else 0


def openai(raw, prefix="prompt", said="completion"):
    """Cached tokens are part of the input, reasoning of the output; some servers have it beside, and in the total."""
    read, out = number(raw, f"{prefix}_tokens"), number(raw, f"{said}_tokens")
    total = number(raw, "total_tokens") or read + out
    cached = number(raw, f"{prefix}_tokens_details", "cached_tokens") or number(raw, "prompt_cache_hit_tokens")
    thought = number(raw, f"{said}_tokens_details", "reasoning_tokens")
    return read, max(out, total - read), cached or number(raw, "cached_tokens"), thought


def anthropic(raw):
    """Three numbers of the input, none part of another."""
    cached, stored = number(raw, "cache_read_input_tokens"), number(raw, "cache_creation_input_tokens")
    return number(raw, "input_tokens") + cached + stored, number(raw, "output_tokens"), cached, None


def bedrock(raw):
    cached, stored = number(raw, "cacheReadInputTokens"), number(raw, "cacheWriteInputTokens")
    read, out = number(raw, "inputTokens") + cached + stored, number(raw, "outputTokens")
    assert number(raw, "totalTokens") in (0, read + out, number(raw, "inputTokens") + out)
    return read, out, cached, 0


def gemini(raw):
    """Thoughts are beside the answer, cached tokens part of the prompt, tools' results beside it."""
    thought = number(raw, "thoughtsTokenCount")
    read = number(raw, "promptTokenCount") + number(raw, "toolUsePromptTokenCount")
    return read, number(raw, "candidatesTokenCount") + thought, number(raw, "cachedContentTokenCount"), thought


RAW = {
    "chat.completions": openai, "completions": openai, "responses": lambda raw: openai(raw, "input", "output"),
    "messages": anthropic, "rawPredict": anthropic, "streamRawPredict": anthropic, "converse": bedrock,
    "converse-stream": bedrock, "generateContent": gemini, "streamGenerateContent": gemini,
}  # fmt: skip


def records(data):
    """Every JSON object of a stream, whatever its framing."""
    if data[:1] == b"\0":
        return [json.loads(eventstream.read(frame).payload) for frame in eventstream.split(data)]
    if data[:1] == b"[":
        return json.loads(data)
    found = []
    for line in data.decode("utf-8", "replace").splitlines():
        if line.startswith("data:") and line[5:].strip().startswith("{"):
            try:
                found.append(json.loads(line[5:]))
            except ValueError:
                continue
    return found


def raw_usage(trees):
    """The last word on usage in a stream or reply; Anthropic tells it in two parts."""
    found = {}
    for tree in trees:
        for holder in (tree, tree.get("response"), tree.get("message"), tree.get("x_groq")):
            if isinstance(holder, dict):
                told = holder.get("usage") or holder.get("usageMetadata")
                if isinstance(told, dict):
                    found = {**found, **told} if "input_tokens" in found else told
    return found


def cases():
    for file in sorted([*SHARED.glob("recordings/**/*.json"), *SHARED.glob("recordings-vllm/*.json")]):
        recording = json.loads(file.read_text()) if file.name != "index.json" else {"endpoint": ""}
        endpoint = recording["endpoint"].removeprefix("/v1/").replace("/", ".")
        if endpoint not in DIALECTS or recording["response"]["status"] != 200:
            continue
        response = recording["response"]
        data = base64.b64decode(response["body_base64"]) if "body_base64" in response else wire_body(response)
        yield pytest.param(endpoint, data, id=file.stem)


def read(endpoint, data):
    """The usage as billed, and the provider's own."""
    dialect = DIALECTS[endpoint]()
    if data[:1] == b"{":
        return dialect.reported(data), raw_usage([json.loads(data)])
    if data[:1] == b"[":
        dialect = GeminiArray()
    tap = dialect.tap(ASKED, whole=False, scrub=lambda record: record)
    tap.feed(data)
    tap.rest()
    return tap.usage, raw_usage(records(data))


CASES = list(cases())


def test_there_are_many_of_every_kind():
    assert {kind: count for kind, count in Counter(case.values[0] for case in CASES).items() if count < 2} == {"rawPredict": 1, "streamRawPredict": 1}
    assert len(CASES) > 200


@pytest.mark.parametrize(("endpoint", "data"), CASES)
def test_usage_is_the_providers_own_counted_once(endpoint, data):
    usage, raw = read(endpoint, data)
    if not raw:
        assert usage is None
        return
    inp, out, cached, thought = RAW[endpoint](raw)
    if usage is None:
        assert inp == out == 0
        return
    assert (usage.input, usage.output, usage.cached) == (inp, out, min(cached, inp)), raw
    assert usage.cached + usage.cache_write <= usage.input
    assert usage.reasoning <= usage.output
    if thought is not None and "reasoning" in str(raw):
        assert usage.reasoning == min(thought, usage.output), raw


PAIRS = {
    "openai.chat": lambda usage: openai_usage.usage_of(openai_usage.wire_from(openai_chat_reply.usage_written(usage))),
    "openai.responses": lambda usage: responses_usage.usage_in({"usage": responses_usage.written(usage)}),
    "anthropic.messages": lambda usage: anthropic_usage.usage_of(anthropic_usage.wire_from(anthropic_usage.written(usage))),
    "bedrock.converse": lambda usage: bedrock_usage.usage_of(bedrock_usage.written(usage)),
    "gemini.generate": lambda usage: gemini_usage.usage_of({"usageMetadata": gemini_usage.write_usage(usage)}),
}
CANNOT_SAY = {"bedrock.converse": {"reasoning"}, "gemini.generate": {"cache_write"}}


@pytest.mark.parametrize("client", PAIRS)
def test_a_client_of_any_dialect_is_told_the_same_usage_whoever_answered(client):
    told = 0
    for case in CASES:
        usage, _ = read(*case.values)
        if usage is None:
            continue
        again = PAIRS[client](usage)
        for name in {"input", "output", "cached", "cache_write", "reasoning"} - CANNOT_SAY.get(client, set()):
            assert getattr(again, name) == getattr(usage, name), (case.id, name, usage, again)
        told += 1
    assert told > 200
