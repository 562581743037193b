"""Links of a conversation become bytes: only media, only up to a size, only from public addresses."""

import base64
import json

import pytest
from running import running

from gateway.bridge import asked_of
from gateway.conversation import MediaPart
from gateway.errors import InvalidRequest
from gateway.fetch import Fetch
from gateway.testing import FakeUpstream
from gateway.testing.exchanges import exchange
from gateway.upstream import Upstream

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
async def site():
    async with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture
async def client():
    made = Upstream()
    yield made
    await made.close()


def asking(*urls, kind="image_url"):
    parts = [{"type": "text", "text": "Look."}, *({"type": kind, kind: {"url": url}} for url in urls)]
    return exchange(body={"model": "m", "messages": [{"role": "user", "content": parts}]})


def media(made):
    return [part for message in asked_of(made).messages for part in message.parts if isinstance(part, MediaPart)]


def url_of(site, path="/a.png"):
    return site.url.removesuffix("/v1") + path


async def test_a_link_becomes_the_bytes_behind_it(site, client):
    site.script(PNG, content_type="image/png; charset=binary")
    made = asking(url_of(site, "/a.png?x=1#part"), url_of(site, "/a.png?x=1#part"))
    await Fetch(client, "p", 1000, public=False).into(made, lambda _url: True)
    assert [part.source.kind for part in media(made)] == ["base64", "base64"]
    assert base64.b64decode(media(made)[0].source.data) == PNG
    assert media(made)[0].source.media_type == "image/png"
    (sent,) = site.requests  # asked for once, and as a stranger
    assert sent.path == "/a.png?x=1"
    assert not {"authorization", "cookie", "x-request-id"} & set(sent.headers)


async def test_links_that_the_target_takes_stay_links(site, client):
    made = asking(url_of(site))
    await Fetch(client, "p", 1000, public=False).into(made, lambda _url: False)
    assert media(made)[0].source.kind == "url"
    assert site.requests == []


@pytest.mark.parametrize(("script", "why"), [
    ({"pieces": [PNG], "content_type": "text/html"}, "it is no image"),
    ({"pieces": [PNG], "status": 404, "content_type": "image/png"}, "status 404"),
    ({"pieces": [b""], "status": 302, "headers": {"location": "http://169.254.169.254/"}}, "status 302"),
    ({"pieces": [b"x" * 1001], "content_type": "image/png"}, "more than 1000 bytes"),
    ({"pieces": [b"x" * 600, b"y" * 600], "content_type": "image/png"}, "more than 1000 bytes"),
    ({"pieces": [b"x"], "content_type": "image/png", "ending": "cut"}, "broke off"),
])
async def test_what_is_no_such_media_is_refused_without_the_link(site, client, script, why):
    script = dict(script)
    site.script(*script.pop("pieces"), **script)
    made = asking(url_of(site, "/secret-token.png"))
    with pytest.raises(InvalidRequest, match=why) as caught:
        await Fetch(client, "p", 1000, public=False).into(made, lambda _url: True)
    assert (caught.value.param, caught.value.code) == ("messages", "link_not_fetched")
    assert "secret-token" not in caught.value.message


async def test_all_links_together_keep_to_the_size(site, client):
    for _ in range(2):
        site.script(b"x" * 600, content_type="image/png")
    made = asking(url_of(site, "/1.png"), url_of(site, "/2.png"))
    with pytest.raises(InvalidRequest, match="1000 bytes together"):
        await Fetch(client, "p", 1000, public=False).into(made, lambda _url: True)


async def test_many_links_are_refused(client):
    with pytest.raises(InvalidRequest, match="At most 20"):
        await Fetch(client, "p", 1000).into(asking(*(f"https://a.example/{n}" for n in range(21))), lambda _url: True)


@pytest.mark.parametrize("host", [
    "127.0.0.1:{port}", "localhost:{port}", "[::1]:{port}", "10.0.0.1", "169.254.169.254", "[::ffff:127.0.0.1]:{port}",
    "metadata.google.internal", "0.0.0.0:{port}", "2130706433:{port}", "user@127.0.0.1:{port}",
])
async def test_an_address_of_the_inside_is_never_asked(site, client, host):
    """However it is written: what a caller links to is no word of the owner's."""
    port = site.url.split(":")[2].removesuffix("/v1")
    made = asking(f"http://{host.format(port=port)}/latest/meta-data")
    with pytest.raises(InvalidRequest, match=r"cannot be reached|no plain"):
        await Fetch(client, "p", 1000).into(made, lambda _url: True)
    assert site.requests == []


REPLY = {
    "candidates": [{"content": {"parts": [{"text": "A dot."}], "role": "model"}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 1}, "modelVersion": "m", "responseId": "r",
}


async def test_the_gateway_fetches_only_where_its_owner_allows_it(site, tmp_path):
    """Off: Google gets the link. On: it gets the bytes, and an inner address is a 400."""
    options = {"base_url": url_of(site, "/v1beta"), "api_key": "upstream-credential-000"}
    providers = [
        {"name": "plain", "use": "provider.gemini", "with": options},
        {"name": "fetching", "use": "provider.gemini", "with": {**options, "fetch_urls": True}},
    ]
    parts = [{"type": "image_url", "image_url": {"url": url_of(site)}}]
    async with running(tmp_path, providers=providers) as gw:
        site.script(json.dumps(REPLY).encode())
        body = {"model": "plain/m", "messages": [{"role": "user", "content": parts}]}
        async with gw.post(json=body) as reply:
            assert reply.status == 200
        assert site.requests[0].json["contents"][0]["parts"] == [
            {"fileData": {"mimeType": "image/png", "fileUri": url_of(site)}}
        ]
        body["model"] = "fetching/m"
        async with gw.post(json=body) as reply:
            assert (reply.status, (await reply.json())["error"]["code"]) == (400, "link_not_fetched")
        assert len(site.requests) == 1
        plugin = gw.process.gateway.snapshot.plugins.providers["fetching"]
        plugin._fetch = Fetch(gw.process.gateway.upstream, "fetching", 1000, public=False)
        site.script(PNG, content_type="image/png")
        site.script(json.dumps(REPLY).encode())
        async with gw.post(json=body) as reply:
            assert reply.status == 200
        assert site.requests[-1].json["contents"][0]["parts"] == [
            {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(PNG).decode()}}
        ]
