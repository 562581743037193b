"""API keys through the admin API: made once, shown once, changed, replaced, revoked at once."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from gateway.clock import now_ms


async def make(it, who="member", path="/api-keys", **fields):
    return await it.call(who, "POST", path, {"name": "My Key", **fields}, status=201)


async def test_a_key_is_shown_once_and_works(it):
    made = await make(it)
    assert made["api_key"].startswith("sk-gw-")
    assert (made["name"], made["is_active"], made["status"], made["user_id"]) == ("My Key", True, "active", "member")
    assert made["key_prefix"][:10] == made["api_key"][:10]
    assert made["key_prefix"][-4:] == made["api_key"][-4:]
    assert await it.chat(made["api_key"]) == 200
    shown = await it.call("member", "GET", f"/api-keys/{made['id']}", status=200)
    assert "api_key" not in shown.body
    assert made["api_key"] not in str(shown.body)
    listed = await it.call("member", "GET", "/api-keys", status=200)
    assert [each["id"] for each in listed["items"]] == [made["id"]]


async def test_a_key_has_limits_scopes_and_an_end(it):
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    made = await make(
        it, rate_limit=2, daily_budget="1.5", monthly_budget=20, allowed_models=["m"], scopes=["chat", "usage"],
        expires_at=later, environment="test",
    )  # fmt: skip
    assert (made["rate_limit"], made["daily_budget"], made["monthly_budget"]) == (2, "1.5", "20")
    key = made["api_key"]
    assert await it.chat(key, "n") == 403
    assert [await it.chat(key), await it.chat(key)] == [200, 429]
    headers = {"authorization": f"Bearer {key}"}
    async with it.gateway.client.get(it.gateway.url + "/models", headers=headers) as reply:
        assert (reply.status, (await reply.json())["error"]["code"]) == (403, "permission_denied")
    async with it.gateway.client.get(it.gateway.url + "/usage/me", headers=headers) as reply:
        assert reply.status == 200


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"name": ""}, "name"), ({"user_id": "owner"}, "user_id"), ({"tenant_id": "other"}, "tenant_id"),
        ({"created_by": "owner"}, "created_by"), ({"rate_limit": 0}, "rate_limit"), ({"daily_budget": "1,5"}, "daily_budget"),
        ({"daily_budget": -1}, "daily_budget"), ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "2030-01-01T00:00:00"}, "expires_at"), ({"scopes": ["admin"]}, "scopes"),
        ({"role": "owner"}, "role"), ({"daily_budget": "0.0000000001"}, "daily_budget"), ({"api_key": "sk-gw-x"}, "api_key"),
    ],
)  # fmt: skip
async def test_wrong_and_foreign_fields_are_refused(it, fields, path):
    told = await it.call("owner", "POST", "/api-keys", {"name": "k", **fields}, status=422)
    assert [each["path"] for each in told["errors"]] == [path]
    assert (await it.call("owner", "GET", "/api-keys?user=owner"))["items"] == []


async def test_a_revoked_key_is_dead_at_once_also_when_hot(it):
    made = await make(it)
    assert [await it.chat(made["api_key"]) for _ in range(3)] == [200] * 3
    await it.call("member", "DELETE", f"/api-keys/{made['id']}", status=204)
    assert await it.chat(made["api_key"]) == 401
    await it.call("member", "DELETE", f"/api-keys/{made['id']}", status=204)
    shown = await it.call("member", "GET", f"/api-keys/{made['id']}", status=200)
    assert (shown["status"], shown["is_active"]) == ("revoked", False)
    told = await it.call("member", "PATCH", f"/api-keys/{made['id']}", {"is_active": True})
    assert (told.status, told["type"]) == (409, "key_revoked")
    assert len(await it.entries("api_key_revoked")) == 1


async def test_a_key_is_switched_off_and_on_and_its_limits_change_at_once(it):
    made = await make(it)
    path, key = f"/api-keys/{made['id']}", made["api_key"]
    assert await it.chat(key) == 200
    await it.call("member", "PATCH", path, {"is_active": False}, status=200)
    assert await it.chat(key) == 401
    await it.call("member", "PATCH", path, {"is_active": True, "allowed_models": ["n"]}, status=200)
    assert [await it.chat(key), await it.chat(key, "n")] == [403, 200]
    told = await it.call("member", "PATCH", path, {"allowed_models": None}, status=200)
    assert told["allowed_models"] is None
    assert await it.chat(key) == 200


async def test_versions_protect_changes(it):
    made = await make(it)
    path, etag = f"/api-keys/{made['id']}", made.headers["etag"]
    changed = await it.call("member", "PATCH", path, {"name": "b"}, if_match=etag, status=200)
    assert changed.headers["etag"] != etag
    for method, body in (("PATCH", {"name": "c"}), ("DELETE", None)):
        assert (await it.call("member", method, path, body, if_match=etag)).status == 412
    assert (await it.call("member", "PATCH", path, {"name": "d"}, if_match='"nonsense"')).status == 422
    await it.call("member", "PATCH", path, {"name": "d"}, status=200)
    await it.call("member", "DELETE", path, if_match="*", status=204)


async def test_both_keys_work_in_the_grace_period_and_then_the_new_one_only(it, monkeypatch):
    made = await make(it, rate_limit=50, scopes=["chat"])
    told = await it.call("member", "POST", f"/api-keys/{made['id']}/rotate", {"grace_seconds": 600}, status=201)
    assert (told["rate_limit"], told["scopes"], told["name"]) == (50, ["chat"], "My Key")
    assert told["id"] != told["replaced"]["id"] == made["id"]
    assert [await it.chat(made["api_key"]), await it.chat(told["api_key"])] == [200, 200]
    later = now_ms() + 601_000
    monkeypatch.setattr("gateway_plugins.auth.api_keys.now_ms", lambda: later)
    assert [await it.chat(made["api_key"]), await it.chat(told["api_key"])] == [401, 200]
    assert (await it.call("member", "POST", f"/api-keys/{made['id']}/rotate", {})).status == 409


async def test_without_grace_the_old_key_is_dead_at_once(it):
    made = await make(it)
    assert await it.chat(made["api_key"]) == 200
    told = await it.call("member", "POST", f"/api-keys/{made['id']}/rotate", {"grace_seconds": 0}, status=201)
    assert [await it.chat(made["api_key"]), await it.chat(told["api_key"])] == [401, 200]


async def test_many_keys_are_revoked_in_one_step(it):
    made = [await make(it) for _ in range(3)]
    foreign = await make(it, "foreign")
    ids = [each["id"] for each in made]
    told = await it.call("member", "POST", "/api-keys/revoke", {"ids": [*ids, foreign["id"], "nothing"]}, status=200)
    assert told.body == {"revoked": ids, "not_found": [foreign["id"], "nothing"]}
    assert [await it.chat(each["api_key"]) for each in (*made, foreign)] == [401, 401, 401, 200]


async def test_lists_have_filters_search_and_pages(it):
    for name in ("alpha", "al_pha", "beta"):
        await make(it, name=name, environment="prod" if name == "beta" else "test")
    revoked = await make(it, name="gamma")
    await it.call("member", "DELETE", f"/api-keys/{revoked['id']}", status=204)

    async def names(query):
        return [each["name"] for each in (await it.call("member", "GET", f"/api-keys?{query}", status=200))["items"]]

    assert await names("search=ALPHA") == ["alpha"]
    assert await names("search=l_p") == ["al_pha"]
    assert await names("search=%25") == []
    assert await names("environment=prod") == ["beta"]
    assert await names("is_active=false") == ["gamma"]
    assert sorted(await names("is_active=true")) == ["al_pha", "alpha", "beta"]
    seen, cursor = [], ""
    while cursor is not None:
        page = await it.call("member", "GET", f"/api-keys?limit=3&cursor={cursor}", status=200)
        seen += [each["name"] for each in page["items"]]
        cursor = page["next_cursor"]
    assert sorted(seen) == ["al_pha", "alpha", "beta", "gamma"]
    for wrong in ("cursor=x", "cursor=1%3A", "cursor=99999999999999999999%3Ax", "limit=", "tenant="):
        assert (await it.call("member", "GET", f"/api-keys?{wrong}")).status == 422
    assert (await it.call("member", "GET", "/api-keys?limit=0")).status == 422


async def test_members_see_and_touch_their_own_keys_only(it):
    theirs = await make(it, "admin")
    assert (await it.call("member", "GET", "/api-keys"))["items"] == []
    for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/rotate")):
        told = await it.call("member", method, f"/api-keys/{theirs['id']}{path}", {} if method != "GET" else None)
        assert told.status == 404
    assert (await it.call("member", "POST", "/users/admin/api-keys", {"name": "x"})).status == 404


async def test_a_team_admin_manages_the_keys_of_members_below_them(it):
    team = (await it.call("admin", "POST", "/teams", {"name": "blue"}, status=201))["id"]
    for user in ("team_admin", "member", "admin"):
        await it.call("admin", "POST", f"/teams/{team}/members", {"user_id": user}, status=200)
    theirs, above = await make(it, "member"), await make(it, "admin")
    listed = (await it.call("team_admin", "GET", "/api-keys", status=200))["items"]
    assert {each["id"] for each in listed} == {theirs["id"], above["id"]}
    await it.call("team_admin", "POST", f"/api-keys/{theirs['id']}/rotate", {}, status=201)
    for method, path in (("PATCH", ""), ("DELETE", ""), ("POST", "/rotate")):
        told = await it.call("team_admin", method, f"/api-keys/{above['id']}{path}", {})
        assert (told.status, told["type"]) == (403, "role_not_allowed")
    await it.call("team_admin", "POST", "/users/member/api-keys", {"name": "for them"}, status=201)
    assert (await it.call("team_admin", "POST", "/users/admin/api-keys", {"name": "x"})).status == 403
    assert (await it.call("team_admin", "POST", "/users/viewer/api-keys", {"name": "x"})).status == 404


async def test_viewers_have_no_keys_and_a_key_dies_with_the_rights_of_its_owner(it):
    assert (await it.call("viewer", "POST", "/api-keys", {"name": "x"})).status == 403
    assert (await it.call("admin", "POST", "/users/viewer/api-keys", {"name": "x"})).status == 403
    made = await make(it)
    assert await it.chat(made["api_key"]) == 200
    await it.call("admin", "PATCH", "/users/member", {"role": "viewer"}, status=200)
    assert await it.chat(made["api_key"]) == 401
    await it.call("admin", "PATCH", "/users/member", {"role": "member"}, status=200)
    assert await it.chat(made["api_key"]) == 200
    await it.call("admin", "PATCH", "/users/member", {"status": "inactive"}, status=200)
    assert await it.chat(made["api_key"]) == 401


async def test_limits_of_user_and_team_hold_for_their_keys_together(it):
    await it.call("admin", "PATCH", "/users/member", {"rate_limit": 3}, status=200)
    keys = [(await make(it))["api_key"] for _ in range(2)]
    assert [await it.chat(keys[n % 2]) for n in range(4)] == [200, 200, 200, 429]
    await it.call("admin", "PATCH", "/users/member", {"rate_limit": None, "allowed_models": ["n"]}, status=200)
    assert [await it.chat(keys[0]), await it.chat(keys[0], "n")] == [403, 200]
    team = (await it.call("admin", "POST", "/teams", {"name": "blue", "rate_limit": 1}, status=201))["id"]
    account = await it.call("admin", "POST", "/service-accounts", {"name": "ci", "team_id": team}, status=201)
    path = f"/service-accounts/{account['id']}/api-keys"
    keys = [(await make(it, "admin", path))["api_key"] for _ in range(2)]
    assert [await it.chat(key) for key in keys] == [200, 429]
    await it.call("admin", "PATCH", f"/service-accounts/{account['id']}", {"is_active": False}, status=200)
    assert [await it.chat(key) for key in keys] == [401, 401]


async def test_the_tenants_allowed_providers_hold(it):
    made = await make(it)
    assert await it.chat(made["api_key"]) == 200
    await it.call("owner", "PATCH", "/tenants/default", {"allowed_providers": []}, status=200)
    assert await it.chat(made["api_key"]) == 403
    told = await it.call("owner", "PATCH", "/tenants/default", {"allowed_providers": ["up", "uq"]}, status=422)
    assert told["errors"] == [{"path": "allowed_providers", "message": "there is no provider 'uq': there are up"}]
    await it.call("owner", "PATCH", "/tenants/default", {"allowed_providers": ["up"]}, status=200)
    assert await it.chat(made["api_key"]) == 200
    await it.call("owner", "PATCH", "/tenants/default", {"allowed_providers": None}, status=200)
    assert await it.chat(made["api_key"]) == 200


async def test_a_repeated_request_makes_one_key_and_does_not_show_it_again(it):
    body = {"name": "once"}
    made = await it.call("member", "POST", "/api-keys", body, idempotency_key="abc", status=201)
    again = await it.call("member", "POST", "/api-keys", body, idempotency_key="abc", status=409)
    assert again["type"] == "secret_already_shown"
    other = await it.call("member", "POST", "/api-keys", {"name": "other"}, idempotency_key="abc", status=422)
    assert other["errors"][0]["path"] == "Idempotency-Key"
    await it.call("admin", "POST", "/api-keys", body, idempotency_key="abc", status=201)
    listed = (await it.call("member", "GET", "/api-keys"))["items"]
    assert [each["id"] for each in listed] == [made["id"]]


async def test_a_repeated_request_gets_the_same_answer(it):
    body = {"name": "blue"}
    made = await it.call("admin", "POST", "/teams", body, idempotency_key="abc", status=201)
    again = await it.call("admin", "POST", "/teams", body, idempotency_key="abc", status=201)
    assert again.body == made.body
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["etag"] == made.headers["etag"]


async def test_of_parallel_repeats_one_is_done(it):
    asked = [it.call("admin", "POST", "/teams", {"name": "blue"}, idempotency_key="p") for _ in range(8)]
    statuses = [told.status for told in await asyncio.gather(*asked)]
    assert set(statuses) <= {201, 409}
    assert 201 in statuses
    assert len((await it.call("admin", "GET", "/teams"))["items"]) == 1
    assert len(await it.entries("team_created")) == 1


async def test_each_change_is_in_the_audit_with_what_changed(it):
    made = await make(it)
    await it.call("member", "PATCH", f"/api-keys/{made['id']}", {"name": "New", "daily_budget": "2.50"}, status=200)
    (entry,) = await it.entries("api_key_updated")
    assert entry.detail == {"name": ["My Key", "New"], "cost_daily": [None, "2.5"]}
    assert (entry.actor, entry.actor_name, entry.resource_id) == ("member", "member@example.com", made["id"])
    assert entry.request_id.startswith("req_")
    assert made["api_key"] not in str(await it.entries())
