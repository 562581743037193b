"""Tenants, teams and service accounts through the admin API."""

from people import PASSWORD


async def test_a_tenant_is_made_by_owners_and_changed_by_its_admin_in_part(it):
    made = await it.call("owner", "POST", "/tenants", {"name": "Blue Sky GmbH", "monthly_budget": "100"}, status=201)
    assert made["id"].startswith("blue-sky-gmbh-")
    assert (made["monthly_budget"], made["time_zone"], made["logging_policy"]) == ("100", "UTC", "off")
    for role in ("admin", "auditor", "member"):
        assert (await it.call(role, "POST", "/tenants", {"name": "x"})).status == 403
    changed = await it.call("admin", "PATCH", "/tenants/default", {"name": "Acme", "time_zone": "Europe/Berlin"}, status=200)
    assert (changed["name"], changed["time_zone"]) == ("Acme", "Europe/Berlin")
    for field, value in (("monthly_budget", "1"), ("is_active", False), ("rate_limit", 1), ("allowed_models", ["m"])):
        told = await it.call("admin", "PATCH", "/tenants/default", {field: value, "name": "No"}, status=403)
        assert told["type"] == "field_not_allowed"
    assert (await it.call("admin", "GET", "/tenants/default"))["name"] == "Acme"
    told = await it.call("owner", "PATCH", "/tenants/default", {"time_zone": "Mars/Olympus"}, status=422)
    assert told["errors"][0]["path"] == "time_zone"


async def test_a_tenant_that_is_switched_off_has_no_sessions_and_no_keys(it):
    key = (await it.call("foreign", "POST", "/api-keys", {"name": "k"}, status=201))["api_key"]
    assert await it.chat(key) == 200
    told = await it.call("owner", "POST", "/tenants/other/deactivate", status=200)
    assert told["is_active"] is False
    assert await it.chat(key) == 401
    assert (await it.call("foreign", "GET", "/auth/me")).status == 401
    login = {"email": "foreign@example.com", "password": PASSWORD}
    assert (await it.call(None, "POST", "/auth/login", login)).status == 401
    await it.call("owner", "POST", "/tenants/other/activate", status=200)
    assert await it.chat(key) == 200
    assert (await it.call("owner", "POST", "/tenants/default/deactivate"))["type"] == "own_tenant"
    assert [entry.action for entry in await it.entries()][:4].count("tenant_deactivated") == 1


async def test_a_deleted_tenant_is_gone(it):
    key = (await it.call("foreign", "POST", "/api-keys", {"name": "k"}, status=201))["api_key"]
    await it.call("owner", "DELETE", "/tenants/other", status=204)
    assert await it.chat(key) == 401
    assert (await it.call("owner", "GET", "/tenants/other")).status == 404
    assert (await it.call("owner", "DELETE", "/tenants/other")).status == 404
    assert (await it.call("owner", "DELETE", "/tenants/default"))["type"] == "own_tenant"


async def test_the_limits_of_a_tenant_hold_at_once(it):
    key = (await it.call("foreign", "POST", "/api-keys", {"name": "k"}, status=201))["api_key"]
    assert await it.chat(key) == 200
    await it.call("owner", "PATCH", "/tenants/other", {"allowed_models": ["n"]}, status=200)
    assert [await it.chat(key), await it.chat(key, "n")] == [403, 200]
    await it.call("owner", "PATCH", "/tenants/other", {"allowed_models": None, "daily_budget": "0.000001"}, status=200)
    assert await it.chat(key) == 429


async def test_teams_have_members_of_their_tenant(it):
    team = await it.call("admin", "POST", "/teams", {"name": "blue"}, status=201)
    assert (await it.call("admin", "POST", "/teams", {"name": "blue"})).status == 409
    path = f"/teams/{team['id']}/members"
    for user in ("member", "viewer", "member"):
        told = await it.call("admin", "POST", path, {"user_id": user}, status=200)
    assert [each["id"] for each in told["items"]] == ["member", "viewer"]
    assert (await it.call("admin", "POST", path, {"user_id": "foreign"})).status == 404
    await it.call("admin", "DELETE", f"{path}/viewer", status=204)
    assert (await it.call("admin", "DELETE", f"{path}/viewer")).status == 404
    assert (await it.call("member", "GET", "/teams", status=200))["items"][0]["name"] == "blue"
    assert (await it.call("team_admin", "GET", "/teams", status=200))["items"] == []
    assert (await it.call("team_admin", "POST", path, {"user_id": "team_admin"})).status == 404
    await it.call("admin", "DELETE", f"/teams/{team['id']}", status=204)
    assert (await it.call("admin", "GET", f"/teams/{team['id']}")).status == 404


async def test_the_paths_that_users_know_work_too(it):
    team = await it.call("admin", "POST", "/organization/teams", {"name": "blue"}, status=201)
    path = f"/organization/teams/{team['id']}"
    await it.call("admin", "PUT", path, {"name": "green"}, status=200)
    await it.call("admin", "POST", f"{path}/members", {"user_id": "member"}, status=200)
    assert (await it.call("admin", "GET", "/organization/teams"))["items"][0]["name"] == "green"
    await it.call("admin", "DELETE", f"{path}/members/member", status=204)
    await it.call("admin", "PUT", "/users/member", {"name": "x"}, status=200)
    await it.call("owner", "PUT", "/tenants/other", {"name": "x"}, status=200)
    await it.call("member", "PUT", "/auth/me", {"name": "x"}, status=200)
    assert (await it.call("admin", "GET", "/audit/logs", status=200))["items"]


async def program(it, role="member", who="admin"):
    team = await it.call("admin", "POST", "/teams", {"name": f"team {role}"}, status=201)
    body = {"name": "ci", "team_id": team["id"], "role": role}
    return await it.call(who, "POST", "/service-accounts", body, status=201)


async def test_an_admin_token_does_what_its_account_may_cut_by_its_scopes(it):
    account = await program(it, "admin")
    path = f"/service-accounts/{account['id']}/tokens"
    made = await it.call("admin", "POST", path, {"name": "t", "scopes": ["users:read", "keys:write", "keys:read"]}, status=201)
    token = made["token"]
    assert token.startswith("gwt-")
    assert "token" not in (await it.call("admin", "GET", path))["items"][0]
    await it.call(token, "GET", "/users", status=200)
    assert (await it.call(token, "GET", "/tenants")).status == 403
    assert (await it.call(token, "POST", "/users", {"email": "a@b.c"})).status == 403
    key = await it.call(token, "POST", "/api-keys", {"name": "own"}, status=201)
    assert (key["service_account_id"], key["user_id"]) == (account["id"], None)
    assert await it.chat(key["api_key"]) == 200
    assert (await it.call(token, "POST", "/auth/logout")).status == 403
    await it.call("admin", "DELETE", f"{path}/{made['id']}", status=204)
    assert (await it.call(token, "GET", "/users")).status == 401


async def test_a_token_has_an_end_and_no_more_rights_than_its_account(it, monkeypatch):
    account = await program(it)
    path = f"/service-accounts/{account['id']}/tokens"
    for body, field in (
        ({"name": "t", "scopes": ["users:write"]}, "scopes"), ({"name": "t", "scopes": ["nonsense:read"]}, "scopes"),
        ({"name": "t", "valid_days": 367}, "valid_days"), ({"name": "t", "valid_days": 0}, "valid_days"),
    ):  # fmt: skip
        assert (await it.call("admin", "POST", path, body, status=422))["errors"][0]["path"] == field
    token = (await it.call("admin", "POST", path, {"name": "t", "valid_days": 1}, status=201))["token"]
    await it.call(token, "GET", "/auth/me", status=200)
    from gateway.accounts import sessions

    later = sessions.now_ms() + 86_400_001
    monkeypatch.setattr(sessions, "now_ms", lambda: later)
    assert (await it.call(token, "GET", "/auth/me")).status == 401


async def test_nobody_makes_a_program_above_themselves(it):
    team = await it.call("admin", "POST", "/teams", {"name": "x"}, status=201)
    for role in ("owner", "auditor"):
        body = {"name": "ci", "team_id": team["id"], "role": role}
        assert (await it.call("admin", "POST", "/service-accounts", body))["type"] == "role_not_allowed"
    account = await program(it, "owner", "owner")
    path = f"/service-accounts/{account['id']}"
    for method, suffix, body in (
        ("POST", "/tokens", {"name": "t"}), ("PATCH", "", {"role": "member"}), ("DELETE", "", None),
        ("POST", "/api-keys", {"name": "k"}),
    ):  # fmt: skip
        assert (await it.call("admin", method, path + suffix, body))["type"] == "role_not_allowed"


async def test_a_program_that_is_switched_off_or_deleted_has_no_credentials(it):
    account = await program(it)
    path = f"/service-accounts/{account['id']}"
    token = (await it.call("admin", "POST", f"{path}/tokens", {"name": "t"}, status=201))["token"]
    key = (await it.call("admin", "POST", f"{path}/api-keys", {"name": "k"}, status=201))["api_key"]
    await it.call("admin", "PATCH", path, {"is_active": False}, status=200)
    assert [(await it.call(token, "GET", "/auth/me")).status, await it.chat(key)] == [401, 401]
    await it.call("admin", "PATCH", path, {"is_active": True}, status=200)
    assert [(await it.call(token, "GET", "/auth/me")).status, await it.chat(key)] == [200, 200]
    team = account["team_id"]
    assert (await it.call("admin", "DELETE", f"/teams/{team}"))["type"] == "team_in_use"
    await it.call("admin", "DELETE", path, status=204)
    assert [(await it.call(token, "GET", "/auth/me")).status, await it.chat(key)] == [401, 401]
    await it.call("admin", "DELETE", f"/teams/{team}", status=204)
