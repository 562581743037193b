"""Guardrail policies of tenants, teams and keys: names that there are, who may choose, and which one holds."""

import msgspec
import pytest

CARD = "My card is 4111 1111 1111 1111, is that all right?"
POLICY = "guardrail_policy"


async def named(it, key, **headers):
    """The policies that held for a request, as its answer names them, and what the model got."""
    body = msgspec.json.encode({"model": "m", "messages": [{"role": "user", "content": CARD}]})
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json", **headers}
    async with it.gateway.client.post(it.gateway.url + "/chat/completions", data=body, headers=headers) as reply:
        assert reply.status == 200, await reply.text()
        return reply.headers.get("x-gateway-guardrail-policy", ""), it.upstream.requests[-1].json["messages"][0]["content"]


@pytest.mark.parametrize("make", [
    lambda it: ("owner", "PATCH", "/tenants/default", {}),
    lambda it: ("owner", "POST", "/tenants", {"name": "New"}),
    lambda it: ("admin", "POST", "/teams", {"name": "New"}),
    lambda it: ("admin", "PATCH", f"/teams/{it.team}", {}),
    lambda it: ("admin", "POST", "/api-keys", {"name": "New"}),
    lambda it: ("admin", "POST", "/users/member/api-keys", {"name": "New"}),
    lambda it: ("admin", "PATCH", f"/api-keys/{it.key}", {}),
])  # fmt: skip
async def test_a_policy_that_there_is_not_is_refused_with_the_names_that_there_are(it, make):
    it.team = (await it.call("admin", "POST", "/teams", {"name": "T"}, status=201))["id"]
    it.key = (await it.call("admin", "POST", "/api-keys", {"name": "K"}, status=201))["id"]
    who, method, path, body = make(it)
    told = await it.call(who, method, path, {**body, POLICY: "stricct"}, status=422)
    (error,) = told["errors"]
    assert error["path"] == POLICY
    assert {"default", "strict", "finance", "permissive"} <= set(error["message"].replace(",", " ").split())
    told = await it.call(who, method, path, {**body, POLICY: "strict"})
    assert told.status in (200, 201)
    assert told[POLICY] == "strict"


async def test_the_keys_policy_goes_before_the_teams_and_that_before_the_tenants(it):
    team = await it.call("admin", "POST", "/teams", {"name": "T"}, status=201)
    await it.call("admin", "POST", f"/teams/{team['id']}/members", {"user_id": "member"}, status=200)
    made = await it.call("member", "POST", "/api-keys", {"name": "K"}, status=201)
    path = f"/api-keys/{made['id']}"
    assert await named(it, made["api_key"]) == ("", CARD)
    await it.call("owner", "PATCH", "/tenants/default", {POLICY: "permissive"}, status=200)
    assert await named(it, made["api_key"]) == ("permissive", CARD)
    await it.call("admin", "PATCH", f"/teams/{team['id']}", {POLICY: "finance"}, status=200)
    policy, text = await named(it, made["api_key"])
    assert policy == "finance"
    assert "4111" not in text
    await it.call("admin", "PATCH", path, {POLICY: "permissive"}, status=200)
    assert await named(it, made["api_key"]) == ("permissive", CARD)
    policy, text = await named(it, made["api_key"], **{"x-gateway-guardrail-policy": "default"})  # stricter: allowed
    assert policy == "permissive,default"
    assert "4111" not in text
    await it.call("admin", "PATCH", path, {POLICY: None}, status=200)
    assert (await named(it, made["api_key"]))[0] == "finance"


async def test_nobody_loosens_their_own_policy(it):
    made = await it.call("member", "POST", "/api-keys", {"name": "K"}, status=201)
    for who in ("member", "team_admin"):
        told = await it.call(who, "POST", "/api-keys", {"name": "K", POLICY: "permissive"}, status=403)
        assert told["type"] == "field_not_allowed"
    await it.call("member", "PATCH", f"/api-keys/{made['id']}", {POLICY: "permissive"}, status=403)


async def test_what_a_key_is_replaced_by_keeps_its_policy_and_is_chosen_once(it):
    made = await it.call("admin", "POST", "/api-keys", {"name": "K", POLICY: "strict"}, status=201)
    path = f"/api-keys/{made['id']}"
    new = await it.call("admin", "POST", path + "/rotate", {"grace_seconds": 3600}, status=201)
    assert (new[POLICY], new["expires_at"], new["replaced"]["replaced_by"]) == ("strict", None, new["id"])
    told = await it.call("admin", "POST", path + "/rotate", {"grace_seconds": 7200}, status=409)
    assert told["type"] == "already_rotated"
    assert new["id"] in told["detail"]
    assert (await it.call("admin", "GET", path))["expires_at"] == new["replaced"]["expires_at"]
    later = await it.call("admin", "POST", f"/api-keys/{new['id']}/rotate", {"grace_seconds": 60}, status=201)
    assert later["expires_at"] is None
    assert [await it.chat(each["api_key"]) for each in (made, new, later)] == [200, 200, 200]
