"""Anthropic's own Node client against the gateway in front of a model of OpenAI's format: `node/anthropic.mjs` runs once."""

import asyncio
import json
import os
import shutil
from pathlib import Path

import pytest
import pytest_asyncio

HERE = Path(__file__).parent / "node"
INSTALLED = (HERE / "node_modules" / "@anthropic-ai" / "sdk").is_dir()
MISSING = (
    "node is not installed" if shutil.which("node") is None
    else "" if INSTALLED else "Anthropic's client is not installed: run `npm ci` in tests/e2e/node"
)
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.skipif(bool(MISSING), reason=MISSING)]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def results(demo):
    """What every scenario gave; the gateway serves from this loop meanwhile."""
    limited = await demo.new_key(requests_per_minute=1)
    known = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment = {**known, "ROOT_URL": demo.root, "API_KEY": demo.key, "LIMITED_KEY": limited}
    node = await asyncio.create_subprocess_exec(
        "node", str(HERE / "anthropic.mjs"), env=environment, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(node.communicate(), 200)
    assert node.returncode == 0
    return json.loads(out)


async def test_a_message_and_a_stream_say_the_same(results, demo):
    message, stream = results["message"], results["stream"]
    assert message["text"] == stream["text"] == results["under_anthropic"]["text"] != ""
    assert message["stop"] == stream["stop"] == "end_turn"
    assert message["usage"]["output_tokens"] == stream["usage"]["output_tokens"] > 0
    assert stream["events"] == [
        "message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop",
    ]
    row = await demo.row(message["request_id"])
    assert (row.input, row.output) == (message["usage"]["input_tokens"], message["usage"]["output_tokens"])


async def test_tools_are_called(results):
    told = results["forced_tool"]
    assert told["stop"] == "tool_use"
    assert told["whole"] == told["streamed"]
    ((name, arguments),) = told["whole"]
    assert (name, set(arguments)) == ("get_weather", {"city"})


async def test_tokens_are_counted_and_models_listed(results):
    assert results["count"]["input_tokens"] > 0
    assert {"demo-small", "demo-large"} <= set(results["models"]["names"])
    assert results["models"]["one"]["type"] == "model"


@pytest.mark.parametrize(
    ("scenario", "error", "status", "kind"),
    [
        ("wrong_key", "AuthenticationError", 401, "authentication_error"), ("unknown_model", "NotFoundError", 404, "not_found_error"),
        ("bad_request", "BadRequestError", 400, "invalid_request_error"), ("rate_limit", "RateLimitError", 429, "rate_limit_error"),
        ("failing_upstream", "InternalServerError", 500, "api_error"),
    ],
)
async def test_errors_are_the_clients_own_classes(results, scenario, error, status, kind):
    got = results[scenario]
    assert (got["raised"], got["status"], got["type"]) == (error, status, kind)


async def test_a_cut_stream_is_an_error(results):
    assert results["error_in_stream"]["raised"] is not None
    assert results["error_in_stream"]["type"] == "api_error"
