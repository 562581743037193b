"""OpenAI's own Python client, its Responses API, against the gateway: in front of Anthropic, of chat servers, and of
OpenAI itself; and the older chat API in front of a model that only answers Responses."""

import json

import openai
import pytest
import pytest_asyncio
from pydantic import BaseModel
from running import chat, running

from gateway.testing import FakeUpstream

TOOLS = [{"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}, "strict": False}]


def claude(*events):
    return b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)


START = {"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": [], "usage": {"input_tokens": 5, "output_tokens": 1}}}
STOP = {"type": "message_stop"}


def block(number, start, *deltas):
    return [
        {"type": "content_block_start", "index": number, "content_block": start},
        *({"type": "content_block_delta", "index": number, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": number},
    ]


def over(reason):
    return [{"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": {"output_tokens": 9}}, STOP]


THOUGHT = block(0, {"type": "thinking", "thinking": "", "signature": ""}, {"type": "thinking_delta", "thinking": "Look it up."}, {"type": "signature_delta", "signature": "SIG=="})
CALL = block(1, {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}, {"type": "input_json_delta", "partial_json": '{"city": "Paris"}'})
TEXT = block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "It is "}, {"type": "text_delta", "text": "18 C."})


@pytest_asyncio.fixture
async def gw(tmp_path):
    async with FakeUpstream() as upstream:
        key = "upstream-credential-000"
        providers = [
            {"name": "claude", "use": "provider.anthropic", "with": {"base_url": upstream.url.removesuffix("/v1"), "api_key": key}},
            {"name": "chat", "use": "provider.vllm", "with": {"base_url": upstream.url, "responses": False}},
            {"name": "openai", "use": "provider.openai", "with": {"base_url": upstream.url, "api_key": key}},
        ]
        models = [
            {"name": "claude", "targets": ["claude/claude-haiku-4-5"]}, {"name": "qwen", "targets": ["chat/qwen"]},
            {"name": "gpt", "targets": ["openai/gpt-5"]}, {"name": "pro", "targets": ["openai/gpt-5-pro"]},
        ]
        async with running(tmp_path, providers=providers, models=models) as gw:
            gw.upstream = upstream
            gw.openai = openai.AsyncOpenAI(api_key=gw.key, base_url=gw.url, max_retries=0)
            yield gw
            await gw.openai.close()


async def test_a_tool_conversation_with_thinking_goes_on_over_two_turns(gw):
    """What the first answer has goes back as it came: the signature finds its provider again."""
    gw.upstream.script(claude(START, *THOUGHT, *CALL, *over("tool_use")), content_type="text/event-stream")
    asked = [{"role": "user", "content": "Weather in Paris?"}]
    async with gw.openai.responses.stream(model="claude", input=asked, tools=TOOLS, reasoning={"effort": "low"}, store=False) as stream:
        types = [(event.sequence_number, event.type) async for event in stream]
        first = await stream.get_final_response()
    assert [number for number, _ in types] == list(range(len(types)))
    assert (types[0][1], types[-1][1]) == ("response.created", "response.completed")
    reasoning, call = first.output
    assert (reasoning.summary[0].text, call.name, call.arguments, call.call_id) == ("Look it up.", "get_weather", '{"city": "Paris"}', "toolu_1")
    assert call.id != call.call_id
    assert (first.usage.input_tokens, first.usage.output_tokens) == (5, 9)
    gw.upstream.script(claude(START, *TEXT, *over("end_turn")), content_type="text/event-stream")
    said = [item.model_dump(exclude_none=True) for item in first.output]
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "18 C"}
    async with gw.openai.responses.stream(model="claude", input=[*asked, *said, result], tools=TOOLS, reasoning={"effort": "low"}, store=False) as stream:
        second = await stream.get_final_response()
    assert second.output_text == "It is 18 C."
    turn = gw.upstream.requests[-1].json["messages"][1]
    assert turn["content"] == [
        {"type": "thinking", "thinking": "Look it up.", "signature": "SIG=="},
        {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris"}},
    ]


class City(BaseModel):
    name: str


async def test_a_chat_server_answers_in_a_class_of_the_clients(gw):
    reply = {"id": "c", "object": "chat.completion", "created": 1, "model": "qwen", "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": '{"name": "Paris"}'}}], "usage": {"prompt_tokens": 4, "completion_tokens": 6, "total_tokens": 10}}
    gw.upstream.script(json.dumps(reply).encode())
    answer = await gw.openai.responses.parse(model="qwen", instructions="Be brief.", input="Capital of France?", text_format=City)
    assert answer.output_parsed == City(name="Paris")
    sent = gw.upstream.requests[-1]
    assert sent.path == "/v1/chat/completions"
    assert sent.json["messages"][0] == {"role": "system", "content": "Be brief."}
    assert sent.json["response_format"]["json_schema"]["name"] == "City"
    assert answer.usage.total_tokens == 10


async def test_an_error_in_the_stream_is_raised_by_the_client(gw):
    gw.upstream.script(claude(START, *TEXT[:2], {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}), content_type="text/event-stream")
    stream = await gw.openai.responses.create(model="claude", input="Hi", stream=True)
    with pytest.raises(openai.APIError, match="Overloaded"):
        async for _ in stream:
            pass


async def test_a_cut_stream_of_openais_own_ends_with_the_numbers_that_follow(gw):
    created = {"type": "response.created", "sequence_number": 0, "response": {"id": "resp_1", "status": "in_progress", "output": []}}
    gw.upstream.script(f"event: response.created\ndata: {json.dumps(created)}\n\n".encode(), content_type="text/event-stream")
    async with gw.post("/responses", {"model": "gpt", "input": "Hi", "stream": True}) as reply:
        events = [json.loads(line[6:]) for line in (await reply.text()).splitlines() if line.startswith("data: ")]
    assert [(event["type"], event["sequence_number"]) for event in events] == [("response.created", 0), ("error", 1), ("response.failed", 2)]
    assert events[2]["response"]["id"] == "resp_1"
    assert events[1]["error"]["code"] == "upstream_cut"


async def test_a_model_that_only_answers_responses_serves_chat_clients(gw):
    item = {"id": "fc_1", "type": "function_call", "status": "completed", "call_id": "call_1", "name": "get_weather", "arguments": '{"city":"Rome"}'}
    reply = {"id": "resp_1", "object": "response", "created_at": 7, "status": "completed", "model": "gpt-5-pro", "output": [{"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "ENC"}, item], "usage": {"input_tokens": 4, "output_tokens": 6, "total_tokens": 10}}
    gw.upstream.script(json.dumps(reply).encode())
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": TOOLS[0]["parameters"]}}
    answer = await gw.openai.chat.completions.create(model="pro", messages=chat()["messages"], tools=[tool], reasoning_effort="high")
    message = answer.choices[0].message
    assert message.tool_calls[0].id == "call_1"
    assert message.reasoning_details == [{"type": "reasoning.encrypted", "data": "ENC", "id": "rs_1", "format": "openai.responses", "index": 0}]
    sent = gw.upstream.requests[-1]
    assert sent.path == "/v1/responses"
    assert sent.json == {
        "model": "gpt-5-pro", "input": [{"role": "user", "content": "hello"}], "reasoning": {"effort": "high"}, "store": False, "include": ["reasoning.encrypted_content"],
        "tools": [{"type": "function", "name": "get_weather", "parameters": TOOLS[0]["parameters"], "strict": False}],
    }
    gw.upstream.script(json.dumps({**reply, "output": [{"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [{"type": "output_text", "text": "Warm.", "annotations": []}]}]}).encode())
    history = [*chat()["messages"], message.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": "call_1", "content": "20 C"}]
    answer = await gw.openai.chat.completions.create(model="pro", messages=history, tools=[tool])
    assert answer.choices[0].message.content == "Warm."
    assert gw.upstream.requests[-1].json["input"][1:] == [
        {"type": "reasoning", "summary": [], "encrypted_content": "ENC", "id": "rs_1"},
        {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": '{"city":"Rome"}'},
        {"type": "function_call_output", "call_id": "call_1", "output": "20 C"},
    ]


GUARD = {"use": "guardrail.regex", "name": "names", "with": {"patterns": ["Alice"], "action": "redact"}}


async def test_what_a_guardrail_changes_is_changed_in_every_repetition(tmp_path):
    """A response says each text again when a part, an item and the whole are done."""
    text = {"type": "output_text", "annotations": [], "text": "Hi Alice, hello Alice."}
    item = {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": [text]}
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    told = [
        {"type": "response.created", "response": {"id": "resp_1", "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        {"type": "response.content_part.added", **place, "part": {**text, "text": ""}},
        *({"type": "response.output_text.delta", **place, "delta": piece} for piece in ("Hi Al", "ice, hel", "lo Ali", "ce.")),
        {"type": "response.output_text.done", **place, "text": text["text"]},
        {"type": "response.content_part.done", **place, "part": text},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": {"id": "resp_1", "status": "completed", "output": [item], "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}}},
    ]
    stream = b"".join(f"event: {event['type']}\ndata: {json.dumps({**event, 'sequence_number': number})}\n\n".encode() for number, event in enumerate(told))
    async with FakeUpstream() as upstream:
        providers = [{"name": "openai", "use": "provider.openai", "with": {"base_url": upstream.url, "api_key": "upstream-credential-000"}}]
        plugins = [{"use": "auth.api_keys"}, GUARD]
        async with running(tmp_path, providers=providers, models=[{"name": "gpt", "targets": ["openai/gpt-5"]}], plugins=plugins) as gw:
            upstream.script(stream, content_type="text/event-stream")
            async with gw.post("/responses", {"model": "gpt", "input": "Hi", "stream": True}) as reply:
                got = await reply.text()
    events = [json.loads(line[6:]) for line in got.splitlines() if line.startswith("data: ")]
    assert "Alice" not in got
    assert [event["sequence_number"] for event in events] == list(range(len(told)))
    said = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    assert said == events[-1]["response"]["output"][0]["content"][0]["text"] == next(event["text"] for event in events if event["type"].endswith("text.done"))


async def test_what_a_guardrail_changes_is_changed_in_a_translated_response_too(tmp_path):
    async with FakeUpstream() as upstream:
        options = {"base_url": upstream.url.removesuffix("/v1"), "api_key": "upstream-credential-000"}
        providers = [{"name": "claude", "use": "provider.anthropic", "with": options}]
        plugins = [{"use": "auth.api_keys"}, GUARD]
        async with running(tmp_path, providers=providers, models=[{"name": "claude", "targets": ["claude/claude-haiku-4-5"]}], plugins=plugins) as gw:
            text = block(0, {"type": "text", "text": ""}, *({"type": "text_delta", "text": piece} for piece in ("Hi Al", "ice and ", "Bob")))
            call = block(1, {"type": "tool_use", "id": "toolu_1", "name": "greet", "input": {}}, {"type": "input_json_delta", "partial_json": '{"who": "Alice"}'})
            upstream.script(claude(START, *text, *call, *over("tool_use")), content_type="text/event-stream")
            client = openai.AsyncOpenAI(api_key=gw.key, base_url=gw.url, max_retries=0)
            async with client.responses.stream(model="claude", input="Hi") as stream:
                seen = [event async for event in stream]
                final = await stream.get_final_response()
            await client.close()
    assert "Alice" not in "".join(repr(event) for event in seen)
    message, call = final.output
    assert message.content[0].text.endswith(" and Bob")
    assert "who" in json.loads(call.arguments)
