"""Every recorded exchange in OpenAI's format, replayed: request and reply pass the gateway byte for byte.

An upstream serves the recorded status, type and bytes, cut into pieces in many ways; the client sends the recorded
request. What must differ is listed here, each with its reason.
"""

import json
import random

import pytest
import pytest_asyncio
from recordings import is_stream, needs_recordings, openai_recordings, wire_body
from running import provider, running

from gateway.testing import FakeUpstream

pytestmark = [needs_recordings, pytest.mark.asyncio(loop_scope="module")]

# The gateway answers these itself: the upstream must not see them.
REFUSED_HERE = {
    "vllm-error-malformed-json": 400,  # two readers of broken JSON may see two requests
    "vllm-error-method": 405,          # only what is in the route table exists
}
# Error bodies that OpenAI's clients cannot read are put into OpenAI's envelope, status kept.
NO_ENVELOPE = {
    "transformers-serve-chat-unknown-model", "transformers-serve-error-missing-messages",
    "vllm-chat-on-embedding-server", "vllm-error-embeddings-on-chat-server", "vllm-error-no-key",
    "vllm-error-wrong-key",
}
# An error comes inside a stream with status 200, with or without `[DONE]` behind it: bytes kept, outcome told.
ERROR_IN_STREAM = {
    "vllm-chat-stream-engine-death", "groq.chat.completions.stream.tool-use-failed-error-streaming-with-text.917a4368",
}

RECORDINGS = {case: (endpoint, recording) for case, endpoint, recording in openai_recordings()}
REPLAYED = [case for case in RECORDINGS if case not in REFUSED_HERE]
STREAMS = [case for case in REPLAYED if is_stream(RECORDINGS[case][1])]
SMALL = 1_800  # streams up to this size are also served one byte at a time
USAGE = (
    b'data: {"id":"x","object":"chat.completion.chunk","choices":[],'
    b'"usage":{"prompt_tokens":41,"completion_tokens":7,"total_tokens":48}}\n\n'
)


class Replay:
    """The gateway between a recorded client and a recorded upstream."""

    def __init__(self, gw, upstream):
        self.gw = gw
        self.upstream = upstream

    async def ask(self, case, body, pieces):
        """Send `body` while the upstream serves the recording in `pieces`: reply, its bytes, what arrived."""
        endpoint, recording = RECORDINGS[case]
        served = recording["response"]
        content_type = served["headers"].get("content-type", "application/json")
        self.upstream.requests.clear()
        self.upstream._script.clear()  # what a failed test has left
        self.upstream.script(*pieces, status=served["status"], content_type=content_type, pause=1e-6)
        async with self.gw.post("/" + endpoint.replace(".", "/"), data=body, headers=JSON) as reply:
            got = await reply.read()
        (sent,) = self.upstream.requests
        return reply, got, sent.body

    async def row(self, reply):
        """The one row of the exchange behind a reply."""
        await self.gw.service._owner._drain.drain_now()
        began = int(reply.headers["x-request-id"][4:16], 16)
        page = await self.gw.store.usage_rows(began, began + 60_000)
        (row,) = [row for row in page.items if row.id == reply.headers["x-request-id"]]
        return row


JSON = {"content-type": "application/json"}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def replay(tmp_path_factory):
    names = sorted({model_of(recording) for _, recording in RECORDINGS.values()})
    models = [{"name": name, "targets": [f"up/{name}"]} for name in names]
    async with (
        FakeUpstream() as upstream,
        running(tmp_path_factory.mktemp("replay"), providers=[provider(upstream)], models=models) as gw,
    ):
        yield Replay(gw, upstream)


def model_of(recording):
    """The model asked for; where Azure's URL named it, or the body was broken, the deployment or a made-up name."""
    body = recording["request"].get("body")
    return (isinstance(body, dict) and body.get("model")) or "in-the-url"


def request_of(recording, model, **style):
    """The recorded request for `model`, as bytes."""
    body = recording["request"]["body"]
    return json.dumps({**body, "model": model} if "model" in body else {"model": model, **body}, **style).encode()


def splits(case, data):
    """Ways to cut the bytes: whole, by records, between and inside them, at random places, one by one if few."""
    dice = random.Random(case)
    yield [data]
    yield by_size(data, max(1, len(data) // 2 + 1))
    yield by_size(data, max(7, len(data) // 150))
    ends = sorted(dice.sample(range(1, len(data)), min(60, len(data) - 1)))
    yield [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True)]
    if is_stream(RECORDINGS[case][1]):
        records = data.split(b"\n\n")
        yield [record + b"\n\n" for record in records[:-1]] + ([records[-1]] if records[-1] else [])
        yield [b"", *by_size(data, 1)] if len(data) <= SMALL else [data[:-1], data[-1:]]


def by_size(data, size):
    return [data[at : at + size] for at in range(0, len(data), size)]


def told_usage(case, data):
    """(input, output, cached, reasoning) of the last usage object in a reply; `None` without one."""
    texts = [line[5:] for line in data.splitlines() if line.startswith(b"data:")] or [data]
    found = [json.loads(text).get("usage") for text in texts if text.strip() != b"[DONE]"]
    usages = [usage for usage in found if usage]
    if not usages:
        return None
    usage = usages[-1]
    reasoning = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    output = usage.get("completion_tokens") or 0
    read = usage["prompt_tokens"]  # one server reports more cached tokens than it read: at most all were
    hidden = (usage.get("total_tokens") or 0) - read - output
    if hidden > 0 and reasoning in (0, hidden):  # thinking that is billed, but in the total only
        output, reasoning = output + hidden, hidden
    return read, output, min(cached, read), reasoning


def asks_usage(body):
    """Whether the client wants the usage chunk, or streams at all."""
    return body.get("stream") is not True or (body.get("stream_options") or {}).get("include_usage") is True


def has_no_usage(recording):
    """Whether usage was neither asked for nor sent, in a stream with OpenAI's end."""
    data = wire_body(recording["response"])
    asked = asks_usage(recording["request"]["body"])
    return not asked and told_usage("", data) is None and b"data: [DONE]" in data


def with_usage_asked(raw):
    """What the gateway sends for a stream without `stream_options`: the same bytes and this field."""
    return raw[:-1] + b',"stream_options":{"include_usage":true}}'


def check_row(case, row, data, status):
    endpoint, recording = RECORDINGS[case]
    assert row.endpoint == endpoint
    assert row.http_status == status
    assert row.streamed == is_stream(recording)
    assert row.target_model == model_of(recording)
    assert len(row.attempts) == 1
    told = told_usage(case, data) if status == 200 else (0, 0, 0, 0)
    if status != 200 or case in ERROR_IN_STREAM:
        assert row.outcome == "upstream_error"
    else:
        assert row.outcome == "ok"
    if told is None or case in ERROR_IN_STREAM:
        assert row.estimated
        assert row.output > 0
    else:
        assert (row.input, row.output, row.cached, row.reasoning, row.estimated) == (*told, False)


@pytest.mark.parametrize("case", REPLAYED)
async def test_a_recorded_exchange_passes_byte_for_byte(replay, case):
    """The upstream gets the recorded request, the client the recorded reply however cut; the row has its usage."""
    _, recording = RECORDINGS[case]
    data, status, model = wire_body(recording["response"]), recording["response"]["status"], model_of(recording)
    request = request_of(recording, model, ensure_ascii=False)
    expected = request if asks_usage(recording["request"]["body"]) else with_usage_asked(request)
    replies = []
    for pieces in splits(case, data):
        reply, got, sent = await replay.ask(case, request, pieces)
        assert sent == expected
        assert reply.status == status
        if case in NO_ENVELOPE:
            assert json.loads(got)["error"]["message"]
        else:
            assert got == data
        replies.append(reply)
    for reply in replies:
        check_row(case, await replay.row(reply), data, status)


@pytest.mark.parametrize("case", REPLAYED)
async def test_with_another_name_only_the_models_name_changes_in_the_request(replay, case):
    """`up/model` leads to `model`: the upstream gets the bytes of a client that asked for it directly."""
    _, recording = RECORDINGS[case]
    model = model_of(recording)
    style = {"separators": (" ,", " : "), "ensure_ascii": True}
    expected = request_of(recording, model, **style)
    if not asks_usage(recording["request"]["body"]):
        expected = with_usage_asked(expected)
    request, data = request_of(recording, f"up/{model}", **style), wire_body(recording["response"])
    reply, _, sent = await replay.ask(case, request, [data])
    assert sent == expected
    assert reply.status == recording["response"]["status"]


@pytest.mark.parametrize("case", [case for case in STREAMS if has_no_usage(RECORDINGS[case][1])])
async def test_a_usage_chunk_that_only_the_gateway_asked_for_is_taken_out(replay, case):
    """The upstream obeys and sends usage: the client gets the stream as if it had not, and the row has the numbers."""
    _, recording = RECORDINGS[case]
    plain = wire_body(recording["response"])
    at = plain.index(b"data: [DONE]")
    data = plain[:at] + USAGE + plain[at:]
    replies = []
    for pieces in splits(case, data):
        reply, got, _ = await replay.ask(case, request_of(recording, model_of(recording)), pieces)
        assert got == plain
        replies.append(reply)
    for reply in replies:
        row = await replay.row(reply)
        assert (row.input, row.output, row.estimated, row.outcome) == (41, 7, False, "ok")


@pytest.mark.parametrize("case", REFUSED_HERE)
async def test_what_the_gateway_refuses_itself_never_reaches_the_upstream(replay, case):
    """Same status as the recorded server gave, in OpenAI's shape."""
    endpoint, recording = RECORDINGS[case]
    replay.upstream.requests.clear()
    asked = recording["request"]
    url = f"{replay.gw.url}/{endpoint.replace('.', '/')}"
    headers = {**JSON, "authorization": f"Bearer {replay.gw.key}"}
    data = asked["body_text"] if asked.get("body_text") else None
    async with replay.gw.client.request(asked["method"], url, headers=headers, data=data) as reply:
        assert reply.status == REFUSED_HERE[case] == recording["response"]["status"]
        assert (await reply.json())["error"]["message"]
    assert replay.upstream.requests == []
