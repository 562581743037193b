"""Every recorded exchange with Anthropic, replayed: request and reply pass the gateway byte for byte.

An upstream serves the recorded status and bytes, cut in many ways; the client sends the recorded request.
"""

import json
import random

import pytest
import pytest_asyncio
from recordings import is_stream, needs_recordings, recordings_of, wire_body
from running import running

from gateway.testing import FakeUpstream

pytestmark = [needs_recordings, pytest.mark.asyncio(loop_scope="module")]

PATHS = {"messages": "/v1/messages", "messages.count_tokens": "/v1/messages/count_tokens"}
# The gateway answers these itself: the upstream must not see them.
REFUSED_HERE = {"anthropic.messages.anthropic-completion-error.01801ec0"}  # a message without a role
RECORDINGS = {
    case: recording for case, recording in recordings_of(*PATHS)
    if isinstance(recording["request"]["body"], dict) and "messages" in recording["request"]["body"] and case not in REFUSED_HERE
}
JSON = {"content-type": "application/json", "anthropic-version": "2023-06-01"}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stage(tmp_path_factory):
    names = sorted({recording["request"]["body"]["model"] for recording in RECORDINGS.values()})
    models = [{"name": name, "targets": [f"claude/{name}"]} for name in names]
    async with FakeUpstream() as upstream:
        options = {"base_url": upstream.url.removesuffix("/v1"), "api_key": "upstream-key-000"}
        providers = [{"name": "claude", "use": "provider.anthropic", "with": options}]
        async with running(tmp_path_factory.mktemp("replay"), providers=providers, models=models) as gw:
            gw.upstream = upstream
            yield gw


def splits(case, data):
    dice = random.Random(case)
    yield [data]
    yield [data[at : at + 7] for at in range(0, len(data), 7)] if len(data) < 3000 else [data[: len(data) // 2], data[len(data) // 2 :]]
    ends = sorted(dice.sample(range(1, len(data)), min(60, len(data) - 1)))
    yield [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True)]


async def ask(gw, case, body, pieces):
    recording = RECORDINGS[case]
    served = recording["response"]
    gw.upstream.requests.clear()
    gw.upstream._script.clear()
    content_type = served["headers"].get("content-type", "application/json")
    gw.upstream.script(*pieces, status=served["status"], content_type=content_type, pause=1e-6)
    url = gw.root + PATHS[recording["endpoint"]]
    headers = {**JSON, "x-api-key": gw.key}
    async with gw.client.post(url, headers=headers, data=body) as reply:
        return reply, await reply.read(), gw.upstream.requests[-1]


@pytest.mark.parametrize("case", RECORDINGS)
async def test_a_recorded_exchange_passes_byte_for_byte(stage, case):
    """The upstream gets the recorded request, the client the recorded reply however cut; the row has its usage."""
    recording = RECORDINGS[case]
    data, status = wire_body(recording["response"]), recording["response"]["status"]
    body = json.dumps(recording["request"]["body"], ensure_ascii=False).encode()
    for pieces in splits(case, data):
        reply, got, sent = await ask(stage, case, body, pieces)
        assert sent.body == body
        assert sent.path == PATHS[recording["endpoint"]]
        assert (reply.status, got) == (status, data)
    (row,) = (await stage.rows())[-1:]
    assert (row.http_status, row.streamed, row.target_model) == (status, is_stream(recording), recording["request"]["body"]["model"])
    assert row.outcome == ("ok" if status == 200 else "upstream_error")
    told = usage_of(recording["endpoint"], data) if status == 200 else (0, 0, 0, 0)
    assert (row.input, row.output, row.cached, row.cache_write) == told
    assert not row.estimated


@pytest.mark.parametrize("case", RECORDINGS)
async def test_with_another_name_only_the_models_name_changes(stage, case):
    body = RECORDINGS[case]["request"]["body"]
    style = {"separators": (" ,", " : "), "ensure_ascii": True}
    expected = json.dumps(body, **style).encode()
    _, _, sent = await ask(
        stage, case, json.dumps({**body, "model": f"claude/{body['model']}"}, **style).encode(),
        [wire_body(RECORDINGS[case]["response"])],
    )
    assert sent.body == expected


def usage_of(endpoint, data):
    """(input with caches, output, cached, written) as the last words of a reply have them."""
    if endpoint != "messages":
        return 0, 0, 0, 0
    usage = {}
    lines = [line[5:] for line in data.decode().splitlines() if line.startswith("data:")] or [data]
    for event in map(json.loads, lines):
        told = event.get("usage") or event.get("message", {}).get("usage") or {}
        usage |= {name: value for name, value in told.items() if value is not None}
    cached, stored = usage.get("cache_read_input_tokens", 0), usage.get("cache_creation_input_tokens", 0)
    return usage["input_tokens"] + cached + stored, usage["output_tokens"], cached, stored
