"""OpenAI's own Node client against the gateway: `node/scenarios.mjs` runs once, and each scenario is judged here."""

import asyncio
import json
import os
import shutil
from pathlib import Path

import pytest
import pytest_asyncio
from waiting import until

HERE = Path(__file__).parent / "node"
INSTALLED = (HERE / "node_modules" / "openai").is_dir()
MISSING = (
    "node is not installed" if shutil.which("node") is None
    else "" if INSTALLED else "OpenAI's client is not installed: run `npm ci` in tests/e2e/node"
)
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.skipif(bool(MISSING), reason=MISSING)]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def results(demo):
    """What every scenario gave; the gateway serves from this loop meanwhile."""
    limited = await demo.new_key(requests_per_minute=1)
    known = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment = {**known, "BASE_URL": demo.url, "API_KEY": demo.key, "LIMITED_KEY": limited}
    node = await asyncio.create_subprocess_exec(
        "node", str(HERE / "scenarios.mjs"), env=environment, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(node.communicate(), 200)
    assert node.returncode == 0
    return json.loads(out)


async def test_chat_and_stream_say_the_same(results, demo):
    chat, stream = results["chat"], results["stream"]
    assert chat["finish"] == stream["finish"] == "stop"
    assert chat["text"] == stream["text"] != ""
    assert stream["usage"] is False
    row = await demo.row(chat["request_id"])
    assert (row.input, row.output) == (chat["usage"]["prompt_tokens"], chat["usage"]["completion_tokens"])


async def test_usage_comes_in_a_stream_when_asked_for(results):
    assert results["stream_with_usage"] == {"choices": [], "usage": results["chat"]["usage"]}


async def test_tools_are_called(results):
    """Forced, and two at once in a stream, put together by the client."""
    ((name, arguments),) = results["forced_tool"]
    assert (name, set(arguments)) == ("get_time", {"zone"})
    calls = dict(results["parallel_tools_streamed"])
    assert set(calls) == {"get_weather", "get_time"}
    assert set(calls["get_weather"]) == {"city", "unit"}


async def test_structured_output_fits_its_schema(results):
    assert set(results["structured_output"]) == {"name", "age"}


async def test_embeddings_come_as_base64_and_as_numbers(results):
    embeddings = results["embeddings"]
    assert embeddings["sizes"] == [256, 256]
    assert embeddings["difference"] < 1e-6
    assert embeddings["usage"]["prompt_tokens"] > 0


async def test_models_are_listed_and_found(results):
    assert {"demo-small", "demo-large", "demo-embed"} <= set(results["models"]["names"])
    assert results["models"]["one"]["id"] == "demo/demo-large"


@pytest.mark.parametrize(
    ("scenario", "error", "status", "code"),
    [
        ("wrong_key", "AuthenticationError", 401, "invalid_api_key"),
        ("unknown_model", "NotFoundError", 404, "model_not_found"),
        ("bad_request", "BadRequestError", 400, None),
        ("bad_streamed_request", "BadRequestError", 400, None),
        ("rate_limit", "RateLimitError", 429, "rate_limit_exceeded"),
        ("failing_upstream", "InternalServerError", 500, None),
    ],
)
async def test_errors_are_the_clients_own_classes(results, scenario, error, status, code):
    got = results[scenario]
    assert (got["raised"], got["status"], got["code"]) == (error, status, code)
    assert got["message"]


async def test_a_rate_limit_says_when_to_come_back(results):
    assert 20 < int(results["rate_limit"]["retryAfter"]) <= 62


async def test_retry_after_is_honoured(results):
    assert results["retry_after_is_honoured"]["finish"] == "stop"
    assert 1.0 <= results["retry_after_is_honoured"]["seconds"] < 20


@pytest.mark.parametrize("scenario", ["error_in_stream", "cut_stream"])
async def test_an_error_in_a_stream_is_raised(results, scenario):
    """After what came before it; never a silent end."""
    got = results[scenario]
    assert (got["raised"], got["seen"]) == ("APIError", 4)
    assert got["message"]


async def test_leaving_a_stream_closes_the_upstream(results, demo):
    row = await demo.row(results["cancelled_stream"]["request_id"])
    assert (row.outcome, row.estimated) == ("client_closed", True)
    assert row.output > 0
    assert row.duration_us < 10_000_000  # half of what the stream takes
    await demo.until_closed()


async def test_a_clients_timeout_is_one(results, demo):
    assert results["client_timeout"]["raised"] == "APIConnectionTimeoutError"

    async def closed():
        return [row.outcome for row in await demo.rows_of(demo.key)].count("client_closed") == 2

    await until(closed)
