"""The Gemini provider: where its requests go, for the Gemini API, for Vertex AI and for Claude there."""

import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from recordings import SHARED, needs_recordings
from running import running

from gateway import Exchange, InvalidRequest, Secret, Target
from gateway.dialects.gemini import GeminiArray, GeminiDialect
from gateway.testing import FakeUpstream
from gateway_plugins.providers.gemini import Gemini, Options


def made(**options):
    return Gemini(Options(**options))


def asked(provider, model, *, dialect=GeminiDialect, stream=False, body=None, endpoint="generateContent"):
    """The request for a native exchange."""
    exchange = Exchange("req_1", endpoint, dialect(), {}, 0)
    exchange.wire = exchange.dialect.name
    body = body or {"contents": [{"parts": [{"text": "Hi"}]}]}
    action = "streamGenerateContent" if stream else endpoint
    exchange.request = exchange.dialect.decode(json.dumps(body).encode(), body, {"model": model, "action": action})
    return provider.encode(exchange, Target(provider, model))


API = {"api_key": Secret("AIza-secret-of-the-test")}
VERTEX = {"project": "example-project"}


def test_the_gemini_api_is_asked_with_the_key_in_a_header():
    request = asked(made(**API), "gemini-2.5-flash")
    assert request.url == "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:generateContent"
    assert ("x-goog-api-key", "AIza-secret-of-the-test") in request.headers
    assert request.body == b'{"contents": [{"parts": [{"text": "Hi"}]}]}'


def test_a_stream_is_asked_for_in_the_form_that_the_client_reads():
    provider = made(**API)
    assert asked(provider, "m", stream=True).url.endswith("/models/m:streamGenerateContent?alt=sse")
    assert asked(provider, "m", stream=True, dialect=GeminiArray).url.endswith("/models/m:streamGenerateContent")


@pytest.mark.parametrize(("location", "host"), [
    ("global", "aiplatform.googleapis.com"), ("us-central1", "us-central1-aiplatform.googleapis.com"),
    ("eu", "aiplatform.eu.rep.googleapis.com"),
])
def test_vertex_ai_is_asked_at_the_address_of_its_region(location, host):
    request = asked(made(**VERTEX, location=location), "gemini-2.5-pro")
    assert request.url == (
        f"https://{host}/v1beta1/projects/example-project/locations/{location}/publishers/google/models/"
        "gemini-2.5-pro:generateContent"
    )


def test_a_tuned_model_of_the_project_is_asked_at_its_endpoint():
    url = asked(made(**VERTEX, location="us-central1"), "endpoints/4711").url
    assert url.endswith("/locations/us-central1/endpoints/4711:generateContent")


@pytest.mark.parametrize("model", ["../../x", "a//b", "./m", ".."])
def test_a_name_that_would_lead_elsewhere_is_refused(model):
    with pytest.raises(InvalidRequest, match="cannot stand in a URL"):
        asked(made(**API), model)


def test_odd_characters_of_a_name_are_escaped():
    assert asked(made(**API), "a b?key=1#x").url.endswith("/models/a%20b%3Fkey%3D1%23x:generateContent")


def test_claude_on_vertex_speaks_anthropics_dialect_and_gemini_its_own():
    provider = made(**VERTEX)
    assert provider.spoken("claude-opus-4-5@20251101") == (
        frozenset({"messages", "messages.count_tokens"}), ("anthropic.messages",)
    )
    endpoints, wires = provider.spoken("gemini-2.5-pro")
    assert "generateContent" in endpoints
    assert wires[0] == "gemini.generate"


@pytest.mark.parametrize(("options", "why"), [
    ({}, "give either api_key"), ({**API, **VERTEX}, "give either api_key"),
    ({"project": "a/b"}, "project and location"), ({"project": "a", "location": "evil.example/"}, "project and location"),
    ({**VERTEX, "credentials": Secret("x")}, "not the JSON text"),
    ({**VERTEX, "credentials_file": "/nowhere"}, "cannot be read"),
    ({**API, "credentials_file": "/nowhere"}, "with them a project"),
])
def test_options_that_cannot_be_say_why(options, why):
    with pytest.raises(ValueError, match=why):
        made(**options)


def service_account(token_uri):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return {
        "type": "service_account", "client_email": "a@example-project.iam.gserviceaccount.com", "private_key": pem,
        "token_uri": token_uri,
    }


REPLY = {
    "candidates": [{"content": {"parts": [{"text": "Hello"}], "role": "model"}, "finishReason": "STOP", "index": 0}],
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 1, "totalTokenCount": 4},
    "modelVersion": "gemini-2.5-flash", "responseId": "r1",
}
CLAUDE = {
    "id": "msg_vrtx_1", "type": "message", "role": "assistant", "model": "claude-opus-4-5", "content": [
        {"type": "text", "text": "Hello"}
    ], "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 3, "output_tokens": 1},
}


class Vertex:
    """A gateway in front of a Vertex AI and a token endpoint, both on the loopback."""

    def __init__(self, gw, upstream, tokens):
        self.gw, self.upstream, self.tokens = gw, upstream, tokens

    def grant(self, token):
        self.tokens.script(json.dumps({"access_token": token, "expires_in": 3600}).encode())


@pytest.fixture
async def vertex(tmp_path):
    async with FakeUpstream() as upstream, FakeUpstream() as tokens:
        account = service_account(tokens.url.removesuffix("/v1") + "/token")
        options = {
            "project": "example-project", "base_url": upstream.url.removesuffix("/v1"), "credentials": json.dumps(account),
        }
        providers = [{"name": "vertex", "use": "provider.gemini", "with": options}]
        async with running(tmp_path, providers=providers) as gw:
            yield Vertex(gw, upstream, tokens)


CHAT = {"model": "vertex/gemini-2.5-flash", "messages": [{"role": "user", "content": "Hi"}]}


async def test_a_request_carries_the_token_and_the_next_one_the_same(vertex):
    vertex.grant("ya29.one")
    for _ in range(2):
        vertex.upstream.script(json.dumps(REPLY).encode())
        async with vertex.gw.post(json=CHAT) as reply:
            assert (await reply.json())["choices"][0]["message"]["content"] == "Hello"
    assert [sent.headers["authorization"] for sent in vertex.upstream.requests] == ["Bearer ya29.one"] * 2
    assert len(vertex.tokens.requests) == 1


async def test_after_a_refused_token_another_one_is_asked_for(vertex):
    vertex.grant("ya29.old")
    vertex.grant("ya29.new")
    refusal = {"error": {"code": 401, "message": "ya29.old is no token", "status": "UNAUTHENTICATED"}}
    vertex.upstream.script(json.dumps(refusal).encode(), status=401)
    vertex.upstream.script(json.dumps(REPLY).encode())
    async with vertex.gw.post(json=CHAT) as reply:
        assert reply.status == 401
        assert "ya29.old" not in await reply.text()
    async with vertex.gw.post(json=CHAT) as reply:
        assert reply.status == 200
    assert vertex.upstream.requests[-1].headers["authorization"] == "Bearer ya29.new"


async def test_without_a_token_the_client_is_told_and_nothing_is_sent(vertex):
    vertex.tokens.script(b'{"error":"invalid_grant","error_description":"account not found"}', status=400)
    async with vertex.gw.post(json=CHAT) as reply:
        assert reply.status == 502
        assert (await reply.json())["error"]["code"] == "upstream_credentials"
    assert vertex.upstream.requests == []


async def test_claude_on_vertex_gets_its_version_in_the_body_and_its_model_in_the_url(vertex):
    vertex.grant("ya29.one")
    vertex.upstream.script(json.dumps(CLAUDE).encode())
    body = {"model": "vertex/claude-opus-4-5@20251101", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    headers = {"anthropic-beta": "context-1m-2025-08-07,files-api-2025-04-14"}
    async with vertex.gw.client.post(
        vertex.gw.root + "/v1/messages", json=body, headers={**headers, "x-api-key": vertex.gw.key}
    ) as reply:
        assert (await reply.json())["id"] == "msg_vrtx_1"
        assert reply.headers["x-gateway-warnings"] == "dropped=anthropic-beta:files-api-2025-04-14"
    (sent,) = vertex.upstream.requests
    assert sent.path == (
        "/v1/projects/example-project/locations/global/publishers/anthropic/models/claude-opus-4-5@20251101:rawPredict"
    )
    assert sent.json == {
        "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}], "anthropic_version": "vertex-2023-10-16",
    }
    assert sent.headers["anthropic-beta"] == "context-1m-2025-08-07"


async def test_an_openai_client_reaches_claude_on_vertex(vertex):
    vertex.grant("ya29.one")
    vertex.upstream.script(json.dumps(CLAUDE).encode())
    async with vertex.gw.post(json={**CHAT, "model": "vertex/claude-opus-4-5"}) as reply:
        assert (await reply.json())["choices"][0]["message"]["content"] == "Hello"
    (sent,) = vertex.upstream.requests
    assert sent.path.endswith("/publishers/anthropic/models/claude-opus-4-5:rawPredict")
    assert "model" not in sent.json
    assert sent.json["anthropic_version"] == "vertex-2023-10-16"


async def test_a_key_in_the_url_is_refused_with_the_way_to_do_it(vertex):
    url = vertex.gw.root + "/v1beta/models/vertex/gemini-2.5-flash:generateContent"
    async with vertex.gw.client.post(url, params={"key": vertex.gw.key}, json={"contents": []}) as reply:
        assert reply.status == 401
        told = (await reply.json())["error"]
    assert told["status"] == "UNAUTHENTICATED"
    assert "x-goog-api-key" in told["message"]
    assert vertex.gw.key not in told["message"]


VERTEX_CLAUDE = sorted(SHARED.glob("recordings/other/vertex-anthropic/*.json"))


@needs_recordings
@pytest.mark.parametrize("file", VERTEX_CLAUDE, ids=[file.stem for file in VERTEX_CLAUDE])
async def test_recorded_claude_on_vertex_passes_byte_for_byte(vertex, file):
    """Anthropic's client names the model and no version: the upstream gets the recorded body, the client its bytes."""
    recording = json.loads(file.read_text())
    recorded, response = recording["request"]["body"], recording["response"]
    data = response["body_text"].encode() if response.get("body_text") else json.dumps(response["body"]).encode()
    vertex.grant("ya29.one")
    vertex.upstream.script(data, status=response["status"], content_type=response["headers"]["content-type"])
    body = {name: value for name, value in recorded.items() if name != "anthropic_version"}
    async with vertex.gw.client.post(
        vertex.gw.root + "/v1/messages", json={"model": f"vertex/{recording['model']}", **body},
        headers={"x-api-key": vertex.gw.key},
    ) as reply:
        assert await reply.read() == data
    (sent,) = vertex.upstream.requests
    assert sent.json == recorded
    action = "streamRawPredict" if recording["stream"] else "rawPredict"
    assert sent.path.endswith(f"/publishers/anthropic/models/{recording['model']}:{action}")
