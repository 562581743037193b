"""Anthropic's own Python client against the gateway: in front of an upstream of its format, and of OpenAI's."""

import json

import anthropic
import pytest
import pytest_asyncio
from recordings import needs_recordings, recordings_of, wire_body
from running import provider, running

from gateway.testing import FakeUpstream

pytestmark = [pytest.mark.asyncio(loop_scope="module")]
TOOL = {
    "name": "get_weather", "description": "The weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
ASKED = [{"role": "user", "content": "What is the weather in Paris?"}]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stage(tmp_path_factory):
    async with FakeUpstream() as upstream:
        root = upstream.url.removesuffix("/v1")
        claude = {"name": "claude", "use": "provider.anthropic", "with": {"base_url": root, "api_key": "upstream-key-000"}}
        models = [
            {"name": "claude-haiku-4-5", "targets": ["claude/claude-haiku-4-5"]},
            {"name": "qwen", "targets": ["up/qwen"]},
            {"name": "both", "targets": ["claude/claude-haiku-4-5", "up/qwen"]},
        ]
        async with running(tmp_path_factory.mktemp("sdk"), providers=[claude, provider(upstream)], models=models) as gw:
            gw.upstream = upstream
            yield gw


@pytest.fixture
def client(stage):
    stage.upstream.requests.clear()
    stage.upstream._script.clear()
    return lambda base="", **options: anthropic.AsyncAnthropic(
        base_url=stage.root + base, **{"api_key": stage.key, "max_retries": 0, **options}
    )


def message(*content, stop="end_turn"):
    return json.dumps({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5", "content": list(content),
        "stop_reason": stop, "stop_sequence": None, "usage": {"input_tokens": 12, "output_tokens": 7},
    }).encode()


@pytest.mark.parametrize("base", ["", "/anthropic", "/api"])
async def test_a_message_at_each_of_the_addresses(stage, client, base):
    stage.upstream.script(message({"type": "text", "text": "18 C"}))
    async with client(base) as claude:
        reply = await claude.messages.create(model="claude-haiku-4-5", max_tokens=50, messages=ASKED)
    assert reply.content[0].text == "18 C"
    assert reply.usage.output_tokens == 7
    assert reply._request_id.startswith("req_")
    (sent,) = stage.upstream.requests
    assert sent.path == "/v1/messages"
    assert sent.headers["x-api-key"] == "upstream-key-000"
    assert sent.headers["anthropic-version"] == claude.default_headers["anthropic-version"]


async def test_a_bearer_token_is_a_key_too(stage, client):
    stage.upstream.script(message({"type": "text", "text": "Hi"}))
    async with client(api_key=None, auth_token=stage.key) as claude:
        reply = await claude.messages.create(model="claude-haiku-4-5", max_tokens=50, messages=ASKED)
    assert reply.content[0].text == "Hi"


@pytest.mark.parametrize("model", ["qwen"])
async def test_a_stream_of_another_dialect_accumulates_to_a_message(stage, client, model):
    """Text and a tool call of an OpenAI-compatible server come as Anthropic's events, and the client puts them together."""
    def chunk(delta, finish=None):
        return b"data: " + json.dumps({
            "id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "qwen",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        }).encode() + b"\n\n"

    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":'}}
    stage.upstream.script(
        chunk({"role": "assistant", "content": ""}), chunk({"reasoning_content": "Look."}), chunk({"content": "I look"}),
        chunk({"tool_calls": [call]}), chunk({"tool_calls": [{"index": 0, "function": {"arguments": ' "Paris"}'}}]}),
        chunk({}, "tool_calls"),
        b'data: {"id":"c1","choices":[],"usage":{"prompt_tokens":12,"completion_tokens":7,"total_tokens":19}}\n\n',
        b"data: [DONE]\n\n", content_type="text/event-stream",
    )
    kinds = []
    async with client() as claude, claude.messages.stream(model=model, max_tokens=50, messages=ASKED, tools=[TOOL]) as stream:
        kinds += [event.type async for event in stream]
        whole = await stream.get_final_message()
    assert [block.type for block in whole.content] == ["thinking", "text", "tool_use"]
    assert whole.content[2].input == {"city": "Paris"}
    assert whole.stop_reason == "tool_use"
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (12, 7)
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"


async def test_tokens_are_counted_by_the_target_or_estimated(stage, client):
    stage.upstream.script(b'{"input_tokens": 14}')
    async with client() as claude:
        assert (await claude.messages.count_tokens(model="claude-haiku-4-5", messages=ASKED)).input_tokens == 14
        guess = await claude.messages.with_raw_response.count_tokens(model="qwen", messages=ASKED)
    assert (await guess.parse()).input_tokens > 0
    assert guess.headers["x-gateway-warnings"] == "estimated=input_tokens"
    (sent,) = stage.upstream.requests
    assert sent.path == "/v1/messages/count_tokens"
    rows = await stage.rows()
    assert all((row.cost, row.input, row.output) == (0, 0, 0) for row in rows if row.endpoint == "messages.count_tokens")


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, {"type": "invalid_request_error", "message": "no"}, anthropic.BadRequestError),
        (404, {"type": "not_found_error", "message": "model: x"}, anthropic.NotFoundError),
        (429, {"type": "rate_limit_error", "message": "slow"}, anthropic.RateLimitError),
        (529, {"type": "overloaded_error", "message": "Overloaded"}, anthropic.InternalServerError),
    ],
)
@pytest.mark.parametrize("model", ["claude-haiku-4-5", "qwen"])
async def test_errors_have_the_class_that_the_client_knows(stage, client, model, status, body, error):
    """Whether the target speaks Anthropic's dialect or another one; `retry-after` stays."""
    told = {"type": "error", "error": body} if model != "qwen" else {"error": {"message": body["message"], "code": status}}
    stage.upstream.script(json.dumps(told).encode(), status=status, headers={"retry-after": "3"})
    async with client() as claude:
        with pytest.raises(error) as raised:
            await claude.messages.create(model=model, max_tokens=5, messages=ASKED)
    assert raised.value.status_code == status
    assert raised.value.body["error"]["type"] == body["type"]
    assert raised.value.response.headers["retry-after"] == "3"


async def test_the_gateways_own_refusals_have_its_shape(stage, client):
    async with client(api_key="sk-gw-wrong") as claude:
        with pytest.raises(anthropic.AuthenticationError) as raised:
            await claude.messages.create(model="qwen", max_tokens=5, messages=ASKED)
        assert raised.value.body["error"]["type"] == "authentication_error"
    async with client() as claude:
        with pytest.raises(anthropic.NotFoundError):
            await claude.messages.create(model="nope", max_tokens=5, messages=ASKED)


async def test_the_client_repeats_what_may_be_repeated(stage, client):
    """529 is tried again by the client, 400 is not."""
    overloaded = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
    stage.upstream.script(overloaded, status=529, headers={"retry-after": "0"})
    stage.upstream.script(message({"type": "text", "text": "18 C"}))
    async with client(max_retries=1) as claude:
        reply = await claude.messages.create(model="claude-haiku-4-5", max_tokens=5, messages=ASKED)
    assert reply.content[0].text == "18 C"
    assert len(stage.upstream.requests) == 2


async def test_a_failing_target_is_followed_by_one_of_another_dialect(stage, client):
    """Claude is overloaded, a server of OpenAI's format answers: the client sees one message."""
    stage.upstream.script(b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}', status=529)
    async with client() as claude:
        raw = await claude.messages.with_raw_response.create(model="both", max_tokens=50, messages=ASKED)
    assert (await raw.parse()).content[0].type == "text"
    assert raw.headers["x-gateway-provider"] == "up"
    assert raw.headers["x-gateway-attempts"] == "2"
    assert [request.path for request in stage.upstream.requests] == ["/v1/messages", "/v1/chat/completions"]


@pytest.mark.parametrize("base", ["", "/anthropic"])
async def test_models_are_listed_in_the_clients_shape(stage, client, base):
    async with client(base) as claude:
        listed = [model async for model in claude.models.list()]
        one = await claude.models.retrieve("qwen")
    assert {"claude-haiku-4-5", "qwen"} <= {model.id for model in listed}
    assert (one.id, one.type, one.display_name) == ("qwen", "model", "qwen")


async def test_an_unknown_path_is_refused_in_the_clients_shape(stage):
    async with stage.client.post(stage.root + "/anthropic/v1/nothing") as reply:
        assert reply.status == 404
        assert (await reply.json())["error"]["type"] == "not_found_error"


async def test_an_error_in_a_stream_is_raised(stage, client):
    stage.upstream.script(
        b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","type":"message","role":"assistant","content":[],"model":"c","usage":{"input_tokens":1,"output_tokens":1}}}\n\n',
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n',
        content_type="text/event-stream",
    )
    async with client() as claude:
        with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
            async with claude.messages.stream(model="claude-haiku-4-5", max_tokens=5, messages=ASKED) as stream:
                await stream.get_final_message()
    rows = await stage.rows()
    assert rows[-1].outcome == "upstream_error"


@needs_recordings
@pytest.mark.parametrize("case", [case for case, one in recordings_of("messages", provider="anthropic") if one["stream"] and one["response"]["status"] == 200])
async def test_recorded_streams_accumulate_as_without_the_gateway(stage, client, case):
    """The client's own accumulation of a recorded stream, and the ledger's numbers."""
    recording = dict(recordings_of("messages", provider="anthropic"))[case]
    data = wire_body(recording["response"])
    stage.upstream.script(data, content_type="text/event-stream")
    async with client() as claude, claude.messages.stream(model="claude-haiku-4-5", max_tokens=5, messages=ASKED) as stream:
        whole = await stream.get_final_message()
    told = [json.loads(line[5:]) for line in data.decode().splitlines() if line.startswith("data:")]
    blocks = [event["content_block"]["type"] for event in told if event["type"] == "content_block_start"]
    assert [block.type for block in whole.content] == blocks
    assert whole.stop_reason == next(event["delta"]["stop_reason"] for event in told if event["type"] == "message_delta")
    (row,) = (await stage.rows())[-1:]
    usage = next(event["message"]["usage"] for event in told if event["type"] == "message_start")
    usage = {**usage, **next(event["usage"] for event in told if event["type"] == "message_delta")}
    cached, stored = usage.get("cache_read_input_tokens") or 0, usage.get("cache_creation_input_tokens") or 0
    assert (row.input, row.output) == (usage["input_tokens"] + cached + stored, usage["output_tokens"])
    assert (row.cached, row.cache_write, row.estimated, row.outcome) == (cached, stored, False, "ok")
