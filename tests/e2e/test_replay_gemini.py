"""Every recorded exchange with Gemini and Vertex AI, replayed: a client of Google's API gets the provider's bytes.

An upstream serves the recorded status, type and bytes, cut into pieces in many ways; the client sends the recorded
request to the gateway's own paths.
"""

import json
import random
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from geminis import recordings
from recordings import needs_recordings
from running import running

from gateway.testing import FakeUpstream

pytestmark = [needs_recordings, pytest.mark.asyncio(loop_scope="module")]

RECORDINGS = dict(recordings("generateContent", "streamGenerateContent", "countTokens"))
# Refused by the gateway's own check of what its stages need: none of the recorded ones.
JSON = {"content-type": "application/json"}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def replay(tmp_path_factory):
    async with FakeUpstream() as upstream:
        root = upstream.url.removesuffix("/v1")
        provider = {
            "name": "gemini", "use": "provider.gemini",
            "with": {"base_url": root + "/v1beta", "api_key": "upstream-credential-000"},
        }
        async with running(
            tmp_path_factory.mktemp("replay"), providers=[provider], models=[{"name": "*", "targets": ["gemini/*"]}],
            prices=[{"model": "gemini/*", "input": "1", "output": "2"}],
        ) as gw:
            yield gw, upstream


def served(recording):
    response = recording["response"]
    if response.get("body_text") is not None:
        return response["body_text"].encode()
    return json.dumps(response["body"], ensure_ascii=False).encode()


def path_of(recording):
    """The recorded path behind the version, and its query where that chooses the form of a stream."""
    url = urlsplit(recording["request"]["url"])
    model = url.path.rpartition("/models/")[2]
    return f"/v1beta/models/{model}" + ("?alt=sse" if "alt=sse" in url.query else "")


def cuts(name, data):
    dice = random.Random(name)
    yield [data]
    yield [data[: len(data) // 2], data[len(data) // 2 :]]
    ends = sorted(dice.sample(range(1, len(data)), min(40, len(data) - 1)))
    yield [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True)]
    if len(data) < 1500:
        yield [data[at : at + 1] for at in range(len(data))]


async def row_of(gw, reply):
    await gw.service._owner._drain.drain_now()
    began = int(reply.headers["x-request-id"][4:16], 16)
    page = await gw.store.usage_rows(began, began + 60_000)
    (row,) = [row for row in page.items if row.id == reply.headers["x-request-id"]]
    return row


@pytest.mark.parametrize("name", RECORDINGS)
async def test_a_recorded_exchange_passes_byte_for_byte(replay, name):
    """The upstream gets the request's bytes at the same path, the client the reply's bytes however they are cut."""
    gw, upstream = replay
    recording = RECORDINGS[name]
    data, response = served(recording), recording["response"]
    body = json.dumps(recording["request"]["body"], ensure_ascii=False).encode()
    for pieces in cuts(name, data):
        upstream.requests.clear()
        upstream._script.clear()
        content_type = response["headers"].get("content-type", "text/event-stream" if recording["stream"] else "application/json")
        upstream.script(*pieces, status=response["status"], content_type=content_type, pause=1e-6)
        headers = {**JSON, "x-goog-api-key": gw.key}
        async with gw.client.post(gw.root + path_of(recording), data=body, headers=headers) as reply:
            got = await reply.read()
        (sent,) = upstream.requests
        assert sent.body == body
        assert sent.headers["x-goog-api-key"] == "upstream-credential-000"
        assert sent.path == path_of(recording)
        assert reply.status == response["status"]
        assert got == data
        assert reply.headers["content-type"].partition(";")[0] == content_type.partition(";")[0]
    check_row(recording, await row_of(gw, reply))


def check_row(recording, row):
    """The ledger has the tokens of the last chunk, as Google bills them."""
    response = recording["response"]
    assert row.streamed == recording["stream"]
    assert row.outcome == ("ok" if response["status"] == 200 else "upstream_error")
    if response["status"] != 200 or recording["endpoint"] == "countTokens":
        assert (row.input, row.output) == (0, 0)
        return
    usage = last_usage(recording)
    if usage is None:
        assert row.estimated
        return
    read = usage.get("promptTokenCount", 0) + usage.get("toolUsePromptTokenCount", 0)
    wrote = usage.get("candidatesTokenCount", 0) + usage.get("thoughtsTokenCount", 0)
    told = (read, wrote, usage.get("cachedContentTokenCount", 0), usage.get("thoughtsTokenCount", 0))
    assert (row.input, row.output, row.cached, row.reasoning, row.estimated) == (*told, False)


def last_usage(recording):
    response = recording["response"]
    if response.get("body_text"):
        chunks = [json.loads(line[5:]) for line in response["body_text"].splitlines() if line.startswith("data:")]
    else:
        chunks = response["body"] if isinstance(response["body"], list) else [response["body"]]
    found = [chunk["usageMetadata"] for chunk in chunks if "TokenCount" in json.dumps(chunk.get("usageMetadata"))]
    return found[-1] if found else None
