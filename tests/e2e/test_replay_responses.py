"""Every recorded exchange in OpenAI's Responses format, replayed: request and reply pass the gateway byte for byte."""

import json
import random

import pytest
import pytest_asyncio
from recordings import is_stream, needs_recordings, recordings_of, wire_body
from running import running

from gateway.testing import FakeUpstream

pytestmark = [needs_recordings, pytest.mark.asyncio(loop_scope="module")]

RECORDINGS = {
    case: recording for case, recording in recordings_of("responses")
    if isinstance(recording["request"]["body"], dict) and "model" in recording["request"]["body"]
}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stage(tmp_path_factory):
    names = sorted({recording["request"]["body"]["model"] for recording in RECORDINGS.values()})
    async with FakeUpstream() as upstream:
        options = {"base_url": upstream.url, "api_key": "upstream-credential-000"}
        providers = [{"name": "openai", "use": "provider.openai", "with": options}]
        models = [{"name": name, "targets": [f"openai/{name}"]} for name in names]
        async with running(tmp_path_factory.mktemp("replay"), providers=providers, models=models) as gw:
            gw.upstream = upstream
            yield gw


def splits(case, data):
    dice = random.Random(case)
    yield [data]
    yield [data[at : at + 7] for at in range(0, len(data), 7)] if len(data) < 3000 else [data[: len(data) // 2], data[len(data) // 2 :]]
    ends = sorted(dice.sample(range(1, len(data)), min(60, len(data) - 1)))
    yield [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True)]


@pytest.mark.parametrize("case", RECORDINGS)
async def test_a_recorded_response_passes_byte_for_byte(stage, case):
    """The upstream gets the recorded request, the client the recorded reply however cut; the row has its usage."""
    recording = RECORDINGS[case]
    served, data = recording["response"], wire_body(recording["response"])
    body = json.dumps(recording["request"]["body"], ensure_ascii=False).encode()
    for pieces in splits(case, data):
        stage.upstream.requests.clear()
        stage.upstream._script.clear()
        content_type = served["headers"].get("content-type", "application/json")
        if is_stream(recording):
            content_type = "text/event-stream"
        stage.upstream.script(*pieces, status=served["status"], content_type=content_type, pause=1e-6)
        async with stage.post("/responses", headers={"content-type": "application/json"}, data=body) as reply:
            got = await reply.read()
        (sent,) = stage.upstream.requests
        assert (sent.path, sent.body) == ("/v1/responses", body)
        assert (reply.status, got) == (served["status"], data)
    (row,) = (await stage.rows())[-1:]
    failed = b"response.failed" in data or served["status"] != 200
    assert (row.http_status, row.streamed) == (served["status"], is_stream(recording))
    assert row.outcome == ("upstream_error" if failed else "ok")
    if not failed:
        usage = usage_of(recording, data)
        assert (row.input, row.output) == (usage["input_tokens"], usage["output_tokens"])
        assert row.cached == usage["input_tokens_details"]["cached_tokens"]
        assert not row.estimated


def usage_of(recording, data):
    if not is_stream(recording):
        return json.loads(data)["usage"]
    lines = [line[5:] for line in data.decode().splitlines() if line.startswith("data:") and '"usage"' in line]
    return [json.loads(line)["response"]["usage"] for line in lines][-1]
