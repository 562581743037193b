"""Google's own Python client against the gateway: in front of Gemini's format, and of OpenAI's."""

import json
import warnings

import aiohttp
import pytest
import pytest_asyncio
from geminis import recordings
from recordings import needs_recordings
from running import provider, running

from gateway.testing import FakeUpstream

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from google import genai
    from google.genai import errors, types

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning"),
]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stage(tmp_path_factory):
    async with FakeUpstream() as upstream:
        root = upstream.url.removesuffix("/v1")
        google = {
            "name": "google", "use": "provider.gemini",
            "with": {"base_url": root + "/v1beta", "api_key": "upstream-credential-000"},
        }
        models = [
            {"name": "gemini-2.5-flash", "targets": ["google/gemini-2.5-flash"]},
            {"name": "qwen", "targets": ["up/qwen"]},
        ]
        async with running(tmp_path_factory.mktemp("genai"), providers=[google, provider(upstream)], models=models) as gw:
            gw.upstream = upstream
            yield gw


@pytest_asyncio.fixture(loop_scope="module")
async def client(stage):
    stage.upstream.requests.clear()
    stage.upstream._script.clear()
    made = []

    def make(base="", root=stage.root):
        client = genai.Client(
            api_key=stage.key, http_options=types.HttpOptions(base_url=root + base, retry_options=types.HttpRetryOptions(attempts=1))
        )
        made.append(client)
        return client.aio

    yield make
    for each in made:
        await each.aio.aclose()
        each.close()


def reply(*parts, finish="STOP"):
    return json.dumps({
        "candidates": [{"content": {"parts": list(parts), "role": "model"}, "finishReason": finish, "index": 0}],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5},
        "modelVersion": "gemini-2.5-flash", "responseId": "r1",
    }).encode()


@pytest.mark.parametrize("base", ["", "/gemini", "/api/v1", "/v1"])
async def test_an_answer_at_each_of_the_addresses(stage, client, base):
    stage.upstream.script(reply({"text": "Hello"}))
    got = await client(base).models.generate_content(model="gemini-2.5-flash", contents="Hi")
    assert got.text == "Hello"
    assert got.usage_metadata.total_token_count == 5
    (sent,) = stage.upstream.requests
    assert sent.path == "/v1beta/models/gemini-2.5-flash:generateContent"
    assert stage.key not in json.dumps(dict(sent.headers))


def openai_reply(message, finish="stop"):
    return json.dumps({
        "id": "c1", "object": "chat.completion", "created": 1, "model": "qwen",
        "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }).encode()


async def test_a_conversation_with_a_tool_goes_on_with_a_model_of_another_provider(stage, client):
    """The client's own chat keeps what it was told, and sends it back."""
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'}}
    stage.upstream.script(openai_reply({"content": None, "tool_calls": [call]}, "tool_calls"))
    stage.upstream.script(openai_reply({"content": "Rain."}))
    tool = types.Tool(function_declarations=[types.FunctionDeclaration(
        name="get_weather", description="The weather.",
        parameters=types.Schema(type="OBJECT", properties={"city": types.Schema(type="STRING")}, required=["city"]),
    )])
    chat = client().chats.create(model="qwen", config=types.GenerateContentConfig(
        tools=[tool], system_instruction="Be brief.", temperature=0.5, max_output_tokens=50,
    ))
    first = await chat.send_message("Weather in Paris?")
    (asked,) = first.function_calls
    assert (asked.id, asked.name, asked.args) == ("call_1", "get_weather", {"city": "Paris"})
    answer = types.Part(function_response=types.FunctionResponse(id=asked.id, name=asked.name, response={"sky": "rain"}))
    second = await chat.send_message(answer)
    assert second.text == "Rain."
    sent = stage.upstream.requests[-1].json
    assert [message["role"] for message in sent["messages"]] == ["system", "user", "assistant", "tool"]
    assert sent["messages"][3] == {"role": "tool", "tool_call_id": "call_1", "content": '{"sky":"rain"}'}


def chunk(delta, finish=None, **more):
    body = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "qwen", **more}
    body.setdefault("choices", [{"index": 0, "delta": delta, "finish_reason": finish}])
    return b"data: " + json.dumps(body).encode() + b"\n\n"


async def test_a_stream_of_another_provider(stage, client):
    stage.upstream.script(
        chunk({"role": "assistant", "content": ""}), chunk({"content": "Hel"}), chunk({"content": "lo"}), chunk({}, "stop"),
        chunk({}, choices=[], usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}), b"data: [DONE]\n\n",
        content_type="text/event-stream",
    )
    chunks = [c async for c in await client().models.generate_content_stream(model="qwen", contents="Hi")]
    assert "".join(c.text or "" for c in chunks) == "Hello"
    assert chunks[-1].candidates[0].finish_reason == types.FinishReason.STOP
    assert chunks[-1].usage_metadata.total_token_count == 5


async def test_a_schema_is_parsed_by_the_client(stage, client):
    stage.upstream.script(openai_reply({"content": '{"name":"Alice"}'}))
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    got = await client().models.generate_content(model="qwen", contents="Alice", config=types.GenerateContentConfig(
        response_mime_type="application/json", response_json_schema=schema,
    ))
    assert got.parsed == {"name": "Alice"}
    assert stage.upstream.requests[0].json["response_format"]["json_schema"]["schema"] == schema


async def test_tokens_are_counted_or_estimated(stage, client):
    stage.upstream.script(b'{"totalTokens": 13}')
    assert (await client().models.count_tokens(model="gemini-2.5-flash", contents="Hi there")).total_tokens == 13
    assert (await client().models.count_tokens(model="qwen", contents="Hi there")).total_tokens > 0


@pytest.mark.parametrize("base", ["", "/gemini", "/api/v1", "/v1"])
async def test_models_are_listed_and_found(client, base):
    listed = [model async for model in await client(base).models.list()]
    assert [model.name for model in listed][:2] == ["models/gemini-2.5-flash", "models/qwen"]
    one = await client(base).models.get(model="qwen")
    assert (one.name, one.display_name) == ("models/qwen", "qwen")
    assert one.supported_actions == ["generateContent", "countTokens", "embedContent"]
    with pytest.raises(errors.ClientError) as caught:
        await client(base).models.get(model="no-such-model")
    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")


async def test_the_list_at_the_shared_address_is_googles_for_its_clients_alone(stage):
    async with aiohttp.ClientSession() as session:
        for headers, field in (({"x-goog-api-key": stage.key}, "models"), ({"authorization": f"Bearer {stage.key}"}, "data")):
            async with session.get(stage.root + "/v1/models", headers=headers) as answer:
                assert field in await answer.json()
        async with session.get(stage.root + "/v1beta/models?key=" + stage.key) as answer:
            told = await answer.json()
    assert (answer.status, told["error"]["status"]) == (401, "UNAUTHENTICATED")
    assert "x-goog-api-key" in told["error"]["message"]


@pytest.mark.parametrize(("method", "path", "status"), [
    ("POST", "/v1beta/models/qwen:dreamContent", 404), ("POST", "/v1/models/qwen:dreamContent", 404),
    ("POST", "/v1beta/models/qwen", 404), ("POST", "/gemini/v1beta/cachedContents", 404), ("DELETE", "/v1beta/models/qwen", 405),
])
async def test_what_does_not_exist_is_said_as_google_says_it(stage, method, path, status):
    headers = {"x-goog-api-key": stage.key}
    async with aiohttp.ClientSession() as session, session.request(method, stage.root + path, headers=headers, json={}) as answer:
        error = (await answer.json())["error"]
    assert (answer.status, error["code"]) == (status, status)
    assert error["status"] == {404: "NOT_FOUND", 405: "UNIMPLEMENTED"}[status]


async def test_errors_are_raised_as_googles(stage, client):
    with pytest.raises(errors.ClientError) as caught:
        await client().models.generate_content(model="no-such-model", contents="Hi")
    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")
    stage.upstream.script(b'{"error":{"message":"slow down","type":"rate_limit_error","code":null}}', status=429)
    with pytest.raises(errors.ClientError) as caught:
        await client().models.generate_content(model="qwen", contents="Hi")
    assert (caught.value.code, caught.value.status) == (429, "RESOURCE_EXHAUSTED")


async def test_a_wrong_key_is_unauthenticated(stage):
    wrong = genai.Client(api_key="sk-gw-" + "x" * 40, http_options=types.HttpOptions(base_url=stage.root))
    with pytest.raises(errors.ClientError) as caught:
        await wrong.aio.models.generate_content(model="qwen", contents="Hi")
    assert (caught.value.code, caught.value.status) == (401, "UNAUTHENTICATED")
    await wrong.aio.aclose()
    wrong.close()


async def test_a_stream_that_breaks_off_raises(stage, client):
    stage.upstream.script(chunk({"content": "Hel"}), content_type="text/event-stream")
    stream = await client().models.generate_content_stream(model="qwen", contents="Hi")
    assert (await anext(stream)).text == "Hel"
    with pytest.raises(errors.APIError):
        await anext(stream)


@needs_recordings
@pytest.mark.parametrize("name", [
    name for name, rec in recordings("streamGenerateContent") if "alt=sse" in rec["request"]["url"]
])
async def test_recorded_streams_mean_the_same_to_the_client(stage, client, name):
    """What Google's client makes of the bytes is the same behind the gateway and without it."""
    recording = dict(recordings("streamGenerateContent"))[name]
    data = recording["response"]["body_text"].encode()
    pieces = [part + b"\r\n\r\n" for part in data.split(b"\r\n\r\n") if part]
    got = []
    for root in (stage.root, stage.upstream.url.removesuffix("/v1")):
        stage.upstream.script(*pieces, content_type="text/event-stream")
        chunks = await client(root=root).models.generate_content_stream(model="gemini-2.5-flash", contents="Hi")
        got.append([chunk.model_dump(exclude={"sdk_http_response"}) async for chunk in chunks])
    assert got[0] == got[1]
    assert got[0]
