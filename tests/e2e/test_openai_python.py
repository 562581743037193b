"""OpenAI's own Python client against the gateway: nothing differs from its normal use but `base_url` and key."""

import asyncio
import json
import time
import warnings

import openai
import pytest
import pytest_asyncio
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel
from waiting import measured

pytestmark = pytest.mark.asyncio(loop_scope="module")

HELLO = [{"role": "user", "content": "Say hello"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather", "description": "The weather of a city", "strict": True,
        "parameters": {
            "type": "object", "properties": {"city": {"type": "string"}, "unit": {"enum": ["c", "f"]}},
            "required": ["city", "unit"], "additionalProperties": False,
        },
    },
}
CLOCK = {
    "type": "function",
    "function": {
        "name": "get_time", "strict": True,
        "parameters": {
            "type": "object", "properties": {"zone": {"type": "string"}}, "required": ["zone"],
            "additionalProperties": False,
        },
    },
}


class Person(BaseModel):
    name: str
    age: int
    tags: list[str]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def client(demo):
    async with AsyncOpenAI(base_url=demo.url, api_key=demo.key, max_retries=0) as made:
        yield made


def in_thread(demo, work):
    """Run `work(client)` with the blocking client, as a program without an event loop would."""

    def run():
        with OpenAI(base_url=demo.url, api_key=demo.key, max_retries=0) as made:
            return work(made)

    return asyncio.to_thread(run)


async def test_chat(client, demo):
    raw = await client.chat.completions.with_raw_response.create(model="demo-small", messages=HELLO)
    completion = raw.parse()
    assert completion.choices[0].finish_reason == "stop"
    assert "Say hello" in completion.choices[0].message.content
    row = await demo.row(raw.headers["x-request-id"])
    assert (row.input, row.output) == (completion.usage.prompt_tokens, completion.usage.completion_tokens)
    assert row.cost == row.input * 150 + row.output * 600
    assert completion._request_id == row.id


async def test_chat_with_the_blocking_client(demo):
    completion = await in_thread(demo, lambda c: c.chat.completions.create(model="fast", messages=HELLO, n=2))
    assert [choice.index for choice in completion.choices] == [0, 1]
    assert completion.usage.total_tokens > 0


async def test_a_stream_has_no_usage_unless_asked_for(client, demo):
    """The same text as unstreamed; no chunk without choices; the ledger has the tokens all the same."""
    whole = await client.chat.completions.create(model="demo-small", messages=HELLO)
    stream = await client.chat.completions.create(model="demo-small", messages=HELLO, stream=True)
    chunks = [chunk async for chunk in stream]
    assert all(chunk.choices for chunk in chunks)
    assert all(chunk.usage is None for chunk in chunks)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == whole.choices[0].message.content
    row = await demo.row(stream.response.headers["x-request-id"])
    assert (row.input, row.output) == (whole.usage.prompt_tokens, whole.usage.completion_tokens)
    assert row.streamed


async def test_a_stream_with_usage(client):
    options = {"include_usage": True}
    stream = await client.chat.completions.create(
        model="demo-small", messages=HELLO, stream=True, stream_options=options
    )
    chunks = [chunk async for chunk in stream]
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens == chunks[-1].usage.prompt_tokens + chunks[-1].usage.completion_tokens
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)


async def test_a_stream_with_the_blocking_client(demo):
    def work(client):
        with client.chat.completions.create(model="demo-small", messages=HELLO, stream=True) as stream:
            return [chunk.choices[0].finish_reason for chunk in stream]

    assert (await in_thread(demo, work))[-1] == "stop"


@pytest.mark.parametrize("choice", [{"type": "function", "function": {"name": "get_time"}}, "required", "auto"])
async def test_tools(client, choice):
    """Forced by name, required, and asked for in the text: a call with arguments that fit the schema."""
    messages = [{"role": "user", "content": "Call get_time, please."}]
    completion = await client.chat.completions.create(
        model="demo-small", messages=messages, tools=[WEATHER, CLOCK], tool_choice=choice
    )
    (call,) = completion.choices[0].message.tool_calls
    assert call.function.name == "get_time"
    assert set(json.loads(call.function.arguments)) == {"zone"}
    answer = [completion.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "noon"}]
    completion = await client.chat.completions.create(
        model="demo-small", messages=[*messages, *answer], tools=[WEATHER, CLOCK]
    )
    assert "noon" in completion.choices[0].message.content


async def test_parallel_tool_calls_in_a_stream(client):
    """The client's own accumulator puts both calls together again."""
    messages = [{"role": "user", "content": "Call both get_weather and get_time."}]
    async with client.chat.completions.stream(
        model="demo-small", messages=messages, tools=[WEATHER, CLOCK], parallel_tool_calls=True
    ) as stream:
        kinds = {event.type async for event in stream}
        final = await stream.get_final_completion()
    calls = {call.function.name: call.function.parsed_arguments for call in final.choices[0].message.tool_calls}
    assert set(calls) == {"get_weather", "get_time"}
    assert set(calls["get_weather"]) == {"city", "unit"}
    assert "tool_calls.function.arguments.done" in kinds


async def test_structured_output(client, demo):
    """`parse` gives the object, streamed or not, with either client."""
    ask = {"model": "demo-small", "messages": HELLO, "response_format": Person}
    completion = await client.chat.completions.parse(**ask)
    person = completion.choices[0].message.parsed
    assert isinstance(person, Person)
    blocking = await in_thread(demo, lambda c: c.chat.completions.parse(**ask))
    assert blocking.choices[0].message.parsed == person
    async with client.chat.completions.stream(**ask) as stream:
        final = await stream.get_final_completion()
    with warnings.catch_warnings():  # pydantic's, about the client's own generic types
        warnings.simplefilter("ignore")
        assert final.choices[0].message.parsed == person


async def test_embeddings(client, demo):
    """The client asks for base64 by default and decodes it; as numbers they are the same; usage is recorded."""
    texts = ["alpha", "beta gamma"]
    raw = await client.embeddings.with_raw_response.create(model="demo-embed", input=texts)
    packed = raw.parse()
    plain = await client.embeddings.create(model="demo-embed", input=texts, encoding_format="float", dimensions=256)
    assert [len(item.embedding) for item in packed.data] == [256, 256]
    for one, other in zip(packed.data, plain.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
    row = await demo.row(raw.headers["x-request-id"])
    assert (row.endpoint, row.input, row.output) == ("embeddings", packed.usage.prompt_tokens, 0)


async def test_text_completions(client):
    completion = await client.completions.create(model="demo-small", prompt="Once upon a time", max_tokens=5)
    assert (completion.choices[0].finish_reason, completion.usage.completion_tokens) == ("length", 5)
    stream = await client.completions.create(model="demo-small", prompt="Once", stream=True)
    assert "".join([chunk.choices[0].text async for chunk in stream])


async def test_models(client, demo):
    listed = [model.id async for model in client.models.list()]
    assert {"demo-small", "demo-large", "demo-embed"} <= set(listed)
    model = await client.models.retrieve("demo/demo-large")
    assert (model.id, model.owned_by, model.context_length) == ("demo/demo-large", "demo", 1_000_000)
    assert await in_thread(demo, lambda c: c.models.retrieve("demo-small").owned_by) == "demo"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("no-such-model")


@pytest.mark.parametrize(
    ("fields", "error", "code"),
    [
        ({"model": "demo-smal"}, openai.NotFoundError, "model_not_found"),
        ({"messages": "hello"}, openai.BadRequestError, None),
        ({"n": "two"}, openai.BadRequestError, None),
        ({"messages": []}, openai.BadRequestError, None),
        ({"extra_body": {"demo": {"fail": 403}}}, openai.PermissionDeniedError, None),
        ({"extra_body": {"demo": {"fail": 422}}}, openai.UnprocessableEntityError, None),
        ({"extra_body": {"demo": {"fail": 503}}}, openai.InternalServerError, None),
        ({"extra_body": {"demo": {"fail": 429}}}, openai.RateLimitError, "rate_limit_exceeded"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_are_the_clients_own_classes(client, demo, fields, error, code, stream):
    """Before the first byte an error is HTTP, streamed or not: class, text, code and request id arrive."""
    with pytest.raises(error) as caught:
        await client.chat.completions.create(**{"model": "demo-small", "messages": HELLO, "stream": stream, **fields})
    assert caught.value.code == code
    assert caught.value.body["message"]
    row = await demo.row(caught.value.request_id)
    assert row.http_status == caught.value.status_code


async def test_a_wrong_key_is_an_authentication_error(demo):
    async with AsyncOpenAI(base_url=demo.url, api_key="sk-gw-wrong", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            await client.chat.completions.create(model="demo-small", messages=HELLO)
        assert caught.value.code == "invalid_api_key"
        with pytest.raises(openai.AuthenticationError):
            await client.models.list()


async def test_a_rate_limit_is_an_error_with_a_true_retry_after(demo):
    """The second request in a minute is refused; the wait that it names is the rest of that minute."""
    key = await demo.new_key(requests_per_minute=1)
    async with AsyncOpenAI(base_url=demo.url, api_key=key, max_retries=0) as client:
        raw = await client.chat.completions.with_raw_response.create(model="demo-small", messages=HELLO)
        assert raw.headers["x-ratelimit-limit-requests"] == "1"
        assert raw.headers["x-ratelimit-remaining-requests"] == "0"
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(model="demo-small", messages=HELLO)
    assert 40 <= int(caught.value.response.headers["retry-after"]) <= 62
    assert [row.outcome for row in await demo.rows_of(key, 2)] == ["ok", "refused"]


async def test_the_client_waits_as_told_and_succeeds(demo):
    """A concurrency limit refuses with Retry-After; the client's own retry comes when the stream before it is over."""
    key = await demo.new_key(concurrency=1)
    slow = {"demo": {"chunk_delay_ms": 100, "chunks": 5}}
    async with AsyncOpenAI(base_url=demo.url, api_key=key, max_retries=8) as client:
        stream = await client.chat.completions.create(
            model="demo-small", messages=HELLO, stream=True, extra_body=slow
        )
        began = time.monotonic()
        second = asyncio.ensure_future(client.chat.completions.create(model="demo-small", messages=HELLO))
        assert [chunk async for chunk in stream]
        assert (await second).choices
        assert time.monotonic() - began >= 1.0
    outcomes = sorted(row.outcome for row in await demo.rows_of(key, 3))
    assert outcomes[:3] == ["ok", "ok", "refused"]
    assert set(outcomes[3:]) <= {"refused"}  # by a machine so busy that the stream is not over after a second


async def test_an_upstreams_retry_after_is_honoured(demo):
    """The provider says when; the client retries then, and the gateway's answer is the second one's."""
    fails_once = {"demo": {"fail": 429, "fail_times": 1, "retry_after": 1}}
    async with AsyncOpenAI(base_url=demo.url, api_key=demo.key) as client:
        began = time.monotonic()
        completion = await client.chat.completions.create(
            model="demo-small", messages=HELLO, user="retry-after", extra_body=fails_once
        )
    assert completion.choices
    assert 1.0 <= time.monotonic() - began < 20


async def test_a_failing_upstream_is_an_internal_server_error_after_the_clients_retries(demo):
    """Each try of the client is an exchange of its own, with its row."""
    key = await demo.new_key()
    async with AsyncOpenAI(base_url=demo.url, api_key=key, max_retries=1) as client:
        with pytest.raises(openai.InternalServerError) as caught:
            await client.chat.completions.create(
                model="demo-small", messages=HELLO, extra_body={"demo": {"fail": 500}}
            )
    assert "told to fail with 500" in str(caught.value)
    assert [(row.outcome, row.http_status) for row in await demo.rows_of(key, 2)] == [("upstream_error", 500)] * 2


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [({"error_mid": 4}, "upstream_error"), ({"cut_after": 4}, "upstream_cut")],
)
async def test_an_error_in_a_stream_is_raised_by_the_client(client, demo, fault, outcome):
    """What came before it arrives; then the client raises; no silent end."""
    stream = await client.chat.completions.create(
        model="demo-small", messages=HELLO, stream=True, extra_body={"demo": fault}
    )
    seen = []

    async def read():
        async for chunk in stream:
            seen.append(chunk)  # noqa: PERF401 - what came before the error counts

    with pytest.raises(openai.APIError) as caught:
        await read()
    assert len(seen) == 4
    assert caught.value.body["message"]
    row = await demo.row(stream.response.headers["x-request-id"])
    assert (row.outcome, row.estimated) == (outcome, True)
    assert row.output > 0


async def test_leaving_a_stream_closes_the_upstream(client, demo):
    """Within a second; the row says who ended it and holds what was used."""
    slow = {"demo": {"chunk_delay_ms": 100, "size": 200}}
    stream = await client.chat.completions.create(model="demo-small", messages=HELLO, stream=True, extra_body=slow)
    async for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    await stream.close()
    await demo.until_closed()
    row = await demo.row(stream.response.headers["x-request-id"])
    assert (row.outcome, row.estimated) == ("client_closed", True)
    assert row.output > 0


async def test_leaving_with_the_blocking_client_closes_the_upstream(demo):
    def work(client):
        with client.chat.completions.create(
            model="demo-small", messages=HELLO, stream=True, extra_body={"demo": {"hang": "mid"}}
        ) as stream:
            next(iter(stream))
            return stream.response.headers["x-request-id"]

    request_id = await in_thread(demo, work)
    await demo.until_closed()
    assert (await demo.row(request_id)).outcome == "client_closed"


@pytest.mark.parametrize("stream", [False, True])
@measured
async def test_a_clients_timeout_closes_the_upstream(demo, stream):
    """An answer that the client does not wait for is not waited for by the gateway either."""
    key = await demo.new_key()
    async with AsyncOpenAI(base_url=demo.url, api_key=key, max_retries=0, timeout=1.0) as client:
        with pytest.raises(openai.APITimeoutError):
            await client.chat.completions.create(
                model="demo-small", messages=HELLO, stream=stream, extra_body={"demo": {"hang": "before_headers"}}
            )
        await demo.until_closed()
    (row,) = await demo.rows_of(key)
    assert row.outcome == "client_closed"
