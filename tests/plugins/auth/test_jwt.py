"""`auth.jwt`: only a token that its issuer signed for us, and that holds now, is a credential; and what it says counts."""

import time
from base64 import urlsafe_b64encode

import msgspec
import pytest
from issuer import FakeIssuer
from joserfc.jwk import RSAKey
from running import PLUGINS, running

from gateway.accounts.records import Limits, Team, Tenant
from gateway.store.work import put
from gateway_plugins.auth.jwt import JWT, Options

MODELS = [{"name": "m", "targets": ["demo/demo-small"]}, {"name": "other", "targets": ["demo/demo-small"]}]
DEMO = [{"name": "demo", "use": "provider.demo"}]


@pytest.fixture
async def issuer():
    async with FakeIssuer() as made:
        yield made


@pytest.fixture
async def gateway(tmp_path, issuer):
    options = {
        "issuer": issuer.url, "audience": ["ai-gateway", "other"], "tenant": "default", "allow_private": True,
        "claims": {"models": "models", "team": "team", "name": "email"}, "required": {"realm.roles": "ai-user"},
    }
    plugins = [*PLUGINS, {"use": "auth.jwt", "with": options}]
    async with running(tmp_path, providers=DEMO, models=MODELS, plugins=plugins) as made:
        yield made


async def ask(gateway, token, model="m"):
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    headers = {"authorization": f"Bearer {token}"}
    async with gateway.client.post(gateway.url + "/chat/completions", json=body, headers=headers) as reply:
        return reply.status, await reply.json()


ROLE = {"realm": {"roles": ["x", "ai-user"]}}


async def test_a_good_token_is_a_credential_and_its_subject_is_in_the_ledger(gateway, issuer):
    token = issuer.token(email="ann@example.com", **ROLE)
    for _ in range(3):
        assert (await ask(gateway, token))[0] == 200
    rows = await gateway.rows(3)
    assert {(row.tenant, row.key_name) for row in rows} == {("default", "ann@example.com")}
    assert len({row.key for row in rows}) == 1
    assert token not in repr(rows)
    assert issuer.asked == {"/.well-known/openid-configuration": 1, "/keys": 1}
    assert (await ask(gateway, gateway.key))[0] == 200  # keys go on


@pytest.mark.parametrize(("wrong", "says"), [
    ({"aud": "somebody-else"}, "another service"), ({"aud": None}, "another service"), ({"exp": 1}, "expired"),
    ({"exp": None}, "no end"), ({"nbf": 1 << 40}, "not valid yet"), ({"iat": 1 << 40}, "not valid yet"),
    ({"sub": None}, "nobody"), ({"sub": 7}, "nobody"), ({"exp": "later"}, "no end"), ({"aud": [1, None]}, "another service"),
])
async def test_a_token_that_does_not_hold_is_refused_and_says_why(gateway, issuer, wrong, says):
    status, body = await ask(gateway, issuer.token(**ROLE, **wrong))
    assert status == 401
    assert says in body["error"]["message"]


async def test_forged_tokens_are_refused(gateway, issuer):
    good = issuer.token(**ROLE)
    head, payload, signature = good.split(".")
    none = urlsafe_b64encode(msgspec.json.encode({"alg": "none", "typ": "JWT"})).rstrip(b"=").decode()
    stranger = RSAKey.generate_key(2048, {"kid": "one"})
    forged = [
        f"{none}.{payload}.", f"{none}.{payload}.{signature}", f"{head}.{payload}.", f"{head}.{payload}.{signature[:-8]}AAAAAAAA",
        issuer.token(key=stranger, **ROLE), issuer.token(alg="RS512", **ROLE),
        issuer.signed_with_the_public_key(**ROLE),
        issuer.token(header={"kid": "../../etc/passwd"}, **ROLE), f"{head}.{payload[:-4]}AAAA.{signature}",
    ]
    for token in forged:
        status, body = await ask(gateway, token)
        assert status == 401, token
        assert payload not in msgspec.json.encode(body).decode()


async def test_tokens_of_others_and_things_that_look_like_tokens_are_an_unknown_credential(gateway, issuer):
    for token in (issuer.token(iss="https://evil.example", **ROLE), "a.b.c", "..", "x.eyJ9.y"):
        assert (await ask(gateway, token))[0] == 401
    assert "/keys" not in issuer.asked


async def test_a_rotated_key_is_found_and_unknown_ones_do_not_storm_the_issuer(gateway, issuer, monkeypatch):
    assert (await ask(gateway, issuer.token(**ROLE)))[0] == 200
    issuer.rotate()
    monkeypatch.setattr("gateway.oidc._KEYS_PAUSE", 0.0)
    assert (await ask(gateway, issuer.token(**ROLE)))[0] == 200
    monkeypatch.setattr("gateway.oidc._KEYS_PAUSE", 10.0)
    before = issuer.asked["/keys"]
    for number in range(5):
        assert (await ask(gateway, issuer.token(header={"kid": f"made-up-{number}"}, **ROLE)))[0] == 401
    assert issuer.asked["/keys"] == before


async def test_a_required_claim_that_is_missing_is_403(gateway, issuer):
    status, body = await ask(gateway, issuer.token(realm={"roles": ["x"]}))
    assert status == 403
    assert "ai-user" in body["error"]["message"]


async def test_a_tokens_models_are_all_that_it_may_use(gateway, issuer):
    token = issuer.token(models=["m"], **ROLE)
    assert (await ask(gateway, token))[0] == 200
    assert (await ask(gateway, token, "other"))[0] == 403
    assert (await ask(gateway, issuer.token(models="m other", **ROLE), "other"))[0] == 200
    assert (await ask(gateway, issuer.token(models=[], **ROLE)))[0] == 403


async def test_a_team_of_the_tenant_counts_with_its_limits_and_a_strangers_does_not(gateway, issuer):
    store = gateway.store
    await store.create_tenant(Tenant(id="other", name="Other", created=1))
    await store.commit([put(Team(id="t1", tenant="default", name="T", created=1, limits=Limits(requests_per_minute=1)))])
    await store.commit([put(Team(id="t2", tenant="other", name="T", created=1))])
    first, second = (issuer.token(team="t1", sub=name, **ROLE) for name in ("ann", "bob"))
    assert (await ask(gateway, first))[0] == 200
    assert (await ask(gateway, second))[0] == 429
    for strange in ("t2", "nowhere"):
        assert (await ask(gateway, issuer.token(team=strange, **ROLE)))[0] == 403


async def test_a_disabled_tenant_kills_its_tokens_at_once(gateway, issuer):
    token = issuer.token(**ROLE)
    assert (await ask(gateway, token))[0] == 200
    await gateway.store.set_tenant_active("default", False)
    assert (await ask(gateway, token))[0] == 401


async def test_a_token_that_was_seen_ends_when_it_ends(gateway, issuer, monkeypatch):
    token = issuer.token(**ROLE)
    assert (await ask(gateway, token))[0] == 200
    later = int((time.time() + 400) * 1000)
    monkeypatch.setattr("gateway_plugins.auth.jwt.now_ms", lambda: later)
    status, body = await ask(gateway, token)
    assert (status, body["error"]["code"]) == (401, "token_expired")


async def test_an_issuer_that_is_away_is_503_and_comes_back(tmp_path):
    async with FakeIssuer() as issuer:
        options = {"issuer": issuer.url, "audience": ["ai-gateway"], "tenant": "default", "allow_private": True}
        async with running(tmp_path, providers=DEMO, models=MODELS, plugins=[*PLUGINS, {"use": "auth.jwt", "with": options}]) as gateway:
            issuer.metadata = {"issuer": "https://somebody-else.example"}
            status, body = await ask(gateway, issuer.token())
            assert status == 503
            assert "calls itself" in body["error"]["message"]
            issuer.metadata = {}
            assert (await ask(gateway, issuer.token()))[0] == 200


@pytest.mark.parametrize(("changes", "says"), [
    ({"algorithms": ("HS256",)}, "HS256"), ({"algorithms": ("none",)}, "none"), ({"tenant": ""}, "tenant"),
    ({"issuer": "http://login.example.com"}, "https"),
])
def test_options_that_cannot_be_safe_are_refused(changes, says):
    options = {"issuer": "https://login.example.com", "audience": ("a",), "tenant": "t", **changes}
    with pytest.raises(ValueError, match=says):
        JWT(Options(**options))
