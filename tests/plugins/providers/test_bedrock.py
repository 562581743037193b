"""The Bedrock provider: where its requests go, with which credential, and where that comes from."""

import json

import botocore.session
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from running import running

from gateway import Secret
from gateway.testing import FakeUpstream
from gateway_plugins.providers.bedrock import Bedrock, Options

MODEL = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
CHAT = {"model": f"bedrock/{MODEL}", "messages": [{"role": "user", "content": "Hi"}]}
REPLY = json.dumps({
    "output": {"message": {"role": "assistant", "content": [{"text": "Hello"}]}}, "stopReason": "end_turn",
    "usage": {"inputTokens": 3, "outputTokens": 1, "totalTokens": 4}, "metrics": {"latencyMs": 10},
}).encode()
KEYS = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "secret-of-the-test-000", "session_token": "token-of-the-test"}


@pytest.fixture(autouse=True)
def no_environment(monkeypatch, tmp_path):
    for name in ("AWS_BEARER_TOKEN_BEDROCK", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_PROFILE", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def provided(upstream, **options):
    url = upstream.url.removesuffix("/v1")
    return [{"name": "bedrock", "use": "provider.bedrock", "with": {"base_url": url, "region": "eu-west-1", **options}}]


async def asked(tmp_path, upstream, **options):
    """Status and body of one request through the gateway."""
    upstream.script(REPLY)
    async with running(tmp_path, providers=provided(upstream, **options)) as gw, gw.post(json=CHAT) as reply:
        return reply.status, await reply.json()


@pytest.mark.parametrize(("region", "url"), [
    ("us-east-1", "https://bedrock-runtime.us-east-1.amazonaws.com"),
    ("cn-north-1", "https://bedrock-runtime.cn-north-1.amazonaws.com.cn"),
])
def test_the_region_makes_the_address(region, url):
    assert Bedrock(Options(region=region, api_key=Secret("k")))._root == url


@pytest.mark.parametrize(("options", "why"), [
    ({}, "region is empty"), ({"region": "a/b"}, "region is empty"),
    ({"region": "eu-west-1", "access_key_id": "A"}, "belong together"),
    ({"region": "eu-west-1", "profile": "p", "api_key": Secret("k")}, "give one of"),
])
def test_options_that_cannot_be_say_why(options, why):
    with pytest.raises(ValueError, match=why):
        Bedrock(Options(**options))


async def test_an_api_key_is_a_bearer_token(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "bedrock-key-of-the-test")
    async with FakeUpstream() as upstream:
        status, body = await asked(tmp_path, upstream)
        assert status == 200, body
        (sent,) = upstream.requests
    assert sent.headers["authorization"] == "Bearer bedrock-key-of-the-test"
    assert sent.path == f"/model/{MODEL.replace(':', '%3A')}/converse"


async def test_a_request_is_signed_as_botocore_signs_it(tmp_path):
    async with FakeUpstream() as upstream:
        status, body = await asked(tmp_path, upstream, **KEYS)
        assert status == 200, body
        (sent,) = upstream.requests
        url = upstream.url.removesuffix("/v1") + sent.path
    request = AWSRequest("POST", url, headers={"content-type": "application/json"}, data=sent.body)
    signer = SigV4Auth(Credentials(KEYS["access_key_id"], KEYS["secret_access_key"], KEYS["session_token"]), "bedrock", "eu-west-1")
    request.context["timestamp"] = sent.headers["x-amz-date"]
    request.headers["X-Amz-Date"] = sent.headers["x-amz-date"]
    request.headers["X-Amz-Security-Token"] = KEYS["session_token"]
    text = signer.string_to_sign(request, signer.canonical_request(request))
    assert sent.headers["authorization"].endswith("Signature=" + signer.signature(text, request))
    assert sent.headers["x-amz-security-token"] == KEYS["session_token"]


async def test_without_credentials_the_client_is_told_and_nothing_is_sent(tmp_path):
    async with FakeUpstream() as upstream:
        status, body = await asked(tmp_path, upstream)
        assert upstream.requests == []
    assert status == 502
    assert body["error"]["code"] == "upstream_credentials"
    assert "none in the environment" in body["error"]["message"]


async def test_the_environments_keys_sign(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    async with FakeUpstream() as upstream:
        assert (await asked(tmp_path, upstream))[0] == 200
        assert "Credential=AKIDENV/" in upstream.requests[0].headers["authorization"]


async def test_a_secret_that_the_service_repeats_does_not_reach_the_client(tmp_path):
    async with FakeUpstream() as upstream:
        upstream.script(
            json.dumps({"message": f"bad {KEYS['secret_access_key']} and {KEYS['session_token']}"}).encode(), status=403,
            headers={"x-amzn-errortype": "AccessDeniedException"},
        )
        async with running(tmp_path, providers=provided(upstream, **KEYS)) as gw, gw.post(json=CHAT) as reply:
            text = await reply.text()
    assert reply.status == 403
    assert KEYS["secret_access_key"] not in text
    assert KEYS["session_token"] not in text


def test_the_fakes_answer_fits_amazons_model():
    """The reply that these tests use is one that boto3 would read."""
    shape = botocore.session.get_session().get_service_model("bedrock-runtime").operation_model("Converse").output_shape
    assert set(json.loads(REPLY)) <= set(shape.members)
