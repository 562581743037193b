"""Other people's clients, langchain-openai and LiteLLM: `pyclients/scenarios.py` runs once, in an environment of its own.

The gateway is in front of the demo model and of an upstream of Anthropic's format. `pyclients/prepare.sh` installs them.
"""

import asyncio
import json
import os
from pathlib import Path

import pytest
import pytest_asyncio
from running import running

from gateway.testing import FakeUpstream

HERE = Path(__file__).parent / "pyclients"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
PLACE = Path(os.environ.get("AI_GATEWAY_PYCLIENTS") or CACHE / "ai-gateway" / "pyclients")
pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(
        not (PLACE / "made-from").exists(), reason="the clients are not installed: run tests/e2e/pyclients/prepare.sh"
    ),
]
CALL = {"type": "tool_use", "id": "toolu_01", "name": "get_weather", "input": {"city": "Paris"}}
QUIET = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION", "LANGSMITH_TRACING": "false"}


def message(content, stop="end_turn"):
    """A reply of Anthropic's."""
    usage = {"input_tokens": 12, "output_tokens": 7}
    told = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5", "content": content}
    return {**told, "stop_reason": stop, "stop_sequence": None, "usage": usage}


def stream(*texts):
    """The same as a stream."""
    block = {"type": "text", "text": ""}
    deltas = [{"type": "text_delta", "text": text} for text in texts]
    events = [
        {"type": "message_start", "message": message([], None)},
        {"type": "content_block_start", "index": 0, "content_block": block},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 7}},
        {"type": "message_stop"},
    ]
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stage(tmp_path_factory, gateway_view):
    """The gateway, and what each scenario gave."""
    async with FakeUpstream() as upstream:
        claude = {"base_url": upstream.url.removesuffix("/v1"), "api_key": "upstream-key-000"}
        providers = [
            {"name": "demo", "use": "provider.demo"}, {"name": "claude", "use": "provider.anthropic", "with": claude},
        ]
        models = [
            {"name": "demo-small", "targets": ["demo/demo-small"]}, {"name": "demo-embed", "targets": ["demo/demo-embed"]},
            {"name": "claude", "targets": ["claude/claude-haiku-4-5"]},
        ]
        for _ in ("langchain", "litellm"):
            upstream.script(json.dumps(message([CALL], "tool_use")).encode())
            upstream.script(json.dumps(message([{"type": "text", "text": "It is 18 C."}])).encode())
            upstream.script(*stream("Hel", "lo"), content_type="text/event-stream")
        async with running(tmp_path_factory.mktemp("pyclients"), providers=providers, models=models) as gw:
            view = gateway_view(gw)
            limited = await view.new_key(requests_per_minute=1)
            view.results = await ran(view, limited)
            view.asked = [request.json for request in upstream.requests]
            yield view


async def ran(view, limited):
    """Run the scenarios; the gateway serves from this loop meanwhile."""
    known = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment = {**known, **QUIET, "BASE_URL": view.url, "ROOT_URL": view.root, "API_KEY": view.key, "LIMITED_KEY": limited}
    process = await asyncio.create_subprocess_exec(
        str(PLACE / "venv/bin/python"), str(HERE / "scenarios.py"), env=environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )
    out, told = await asyncio.wait_for(process.communicate(), 250)
    assert process.returncode == 0, told.decode()[-3000:]
    return json.loads(out.splitlines()[-1])


@pytest.mark.parametrize("scenario", ["chain_chat", "lite_chat"])
async def test_an_answer_and_a_stream_say_the_same(stage, scenario):
    got = stage.results[scenario]
    assert got["text"] == got["streamed"] != ""
    assert got["parts"] > 2
    assert got["usages"][0] == got["usages"][1] > 0


@pytest.mark.parametrize("scenario", ["chain_claude", "lite_claude"])
async def test_a_conversation_with_a_tool_goes_on_with_a_model_of_another_format(stage, scenario):
    told = {"call": ["get_weather", {"city": "Paris"}], "text": "It is 18 C.", "streamed": "Hello"}
    assert stage.results[scenario] == told


async def test_the_other_format_gets_the_call_and_its_result(stage):
    """The second request of each client's conversation, as the upstream received it."""
    for asked in (stage.asked[1], stage.asked[4]):
        _, called, answered = asked["messages"]
        (call,), (result,) = called["content"], answered["content"]
        assert (call["name"], call["input"], call["id"]) == ("get_weather", {"city": "Paris"}, "toolu_01")
        assert (result["type"], result["tool_use_id"]) == ("tool_result", "toolu_01")
        assert "18 C" in json.dumps(result["content"])


async def test_structured_output_is_parsed_by_the_client(stage):
    assert set(stage.results["chain_structured"]) == {"name", "age"}


@pytest.mark.parametrize("scenario", ["chain_embeddings", "lite_embeddings"])
async def test_embeddings_are_vectors(stage, scenario):
    assert stage.results[scenario] == [256, 256]


async def test_other_apis_of_the_clients_say_the_same(stage):
    """OpenAI Responses by LangChain; Anthropic's Messages by LiteLLM."""
    assert stage.results["chain_responses"] == stage.results["chain_chat"]["text"]
    assert stage.results["lite_as_anthropic"]


@pytest.mark.parametrize("client", ["chain", "lite"])
async def test_errors_are_of_the_clients_classes(stage, client):
    assert stage.results["errors"][client] == {
        "key": ["AuthenticationError", 401], "model": ["NotFoundError", 404], "limit": ["RateLimitError", 429],
    }
