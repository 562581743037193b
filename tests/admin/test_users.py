"""Users through the admin API: who may make and change whom, one-time passwords, and what ends with an account."""

import pytest
from people import PASSWORD


async def make(it, who="admin", query="", status=201, **fields):
    body = {"email": "new@example.com", "name": "New", **fields}
    return await it.call(who, "POST", f"/users{query}", body, status=status)


async def login(it, email, password):
    return await it.call(None, "POST", "/auth/login", {"email": email, "password": password})


async def test_a_user_gets_a_one_time_password_that_must_be_changed(it):
    made = await make(it, email="New@Example.com")
    assert (made["email"], made["role"], made["tenant_id"], made["must_change_password"]) == (
        "new@example.com", "member", "default", True,
    )  # fmt: skip
    told = await login(it, "NEW@example.com", made["one_time_password"])
    assert told["must_change_password"] is True
    token = told["access_token"]
    refused = await it.call(token, "POST", "/api-keys", {"name": "x"}, status=403)
    assert refused["type"] == "password_change_required"
    await it.call(token, "GET", "/auth/me", status=200)
    body = {"current_password": made["one_time_password"], "new_password": PASSWORD}
    await it.call(token, "POST", "/auth/change-password", body, status=204)
    await it.call(token, "POST", "/api-keys", {"name": "x"}, status=201)


async def test_with_a_password_given_none_is_shown(it):
    assert (await make(it, password=PASSWORD))["one_time_password"] is None
    assert (await login(it, "new@example.com", PASSWORD)).status == 200
    refused = await make(it, email="b@example.com", password="password1234", status=422)
    assert refused["errors"][0]["path"] == "password"


async def test_a_reset_password_ends_the_sessions_and_works_once(it):
    told = await it.call("admin", "POST", "/users/member/reset-password", status=200)
    assert (await it.call("member", "GET", "/auth/me")).status == 401
    assert (await login(it, "member@example.com", PASSWORD)).status == 401
    token = (await login(it, "member@example.com", told["one_time_password"]))["access_token"]
    assert (await it.call(token, "GET", "/auth/me"))["must_change_password"] is True
    assert told["one_time_password"] not in str(await it.entries())


@pytest.mark.parametrize(
    ("who", "role", "status"),
    [
        ("owner", "owner", 201), ("owner", "auditor", 201), ("admin", "admin", 201), ("admin", "viewer", 201),
        ("admin", "owner", 403), ("admin", "auditor", 403), ("team_admin", "viewer", 403), ("member", "viewer", 403),
    ],
)  # fmt: skip
async def test_nobody_makes_somebody_above_themselves(it, who, role, status):
    await make(it, who, role=role, status=status)


async def test_an_owner_makes_users_in_any_tenant_and_an_admin_in_their_own(it):
    assert (await make(it, "owner", "?tenant=other"))["tenant_id"] == "other"
    assert (await make(it, "owner", "?tenant=nothing", 404, email="b@example.com"))["type"] == "not_found"
    assert (await make(it, "admin", "?tenant=other", 404, email="b@example.com"))["type"] == "not_found"
    refused = await make(it, "owner", "?tenant=other", 422, email="b@example.com", role="owner")
    assert refused["errors"][0]["path"] == "role"


async def test_an_address_is_taken_once_in_all_tenants(it):
    for who in ("admin", "foreign"):
        told = await make(it, who, email="OWNER@example.com", status=409)
        assert told["type"] == "address_taken"
    assert (await it.call("admin", "PATCH", "/users/member", {"email": "viewer@example.com"})).status == 409
    told = await it.call("admin", "PATCH", "/users/member", {"email": "Member2@example.com"}, status=200)
    assert told["email"] == "member2@example.com"


async def test_fields_that_a_role_may_not_set_change_nothing(it):
    told = await it.call("admin", "PATCH", "/users/member", {"name": "X", "content_access": True}, status=403)
    assert (told["type"], "content_access" in told["detail"]) == ("field_not_allowed", True)
    assert (await it.call("admin", "GET", "/users/member"))["name"] == "member"
    for field in ("id", "tenant_id", "password_hash", "password", "must_change_password", "created_at", "is_admin"):
        told = await it.call("owner", "PATCH", "/users/member", {field: "x"}, status=422)
        assert told["errors"][0]["path"] == field
    await it.call("owner", "PATCH", "/users/member", {"content_access": True}, status=200)


async def test_an_admin_cannot_touch_an_owner_nor_rise(it):
    for method, path, body in (
        ("PATCH", "/users/owner", {"name": "x"}), ("PATCH", "/users/owner", {"role": "member"}),
        ("DELETE", "/users/owner", None), ("POST", "/users/owner/reset-password", None),
        ("PATCH", "/users/admin", {"role": "owner"}), ("PATCH", "/users/member", {"role": "owner"}),
        ("POST", "/users/owner/api-keys", {"name": "x"}),
    ):  # fmt: skip
        told = await it.call("admin", method, path, body)
        assert (told.status, told["type"]) == (403, "role_not_allowed"), path


async def test_the_last_owner_stays(it):
    root = next(each for each in (await it.call("owner", "GET", "/users?role=owner"))["items"] if each["id"] != "owner")
    await it.call("owner", "PATCH", f"/users/{root['id']}", {"status": "inactive"}, status=200)
    for body in ({"role": "admin"}, {"status": "suspended"}):
        assert (await it.call("owner", "PATCH", "/users/owner", body))["type"] == "last_owner"
    assert (await it.call("owner", "DELETE", "/users/owner"))["type"] == "own_account"


async def test_another_role_or_status_ends_the_sessions(it):
    await it.call("admin", "PATCH", "/users/member", {"role": "viewer"}, status=200)
    assert (await it.call("member", "GET", "/auth/me")).status == 401
    await it.call("admin", "PATCH", "/users/viewer", {"status": "suspended"}, status=200)
    assert (await it.call("viewer", "GET", "/auth/me")).status == 401
    await it.call("admin", "PATCH", "/users/team_admin", {"name": "T"}, status=200)
    await it.call("team_admin", "GET", "/auth/me", status=200)


async def test_a_deleted_user_is_gone_with_keys_and_sessions_and_the_address_is_free(it):
    key = (await it.call("member", "POST", "/api-keys", {"name": "k"}, status=201))["api_key"]
    assert await it.chat(key) == 200
    await it.call("admin", "DELETE", "/users/member", status=204)
    assert await it.chat(key) == 401
    assert (await it.call("member", "GET", "/auth/me")).status == 401
    assert (await it.call("admin", "GET", "/users/member")).status == 404
    assert "member" not in [each["id"] for each in (await it.call("admin", "GET", "/users"))["items"]]
    await make(it, email="member@example.com")
    (entry,) = await it.entries("user_deleted")
    assert (entry.severity, entry.detail) == ("warning", {"email": "member@example.com"})


async def test_lists_have_filters_and_count_agrees(it):
    async def ids(query):
        return sorted(each["id"] for each in (await it.call("owner", "GET", f"/users?{query}", status=200))["items"])

    assert await ids("tenant=other") == ["foreign"]
    assert await ids("role=viewer") == ["viewer"]
    assert await ids("search=MEMBER%40") == ["member"]
    assert await ids("status=suspended") == []
    team = (await it.call("admin", "POST", "/teams", {"name": "blue"}, status=201))["id"]
    await it.call("admin", "POST", f"/teams/{team}/members", {"user_id": "member"}, status=200)
    assert await ids(f"team={team}") == ["member"]
    for query in ("tenant=other", "role=viewer", f"team={team}", "tenant=default"):
        assert (await it.call("owner", "GET", f"/users/count?{query}"))["count"] == len(await ids(query + "&limit=500"))
    assert (await it.call("team_admin", "GET", "/users", status=200))["items"] == []
    await it.call("admin", "POST", f"/teams/{team}/members", {"user_id": "team_admin"}, status=200)
    assert len((await it.call("team_admin", "GET", "/users", status=200))["items"]) == 2


async def test_what_a_user_spent_is_seen_by_those_who_may(it):
    key = (await it.call("member", "POST", "/api-keys", {"name": "k"}, status=201))["api_key"]
    assert await it.chat(key) == 200
    await it.gateway.rows(1)
    for who, status in (("admin", 200), ("owner", 200), ("auditor", 200), ("viewer", 200), ("member", 200), ("foreign", 404)):
        told = await it.call(who, "GET", "/users/member/usage?days=7", status=status)
        if status == 200:
            assert (told["total_requests"], told["by_model"][0]["name"]) == (1, "m")
            assert float(told["total_cost"]) > 0
    assert (await it.call("member", "GET", "/users/admin/usage")).status == 404


async def test_versions_protect_users(it):
    etag = (await it.call("admin", "GET", "/users/member")).headers["etag"]
    await login(it, "member@example.com", PASSWORD)
    await it.call("admin", "PATCH", "/users/member", {"name": "a"}, if_match=etag, status=200)
    assert (await it.call("admin", "PATCH", "/users/member", {"name": "b"}, if_match=etag)).status == 412
    assert (await it.call("admin", "DELETE", "/users/member", if_match=etag)).status == 412


async def test_the_audit_says_what_changed_of_a_user(it):
    await it.call("admin", "PATCH", "/users/member", {"role": "viewer", "monthly_budget": "7.5"}, status=200)
    (entry,) = await it.entries("user_updated")
    assert entry.detail == {"role": ["member", "viewer"], "cost_monthly": [None, "7.5"]}
