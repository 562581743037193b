"""InvokeModel: embeddings of Titan and Cohere, and Claude in Anthropic's own format, through a whole gateway."""

import base64
import json

import pytest
from recordings import needs_recordings, recordings_of
from running import running

from gateway import eventstream
from gateway.codec import Translation
from gateway.dialects.bedrock_claude import ClaudeCodec
from gateway.errors import UpstreamCut
from gateway.pieces import ChoiceEnd, Over, Tokens
from gateway.testing import FakeUpstream

CLAUDE = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
STREAMS = [
    (name, rec) for name, rec in recordings_of("invoke-with-response-stream")
    if "anthropic" in (rec["model"] or "") and "messages" in (rec["request"]["body"] or {})
]


@pytest.fixture
async def stage(tmp_path):
    async with FakeUpstream() as upstream:
        options = {"base_url": upstream.url.removesuffix("/v1"), "region": "us-east-1", "api_key": "upstream-credential-000"}
        providers = [
            {"name": "bedrock", "use": "provider.bedrock", "with": options},
            {"name": "claude", "use": "provider.bedrock", "with": {**options, "claude": "invoke"}},
        ]
        async with running(tmp_path, providers=providers) as gw:
            yield gw, upstream


async def embedded(gw, model, given, **more):
    body = {"model": f"bedrock/{model}", "input": given, **more}
    async with gw.client.post(gw.root + "/v1/embeddings", json=body, headers={"authorization": f"Bearer {gw.key}"}) as reply:
        return reply.status, await reply.json()


async def test_titan_embeds_one_text(stage):
    gw, upstream = stage
    upstream.script(b'{"embedding": [0.5, -0.25], "inputTextTokenCount": 4}')
    status, told = await embedded(gw, "amazon.titan-embed-text-v2:0", "Ruby", dimensions=256)
    assert status == 200, told
    assert told["data"][0]["embedding"] == [0.5, -0.25]
    assert told["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
    (sent,) = upstream.requests
    assert sent.path == "/model/amazon.titan-embed-text-v2%3A0/invoke"
    assert sent.json == {"inputText": "Ruby", "dimensions": 256}
    assert (await embedded(gw, "amazon.titan-embed-text-v2:0", ["a", "b"]))[0] == 400


async def test_cohere_embeds_several(stage):
    gw, upstream = stage
    upstream.script(b'{"embeddings": {"float": [[1.0], [2.0]]}, "response_type": "embeddings_by_type"}')
    status, told = await embedded(gw, "cohere.embed-multilingual-v3", ["a", "b"])
    assert status == 200, told
    assert [each["embedding"] for each in told["data"]] == [[1.0], [2.0]]
    assert upstream.requests[0].json == {"texts": ["a", "b"], "input_type": "search_document", "embedding_types": ["float"]}


async def test_claude_gets_anthropics_body_with_its_version(stage):
    gw, upstream = stage
    events = [
        {"type": "message_start", "message": {"id": "msg_bdrk_1", "model": "claude-haiku-4-5", "usage": {"input_tokens": 3, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
        {"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 3}},
    ]
    frames = [
        eventstream.event("chunk", json.dumps({"bytes": base64.b64encode(json.dumps(event).encode()).decode()}).encode())
        for event in events
    ]
    upstream.script(*frames, content_type=eventstream.CONTENT_TYPE)
    asked = {"model": f"claude/{CLAUDE}", "max_tokens": 50, "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
    async with gw.client.post(gw.root + "/v1/messages", json=asked, headers={"x-api-key": gw.key}) as reply:
        text = await reply.text()
    assert reply.status == 200, text
    (sent,) = upstream.requests
    assert sent.path == f"/model/{CLAUDE.replace(':', '%3A')}/invoke-with-response-stream"
    assert sent.json == {
        "anthropic_version": "bedrock-2023-05-31", "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}],
    }
    assert '"text":"Hi"' in text
    assert text.rstrip().endswith('data: {"type":"message_stop"}')


@needs_recordings
@pytest.mark.parametrize(("name", "recording"), STREAMS, ids=[name for name, _ in STREAMS])
def test_a_recorded_stream_reads_the_same_however_it_is_cut(name, recording):
    data = base64.b64decode(recording["response"]["body_base64"])

    def read(step):
        reader = ClaudeCodec().reader(Translation("req_1"))
        return [piece for at in range(0, len(data), step) for piece in reader.feed(data[at : at + step])] + reader.end()

    whole = read(len(data))
    assert isinstance(whole[-1], Over)
    assert {Tokens, ChoiceEnd} <= {type(piece) for piece in whole}
    for step in (1, 7, 100):
        assert read(step) == whole
    reader = ClaudeCodec().reader(Translation("req_1"))
    reader.feed(data[: len(data) // 2])
    with pytest.raises(UpstreamCut):
        reader.end()
