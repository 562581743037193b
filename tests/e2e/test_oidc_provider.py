"""People and programs of a real OpenID Connect provider (npm oidc-provider on loopback), through its own pages and redirects."""

import asyncio
import contextlib
import html
import json
import os
import re
import shutil
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import aiohttp
import pytest
import pytest_asyncio
from running import PLUGINS, chat, provider, running
from yarl import URL

from gateway.accounts.records import Team
from gateway.store.work import put
from gateway.testing import FakeUpstream

HERE = Path(__file__).parent / "oidc"
MISSING = (
    "node is not installed" if shutil.which("node") is None
    else "" if (HERE / "node_modules" / "oidc-provider").is_dir()
    else "the OpenID Connect provider is not installed: run `npm ci` in tests/e2e/oidc"
)
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.skipif(bool(MISSING), reason=MISSING)]

CALLBACK = "/api/v1/admin/auth/sso/callback"
PEOPLE = {
    "ann": {"email": "Ann@Example.com", "email_verified": True, "name": "Ann Archer", "groups": ["gateway-admins", "science"]},
    "bob": {"email": "bob@example.com", "email_verified": True, "name": "Bob", "groups": ["gateway-users"]},
    "cyd": {"email": "cyd@example.com", "email_verified": False, "name": "Cyd", "groups": ["gateway-users"]},
    "dan": {"email": "dan@example.com", "email_verified": True, "name": "Dan", "groups": ["gardeners"]},
}
RULES = {"groups_claim": "groups", "scopes": ["profile", "email", "groups"], "roles": {"gateway-admins": "admin", "gateway-users": "member"}}
RESOURCE = "urn:ai-gateway"


class RealProvider:
    """The provider's process; `tell` gives it a command and waits until it is done."""

    def __init__(self, process):
        self.process, self.url = process, ""
        self.clients = []

    async def tell(self, do, **more):
        self.process.stdin.write(json.dumps({"do": do, **more}).encode() + b"\n")
        await self.process.stdin.drain()
        return await self.heard()

    async def heard(self):
        """Its next answer; what it warns of stands between them."""
        async with asyncio.timeout(60):
            while line := await self.process.stdout.readline():
                if line.startswith(b"{"):
                    return json.loads(line)
        raise AssertionError("the provider has ended")

    async def serve(self, gateway, people=None):
        """Know the gateway, which has an address now, as several clients."""
        back = {
            "redirect_uris": [gateway.root + CALLBACK], "post_logout_redirect_uris": [gateway.root + "/"],
            "grant_types": ["authorization_code"], "response_types": ["code"],
        }  # fmt: skip
        named = {name: gateway.url + f"/admin/auth/sso/backchannel/{name}" for name in ("work", "curve")}
        logout = {"backchannel_logout_session_required": True}
        self.clients = [
            {**back, **logout, "client_id": "work", "client_secret": "kept by the gateway", "backchannel_logout_uri": named["work"]},
            {**back, **logout, "client_id": "curve", "client_secret": "another one", "id_token_signed_response_alg": "ES256",
             "backchannel_logout_uri": named["curve"]},
            {**back, "client_id": "shared", "client_secret": "a secret that signs: never", "id_token_signed_response_alg": "HS256"},
            {**back, "client_id": "public", "token_endpoint_auth_method": "none"},
            {"client_id": "robot", "client_secret": "of a program", "grant_types": ["client_credentials"], "redirect_uris": [],
             "response_types": []},
        ]
        await self.tell("start", clients=self.clients, people=people or PEOPLE)


@contextlib.asynccontextmanager
async def real_provider():
    known = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        "node", str(HERE / "provider.mjs"), env=known, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        made = RealProvider(process)
        made.url = (await made.heard())["url"]
        yield made
    finally:
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()


class World:
    """The provider, and a gateway that knows it."""

    def __init__(self, idp, gateway, upstream):
        self.idp, self.gateway, self.upstream = idp, gateway, upstream

    @contextlib.asynccontextmanager
    async def browser(self):
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as client:
            yield Browser(self, client)

    async def entries(self, action):
        found = [each.entry for each in await self.gateway.store.audit_page({}, limit=500)]
        return [entry for entry in found if entry.action == action]

    async def issued(self, **fields):
        """An access token for a program, as a JWT."""
        body = {"grant_type": "client_credentials", "scope": "chat", "resource": RESOURCE, **fields}
        login = aiohttp.encode_basic_auth("robot", "of+a+program")
        async with self.gateway.client.post(self.idp.url + "/token", data=body, headers={"authorization": login}) as reply:
            told = await reply.json()
            assert reply.status == 200, told
            return told["access_token"]


class Browser:
    """Goes where it is sent and fills forms, as a person does; `stop` is an address it does not go to."""

    def __init__(self, world, client):
        self.world, self.client = world, client
        self.gateway = world.gateway

    async def go(self, url, *, form=None, stop=None):
        """Follow redirects to the next page; returns status, address and text of where it ends."""
        for _ in range(12):
            if stop and url.startswith(stop):
                return 0, url, ""
            method = "GET" if form is None else "POST"
            body = None if form is None else urlencode(form)
            headers = {} if form is None else {"content-type": "application/x-www-form-urlencoded"}
            async with self.client.request(
                method, URL(url, encoded=True), data=body, headers=headers, allow_redirects=False
            ) as reply:
                text = await reply.text()
                if reply.status not in (301, 302, 303, 307):
                    return reply.status, url, text
                url, form = urljoin(url, reply.headers["location"]), None
        raise AssertionError("sent in circles")

    async def submit(self, page, url, *, stop=None, **fields):
        """Fill the form of a page and send it."""
        action = html.unescape(re.search(r'<form[^>]* action="([^"]+)"', page)[1])
        hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page))
        return await self.go(urljoin(url, action), form={**hidden, **fields}, stop=stop)

    async def to_the_provider(self, name="work"):
        """To the page that asks who one is, or who agrees."""
        return await self.go(f"{self.gateway.url}/admin/auth/sso/initiate?provider={name}&return_to=/health/live")

    async def answered(self, login, name="work"):
        """Sign in at the provider and agree; returns the address with which it sends the browser back."""
        status, url, page = await self.to_the_provider(name)
        back = self.gateway.root + CALLBACK
        for _ in range(3):
            assert status == 200, page
            prompt = re.search(r'name="prompt" value="([a-z]+)"', page)[1]
            fields = {"login": login, "password": "any"} if prompt == "login" else {}
            status, url, page = await self.submit(page, url, stop=back, **fields)
            if url.startswith(back):
                return url
        raise AssertionError(page)

    async def sign_in(self, login, name="work"):
        """The whole way. Returns the status and the address where it ends."""
        return await self.go(await self.answered(login, name))

    async def me(self):
        async with self.client.get(self.gateway.url + "/admin/auth/me") as reply:
            return (await reply.json()) if reply.status == 200 else None

    async def sign_out(self):
        """Sign out here; returns where to end the provider's session."""
        headers = {"origin": self.gateway.root, "sec-fetch-site": "same-origin"}
        async with self.client.post(self.gateway.url + "/admin/auth/sso/logout", headers=headers) as reply:
            assert reply.status == 200, await reply.text()
            return (await reply.json())["logout_url"]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory):
    async with real_provider() as idp, FakeUpstream() as upstream:
        common = {"issuer": idp.url, "allow_private": True, **RULES}
        providers = [
            {**common, "name": "work", "client_id": "work", "client_secret": "kept by the gateway", "teams": {"science": "t-science"}},
            {**common, "name": "curve", "client_id": "curve", "client_secret": "another one", "algorithms": ["ES256"]},
            {**common, "name": "shared", "client_id": "shared", "client_secret": "a secret that signs: never"},
            {**common, "name": "public", "client_id": "public"},
        ]
        token = {
            "issuer": idp.url, "audience": [RESOURCE], "tenant": "default", "allow_private": True,
            "required": {"scope": "chat"}, "claims": {"name": "client_id"},
        }  # fmt: skip
        plugins = [
            *PLUGINS, {"use": "auth.jwt", "with": token}, {"use": "admin.api"}, {"use": "admin.sso", "with": {"providers": providers}},
        ]
        async with running(
            tmp_path_factory.mktemp("oidc"), plugins=plugins, providers=[provider(upstream)],
            models=[{"name": "m", "targets": ["up/gpt-4o"]}], prices=[{"model": "up/*", "input": "1", "output": "1"}],
        ) as gateway:
            await idp.serve(gateway)
            await gateway.store.commit([put(Team(id="t-science", tenant="default", name="Science", created=1))])
            yield World(idp, gateway, upstream)


async def test_a_person_signs_in_through_the_providers_own_page(world):
    async with world.browser() as browser:
        status, where, _ = await browser.sign_in("ann")
        assert (status, where) == (200, world.gateway.root + "/health/live")
        me = await browser.me()
        assert (me["user"]["email"], me["user"]["name"], me["role"]) == ("ann@example.com", "Ann Archer", "admin")
        assert await world.gateway.store.teams_of(me["id"]) == ("t-science",)
        status, _, _ = await browser.to_the_provider()  # who is signed in there is asked nothing
        assert status == 200
        assert (await browser.me())["id"] == me["id"]
    assert (await world.entries("sso_login"))[0].actor == me["id"]


async def test_what_the_browser_is_sent_with_is_as_the_best_practice_says(world):
    async with world.browser() as browser:
        _, _, page = await browser.to_the_provider()
        async with browser.client.get(
            f"{world.gateway.url}/admin/auth/sso/initiate?provider=work&return_to=/", allow_redirects=False
        ) as reply:
            sent = parse_qs(urlsplit(reply.headers["location"]).query)
    assert 'name="login"' in page
    assert (sent["response_type"], sent["code_challenge_method"]) == (["code"], ["S256"])
    assert len(sent["code_challenge"][0]) == 43
    assert min(len(sent["state"][0]), len(sent["nonce"][0])) >= 32
    assert "kept by the gateway" not in str(sent)


@pytest.mark.parametrize("name", ["curve", "public"])
async def test_other_signatures_and_public_clients_work(world, name):
    async with world.browser() as browser:
        assert (await browser.sign_in("bob", name))[0] == 200
        assert (await browser.me())["role"] == "member"


async def test_a_token_signed_with_the_shared_secret_proves_nothing(world):
    async with world.browser() as browser:
        status, _, text = await browser.sign_in("bob", "shared")
        assert (status, json.loads(text)["type"]) == (401, "invalid_token")
        assert await browser.me() is None


@pytest.mark.parametrize(("login", "reason"), [("cyd", "sso_unverified"), ("dan", "sso_no_rights")])
async def test_whoever_has_no_verified_address_or_no_group_gets_nothing(world, login, reason):
    async with world.browser() as browser:
        status, _, text = await browser.sign_in(login)
        assert (status, json.loads(text)["type"]) == (403, reason)
        assert await browser.me() is None
    assert await world.gateway.store.find_user(PEOPLE[login]["email"]) is None
    assert (await world.entries("sso_login_failed"))[0].detail["reason"] == reason


async def test_groups_decide_anew_at_each_sign_in(world):
    people = {**PEOPLE, "eve": {**PEOPLE["bob"], "email": "eve@example.com", "groups": ["gateway-users", "science"]}}
    await world.idp.tell("people", people=people)
    for groups, role, teams in ((None, "member", ("t-science",)), (["gateway-admins"], "admin", ())):
        if groups is not None:
            people["eve"]["groups"] = groups
            await world.idp.tell("people", people=people)
        async with world.browser() as browser:
            assert (await browser.sign_in("eve"))[0] == 200
            me = await browser.me()
        assert (me["role"], await world.gateway.store.teams_of(me["id"])) == (role, teams)
    people["eve"]["groups"] = []
    await world.idp.tell("people", people=people)
    async with world.browser() as browser:
        assert (await browser.sign_in("eve"))[0] == 403


async def test_an_answer_of_the_provider_counts_once_for_the_browser_that_asked(world):
    async with world.browser() as browser, world.browser() as stranger:
        back = await browser.answered("bob")
        assert (await stranger.go(back))[0] == 403
        assert (await browser.go(back.replace("state=", "state=x")))[0] == 403
        assert f"iss={'http%3A%2F%2F'}" in back
        without = re.sub(r"&?iss=[^&]*", "", back)
        for other in (without, without + "&iss=https%3A%2F%2Fevil.example"):
            status, _, text = await browser.go(other)
            assert (status, json.loads(text)["type"]) == (403, "sso_wrong_issuer")
        assert (await browser.go(back))[0] == 200
        status, _, text = await browser.go(back)
        assert (status, json.loads(text)["type"]) == (401, "sso_refused")


async def test_a_code_of_another_sign_in_is_of_no_use(world):
    """An attacker's code in a victim's browser: the verifier is not the one that the code was made for."""
    async with world.browser() as victim, world.browser() as attacker:
        stolen = parse_qs(urlsplit(await attacker.answered("ann")).query)["code"][0]
        own = await victim.answered("bob")
        status, _, text = await victim.go(re.sub(r"code=[^&]*", f"code={stolen}", own))
        assert (status, json.loads(text)["type"]) == (401, "sso_refused")
        assert await victim.me() is None


async def test_who_does_not_agree_comes_back_with_the_providers_reason(world):
    async with world.browser() as browser:
        status, url, page = await browser.to_the_provider()
        assert status == 200
        abort = html.unescape(re.search(r'href="([^"]*/abort)"', page)[1])
        status, where, text = await browser.go(urljoin(url, abort))
        assert where.startswith(world.gateway.root + CALLBACK)
        assert (status, json.loads(text)["type"]) == (401, "sso_refused")
        assert "End-User aborted interaction" in json.loads(text)["detail"]


async def test_new_keys_of_the_provider_are_found(world, monkeypatch):
    async with world.browser() as browser:
        assert (await browser.sign_in("bob"))[0] == 200
    token = await world.issued()
    monkeypatch.setattr("gateway.oidc._KEYS_PAUSE", 0.0)
    await world.idp.tell("rotate")
    async with world.browser() as browser:
        assert (await browser.sign_in("bob"))[0] == 200
    assert await ask(world, await world.issued()) == 200
    flipped = token[:-10] + ("A" if token[-10] != "A" else "B") + token[-9:]
    assert await ask(world, flipped) == 401


async def test_signing_out_ends_the_providers_session_too(world):
    async with world.browser() as browser:
        await browser.sign_in("bob")
        there = await browser.sign_out()
        assert await browser.me() is None
        query = parse_qs(urlsplit(there).query)
        assert query["client_id"] == ["work"]
        assert query["id_token_hint"][0].count(".") == 2
        status, url, page = await browser.go(there)
        assert status == 200
        status, where, _ = await browser.submit(page, url, logout="yes", stop=world.gateway.root + "/")
        assert where.startswith(world.gateway.root + "/")
        _, _, page = await browser.to_the_provider()
        assert 'name="login"' in page  # it asks again who one is


async def test_the_provider_ends_the_sessions_that_it_vouched_for(world):
    async with world.browser() as browser, world.browser() as elsewhere:
        assert (await browser.sign_in("bob"))[0] == 200
        assert (await elsewhere.sign_in("bob"))[0] == 200
        status, url, page = await browser.go(world.idp.url + "/session/end")
        assert status == 200
        status, _, page = await browser.submit(page, url, logout="yes")
        assert status == 200, page
        async with asyncio.timeout(60):
            while await browser.me() is not None:
                await asyncio.sleep(0.05)
        assert await elsewhere.me() is not None  # a session of its own with the provider
    assert any(entry.detail.get("by") == "provider" for entry in await world.entries("logout"))


async def ask(world, token, **headers):
    """The status of a request to the data plane with a token."""
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    async with world.gateway.client.post(
        world.gateway.url + "/chat/completions", data=json.dumps(chat()), headers=headers
    ) as reply:
        await reply.read()
        return reply.status


async def test_a_program_uses_the_providers_token_as_its_credential(world):
    token = await world.issued()
    assert await ask(world, token) == 200
    rows = await world.gateway.rows()
    assert rows[-1].tenant == "default"
    assert rows[-1].key.startswith("jwt_")
    assert token.rpartition(".")[2] not in str(rows)


async def test_a_token_for_something_else_is_refused(world):
    assert await ask(world, await world.issued(resource="urn:other")) == 401
    assert await ask(world, await world.issued(scope="")) == 403
    async with world.browser() as browser:
        await browser.sign_in("bob")
        there = await browser.sign_out()
    id_token = parse_qs(urlsplit(there).query)["id_token_hint"][0]
    assert await ask(world, id_token) == 401  # says who somebody is, and is meant for the sign-in


async def test_an_answer_in_pieces_reaches_the_client(world):
    headers = {"authorization": f"Bearer {await world.issued()}", "content-type": "application/json"}
    async with world.gateway.client.post(
        world.gateway.url + "/chat/completions", data=json.dumps(chat(stream=True)), headers=headers
    ) as reply:
        assert reply.status == 200
        assert (await reply.text()).rstrip().endswith("data: [DONE]")
