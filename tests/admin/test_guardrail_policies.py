"""Guardrail policies over HTTP: who may make them, what is refused, that they hold at once, and what stays known."""

import asyncio

import msgspec
import pytest
from people import MODELS, PLUGINS, Accounts, Passwords, World
from running import running

from gateway.accounts.records import Tenant
from gateway.testing import FakeUpstream

CARD = {"use": "guardrail.regex", "name": "card", "action": "block", "with": {"patterns": ["[0-9]{4}-[0-9]{4}"]}}
WORD = {"use": "guardrail.keywords", "action": "block", "with": {"deny": {"fruit": ["banana"]}}}
JUDGE = {"use": "guardrail.http", "name": "judge", "with": {"url": "https://judge.example.com/check"}}


@pytest.fixture
async def it(tmp_path):
    async with FakeUpstream() as upstream:
        options = {"base_url": upstream.url, "api_key": "upstream-credential-000"}
        providers = [{"name": "up", "use": "provider.openai_compatible", "with": options}]
        settings = {"policies": [
            {"name": "ours", "rules": [WORD]}, {"name": "judged", "rules": [JUDGE]},
        ]}  # fmt: skip
        prices = [{"model": "up/*", "input": "1", "output": "1"}]
        async with running(
            tmp_path, providers=providers, models=MODELS, plugins=PLUGINS, prices=prices, guardrails=settings
        ) as gateway:
            secret = gateway.process.gateway.secret
            made = World(gateway, Accounts(gateway.store, secret, passwords=Passwords(secret, cost=1 << 4)))
            made.hash, made.upstream = "none", upstream
            await gateway.store.create_tenant(Tenant(id="other", name="Other", created=5))
            for role in ("owner", "auditor", "admin", "member"):
                await made.person(role, role)
            await made.person("foreign", "admin", "other")
            yield made


async def make(it, who="admin", status=201, query="", **fields):
    body = {"name": "cards", "rules": [CARD], **fields}
    return await it.call(who, "POST", "/guardrails/policies" + query, body, status=status)


async def says(it, text, **fields):
    """The status of a request with this text, and its error's code."""
    body = {"model": "m", "messages": [{"role": "user", "content": text}], **fields}
    async with it.gateway.post(json=body) as reply:
        told = await reply.json()
        return reply.status, told.get("error", {}).get("code")


async def test_a_policy_is_made_and_holds_for_the_tenant_at_once(it):
    made = await make(it, description="No cards")
    assert made.headers["etag"] == '"1"'
    assert (made["source"], made["read_only"], made["tenant_id"], made["version"]) == ("database", False, "default", 1)
    assert made["rules"] == [CARD]
    assert await says(it, "1234-5678", guardrail_policy="cards") == (400, "content_policy_violation")
    await it.call("admin", "PATCH", "/tenants/default", {"guardrail_policy": "cards"}, status=200)
    assert await says(it, "1234-5678") == (400, "content_policy_violation")
    assert (await says(it, "hello"))[0] == 200
    await it.call("admin", "PATCH", f"/guardrails/policies/{made['id']}", {"rules": [WORD]}, status=200)
    assert (await says(it, "1234-5678"))[0] == 200
    assert await says(it, "banana") == (400, "content_policy_violation")


async def test_the_configurations_policies_are_listed_and_read_only(it):
    await make(it)
    told = await it.call("auditor", "GET", "/guardrails/policies", status=200)
    found = {each["name"]: each for each in told["items"]}
    assert {name: each["source"] for name, each in found.items()} == {
        "default": "shipped", "strict": "shipped", "finance": "shipped", "permissive": "shipped",
        "ours": "configuration", "judged": "configuration", "cards": "database",
    }  # fmt: skip
    assert "judge.example.com" not in msgspec.json.encode(told.body).decode()
    assert (await it.call("admin", "GET", "/guardrails/policies/ours", status=200))["read_only"]
    for method, body in (("PATCH", {"description": "x"}), ("DELETE", None)):
        for name in ("ours", "default"):
            told = await it.call("owner", method, f"/guardrails/policies/{name}", body)
            assert (told.status, told["type"]) == (409, "policy_read_only")
    for name in ("ours", "default", "cards"):
        assert (await make(it, status=409, name=name))["type"] == "policy_exists"


WRONG = [
    ({"rules": [{**CARD, "action": "explode"}]}, "rules[0].action"),
    ({"rules": [CARD, {"use": "guardrail.rgex"}]}, "rules[1].use"),
    ({"rules": [{"use": "limiter.requests"}]}, "rules[0].use"),
    ({"rules": [{"use": "guardrail.regex", "with": {"patterns": ["a("]}}]}, "rules[0].with"),
    ({"rules": [{"use": "guardrail.regex", "with": {"patterns": "a"}}]}, "rules[0].with.patterns"),
    ({"rules": [{"use": "guardrail.pii", "with": {"nothing": 1}}]}, "rules[0].with.nothing"),
    ({"rules": [{"use": "guardrail.pii", "threshold": 2}]}, "rules[0].threshold"),
    ({"rules": [CARD, CARD]}, "rules[1].name"),
    ({"rules": [JUDGE]}, "rules[0].with"),
    ({"rules": [{"use": "guardrail.http", "name": "mine"}]}, "rules[0].name"),
    ({"rules": [{"use": "guardrail.pii", "action": "pseudonymise", "stage": "output"}]}, "rules[0].action"),
    ({"shadow_of": "nobody"}, "shadow_of"),
    ({"name": "two words"}, "name"),
    ({"rules": {}}, "rules"),
    ({"extra": 1}, "extra"),
]


@pytest.mark.parametrize(("fields", "path"), WRONG)
async def test_what_is_wrong_is_named_by_its_field_and_nothing_is_stored(it, fields, path):
    told = await make(it, status=422, **fields)
    assert [each["path"] for each in told["errors"]] == [path]
    made = await make(it)
    told = await it.call("admin", "PATCH", f"/guardrails/policies/{made['id']}", fields, status=422)
    assert [each["path"] for each in told["errors"]] == [path]
    assert (await it.call("admin", "GET", f"/guardrails/policies/{made['id']}"))["version"] == 1


async def test_a_service_of_the_configuration_is_used_by_its_name(it):
    made = await make(it, rules=[{"use": "guardrail.http", "name": "judge", "on_error": "open"}])
    stage = it.gateway.process.gateway.snapshot.plugins.members[-1].plugin
    assert made["rules"] == [{"use": "guardrail.http", "name": "judge", "on_error": "open"}]
    for member in it.gateway.process.gateway.snapshot.plugins.members:
        if member.id == "guardrails":
            stage = member.plugin
    book = await stage.stored.book("default")
    assert book.entries["cards"].rules[0].with_ == JUDGE["with"]


async def test_a_change_needs_the_version_that_was_read_where_one_is_named(it):
    made = await make(it)
    path = f"/guardrails/policies/{made['id']}"
    changed = await it.call("admin", "PATCH", path, {"description": "b"}, status=200, if_match='"1"')
    assert changed.headers["etag"] == '"2"'
    assert (await it.call("admin", "PATCH", path, {"description": "c"}, if_match='"1"')).status == 412
    assert (await it.call("admin", "DELETE", path, if_match='"1"')).status == 412
    same = await it.call("admin", "PATCH", path, {"description": "b"}, status=200)
    assert same["version"] == 2
    results = await asyncio.gather(*(it.call("admin", "PATCH", path, {"label": f"v{n}"}) for n in range(4)))
    assert {each.status for each in results} == {200}
    versions = await it.call("admin", "GET", path + "/versions", status=200)
    assert [each["number"] for each in versions["items"]] == [6, 5, 4, 3, 2, 1]


async def test_every_version_stays_known_and_can_hold_again(it):
    made = await make(it)
    path = f"/guardrails/policies/{made['id']}"
    await it.call("admin", "PATCH", path, {"rules": [WORD]}, status=200)
    assert (await says(it, "1234-5678", guardrail_policy="cards"))[0] == 200
    restored = await it.call("admin", "POST", path + "/restore", {"version": 1}, status=200)
    assert (restored["version"], restored["rules"]) == (3, [CARD])
    assert (await says(it, "1234-5678", guardrail_policy="cards"))[0] == 400
    await it.call("admin", "POST", path + "/restore", {"version": 9}, status=404)
    await it.call("admin", "DELETE", path, status=204)
    await it.call("admin", "GET", path, status=404)
    versions = (await it.call("auditor", "GET", path + "/versions", status=200))["items"]
    assert [(each["number"], each["done"]) for each in versions] == [
        (4, "deleted"), (3, "restored"), (2, "changed"), (1, "created"),
    ]  # fmt: skip
    assert await says(it, "hello", guardrail_policy="cards") == (400, "unknown_guardrail_policy")
    done = {entry.action for entry in await it.entries() if entry.resource_id == made["id"]}
    assert done == {"policy_created", "policy_changed", "policy_deleted"}


async def test_a_policy_in_use_stays(it):
    made = await make(it)
    path = f"/guardrails/policies/{made['id']}"
    team = await it.call("admin", "POST", "/teams", {"name": "blue", "guardrail_policy": "cards"}, status=201)
    told = await it.call("admin", "DELETE", path, status=409)
    assert told["type"] == "policy_in_use"
    assert "1 team" in told["detail"]
    assert (await it.call("admin", "PATCH", path, {"name": "else"})).status == 409
    await it.call("admin", "PATCH", f"/teams/{team['id']}", {"guardrail_policy": None}, status=200)
    await it.call("admin", "PATCH", path, {"name": "else"}, status=200)
    assert (await says(it, "1234-5678", guardrail_policy="else"))[0] == 400
    await it.call("admin", "DELETE", path, status=204)


async def test_a_key_has_a_policy_of_its_own_that_its_owner_cannot_take_away(it):
    await make(it)
    key = await it.call("admin", "POST", "/users/member/api-keys", {"name": "k", "guardrail_policy": "cards"}, status=201)
    body = {"model": "m", "messages": [{"role": "user", "content": "1234-5678"}]}

    async def status():
        async with it.gateway.post(json=body, headers={"authorization": f"Bearer {key['api_key']}"}) as reply:
            await reply.read()
            return reply.status

    assert await status() == 400
    told = await it.call("member", "PATCH", f"/api-keys/{key['id']}", {"guardrail_policy": None})
    assert told.status == 403
    await it.call("admin", "PATCH", f"/api-keys/{key['id']}", {"guardrail_policy": "nobody"}, status=422)
    await it.call("admin", "PATCH", f"/api-keys/{key['id']}", {"guardrail_policy": None}, status=200)
    assert await status() == 200


async def test_tenants_have_their_own_and_the_platforms(it):
    await make(it, "owner", name="everybodys")
    mine = await make(it, "admin")
    assert (await make(it, "foreign", name="everybodys", status=409))["type"] == "policy_exists"
    await make(it, "foreign")  # the same name in another tenant
    names = [each["name"] for each in (await it.call("foreign", "GET", "/guardrails/policies"))["items"]]
    assert names.count("cards") == 1
    assert "everybodys" in names
    await it.call("foreign", "GET", f"/guardrails/policies/{mine['id']}", status=404)
    shared = await it.call("admin", "GET", "/guardrails/policies?search=everybodys", status=200)
    told = await it.call("admin", "PATCH", f"/guardrails/policies/{shared['items'][0]['id']}", {"description": "x"})
    assert (told.status, told["type"]) == (403, "policy_of_platform")
    assert (await says(it, "1234-5678", guardrail_policy="everybodys"))[0] == 400
    await it.call("owner", "POST", "/guardrails/policies?tenant=nobody", {"name": "a"}, status=404)


async def test_a_draft_runs_beside_the_live_policy_and_changes_nothing(it):
    await it.call("admin", "PATCH", "/tenants/default", {"guardrail_policy": "ours"}, status=200)
    await make(it, name="stricter", shadow_of="ours")
    assert (await says(it, "1234-5678"))[0] == 200
    assert await says(it, "hello", guardrail_policy="stricter") == (400, "unknown_guardrail_policy")
    await it.call("admin", "PATCH", "/tenants/default", {"guardrail_policy": "stricter"}, status=422)
    async with asyncio.timeout(60):
        while True:
            async with it.gateway.client.get(it.gateway.root + "/metrics") as reply:
                if 'rule="stricter/card"' in await reply.text():
                    return
            await asyncio.sleep(0.05)


async def test_a_policy_is_tried_before_it_is_stored(it):
    told = await it.call("admin", "POST", "/guardrails/test", {"text": "1234-5678", "rules": [CARD]}, status=200)
    assert (told["blocked"], told["policy"]) == (True, ["draft"])
    told = await it.call("admin", "POST", "/guardrails/test", {"text": "banana", "policy": "ours"}, status=200)
    assert told["blocked"]
    told = await it.call("admin", "POST", "/guardrails/test", {"text": "x", "rules": [{"use": "guardrail.no"}]})
    assert (told.status, told["errors"][0]["path"]) == (422, "rules[0].use")
    await it.call("admin", "POST", "/guardrails/test", {"text": "x", "policy": "nobody"}, status=422)


async def test_an_api_key_reads_the_policies_of_its_tenant(it):
    await make(it)
    async with it.gateway.get("/guardrails/policies") as reply:
        told = {each["name"]: each["source"] for each in (await reply.json())["policies"]}
    assert told["cards"] == "database"
    async with it.gateway.post("/guardrails/test", json={"text": "1234-5678", "policy": "cards"}) as reply:
        assert (await reply.json())["blocked"]
    async with it.gateway.post("/guardrails/policies", json={"name": "a"}) as reply:
        assert reply.status == 401


async def test_what_is_made_is_found_under_the_path_of_api_keys_too(it):
    headers = {"authorization": f"Bearer {it.tokens['admin']}", "content-type": "application/json"}
    url, client = it.gateway.url + "/guardrails/policies", it.gateway.client
    async with client.post(url, data=msgspec.json.encode({"name": "cards", "rules": [CARD]}), headers=headers) as reply:
        assert reply.status == 201
        made = await reply.json()
    async with client.patch(f"{url}/{made['id']}", data=b'{"label": "2"}', headers=headers) as reply:
        assert (await reply.json())["label"] == "2"
    async with client.delete(f"{url}/{made['id']}", headers=headers) as reply:
        assert reply.status == 204
