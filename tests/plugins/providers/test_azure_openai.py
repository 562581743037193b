"""The Azure OpenAI provider: where its requests go, with a key or a token of Entra ID, and where that comes from."""

import asyncio
import json
from urllib.parse import parse_qs

import pytest
from running import running

from gateway import Secret
from gateway.testing import FakeUpstream
from gateway_plugins.providers.azure_openai import AzureOpenAI, Options

CHAT = {"model": "azure/gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}
REPLY = json.dumps({
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-2024-11-20",
    "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {"hate": {"filtered": False, "severity": "safe"}}}],
    "choices": [{
        "index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop",
        "content_filter_results": {"jailbreak": {"filtered": False, "detected": False}},
    }],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
}).encode()
VARIABLES = (
    "AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_AUTHORITY_HOST",
    "IDENTITY_ENDPOINT", "IDENTITY_HEADER", "AZURE_POD_IDENTITY_AUTHORITY_HOST",
)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def upstream():
    async with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture
async def tokens():
    async with FakeUpstream() as tokens:
        yield tokens


def root(fake):
    return fake.url.removesuffix("/v1")


def provided(upstream, **options):
    return [{"name": "azure", "use": "provider.azure_openai", "with": {"base_url": root(upstream), **options}}]


async def asked(tmp_path, upstream, times=1, **options):
    """Statuses and bodies of requests through the gateway."""
    for _ in range(times):
        upstream.script(REPLY)
    async with running(tmp_path, providers=provided(upstream, **options)) as gw:
        async def one():
            async with gw.post(json=CHAT) as reply:
                return reply.status, await reply.read()

        return await asyncio.gather(*(one() for _ in range(times)))


async def test_a_deployment_stands_in_the_url_and_its_reply_passes_byte_for_byte(tmp_path, upstream):
    ((status, body),) = await asked(tmp_path, upstream, api_key="azure-key-of-the-test", api_version="2024-10-21")
    assert (status, body) == (200, REPLY)
    (sent,) = upstream.requests
    assert sent.path == "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"
    assert sent.headers["api-key"] == "azure-key-of-the-test"
    assert "authorization" not in sent.headers


async def test_without_a_version_the_newer_form_is_asked(tmp_path, upstream):
    await asked(tmp_path, upstream, api_key="azure-key-of-the-test")
    (sent,) = upstream.requests
    assert sent.path == "/openai/v1/chat/completions"
    assert sent.json["model"] == "gpt-4o"


@pytest.mark.parametrize(("options", "why"), [
    ({"api_version": "2024/10"}, "api_version may"), ({"client_secret": Secret("s")}, "needs tenant_id"),
    ({"api_key": Secret("k"), "client_id": "c"}, "not both"),
])
def test_options_that_cannot_be_say_why(options, why):
    with pytest.raises(ValueError, match=why):
        AzureOpenAI(Options(base_url="https://r.openai.azure.com", **options))


def test_an_address_with_its_path_is_the_same_resource():
    made = AzureOpenAI(Options(base_url="https://r.openai.azure.com/openai/v1/", api_key=Secret("k")))
    assert made.config.base_url == "https://r.openai.azure.com"


def grant(tokens, token="entra-token-of-the-test", **more):
    tokens.script(json.dumps({"access_token": token, "token_type": "Bearer", "expires_in": 3599, **more}).encode())


async def test_an_applications_token_is_asked_for_once_by_many_requests(tmp_path, upstream, tokens, monkeypatch):
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", root(tokens))
    grant(tokens)
    answers = await asked(tmp_path, upstream, 5, tenant_id="tenant-1", client_id="client-1", client_secret="app-secret-000")
    assert [status for status, _ in answers] == [200] * 5
    (request,) = tokens.requests
    assert request.path == "/tenant-1/oauth2/v2.0/token"
    assert parse_qs(request.body.decode()) == {
        "grant_type": ["client_credentials"], "client_id": ["client-1"], "client_secret": ["app-secret-000"],
        "scope": ["https://cognitiveservices.azure.com/.default"],
    }
    assert {sent.headers["authorization"] for sent in upstream.requests} == {"Bearer entra-token-of-the-test"}


async def test_a_workload_gives_its_token_for_one(tmp_path, upstream, tokens, monkeypatch):
    (tmp_path / "token").write_text("header.claims.signature\n")
    for name, value in {
        "AZURE_AUTHORITY_HOST": root(tokens), "AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c",
        "AZURE_FEDERATED_TOKEN_FILE": str(tmp_path / "token"),
    }.items():
        monkeypatch.setenv(name, value)
    grant(tokens)
    assert (await asked(tmp_path, upstream))[0][0] == 200
    assert parse_qs(tokens.requests[0].body.decode())["client_assertion"] == ["header.claims.signature"]


async def test_app_services_identity_is_asked_where_the_environment_says(tmp_path, upstream, tokens, monkeypatch):
    monkeypatch.setenv("IDENTITY_ENDPOINT", root(tokens) + "/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "header-of-the-test")
    grant(tokens, expires_in=None, expires_on="4102444800")
    assert (await asked(tmp_path, upstream, client_id="id-1"))[0][0] == 200
    (request,) = tokens.requests
    assert request.headers["x-identity-header"] == "header-of-the-test"
    assert request.path.startswith("/msi/token?resource=https%3A%2F%2Fcognitiveservices.azure.com&client_id=id-1")


async def test_a_machines_identity_is_asked_at_its_metadata(tmp_path, upstream, tokens, monkeypatch):
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", root(tokens))
    grant(tokens, expires_in="86399")
    assert (await asked(tmp_path, upstream))[0][0] == 200
    (request,) = tokens.requests
    assert request.headers["metadata"] == "true"
    assert request.path.startswith("/metadata/identity/oauth2/token?")


async def test_without_a_token_the_client_is_told_and_nothing_is_sent(tmp_path, upstream, tokens, monkeypatch):
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", root(tokens))
    refusal = {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret.\r\nTrace ID: 1"}
    tokens.script(json.dumps(refusal).encode(), status=401)
    ((status, body),) = await asked(tmp_path, upstream, tenant_id="t", client_id="c", client_secret="app-secret-000")
    assert status == 502
    error = json.loads(body)["error"]
    assert error["code"] == "upstream_credentials"
    assert "AADSTS7000215" in error["message"]
    assert upstream.requests == []


async def test_after_a_refused_token_another_one_is_asked_for(tmp_path, upstream, tokens, monkeypatch):
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", root(tokens))
    grant(tokens, "one")
    grant(tokens, "two")
    upstream.script(b'{"error":{"code":"401","message":"Expired."}}', status=401)
    upstream.script(REPLY)
    options = {"tenant_id": "t", "client_id": "c", "client_secret": "app-secret-000"}
    async with running(tmp_path, providers=provided(upstream, **options)) as gw:
        async with gw.post(json=CHAT) as reply:
            assert reply.status == 401
        async with gw.post(json=CHAT) as reply:
            assert reply.status == 200
    assert [sent.headers["authorization"] for sent in upstream.requests] == ["Bearer one", "Bearer two"]
