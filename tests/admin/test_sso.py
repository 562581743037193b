"""People sign in through an identity provider: the whole way by redirects, what they become, and every way it must not go."""

import time
from urllib.parse import parse_qs, urlsplit

import aiohttp
import msgspec
import pytest
from issuer import FakeIssuer
from joserfc.jwk import RSAKey
from people import PLUGINS
from running import running
from yarl import URL

from gateway.accounts.records import NewUser, Team, Tenant, User
from gateway.store.work import put

CALLBACK = "/api/v1/admin/auth/sso/callback"
ANN = {"sub": "ann-1", "email": "Ann@Example.com", "email_verified": True, "name": "Ann", "groups": ["staff"], "sid": "their-session"}


@pytest.fixture
async def issuer():
    async with FakeIssuer() as made:
        made.person = dict(ANN)
        yield made


class Browser:
    """Follows redirects by hand, keeps cookies, and says so as browsers do."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.client = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))

    async def get(self, url, **headers):
        async with self.client.get(URL(url, encoded=True), allow_redirects=False, headers=headers) as reply:
            return reply.status, reply.headers.get("location", ""), await reply.read()

    async def begin(self, provider="work", return_to="/welcome"):
        return await self.get(f"{self.gateway.url}/admin/auth/sso/initiate?provider={provider}&return_to={return_to}")

    async def sign_in(self, **begin):
        status, there, body = await self.begin(**begin)
        assert status == 302, body
        status, back, _ = await self.get(there)
        assert status == 302
        return await self.get(back)

    async def me(self):
        _, _, body = await self.get(self.gateway.url + "/admin/auth/me")
        return msgspec.json.decode(body)


@pytest.fixture
async def world(tmp_path, issuer):
    """A gateway with one provider; `world(**options)` starts it with these options of the provider."""
    stack = []

    async def start(**options):
        provider = {
            "name": "work", "issuer": issuer.url, "client_id": issuer.client[0], "client_secret": issuer.client[1],
            "allow_private": True, "default_role": "member", **options,
        }
        plugins = [*PLUGINS, {"use": "admin.sso", "with": {"providers": [provider]}}]
        context = running(tmp_path, plugins=plugins)
        gateway = await context.__aenter__()
        browser = Browser(gateway)
        stack.append((context, browser))
        return gateway, browser

    yield start
    for context, browser in stack:
        await browser.client.close()
        await context.__aexit__(None, None, None)


def error(body):
    return msgspec.json.decode(body)


async def test_the_whole_way_makes_an_account_and_a_session(world, issuer):
    gateway, browser = await world()
    status, where, _ = await browser.sign_in()
    assert (status, where) == (302, "/welcome")
    me = await browser.me()
    assert (me["user"]["email"], me["role"], me["tenant"]["id"]) == ("ann@example.com", "member", "default")
    first = me["user"]["id"]
    again = Browser(gateway)
    issuer.person["email"] = "another@example.com"  # the subject counts, not the address
    assert (await again.sign_in())[0] == 302
    assert (await again.me())["user"]["id"] == first
    await again.client.close()


async def test_what_the_browser_is_sent_with_can_be_guessed_by_nobody_and_holds_no_secret(world, issuer):
    gateway, browser = await world()
    seen = set()
    for _ in range(3):
        _, there, _ = await browser.begin()
        query = parse_qs(urlsplit(there).query)
        seen |= {query["state"][0], query["nonce"][0], query["code_challenge"][0]}
        assert query["redirect_uri"] == [gateway.root + CALLBACK]
        assert issuer.client[1] not in there
    assert len(seen) == 9
    cookie = next(cookie for cookie in browser.client.cookie_jar if cookie.key == "gateway-sso")
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"


@pytest.mark.parametrize("groups", [["none"], [], None])
async def test_without_a_group_that_fits_there_is_no_right(world, issuer, groups):
    issuer.person["groups"] = groups
    gateway, browser = await world(default_role=None, roles={"admins": "admin", "staff": "viewer"})
    status, _, body = await browser.sign_in()
    assert (status, error(body)["type"]) == (403, "sso_no_rights")
    assert await gateway.store.find_user("ann@example.com") is None


async def test_groups_decide_role_and_teams_at_each_sign_in(world, issuer):
    gateway, browser = await world(
        default_role=None, roles={"admins": "admin", "staff": "viewer"}, teams={"staff": "t1", "gone": "nowhere"}
    )
    await gateway.store.commit([put(Team(id="t1", tenant="default", name="T", created=1))])
    assert (await browser.sign_in())[0] == 302
    me = await browser.me()
    assert me["role"] == "viewer"
    assert await gateway.store.teams_of(me["id"]) == ("t1",)
    issuer.person["groups"] = ["admins"]
    assert (await browser.sign_in())[0] == 302
    me = await browser.me()
    assert me["role"] == "admin"
    assert await gateway.store.teams_of(me["id"]) == ()
    issuer.person["groups"] = []
    assert (await browser.sign_in())[0] == 403


@pytest.mark.parametrize("claims", [{"email_verified": False}, {"email_verified": None}, {"email": None}, {"email_verified": "yes"}])
async def test_an_address_that_nobody_vouches_for_is_nobodys(world, issuer, claims):
    issuer.person |= claims
    issuer.person = {name: value for name, value in issuer.person.items() if value is not None}
    _, browser = await world()
    status, _, body = await browser.sign_in()
    assert (status, error(body)["type"]) == (403, "sso_unverified")


async def test_an_account_is_linked_only_in_its_tenant_and_never_one_of_the_platform(world, issuer):
    gateway, browser = await world()
    await gateway.store.create_tenant(Tenant(id="other", name="Other", created=1))
    for number, (email, tenant, role, status) in enumerate((
        ("mine@example.com", "default", "viewer", 302), ("theirs@example.com", "other", "viewer", 403),
        ("boss@example.com", "default", "owner", 403), ("reader@example.com", "default", "auditor", 403),
    )):
        user = User(id=f"u{number}", tenant=tenant, email=email, role=role, created=1)
        await gateway.store.create_user(NewUser(user=user, password_hash="x"))
        issuer.person |= {"sub": f"sub-{number}", "email": email}
        assert (await browser.sign_in())[0] == status, email
    assert (await browser.me())["user"]["email"] == "mine@example.com"


@pytest.mark.parametrize("options", [{"link_existing": False}, {"auto_create": False}])
async def test_linking_and_making_accounts_can_be_off(world, issuer, options):
    gateway, browser = await world(**options)
    if "link_existing" in options:
        await gateway.store.create_user(NewUser(user=User(id="u", tenant="default", email="ann@example.com", created=1), password_hash="x"))
    assert (await browser.sign_in())[0] == 403


async def test_who_is_deactivated_here_does_not_come_in(world, issuer):
    gateway, browser = await world()
    await browser.sign_in()
    me = await browser.me()
    await gateway.store.set_user_status(me["id"], "inactive")
    assert (await browser.sign_in())[0] == 403


@pytest.mark.parametrize("spoilt", [
    {"nonce": "another"}, {"nonce": None}, {"aud": "somebody-else"}, {"iss": "https://evil.example"}, {"exp": 1}, {"azp": "other"},
])
async def test_a_token_that_does_not_fit_signs_nobody_in(world, issuer, spoilt):
    issuer.spoilt = spoilt
    _, browser = await world()
    assert (await browser.sign_in())[0] == 401
    assert "user" not in await browser.me()


async def test_an_answer_counts_once_in_the_browser_that_asked_and_in_time(world, issuer, monkeypatch):
    gateway, browser = await world()
    _, there, _ = await browser.begin()
    _, back, _ = await browser.get(there)
    stranger = Browser(gateway)
    assert (await stranger.get(back))[0] == 403
    await stranger.client.close()
    wrong = back.replace("state=", "state=x")
    assert (await browser.get(wrong))[0] == 403
    other_issuer = back.split("&iss=")[0] + "&iss=https%3A%2F%2Fevil.example"
    assert (await browser.get(other_issuer))[0] == 403
    assert (await browser.get(back))[0] == 302
    assert (await browser.get(back))[0] == 401  # the code is used up
    _, there, _ = await browser.begin()
    _, back, _ = await browser.get(there)
    later = int(time.time() * 1000) + 601_000
    monkeypatch.setattr("gateway.admin.signon.now_ms", lambda: later)
    assert (await browser.get(back))[0] == 403


async def test_a_refusal_of_the_provider_is_told(world, issuer):
    gateway, browser = await world()
    _, there, _ = await browser.begin()
    state = parse_qs(urlsplit(there).query)["state"][0]
    status, _, body = await browser.get(f"{gateway.root}{CALLBACK}?error=access_denied&error_description=Not+today&state={state}")
    assert status == 401
    assert "Not today" in error(body)["detail"]
    issuer.client = ("gateway", "rotated")
    assert (await browser.sign_in())[0] == 401


@pytest.mark.parametrize("target", ["https://evil.example", "//evil.example", "/%5Cevil.example", "evil", "/%0d%0aset-cookie:x"])
async def test_nobody_is_sent_elsewhere_afterwards(world, target):
    _, browser = await world()
    status, where, _ = await browser.sign_in(return_to=target)
    assert (status, where) == (302, "/")


async def test_the_provider_can_end_its_sessions(world, issuer):
    gateway, browser = await world()
    await browser.sign_in()
    url = gateway.url + "/admin/auth/sso/backchannel/work"
    events = {"events": {"http://schemas.openid.net/event/backchannel-logout": {}}, "aud": issuer.client[0]}
    for wrong in ({"events": {}}, {"nonce": "x"}, {"aud": "other"}, {"exp": 1}):
        token = issuer.token(**{**events, "sid": "their-session", **wrong})
        async with gateway.client.post(url, data={"logout_token": token}) as reply:
            assert reply.status == 400
            assert (await reply.json())["error"] == "invalid_request"
    assert "user" in await browser.me()
    async with gateway.client.post(url, data={"logout_token": issuer.token(**events, sub=None, sid="another")}) as reply:
        assert reply.status == 200
    assert "user" in await browser.me()
    async with gateway.client.post(url, data={"logout_token": issuer.token(**events, sub=None, sid="their-session")}) as reply:
        assert reply.status == 200
    assert "user" not in await browser.me()
    await browser.sign_in()
    for made, status in ((2, 400), (0, 200)):  # older providers give it no end
        token = issuer.token(**events, sub="ann-1", exp=None, iat=int(time.time()) - made * 600)
        async with gateway.client.post(url, data={"logout_token": token}) as reply:
            assert reply.status == status
    assert "user" not in await browser.me()
    async with gateway.client.post(url, json={"logout_token": "x"}) as reply:
        assert reply.status == 415


async def test_signing_out_leads_to_the_providers_own_end(world, issuer):
    gateway, browser = await world()
    await browser.sign_in()
    url = gateway.url + "/admin/auth/sso/logout"
    async with browser.client.post(url, headers={"origin": gateway.root, "sec-fetch-site": "same-origin"}) as reply:
        told = await reply.json()
    assert told["logout_url"].startswith(issuer.url + "/end?client_id=gateway&")
    assert parse_qs(urlsplit(told["logout_url"]).query)["id_token_hint"][0].count(".") == 2
    assert "user" not in await browser.me()


async def test_signing_out_works_while_the_provider_is_away(world, issuer, monkeypatch):
    gateway, browser = await world()
    await browser.sign_in()
    await issuer._server.close()
    monkeypatch.setattr("gateway.oidc._METADATA_FOR", 0.0)
    url = gateway.url + "/admin/auth/sso/logout"
    async with browser.client.post(url, headers={"origin": gateway.root, "sec-fetch-site": "same-origin"}) as reply:
        assert (reply.status, await reply.json()) == (200, {"logout_url": ""})
    assert "user" not in await browser.me()


@pytest.mark.parametrize(("told", "status"), [
    ({"sub": "ann-1", "email": "ann@example.com", "email_verified": True, "groups": ["staff"]}, 302),
    ({"sub": "ann-1", "email": "ann@example.com", "email_verified": False}, 403),
    ({"sub": "somebody-else", "email": "ann@example.com", "email_verified": True}, 401),
    ({"email": "ann@example.com", "email_verified": True}, 401),
    (None, 503),
])
async def test_what_the_token_lacks_the_provider_is_asked_for(world, issuer, told, status):
    """Many providers put nothing but the subject into the ID token."""
    issuer.person = {"sub": "ann-1", "sid": "their-session"}
    issuer.userinfo = told
    issuer.metadata["userinfo_endpoint"] = issuer.url + "/userinfo"
    gateway, browser = await world(default_role=None, roles={"staff": "viewer"})
    assert (await browser.sign_in())[0] == status
    assert (await gateway.store.find_user("ann@example.com") is not None) == (status == 302)


@pytest.mark.parametrize(("away", "status"), [(-30, 302), (30, 302), (-100, 401), (100, 401)])
async def test_clocks_may_differ_by_a_minute(world, issuer, away, status):
    now = int(time.time())
    issuer.spoilt = {"exp": now + away} if away < 0 else {"iat": now + away, "nbf": now + away}
    _, browser = await world()
    assert (await browser.sign_in())[0] == status


async def test_an_answer_must_name_its_issuer_where_the_provider_always_does(world, issuer):
    issuer.metadata["authorization_response_iss_parameter_supported"] = True
    _, browser = await world()
    _, there, _ = await browser.begin()
    _, back, _ = await browser.get(there)
    status, _, body = await browser.get(back.split("&iss=")[0])
    assert (status, error(body)["type"]) == (403, "sso_wrong_issuer")
    assert (await browser.get(back))[0] == 302


@pytest.mark.parametrize(("claims", "status"), [
    ({"aud": ["gateway", "another"]}, 401), ({"aud": ["gateway", "another"], "azp": "gateway"}, 302), ({"aud": ["gateway"]}, 302),
])
async def test_a_token_for_several_says_whom_it_was_made_for(world, issuer, claims, status):
    issuer.spoilt = claims
    _, browser = await world()
    assert (await browser.sign_in())[0] == status


async def test_keys_without_names_and_new_keys_under_an_old_name_are_found(world, issuer, monkeypatch):
    monkeypatch.setattr("gateway.oidc._KEYS_PAUSE", 0.0)
    _, browser = await world()
    assert (await browser.sign_in())[0] == 302
    issuer.keys = [RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})]
    assert (await browser.sign_in())[0] == 302
    issuer.keys = [RSAKey.generate_key(2048, {"use": "sig"}), RSAKey.generate_key(2048, {"use": "sig"})]
    assert (await browser.sign_in())[0] == 302


async def test_the_configuration_shows_no_secret_and_needs_the_right(world, issuer):
    gateway, browser = await world()
    assert (await browser.get(gateway.url + "/admin/sso/config"))[0] == 401
    await browser.sign_in()
    assert (await browser.get(gateway.url + "/admin/sso/config"))[0] == 403  # a member
    issuer.person = {**ANN, "sub": "admin", "email": "admin@example.com"}
    user = User(id="adm", tenant="default", email="admin@example.com", role="admin", created=1)
    await gateway.store.create_user(NewUser(user=user, password_hash="x"))
    await browser.sign_in()
    status, _, body = await browser.get(gateway.url + "/admin/sso/config")
    assert status == 200
    shown = error(body)["providers"][0]
    assert (shown["issuer"], shown["has_secret"], shown["redirect_uri"]) == (issuer.url, True, gateway.root + CALLBACK)
    assert issuer.client[1] not in body.decode()
    status, _, body = await browser.get(gateway.url + "/admin/auth/sso/providers")
    assert error(body) == {"providers": [{"name": "work", "title": "work"}]}


async def test_looking_at_an_issuer_reaches_no_private_address(world, issuer):
    gateway, browser = await world()
    issuer.person = {**ANN, "sub": "admin", "email": "admin@example.com"}
    user = User(id="adm", tenant="default", email="admin@example.com", role="admin", created=1)
    await gateway.store.create_user(NewUser(user=user, password_hash="x"))
    await browser.sign_in()
    before = dict(issuer.asked)
    headers = {"origin": gateway.root, "sec-fetch-site": "same-origin"}
    for address in (issuer.url, "http://169.254.169.254/latest", "https://127.0.0.1:1"):
        async with browser.client.post(gateway.url + "/admin/sso/discover", json={"issuer": address}, headers=headers) as reply:
            assert reply.status == 503
    assert issuer.asked == before


async def test_nothing_of_a_sign_in_is_left_in_files_logs_metrics_or_the_audit(world, issuer, tmp_path, capfd):
    made = []
    real = issuer.token
    issuer.token = lambda **claims: made.append(real(**claims)) or made[-1]
    gateway, browser = await world()
    _, there, _ = await browser.begin()
    _, back, _ = await browser.get(there)
    assert (await browser.get(back))[0] == 302
    cookies = {cookie.key: cookie.value for cookie in browser.client.cookie_jar}
    secrets = {issuer.client[1], *made, parse_qs(urlsplit(back).query)["state"][0], *cookies.values()}
    secrets |= {token.rpartition(".")[2] for token in made} | {parse_qs(urlsplit(there).query)["nonce"][0]}
    assert len(secrets) >= 6
    seen = {path.name: path.read_bytes().decode("latin-1") for path in (tmp_path / "data").rglob("*") if path.is_file()}
    async with gateway.client.get(gateway.root + "/metrics") as reply:
        seen["metrics"] = await reply.text()
    seen["audit"] = str(await gateway.store.audit_page({}, limit=500))
    seen["me"] = str(await browser.me())
    seen["output"] = str(capfd.readouterr())
    for where, text in seen.items():
        assert not [secret[:8] for secret in secrets if secret in text], where
