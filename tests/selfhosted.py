"""What every real model server must do through the gateway, with OpenAI's client: one suite, a subclass a server."""

import asyncio
import json

import aiohttp
import openai
import pytest
from openai import AsyncOpenAI
from waiting import until

HELLO = [{"role": "user", "content": "Hello there"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather", "description": "The weather of a city", "strict": True,
        "parameters": {
            "type": "object", "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
            "required": ["city"], "additionalProperties": False,
        },
    },
}
PERSON = {
    "type": "object", "required": ["name", "age"], "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "enum": ["Ada", "Bob"]}, "age": {"type": "integer", "minimum": 1, "maximum": 99},
    },
}


class SelfHosted:
    """A gateway (as `e2e/conftest.py` shows it) in front of a real server, and what is special about the server.

    `busy` is the name of its gauge of running requests, `calling` the fields that make this model call a tool.
    """

    def __init__(self, gateway, model, root, key, busy, calling):
        self.gateway = gateway
        self.model = model
        self.client = AsyncOpenAI(base_url=gateway.url, api_key=gateway.key, max_retries=0, timeout=120)
        self.calling = calling
        self._root, self._key, self._busy = root, key, busy

    def ask(self, **fields):
        """A chat completion of at most 40 tokens."""
        return self.client.chat.completions.create(
            **{"model": self.model, "messages": HELLO, "max_tokens": 40, "seed": 7, **fields}
        )

    async def running(self):
        """How many requests the server works on, as its own metrics say."""
        headers = {"authorization": f"Bearer {self._key}"}
        async with aiohttp.ClientSession() as session, session.get(self._root + "/metrics", headers=headers) as reply:
            lines = (await reply.text()).splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(self._busy))


@pytest.mark.asyncio(loop_scope="module")
class SelfHostedSuite:
    """Subclass it in a module with a fixture `server`."""

    async def test_chat(self, server):
        raw = await server.client.chat.completions.with_raw_response.create(
            model=server.model, messages=HELLO, max_tokens=20, seed=7
        )
        reply = raw.parse()
        assert reply.choices[0].finish_reason in ("stop", "length")
        row = await server.gateway.row(raw.headers["x-request-id"])
        assert (row.outcome, row.estimated) == ("ok", False)
        assert (row.input, row.output) == (reply.usage.prompt_tokens, reply.usage.completion_tokens)
        assert row.output > 0

    async def test_a_stream_without_usage(self, server):
        """The client sees none; the ledger has the server's numbers, because the gateway asked."""
        stream = await server.ask(stream=True)
        chunks = [chunk async for chunk in stream]
        assert all(chunk.choices and chunk.usage is None for chunk in chunks)
        assert chunks[-1].choices[0].finish_reason in ("stop", "length")
        row = await server.gateway.row(stream.response.headers["x-request-id"])
        assert (row.outcome, row.estimated, row.streamed) == ("ok", False, True)
        assert row.output > 0

    async def test_a_stream_with_usage(self, server):
        stream = await server.ask(stream=True, stream_options={"include_usage": True})
        chunks = [chunk async for chunk in stream]
        usage = chunks[-1].usage
        assert chunks[-1].choices == []
        row = await server.gateway.row(stream.response.headers["x-request-id"])
        assert (row.input, row.output) == (usage.prompt_tokens, usage.completion_tokens)

    @pytest.mark.parametrize("stream", [False, True])
    async def test_tools(self, server, stream):
        """The call's arguments are JSON that the schema allows."""
        fields = {"tools": [WEATHER], "tool_choice": "required", "max_tokens": 400, **server.calling}
        if stream:
            name, arguments = "", ""
            async for chunk in await server.ask(stream=True, **fields):
                for call in chunk.choices[0].delta.tool_calls or ():
                    if call.index == 0:
                        name += call.function.name or ""
                        arguments += call.function.arguments or ""
        else:
            function = (await server.ask(**fields)).choices[0].message.tool_calls[0].function
            name, arguments = function.name, function.arguments
        assert name == "get_weather"
        assert json.loads(arguments)["city"] in ("Paris", "Rome")

    async def test_structured_output(self, server):
        schema = {"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": PERSON}}
        reply = await server.ask(response_format=schema, max_tokens=300)
        person = json.loads(reply.choices[0].message.content)
        assert (set(person), person["name"] in ("Ada", "Bob")) == ({"name", "age"}, True)

    async def test_text_completions(self, server):
        reply = await server.client.completions.create(model=server.model, prompt="Once upon", max_tokens=5)
        assert 0 < reply.usage.completion_tokens <= 5

    @pytest.mark.parametrize("stream", [False, True])
    async def test_the_servers_own_refusal_arrives(self, server, stream):
        """A prompt over its context: its status and text, as the client's own class, and a row that costs nothing."""
        with pytest.raises(openai.BadRequestError, match="context") as caught:
            await server.ask(messages=[{"role": "user", "content": "word " * 6000}], stream=stream)
        row = await server.gateway.row(caught.value.request_id)
        assert (row.outcome, row.http_status, row.input, row.output) == ("upstream_error", 400, 0, 0)

    async def test_what_the_gateway_refuses_never_reaches_the_server(self, server):
        with pytest.raises(openai.BadRequestError, match="messages"):
            await server.ask(messages="hello")
        with pytest.raises(openai.NotFoundError):
            await server.ask(model="no-such-model")

    async def test_many_at_a_time(self, server):
        """Each gets its own answer, each has its row."""
        key = await server.gateway.new_key()
        async with AsyncOpenAI(base_url=server.gateway.url, api_key=key, max_retries=0, timeout=120) as client:
            ask = {"model": server.model, "messages": HELLO, "max_tokens": 10}
            replies = await asyncio.gather(*(client.chat.completions.create(**ask) for _ in range(12)))
        rows = await server.gateway.rows_of(key, 12)
        assert [row.outcome for row in rows] == ["ok"] * 12
        assert sum(row.output for row in rows) == sum(reply.usage.completion_tokens for reply in replies)

    async def test_leaving_a_stream_stops_the_server_within_a_second(self, server):
        """As the server's own metrics tell; what was used until then is recorded."""
        stream = await server.ask(stream=True, max_tokens=1900, extra_body={"ignore_eos": True})
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                break
        await stream.close()

        async def idle():
            return not await server.running()

        assert await until(idle) < 10  # much less, but for a busy machine
        row = await server.gateway.row(stream.response.headers["x-request-id"])
        assert (row.outcome, row.estimated) == ("client_closed", True)
        assert 0 < row.output < 1900
