"""Access tokens from a token endpoint on the loopback: asked for once, renewed ahead, refused with a reason."""

import asyncio
import base64
import json
import time
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from waiting import PATIENCE

from gateway.errors import UpstreamError
from gateway.googleauth import GoogleTokens, account_of, default_account, signed
from gateway.testing import FakeUpstream
from gateway.upstream import Upstream


@pytest.fixture(scope="module")
def key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def account_text(key, token_uri):
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return json.dumps({
        "type": "service_account", "project_id": "example-project", "private_key_id": "kid-1", "private_key": pem,
        "client_email": "gateway@example-project.iam.gserviceaccount.com", "token_uri": token_uri,
    })


class Endpoint:
    """A token endpoint: what it grants is scripted."""

    def __init__(self, upstream):
        self.upstream = upstream
        self.url = upstream.url.removesuffix("/v1") + "/token"

    def grant(self, token, expires_in=3600, status=200, pieces=None):
        body = json.dumps({"access_token": token, "expires_in": expires_in, "token_type": "Bearer"}).encode()
        self.upstream.script(*(pieces or [body]), status=status)

    @property
    def asked(self):
        return [parse_qs(request.body.decode()) for request in self.upstream.requests]


@pytest.fixture
async def endpoint():
    async with FakeUpstream() as upstream:
        yield Endpoint(upstream)


@pytest.fixture
async def client():
    made = Upstream()
    yield made
    await made.close()


def tokens_of(client, account, **environ):
    return GoogleTokens("vertex", client, account, environ=environ)


async def test_a_service_account_gets_a_token_for_a_signed_assertion(endpoint, client, key):
    endpoint.grant("ya29.first")
    tokens = tokens_of(client, account_of(account_text(key, endpoint.url)))
    assert await tokens.token() == "ya29.first"
    (asked,) = endpoint.asked
    assert asked["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    head, claims, signature = asked["assertion"][0].split(".")
    key.public_key().verify(
        unbase64(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256()
    )
    assert json.loads(unbase64(head)) == {"alg": "RS256", "typ": "JWT", "kid": "kid-1"}
    said = json.loads(unbase64(claims))
    assert said["iss"] == "gateway@example-project.iam.gserviceaccount.com"
    assert said["aud"] == endpoint.url
    assert said["scope"] == "https://www.googleapis.com/auth/cloud-platform"
    assert said["exp"] - said["iat"] == 3600
    assert abs(said["iat"] - time.time()) < 60
    await tokens.close()


def unbase64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


async def test_many_requests_ask_for_one_token(endpoint, client, key):
    endpoint.grant("ya29.first")
    tokens = tokens_of(client, account_of(account_text(key, endpoint.url)))
    assert await asyncio.gather(*(tokens.token() for _ in range(50))) == ["ya29.first"] * 50
    assert await tokens.token() == "ya29.first"
    assert len(endpoint.asked) == 1
    await tokens.close()


async def test_a_request_that_goes_away_does_not_take_the_token_from_the_others(endpoint, client, key):
    endpoint.grant("ya29.first")
    tokens = tokens_of(client, account_of(account_text(key, endpoint.url)))
    first = asyncio.ensure_future(tokens.token())
    await asyncio.sleep(0)
    second = asyncio.ensure_future(tokens.token())
    await asyncio.sleep(0)
    first.cancel()
    assert await second == "ya29.first"
    assert len(endpoint.asked) == 1
    await tokens.close()


async def test_a_token_is_renewed_ahead_of_its_end_while_requests_go_on(endpoint, client, key):
    endpoint.grant("ya29.short", expires_in=120)
    endpoint.grant("ya29.next")
    tokens = tokens_of(client, account_of(account_text(key, endpoint.url)))
    assert await tokens.token() == "ya29.short"
    assert await tokens.token() == "ya29.short"  # still valid: nobody waits for the next one
    async with asyncio.timeout(PATIENCE):
        while await tokens.token() != "ya29.next":
            await asyncio.sleep(0.01)
    assert len(endpoint.asked) == 2
    await tokens.close()


async def test_a_token_that_was_refused_is_not_used_again(endpoint, client, key):
    endpoint.grant("ya29.revoked")
    endpoint.grant("ya29.new")
    tokens = tokens_of(client, account_of(account_text(key, endpoint.url)))
    assert await tokens.token() == "ya29.revoked"
    tokens.forget()
    assert await tokens.token() == "ya29.new"
    await tokens.close()


async def test_a_refusal_says_why_and_is_not_repeated_at_once(endpoint, client, key):
    refusal = b'{"error":"invalid_grant","error_description":"Invalid JWT Signature."}'
    endpoint.upstream.script(refusal, status=400)
    tokens = tokens_of(client, account_of(account_text(key, endpoint.url)))
    for _ in range(3):
        with pytest.raises(UpstreamError, match=r"vertex has no Google access token.*400.*Invalid JWT Signature") as caught:
            await tokens.token()
        assert caught.value.code == "upstream_credentials"
        assert caught.value.retryable
    assert len(endpoint.asked) == 1
    await tokens.close()


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"access_token":5}', b'{"access_token":"a\\nb"}', b"\xff"])
async def test_an_answer_that_is_no_token_is_an_error_of_the_tree(endpoint, client, key, body):
    endpoint.upstream.script(body)
    tokens = tokens_of(client, account_of(account_text(key, endpoint.url)))
    with pytest.raises(UpstreamError, match="no Google access token"):
        await tokens.token()
    await tokens.close()


async def test_a_refresh_token_is_exchanged(endpoint, client):
    endpoint.grant("ya29.person")
    text = json.dumps({
        "type": "authorized_user", "client_id": "id-1", "client_secret": "cs-1", "refresh_token": "rt-1",
        "token_uri": endpoint.url,
    })
    account = account_of(text)
    tokens = tokens_of(client, account)
    assert await tokens.token() == "ya29.person"
    (asked,) = endpoint.asked
    assert asked == {
        "grant_type": ["refresh_token"], "refresh_token": ["rt-1"], "client_id": ["id-1"], "client_secret": ["cs-1"],
    }
    assert set(tokens.secrets) == {"cs-1", "rt-1", "ya29.person"}
    await tokens.close()


async def test_without_a_file_the_metadata_server_is_asked(endpoint, client, tmp_path):
    endpoint.grant("ya29.machine")
    host = endpoint.url.removeprefix("http://").removesuffix("/token")
    tokens = tokens_of(client, None, GCE_METADATA_HOST=host, HOME=str(tmp_path))
    assert await tokens.token() == "ya29.machine"
    (request,) = endpoint.upstream.requests
    assert request.path == "/computeMetadata/v1/instance/service-accounts/default/token"
    assert request.headers["metadata-flavor"] == "Google"
    await tokens.close()


async def test_default_credentials_come_from_the_named_file_then_from_gclouds(endpoint, client, key, tmp_path):
    file = tmp_path / "named.json"
    file.write_text(account_text(key, endpoint.url))
    (tmp_path / "application_default_credentials.json").write_text(
        json.dumps({"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r"})
    )
    home = str(tmp_path)
    assert default_account({"GOOGLE_APPLICATION_CREDENTIALS": str(file), "CLOUDSDK_CONFIG": home}).type == "service_account"
    assert default_account({"CLOUDSDK_CONFIG": home}).type == "authorized_user"
    assert default_account({"HOME": str(tmp_path / "none")}) is None
    with pytest.raises(ValueError, match="GOOGLE_APPLICATION_CREDENTIALS cannot be read"):
        default_account({"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "missing.json")})


@pytest.mark.parametrize(("text", "why"), [
    ("no json", "not the JSON text"), ("[]", "not the JSON text"),
    ('{"type":"external_account"}', "external_account' are not supported"),
    ('{"type":"service_account","client_email":"a@b"}', "lack a field"),
    ('{"type":"authorized_user"}', "lack a field"),
])
def test_credentials_that_cannot_be_used_say_why_without_showing_them(text, why):
    with pytest.raises(ValueError, match=why):
        account_of(text)


def test_a_key_that_cannot_sign_says_so():
    text = json.dumps({"type": "service_account", "client_email": "a@b", "private_key": "-----BEGIN NOTHING-----"})
    with pytest.raises(ValueError, match="cannot be read"):
        signed(account_of(text), 0)
