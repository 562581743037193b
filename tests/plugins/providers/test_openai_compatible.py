"""Any upstream with OpenAI's API: where a request goes, with which headers, and which bytes."""

import json

import pytest
from recordings import needs_recordings, openai_recordings

from gateway import Secret, Target, Timeouts
from gateway.jsonbody import read_object
from gateway.testing import ProviderContract, exchange
from gateway_plugins.providers.openai_compatible import OpenAICompatible, Options


def made(**options):
    return OpenAICompatible(Options(**{"base_url": "https://api.example/v1", **options}))


class TestOpenAICompatible(ProviderContract):
    async def make(self) -> OpenAICompatible:
        return made(api_key=Secret("sk-upstream-secret"))


class TestWithoutKey(ProviderContract):
    async def make(self) -> OpenAICompatible:
        return made(base_url="http://127.0.0.1:11434/v1/", models=("llama3:8b",), headers={"X-Team": "platform"})


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [("chat.completions", "https://api.example/v1/chat/completions"), ("completions", "https://api.example/v1/completions"),
     ("embeddings", "https://api.example/v1/embeddings")],
)  # fmt: skip
@pytest.mark.parametrize("base", ["https://api.example/v1", "https://api.example/v1/", "https://api.example/v1//"])
def test_each_endpoint_has_its_address(endpoint, url, base):
    plugin = made(base_url=base)
    assert plugin.encode(exchange(endpoint=endpoint), Target(plugin, "m")).url == url


@pytest.mark.parametrize("host", ["169.254.169.254", "[fd00:ec2::254]", "169.254.1.1", "0.0.0.0"])
def test_an_address_that_is_never_connected_to_is_refused_at_once(host):
    with pytest.raises(ValueError, match="never connected to"):
        made(base_url=f"http://{host}/v1")


def test_the_credential_is_a_bearer_token_and_known_as_secret():
    """So are headers that look like one: they are scrubbed from what clients see."""
    plugin = made(api_key=Secret("sk-1"), headers={"X-Api-Key": "other", "X-Team": "platform", "X-Token": ""})
    headers = dict(plugin.encode(exchange(), Target(plugin, "m")).headers)
    assert headers["authorization"] == "Bearer sk-1"
    assert headers["x-api-key"] == "other"
    assert list(plugin.secrets()) == ["sk-1", "other"]
    assert list(made().secrets()) == []
    assert "sk-1" not in repr(plugin.config)


def test_only_what_chooses_nothing_travels_from_the_client():
    """The trace goes on, under our request id; credentials, hosts and other headers stay here."""
    plugin = made(api_key=Secret("sk-1"))
    sent = plugin.encode(
        exchange(headers={"traceparent": "00-ab-cd-01", "authorization": "Bearer x", "x-evil": "1", "host": "evil"}),
        Target(plugin, "m"),
    )
    assert sent.varying == (("x-request-id", "req-test"), ("traceparent", "00-ab-cd-01"))
    assert sent.headers == plugin.encode(exchange(), Target(plugin, "m")).headers
    assert not {"x-evil", "host"} & {name for name, _ in sent.headers}


def test_configured_headers_win():
    plugin = made(headers={"Accept": "text/plain", "Authorization": "Basic abc"}, api_key=Secret("sk-1"))
    headers = plugin.encode(exchange(), Target(plugin, "m")).headers
    assert dict(headers)["accept"] == "text/plain"
    assert [value for name, value in headers if name == "authorization"] == ["Basic abc"]


@pytest.mark.parametrize(
    "url",
    ["", "api.example/v1", "ftp://api.example", "https://", "https:///v1", "https://x/v1?key=1", "https://x/v1#a",
     "https://user@x/v1", "https://user:pw@x/v1", "https://:@x/v1", "https://x y/v1", "https://x/v 1", "https://x/\n",
     "https://x:99999/v1", "https://x:0/v1", "https://x:port/v1", "http://[::1/v1", "https://exämple/v1"],
)  # fmt: skip
def test_an_address_that_cannot_be_is_refused_at_the_start(url):
    """The text says `base_url`, and never the credential in it."""
    with pytest.raises(ValueError) as caught:
        made(base_url=url)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [{"headers": {"x y": "1"}}, {"headers": {"": "1"}},
     {"headers": {"x-a": "1\r\nx-b: 2"}}, {"headers": {"x-a:": "1"}}, {"headers": {"x-a": "\x00"}}],
)  # fmt: skip
def test_a_header_that_cannot_be_is_refused_at_the_start(options):
    """Its value, perhaps a credential, is not repeated."""
    with pytest.raises(ValueError, match="the header '") as caught:
        made(**options)
    assert "x-b" not in str(caught.value)


@pytest.mark.parametrize("key", ["sk-1\n", "sk-ü", "sk-\x00"])
def test_a_key_that_cannot_be_is_refused_at_the_start(key):
    """A line end comes easily from a file."""
    with pytest.raises(ValueError, match=r"^api_key must be printable ASCII") as caught:
        made(api_key=Secret(key))
    assert "sk-" not in str(caught.value)


def test_it_connects_with_its_own_deadlines_or_the_files():
    own = Timeouts(connect=1)
    assert made().peer(Timeouts()).timeouts == Timeouts()
    peer = made(timeouts=own, allow_private=True, ca_file="/ca.pem", max_connections=7).peer(Timeouts())
    assert (peer.timeouts, peer.allow_private, peer.ca_file, peer.max_connections) == (own, True, "/ca.pem", 7)


@needs_recordings
def test_recorded_requests_go_out_as_they_came():
    """But for the model's name, and for usage in streams: every other field keeps its value, and order its bytes."""
    plugin = made()
    seen = 0
    for name, endpoint, recording in openai_recordings():
        body = recording["request"].get("body")
        if not isinstance(body, dict) or not isinstance(body.get("model"), str):
            continue
        raw = json.dumps(body, ensure_ascii=False).encode()
        try:
            asked = exchange(endpoint=endpoint, body=read_object(raw))
        except ValueError:
            continue
        sent = json.loads(plugin.encode(asked, Target(plugin, "other/model")).body)
        if body.get("stream"):
            sent["stream_options"].pop("include_usage")
            options = {k: v for k, v in (body.get("stream_options") or {}).items() if k != "include_usage"}
            assert sent.pop("stream_options") == options, name
            body.pop("stream_options", None)
        assert sent == {**body, "model": "other/model"}, name
        assert plugin.encode(asked, Target(plugin, body["model"])).body.startswith(asked.request.raw[:20])
        seen += 1
    assert seen > 100
