"""Embeddings between OpenAI's and Google's formats, through a whole gateway."""

import base64
import json
import struct
import warnings

import pytest
import pytest_asyncio
from running import provider, running

from gateway.testing import FakeUpstream

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from google import genai
    from google.genai import types

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning"),
]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stage(tmp_path_factory):
    async with FakeUpstream() as upstream, FakeUpstream() as tokens:
        root = upstream.url.removesuffix("/v1")
        google = {
            "name": "google", "use": "provider.gemini",
            "with": {"base_url": root + "/v1beta", "api_key": "upstream-credential-000"},
        }
        account = {
            "type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r",
            "token_uri": tokens.url.removesuffix("/v1") + "/token",
        }
        vertex = {
            "name": "vertex", "use": "provider.gemini",
            "with": {"base_url": root, "project": "p", "location": "us-central1", "credentials": json.dumps(account)},
        }
        tokens.script(b'{"access_token":"ya29.x","expires_in":3600}')
        async with running(tmp_path_factory.mktemp("embed"), providers=[google, vertex, provider(upstream)]) as gw:
            gw.upstream = upstream
            yield gw


@pytest.fixture
def upstream(stage):
    stage.upstream.requests.clear()
    stage.upstream._script.clear()
    return stage.upstream


async def openai(stage, model, **body):
    async with stage.post("/embeddings", json={"model": model, **body}) as reply:
        return reply, json.loads(await reply.text())


async def test_an_openai_client_gets_vectors_from_gemini(stage, upstream):
    upstream.script(b'{"embeddings":[{"values":[0.5,-1]},{"values":[0.25,2]}],"usageMetadata":{"promptTokenCount":9}}')
    reply, got = await openai(stage, "google/gemini-embedding-001", input=["a", "b"], dimensions=2, user="u")
    (sent,) = upstream.requests
    assert sent.path == "/v1beta/models/gemini-embedding-001:batchEmbedContents"
    assert sent.json == {"requests": [
        {"model": "models/gemini-embedding-001", "content": {"parts": [{"text": text}]}, "outputDimensionality": 2}
        for text in "ab"
    ]}
    assert [entry["embedding"] for entry in got["data"]] == [[0.5, -1], [0.25, 2]]
    assert got["usage"] == {"prompt_tokens": 9, "total_tokens": 9}
    assert reply.headers["x-gateway-warnings"] == "dropped=user"


async def test_vectors_come_in_base64_where_the_client_asks(stage, upstream):
    upstream.script(b'{"embeddings":[{"values":[0.5,-1]}]}')
    _, got = await openai(stage, "google/gemini-embedding-001", input="a", encoding_format="base64")
    assert struct.unpack("<2f", base64.b64decode(got["data"][0]["embedding"])) == (0.5, -1.0)


async def test_vertex_predicts_and_tells_tokens_for_each(stage, upstream):
    one = {"embeddings": {"values": [1.0], "statistics": {"token_count": 4, "truncated": False}}}
    upstream.script(json.dumps({"predictions": [one, one]}).encode())
    _, got = await openai(stage, "vertex/text-embedding-005", input=["a", "b"], dimensions=1)
    (sent,) = upstream.requests
    assert sent.path.endswith("/locations/us-central1/publishers/google/models/text-embedding-005:predict")
    assert sent.headers["authorization"] == "Bearer ya29.x"
    assert sent.json == {"instances": [{"content": "a"}, {"content": "b"}], "parameters": {"outputDimensionality": 1}}
    assert got["usage"]["prompt_tokens"] == 8


async def test_newer_models_on_vertex_embed_one_content(stage, upstream):
    upstream.script(b'{"embedding":{"values":[1.5]},"usageMetadata":{"promptTokenCount":3}}')
    _, got = await openai(stage, "vertex/gemini-embedding-2", input="a")
    assert upstream.requests[0].path.endswith("/gemini-embedding-2:embedContent")
    assert got["data"][0]["embedding"] == [1.5]
    reply, got = await openai(stage, "vertex/gemini-embedding-2", input=["a", "b"])
    assert (reply.status, got["error"]["param"]) == (400, "input")


async def test_tokens_mean_nothing_to_google(stage, upstream):
    reply, got = await openai(stage, "google/gemini-embedding-001", input=[[1, 2]])
    assert (reply.status, got["error"]["param"]) == (400, "input")
    assert upstream.requests == []


@pytest.mark.parametrize("model", ["google/gemini-embedding-001", "up/bge-m3"])
async def test_googles_client_gets_vectors_from_its_own_and_from_others(stage, upstream, model):
    if model.startswith("up/"):
        upstream.script(json.dumps({
            "object": "list", "model": "bge-m3", "usage": {"prompt_tokens": 5, "total_tokens": 5},
            "data": [{"object": "embedding", "index": 1, "embedding": [2.0]}, {"object": "embedding", "index": 0, "embedding": [1.0]}],
        }).encode())
    else:
        upstream.script(b'{"embeddings":[{"values":[1.0]},{"values":[2.0]}]}')
    client = genai.Client(api_key=stage.key, http_options=types.HttpOptions(base_url=stage.root))
    got = await client.aio.models.embed_content(model=model, contents=["a", "b"])
    assert [each.values for each in got.embeddings] == [[1.0], [2.0]]
    if model.startswith("up/"):
        assert upstream.requests[0].json == {"model": "bge-m3", "input": ["a", "b"], "encoding_format": "float"}
    else:
        assert {each["model"] for each in upstream.requests[0].json["requests"]} == {"models/gemini-embedding-001"}
    await client.aio.aclose()
    client.close()


async def test_an_upstream_without_vectors_is_an_error(stage, upstream):
    for body in (b"[]", b'{"embeddings":[{"values":["x"]}]}', b'{"embeddings":{}}', b"<html>"):
        upstream.script(body)
        reply, got = await openai(stage, "google/gemini-embedding-001", input="a")
        assert (reply.status, got["error"]["code"]) == (502, "upstream_cut")
