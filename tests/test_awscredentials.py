"""Where AWS credentials come from: each source in its turn, against fakes of AWS's services on the loopback."""

import asyncio
import json
from urllib.parse import parse_qs

import pytest
from waiting import PATIENCE

from gateway.awscredentials import Chain, profile_of, region_of
from gateway.errors import UpstreamError
from gateway.renewal import Renewed
from gateway.testing import FakeUpstream
from gateway.upstream import Upstream

GIVEN = {"AccessKeyId": "ASIAEXAMPLE", "SecretAccessKey": "s", "Token": "t", "Expiration": "2099-01-01T00:00:00Z"}


@pytest.fixture
async def fake():
    async with FakeUpstream() as fake:
        yield fake


@pytest.fixture
async def client():
    upstream = Upstream()
    yield upstream
    await upstream.close()


def root(fake):
    return fake.url.removesuffix("/v1")


def chain(client, environ, **more):
    return Chain("bedrock", client, environ, region="eu-west-1", **more)


async def test_the_environment_is_first(client, tmp_path):
    environ = {"HOME": str(tmp_path), "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}
    found, lives = await chain(client, environ).ask()
    assert (found.access_key, found.secret_key, found.token, lives) == ("AKIA", "s", "t", None)


async def test_a_named_profile_goes_before_the_environment(client, tmp_path):
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").write_text("[work]\naws_access_key_id = AKWORK\naws_secret_access_key = s%s\n")
    (tmp_path / ".aws/config").write_text("[profile work]\nregion = eu-central-1\n")
    environ = {"HOME": str(tmp_path), "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "x"}
    found, _ = await chain(client, environ, profile="work").ask()
    assert (found.access_key, found.secret_key) == ("AKWORK", "s%s")
    assert region_of(environ, "work") == "eu-central-1"
    with pytest.raises(ValueError, match="no profile 'other'"):
        await chain(client, environ, profile="other").ask()


async def test_a_profile_that_needs_more_says_what_is_not_done(client, tmp_path):
    (tmp_path / "config").write_text("[default]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = base\n")
    with pytest.raises(ValueError, match="assumes a role"):
        await chain(client, {"HOME": "/nowhere", "AWS_CONFIG_FILE": str(tmp_path / "config")}).ask()


def test_a_file_in_no_form_is_named(tmp_path):
    (tmp_path / "config").write_text("no section\n")
    with pytest.raises(ValueError, match="INI"):
        profile_of({"AWS_CONFIG_FILE": str(tmp_path / "config"), "HOME": "/nowhere"}, "default")


async def test_web_identity_gives_its_token_for_a_role(client, fake, tmp_path):
    (tmp_path / "token").write_text("header.claims.signature\n")
    environ = {
        "HOME": "/nowhere", "AWS_ROLE_ARN": "arn:aws:iam::1:role/r", "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
        "AWS_ENDPOINT_URL_STS": root(fake),
    }
    given = {"AccessKeyId": "ASIA", "SecretAccessKey": "s", "SessionToken": "t", "Expiration": 4070908800.0}
    answer = {"AssumeRoleWithWebIdentityResponse": {"AssumeRoleWithWebIdentityResult": {"Credentials": given}}}
    fake.script(json.dumps(answer).encode())
    found, lives = await chain(client, environ).ask()
    assert (found.access_key, found.token) == ("ASIA", "t")
    assert lives > 1e6
    sent = parse_qs(fake.requests[0].body.decode())
    assert sent["WebIdentityToken"] == ["header.claims.signature"]
    assert sent["Action"] == ["AssumeRoleWithWebIdentity"]


async def test_a_containers_agent_is_asked_with_its_token(client, fake, tmp_path):
    (tmp_path / "token").write_text("pod-token\n")
    environ = {
        "HOME": "/nowhere", "AWS_CONTAINER_CREDENTIALS_FULL_URI": root(fake) + "/v1/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(tmp_path / "token"),
    }
    fake.script(json.dumps(GIVEN).encode())
    found, lives = await chain(client, environ).ask()
    assert found.access_key == "ASIAEXAMPLE"
    assert lives > 1e6
    assert fake.requests[0].headers["authorization"] == "pod-token"


async def test_a_containers_agent_elsewhere_is_refused(client):
    environ = {"HOME": "/nowhere", "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://198.51.100.7/credentials"}
    with pytest.raises(ValueError, match="address of this machine"):
        await chain(client, environ).ask()


async def test_the_instances_metadata_is_asked_with_a_token_of_its_own(client, fake):
    environ = {"HOME": "/nowhere", "AWS_EC2_METADATA_SERVICE_ENDPOINT": root(fake)}
    for answer in (b"metadata-token", b"my-role\n", json.dumps(GIVEN).encode()):
        fake.script(answer)
    found, _ = await chain(client, environ).ask()
    assert found.access_key == "ASIAEXAMPLE"
    assert [(sent.method, sent.path) for sent in fake.requests] == [
        ("PUT", "/latest/api/token"), ("GET", "/latest/meta-data/iam/security-credentials/"),
        ("GET", "/latest/meta-data/iam/security-credentials/my-role"),
    ]
    assert fake.requests[1].headers["x-aws-ec2-metadata-token"] == "metadata-token"


@pytest.mark.parametrize("answer", [b"<html>", b"{}", b'{"AccessKeyId": 1}'])
async def test_an_agent_that_answers_nonsense_is_told(client, fake, answer):
    environ = {"HOME": "/nowhere", "AWS_CONTAINER_CREDENTIALS_FULL_URI": root(fake) + "/c"}
    fake.script(answer)
    with pytest.raises(ValueError, match="no credentials"):
        await chain(client, environ).ask()


class Source:
    """Gives numbers, each living as long as was said."""

    def __init__(self, *lives):
        self.lives, self.asked = list(lives), 0

    async def ask(self):
        self.asked += 1
        await asyncio.sleep(0.01)
        lives = self.lives.pop(0)
        if isinstance(lives, Exception):
            raise lives
        return self.asked, lives


async def test_many_who_wait_ask_once():
    source = Source(3600.0)
    kept = Renewed("p", "token", source.ask)
    assert await asyncio.gather(*(kept.get() for _ in range(20))) == [1] * 20
    await kept.close()


async def test_it_is_renewed_ahead_of_its_end_while_the_old_one_serves():
    source = Source(100.0, 3600.0)
    kept = Renewed("p", "token", source.ask, ahead=300.0)
    assert await kept.get() == 1
    assert await kept.get() == 1  # and asks in the background
    async with asyncio.timeout(PATIENCE):
        while await kept.get() != 2:
            await asyncio.sleep(0.01)
    assert source.asked == 2
    await kept.close()


async def test_a_failing_source_is_not_asked_by_each_request():
    source = Source(ValueError("nothing there"))
    kept = Renewed("p", "token", source.ask)
    for _ in range(3):
        with pytest.raises(UpstreamError, match="nothing there"):
            await kept.get()
    assert source.asked == 1
    await kept.close()


async def test_what_was_refused_is_asked_for_again():
    source = Source(None, None)
    kept = Renewed("p", "token", source.ask)
    assert await kept.get() == 1
    kept.forget()
    assert await kept.get() == 2
    await kept.close()
