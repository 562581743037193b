"""Bedrock's dialect for clients: boto3 against the gateway, recorded exchanges byte for byte, filters on frames."""

import asyncio
import base64
import contextlib
import json

import aiohttp
import boto3
import botocore.config
import pytest
from botocore.exceptions import ClientError, EventStreamError
from recordings import needs_recordings, recordings_of
from running import running

from gateway import eventstream
from gateway.dialects.bedrock import Converse, ConverseStream
from gateway.errors import InvalidRequest, QuotaExceeded, RateLimited, Unauthenticated, UpstreamRefused, UpstreamTimeout
from gateway.events import End, Finish, Opaque, Text
from gateway.testing import FakeUpstream

MODEL = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
ARN = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/" + MODEL
PLUGINS = [{"use": "auth.api_keys"}, {"use": "limiter.budget"}, {"use": "sink.ledger"}]
ASKED = [{"role": "user", "content": [{"text": "Hello"}]}]


def chat(content):
    return json.dumps({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }).encode()


def chunk(delta, finish=None):
    told = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return b"data: " + json.dumps({**told, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}).encode() + b"\n\n"


class Stage:
    """A gateway in front of a Bedrock and a vLLM, both fakes."""

    def __init__(self, gw, upstream):
        self.gw, self.upstream, self.clients = gw, upstream, []

    def client(self, path="", key=""):
        """boto3 sends bearer tokens over TLS only: without it the header is added to what is not signed."""
        config = botocore.config.Config(
            retries={"total_max_attempts": 1}, read_timeout=10, signature_version=botocore.UNSIGNED
        )
        made = boto3.client("bedrock-runtime", region_name="us-east-1", endpoint_url=self.gw.root + path, config=config)

        def authorize(request, **_):
            request.headers["Authorization"] = f"Bearer {key or self.gw.key}"

        made.meta.events.register("before-send.bedrock-runtime", authorize)
        self.clients.append(made)
        return made


@pytest.fixture
async def stage(tmp_path, monkeypatch):
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_REGION", "AWS_BEARER_TOKEN_BEDROCK"):
        monkeypatch.delenv(name, raising=False)
    async with FakeUpstream() as upstream:
        root = upstream.url.removesuffix("/v1")
        providers = [
            {"name": "bedrock", "use": "provider.bedrock", "with": {
                "base_url": root, "region": "us-east-1", "api_key": "upstream-credential-000"}},
            {"name": "vllm", "use": "provider.vllm", "with": {"base_url": root + "/v1"}},
        ]
        models = [
            {"name": "qwen", "targets": ["vllm/Qwen/Qwen3-32B"]}, {"name": "haiku", "targets": [f"bedrock/{MODEL}"]},
        ]
        async with running(tmp_path, plugins=PLUGINS, providers=providers, models=models) as gw:
            made = Stage(gw, upstream)
            yield made
            for client in made.clients:
                client.close()


@pytest.mark.parametrize("path", ["", "/api/v1", "/bedrock"])
async def test_boto3_talks_to_vllm(stage, path):
    stage.upstream.script(chat("Hi!"))
    answer = await asyncio.to_thread(stage.client(path).converse, modelId="qwen", messages=ASKED)
    assert answer["output"]["message"]["content"] == [{"text": "Hi!"}]
    assert answer["stopReason"] == "end_turn"
    assert answer["usage"] == {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}
    assert answer["ResponseMetadata"]["RequestId"].startswith("req_")


async def test_boto3_streams_from_vllm(stage):
    end = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}\n\ndata: [DONE]\n\n'
    stage.upstream.script(
        chunk({"role": "assistant", "content": ""}), chunk({"content": "Hé"}), chunk({"content": "llo"}), chunk({}, "stop"),
        end, content_type="text/event-stream",
    )

    def read():
        with contextlib.closing(stage.client().converse_stream(modelId="qwen", messages=ASKED)["stream"]) as stream:
            return list(stream)

    events = await asyncio.to_thread(read)
    assert [next(iter(event)) for event in events] == [
        "messageStart", "contentBlockDelta", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata",
    ]
    assert "".join(event["contentBlockDelta"]["delta"]["text"] for event in events[1:3]) == "Héllo"
    assert events[-1]["metadata"]["usage"] == {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}


async def test_boto3_raises_the_right_class(stage):
    stage.upstream.script(b'{"error":{"message":"Slow down.","code":"rate_limit_exceeded"}}', status=429)
    client = stage.client()
    with pytest.raises(client.exceptions.ThrottlingException, match="Slow down"):
        await asyncio.to_thread(client.converse, modelId="qwen", messages=ASKED)
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        await asyncio.to_thread(client.converse, modelId="nothing-of-the-kind", messages=ASKED)


async def test_boto3_with_a_wrong_key_is_told_as_aws_tells_it(stage):
    with pytest.raises(ClientError) as raised:
        await asyncio.to_thread(stage.client(key="sk-gw-wrong").converse, modelId="qwen", messages=ASKED)
    assert raised.value.response["Error"]["Code"] == "UnrecognizedClientException"
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


async def test_boto3_raises_on_an_error_in_the_stream(stage):
    stage.upstream.script(
        chunk({"role": "assistant", "content": "Hel"}), b'data: {"error":{"message":"Overloaded.","code":503}}\n\n',
        content_type="text/event-stream",
    )

    def read():
        with contextlib.closing(stage.client().converse_stream(modelId="qwen", messages=ASKED)["stream"]) as stream:
            return list(stream)

    with pytest.raises(EventStreamError) as raised:
        await asyncio.to_thread(read)
    assert "serviceUnavailableException" in str(raised.value)


async def test_an_error_of_bedrocks_keeps_its_class_and_bytes(stage):
    body = b'{"message": "The model is not ready."}'
    kind = "ModelNotReadyException:http://internal.amazon.com/coral/com.amazon.bedrock/"
    stage.upstream.script(body, status=429, headers={"x-amzn-errortype": kind})
    async with stage.gw.client.post(
        stage.gw.root + "/model/haiku/converse", json={"messages": ASKED}, headers={"authorization": f"Bearer {stage.gw.key}"}
    ) as reply:
        assert (reply.status, await reply.read()) == (429, body)
        assert reply.headers["x-amzn-errortype"] == kind


REPLAYED = recordings_of("converse", "converse-stream")


@needs_recordings
@pytest.mark.parametrize(("name", "recording"), REPLAYED, ids=[name for name, _ in REPLAYED])
async def test_a_recorded_exchange_passes_byte_for_byte(stage, name, recording):
    response = recording["response"]
    body = json.dumps(recording["request"]["body"]).encode()
    streamed = "body_base64" in response
    answer = base64.b64decode(response["body_base64"]) if streamed else json.dumps(response["body"]).encode()
    content_type = eventstream.CONTENT_TYPE if streamed else "application/json"
    pieces = [answer[at : at + 777] for at in range(0, len(answer), 777)]
    headers = {key: value for key, value in response["headers"].items() if key == "x-amzn-errortype"}
    stage.upstream.script(*pieces, status=response["status"], content_type=content_type, headers=headers)
    action = "converse-stream" if recording["endpoint"] == "converse-stream" else "converse"
    url = f"{stage.gw.root}/model/bedrock%2F{MODEL.replace(':', '%3A')}/{action}"
    headers = {"authorization": f"Bearer {stage.gw.key}", "content-type": "application/json"}
    async with stage.gw.client.post(url, data=body, headers=headers) as reply:
        got = await reply.read()
    assert (reply.status, got) == (response["status"], answer)
    (sent,) = stage.upstream.requests
    assert sent.body == body
    assert sent.path == f"/model/{MODEL.replace(':', '%3A')}/{action}"


async def test_an_arn_in_the_path_reaches_the_upstream(stage):
    stage.upstream.script(b'{"output":{"message":{"role":"assistant","content":[]}},"stopReason":"end_turn","usage":{},"metrics":{}}')
    await asyncio.to_thread(stage.client().converse, modelId=f"bedrock/{ARN}", messages=ASKED)
    (sent,) = stage.upstream.requests
    assert sent.path == f"/model/{ARN.replace(':', '%3A').replace('/', '%2F')}/converse"


@pytest.mark.parametrize("damage", ["checksum", "short", "html"])
async def test_a_damaged_stream_ends_with_an_exception(stage, damage):
    frames = [
        eventstream.event("messageStart", b'{"role":"assistant"}'),
        eventstream.event("contentBlockDelta", b'{"contentBlockIndex":0,"delta":{"text":"Hel"}}'),
    ]
    broken = {"checksum": frames[1][:-1] + b"\x00", "short": frames[1][:20], "html": b"<html>Gateway timeout</html>"}[damage]
    stage.upstream.script(frames[0], frames[1], broken, content_type=eventstream.CONTENT_TYPE)
    headers = {"authorization": f"Bearer {stage.gw.key}"}
    url = stage.gw.root + "/model/haiku/converse-stream"
    async with stage.gw.client.post(url, json={"messages": ASKED}, headers=headers, timeout=aiohttp.ClientTimeout(10)) as reply:
        got = eventstream.split(await reply.read())
    last = eventstream.read(got[-1])
    assert last.headers[":exception-type"] == "modelStreamErrorException"


@pytest.mark.parametrize(("error", "name", "status"), [
    (InvalidRequest("x"), "ValidationException", 400), (Unauthenticated("x"), "UnrecognizedClientException", 403),
    (RateLimited("x"), "ThrottlingException", 429), (QuotaExceeded("x"), "ServiceQuotaExceededException", 400),
    (UpstreamTimeout("x"), "ModelTimeoutException", 408),
    (UpstreamRefused(503, "x", kind="overloaded"), "ServiceUnavailableException", 503),
])
def test_the_gateways_errors_have_awss_names(error, name, status):
    assert Converse().head(error) == (status, {"x-amzn-errortype": name})


BODY = {
    "system": [{"text": "one"}],
    "messages": [
        {"role": "user", "content": [
            {"text": "two"}, {"document": {"format": "txt", "name": "three", "source": {"text": "four"}}},
            {"guardContent": {"text": {"text": "five"}}}, {"image": {"format": "png", "source": {"bytes": "AAAA"}}},
        ]},
        {"role": "assistant", "content": [
            {"reasoningContent": {"reasoningText": {"text": "six", "signature": "c2ln"}}},
            {"toolUse": {"toolUseId": "t", "name": "f", "input": {"a": "seven"}}},
        ]},
        {"role": "user", "content": [
            {"toolResult": {"toolUseId": "t", "content": [{"text": "eight"}, {"json": {"b": "nine"}}]}},
        ]},
    ],
}


def test_every_text_that_a_model_reads_is_found_and_can_be_changed():
    dialect = Converse()
    request = dialect.decode(json.dumps(BODY).encode(), BODY, {"model": "m"})
    assert {"one", "two", "three", "four", "five", "six", "seven", "eight", "nine"} <= set(dialect.texts(request))
    changed = dialect.map_texts(request, lambda text, _part: text.upper())
    content = changed.body["messages"][1]["content"]
    assert [next(iter(block)) for block in content] == ["toolUse"]  # signed reasoning that was changed goes as a whole
    assert content[0]["toolUse"]["input"] == {"a": "SEVEN"}
    assert changed.body["messages"][0]["content"][0] == {"text": "TWO"}
    assert dialect.map_texts(request, lambda text, _part: text) is request


def test_a_frames_text_is_an_event_and_can_be_changed():
    dialect = ConverseStream()
    said = eventstream.event("contentBlockDelta", b'{"contentBlockIndex":0,"delta":{"text":"secret"},"p":"abcd"}')
    (event,) = dialect.events(said)
    assert isinstance(event, Text)
    assert (event.text, event.part) == ("secret", "content")
    other = eventstream.read(dialect.encode(Text("***", record=event.record)))
    assert json.loads(other.payload) == {"contentBlockIndex": 0, "delta": {"text": "***"}}
    stop = eventstream.event("messageStop", b'{"stopReason":"end_turn"}')
    assert isinstance(dialect.events(stop)[0], Finish)
    assert isinstance(dialect.events(eventstream.event("metadata", b"{}"))[0], End)
    signed = eventstream.event("contentBlockDelta", b'{"contentBlockIndex":0,"delta":{"reasoningContent":{"signature":"c2ln"}}}')
    assert isinstance(dialect.events(signed)[0], Opaque)


def test_a_cap_is_written_into_the_configuration():
    body = {"messages": ASKED, "inferenceConfig": {"maxTokens": 500, "temperature": 0.1}}
    request = Converse().decode(b"{}", body, {"model": "m"})
    assert request.max_output == 500
    assert Converse().changes(request, "m", 100) == {"inferenceConfig": {"maxTokens": 100, "temperature": 0.1}}
    assert Converse().changes(request, "other", None) == {}
