"""Credentials of providers: who may write them, that nobody reads them, and which one a request carries."""

import asyncio

import pytest
from people import MODELS, PLUGINS, Accounts, Passwords, World
from running import running

from gateway.accounts.records import Credential, Tenant
from gateway.store.work import change
from gateway.testing import FakeUpstream

CONFIGURED, MINE, NEWER, EVERYBODYS = (f"sk-upstream-{name}-0123456789" for name in ("conf", "mine", "newer", "all"))
SECRETS = (MINE, NEWER, EVERYBODYS)


@pytest.fixture
async def upstream():
    async with FakeUpstream() as fake:
        yield fake


@pytest.fixture
async def it(tmp_path, upstream):
    options = {"base_url": upstream.url, "api_key": CONFIGURED}
    providers = [
        {"name": "up", "use": "provider.openai_compatible", "with": options},
        {"name": "bare", "use": "provider.openai", "with": {"base_url": upstream.url, "stored_key": True}},
    ]
    plugins = [*PLUGINS, {"use": "secret.stored"}]
    models = [*MODELS, {"name": "b", "targets": ["bare/gpt-4o"]}]
    prices = [{"model": f"{name}/*", "input": "1", "output": "1"} for name in ("up", "bare")]
    async with running(tmp_path, providers=providers, models=models, plugins=plugins, prices=prices) as gateway:
        secret = gateway.process.gateway.secret
        made = World(gateway, Accounts(gateway.store, secret, passwords=Passwords(secret, cost=1 << 4)))
        made.hash = "none"
        made.upstream, made.directory = upstream, tmp_path
        await gateway.store.create_tenant(Tenant(id="other", name="Other", created=5))
        for role in ("owner", "auditor", "admin", "member", "viewer"):
            await made.person(role, role)
        await made.person("foreign", "admin", "other")
        yield made


async def stored(it, who="admin", secret=MINE, provider="up", status=201, query=""):
    body = {"provider": provider, "secret": secret, "name": "main"}
    return await it.call(who, "POST", "/credentials" + query, body, status=status)


async def carried(it, model="m"):
    """What the upstream got as credential."""
    status = await it.chat(it.gateway.key, model)
    return it.upstream.requests[-1].headers["authorization"].removeprefix("Bearer ") if status == 200 else status


async def test_a_stored_credential_is_used_at_once_and_the_configured_one_after_its_end(it):
    assert await carried(it) == CONFIGURED
    made = await stored(it)
    assert await carried(it) == MINE
    await it.call("admin", "PATCH", f"/credentials/{made['id']}", {"secret": NEWER}, status=200)
    assert await carried(it) == NEWER
    await it.call("admin", "DELETE", f"/credentials/{made['id']}", status=204)
    assert await carried(it) == CONFIGURED


async def test_a_tenants_own_comes_before_the_platforms_and_is_nobody_elses(it):
    await stored(it, "owner", EVERYBODYS)
    assert await carried(it) == EVERYBODYS
    await stored(it, "foreign", NEWER)
    assert await carried(it) == EVERYBODYS
    await stored(it, "admin", MINE)
    assert await carried(it) == MINE


async def test_a_provider_without_a_configured_key_needs_a_stored_one(it):
    assert await carried(it, "b") == 403
    assert it.upstream.requests == []
    await stored(it, "owner", EVERYBODYS, "bare")
    assert await carried(it, "b") == EVERYBODYS


async def test_no_answer_log_entry_or_file_has_the_text(it, capfd):
    made = await stored(it)
    again = await it.call("admin", "GET", f"/credentials/{made['id']}", status=200)
    listed = await it.call("owner", "GET", "/credentials", status=200)
    assert (again["last_four"], len(again["fingerprint"])) == (MINE[-4:], 16)
    await it.call("admin", "PATCH", f"/credentials/{made['id']}", {"secret": NEWER}, status=200)
    await carried(it)
    entries = await it.entries()
    assert [entry.action for entry in entries if entry.resource_type == "credential"] == ["credential_updated", "credential_created"]
    texts = [repr(told.body) for told in (made, again, listed)] + [repr(entries), *capfd.readouterr()]
    files = b"".join(path.read_bytes() for path in it.directory.rglob("*") if path.is_file())
    for secret in SECRETS:
        assert not [text for text in texts if secret in text]
        assert secret.encode() not in files


async def test_who_may_not_write_or_see_them_is_refused(it):
    made = await stored(it)
    for role in ("auditor", "member", "viewer"):
        await stored(it, role, status=403)
        await it.call(role, "GET", "/credentials", status=403)
    for method, body in (("GET", None), ("PATCH", {"name": "x"}), ("DELETE", None)):
        await it.call("foreign", method, f"/credentials/{made['id']}", body, status=404)
    assert (await it.call("foreign", "GET", "/credentials"))["items"] == []
    assert (await it.call("foreign", "GET", "/credentials?tenant=default"))["items"] == []
    await stored(it, "foreign", query="?tenant=default", status=404)


async def test_a_platforms_credential_is_out_of_a_tenants_reach(it):
    made = await stored(it, "owner", EVERYBODYS)
    assert made["tenant_id"] is None
    await it.call("admin", "DELETE", f"/credentials/{made['id']}", status=404)
    assert (await it.call("admin", "GET", "/credentials"))["items"] == []


@pytest.mark.parametrize("secret", ["short", "with a line\nbreak", " around " * 3, "ümlaut-ümlaut-ümlaut", "x" * 8193])
async def test_a_text_that_no_header_can_carry_is_refused(it, secret):
    told = await stored(it, secret=secret, status=422)
    assert told["errors"][0]["path"] == "secret"
    assert secret not in repr(told.body)


async def test_one_for_each_provider_of_the_configuration(it):
    await stored(it)
    assert (await stored(it, status=409))["type"] == "credential_exists"
    assert (await stored(it, provider="nowhere", status=422))["errors"][0]["path"] == "provider"


async def test_a_version_that_is_not_the_last_one_changes_nothing(it):
    made = await stored(it)
    await it.call("admin", "PATCH", f"/credentials/{made['id']}", {"secret": NEWER}, if_match='"7"', status=412)
    assert await carried(it) == MINE


async def test_a_credential_moved_to_another_row_by_hand_does_not_open(it):
    made, other = await stored(it), await stored(it, "foreign", NEWER)
    sealed = await it.store.secret(Credential, "sealed", id=other["id"])
    await it.store.commit([change(Credential, {"id": made["id"]}, {"sealed": sealed})], bump=True)
    assert await carried(it) == 503


async def test_known_credentials_stay_in_use_while_the_database_is_away(it, monkeypatch):
    await stored(it)
    assert await carried(it) == MINE
    from gateway.store import StoreUnavailable

    async def away(*args, **where):
        raise StoreUnavailable("away")

    known = await it.store.find_key(it.gateway.key[6:18])

    async def found(key):
        return known

    monkeypatch.setattr(it.store, "page", away)
    monkeypatch.setattr(it.store, "find_key", found)
    await it.gateway.process.gateway.state.bump("auth")
    assert await carried(it) == MINE


async def test_many_requests_at_once_ask_for_it_once(it, monkeypatch):
    await stored(it)
    page, asked = it.store.page, []

    async def counted(kind, *args, **options):
        asked.append(kind)
        return await page(kind, *args, **options)

    monkeypatch.setattr(it.store, "page", counted)
    await it.gateway.process.gateway.state.bump("auth")
    await asyncio.gather(*(it.chat(it.gateway.key) for _ in range(20)))
    assert asked.count(Credential) == 1


