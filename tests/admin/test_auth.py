"""Signing in and out: tokens and cookies, who is slowed down, and what ends a session."""

import msgspec
import pytest
from people import PASSWORD, world

LOGIN = {"email": "admin@example.com", "password": PASSWORD}


async def login(it, **changes):
    headers = changes.pop("headers", {})
    return await it.call(None, "POST", "/auth/login", {**LOGIN, **changes}, **headers)


async def test_a_login_answers_with_a_token_the_user_and_the_tenant(it):
    told = await login(it)
    assert told.status == 200
    assert (told["token_type"], told["expires_in"], told["must_change_password"]) == ("bearer", 12 * 3600, False)
    assert (told["user"]["email"], told["user"]["role"], told["tenant"]["id"]) == ("admin@example.com", "admin", "default")
    assert "set-cookie" not in told.headers
    me = await it.call(told["access_token"], "GET", "/auth/me", status=200)
    assert me["user"]["id"] == "admin"
    assert "users:write" in me["permissions"]
    assert "tenants:create" not in me["permissions"]
    assert PASSWORD not in str(told.body)


async def test_the_first_user_can_sign_in_with_what_the_first_start_printed(tmp_path):
    from running import running

    from gateway.accounts import bootstrap

    seen = []
    original = bootstrap.generate
    bootstrap.generate = lambda: seen.append(original()) or seen[-1]
    try:
        async with running(tmp_path, plugins=[{"use": "auth.api_keys"}, {"use": "admin.api"}]) as gateway:
            body = msgspec.json.encode({"email": "admin@localhost", "password": seen[0]})
            async with gateway.client.post(gateway.url + "/admin/auth/login", data=body) as reply:
                told = await reply.json()
                assert reply.status == 415  # a body that is no JSON by its own word, and no header that authenticates
            headers = {"content-type": "application/json"}
            async with gateway.client.post(gateway.url + "/admin/auth/login", data=body, headers=headers) as reply:
                told = await reply.json()
                assert reply.status == 200
            headers = {"authorization": f"Bearer {told['access_token']}", "content-type": "application/json"}
            async with gateway.client.post(
                gateway.url + "/admin/api-keys", data=b'{"name": "My Key"}', headers=headers
            ) as reply:
                made = await reply.json()
            assert reply.status == 201
            assert made["api_key"].startswith("sk-gw-")
            assert {"id", "key_prefix", "is_active", "name", "created_at"} <= set(made)
    finally:
        bootstrap.generate = original


@pytest.mark.parametrize(
    "changes",
    [{"password": "wrong"}, {"email": "nobody@example.com"}, {"email": "nobody@example.com", "password": "wrong"}],
)
async def test_whatever_is_wrong_the_answer_is_the_same(it, changes):
    told = await login(it, **changes)
    assert told.status == 401
    assert told["type"] == "invalid_credentials"
    assert told["detail"] == "The address or the password is wrong, or the account is not active."
    (entry,) = await it.entries("login_failed")
    assert (entry.severity, entry.address) == ("warning", "127.0.0.1")
    assert "wrong" not in str(entry.detail)


async def test_who_is_not_active_cannot_sign_in(it):
    await it.call("owner", "PATCH", "/users/admin", {"status": "suspended"}, status=200)
    assert (await login(it)).status == 401


async def test_the_stored_hash_is_no_password(it):
    assert (await login(it, password=it.hash)).status == 401


async def test_after_some_failures_everybody_has_to_wait_also_with_the_right_password(it):
    for _ in range(6):
        told = await login(it, password="wrong")
    assert (told.status, told["type"]) == (429, "locked_out")
    assert 1 <= int(told.headers["retry-after"]) <= 15
    assert (await login(it)).status == 429
    assert (await login(it, email="member@example.com")).status == 200


async def test_a_browser_gets_a_cookie_and_no_token(it):
    for way in ({"cookie": True}, {"headers": {"sec_fetch_site": "same-origin"}}):
        told = await login(it, **way)
        cookie = told.headers["set-cookie"]
        assert told.status == 200
        assert "access_token" not in told.body
        assert cookie.startswith("gateway-session=gws-")
        assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= {part.strip() for part in cookie.split(";")}
        value = cookie.partition(";")[0]
        await it.call(None, "GET", "/auth/me", cookie=value, status=200)


async def test_a_cookie_writes_only_for_pages_of_this_gateway(it):
    cookie = (await login(it, cookie=True)).headers["set-cookie"].partition(";")[0]
    body, own = {"name": "k"}, f"http://127.0.0.1:{it.gateway.port}"
    for headers in (
        {}, {"origin": "https://evil.example"}, {"sec_fetch_site": "cross-site"}, {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "same-origin", "origin": "https://evil.example"},
    ):
        told = await it.call(None, "POST", "/api-keys", body, cookie=cookie, **headers)
        assert (told.status, told["type"]) == (403, "foreign_origin")
    await it.call(None, "POST", "/api-keys", body, cookie=cookie, origin=own, status=201)
    await it.call(None, "POST", "/api-keys", body, cookie=cookie, sec_fetch_site="same-origin", status=201)


async def test_a_login_that_another_site_asked_for_is_refused(it):
    assert (await login(it, headers={"origin": "https://evil.example"})).status == 403
    assert (await login(it, headers={"sec_fetch_site": "cross-site"})).status == 403


async def test_there_is_no_cors(it):
    told = await it.call(None, "OPTIONS", "/auth/login", origin="https://evil.example")
    assert told.status == 405
    told = await it.call("admin", "GET", "/auth/me", origin="https://evil.example", status=200)
    assert not [name for name in told.headers if name.lower().startswith("access-control")]


async def test_one_credential_counts_and_a_wrong_one_is_not_replaced_by_another(it):
    cookie = (await login(it, cookie=True)).headers["set-cookie"].partition(";")[0]
    assert (await it.call("gws-" + "x" * 55, "GET", "/auth/me", cookie=cookie)).status == 401
    assert (await it.call(it.gateway.key, "GET", "/auth/me", cookie=cookie)).status == 401
    told = await it.call(None, "GET", "/auth/me", authorization="Basic eA==", cookie=cookie)
    assert told.status == 401
    assert (await it.call(None, "GET", "/auth/me", x_api_key=it.gateway.key)).status == 401
    assert (await it.call(None, "GET", "/auth/me", cookie=f"{cookie}; {cookie}x")).status == 401


async def test_a_session_is_no_api_key(it):
    assert await it.chat(it.tokens["admin"]) == 401


async def test_logout_ends_the_session(it):
    told = await it.call("admin", "POST", "/auth/logout", status=204)
    assert "Max-Age=0" in told.headers["set-cookie"]
    assert (await it.call("admin", "GET", "/auth/me")).status == 401
    assert [entry.action for entry in await it.entries("logout")] == ["logout"]


async def test_sessions_are_listed_and_ended(it):
    other = (await login(it))["access_token"]
    items = (await it.call("admin", "GET", "/auth/sessions", status=200))["items"]
    assert [each["current"] for each in items] == [False, True]
    await it.call("admin", "DELETE", f"/auth/sessions/{items[0]['id']}", status=204)
    assert (await it.call(other, "GET", "/auth/me")).status == 401
    assert (await it.call("member", "DELETE", f"/auth/sessions/{items[1]['id']}")).status == 404
    await it.call("admin", "GET", "/auth/me", status=200)


async def test_a_new_password_needs_the_old_one_and_ends_the_other_sessions(it):
    other = (await login(it))["access_token"]
    new = "another-Quiet-lantern-7"
    for body, path in (
        ({"current_password": "wrong", "new_password": new}, "current_password"),
        ({"current_password": PASSWORD, "new_password": "short"}, "new_password"),
        ({"current_password": PASSWORD, "new_password": "Password123456"}, "new_password"),
        ({"current_password": PASSWORD, "new_password": "admin@example.com1"}, "new_password"),
        ({"current_password": PASSWORD, "new_password": PASSWORD}, "new_password"),
    ):
        told = await it.call("admin", "POST", "/auth/change-password", body, status=422)
        assert told["errors"][0]["path"] == path
    body = {"current_password": PASSWORD, "new_password": new}
    await it.call("admin", "POST", "/auth/change-password", body, status=204)
    assert (await it.call(other, "GET", "/auth/me")).status == 401
    await it.call("admin", "GET", "/auth/me", status=200)
    assert (await login(it)).status == 401
    assert (await login(it, password=new)).status == 200


async def test_people_change_their_own_name_and_nothing_else_of_themselves(it):
    told = await it.call("member", "PATCH", "/auth/me", {"name": "Mem Ber"}, status=200)
    assert told["user"]["name"] == "Mem Ber"
    for field, value in (("role", "owner"), ("email", "x@y.z"), ("monthly_budget", "1"), ("tenant_id", "other")):
        told = await it.call("member", "PATCH", "/auth/me", {field: value}, status=422)
        assert told["errors"][0]["path"] == field
    assert (await it.call("member", "GET", "/auth/me"))["user"]["role"] == "member"


async def test_a_stale_version_is_refused(it):
    etag = (await it.call("member", "GET", "/auth/me")).headers["etag"]
    await it.call("member", "PATCH", "/auth/me", {"name": "A"}, if_match=etag, status=200)
    told = await it.call("member", "PATCH", "/auth/me", {"name": "B"}, if_match=etag, status=412)
    assert told["type"] == "stale"


async def test_a_token_with_one_bit_changed_is_nobodys(it):
    token = it.tokens["admin"]
    for at in (0, 3, 5, 20, len(token) - 1):
        other = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        assert (await it.call(other, "GET", "/auth/me")).status == 401


async def test_registration_is_off(it):
    body = {"name": "New", "email": "new@example.com", "password": PASSWORD}
    assert (await it.call(None, "POST", "/auth/register", body))["type"] == "registration_off"


async def test_an_invitation_leads_into_its_tenant_once_and_only_its_own_address(tmp_path):
    async with world(tmp_path, registration="invite") as it:
        body = {"name": "New", "email": "new@example.com", "password": PASSWORD}
        assert (await it.call(None, "POST", "/auth/register", body))["type"] == "invitation_required"
        made = await it.call("foreign", "POST", "/invitations", {"email": "New@example.com", "role": "viewer"}, status=201)
        body["invitation"] = made["token"]
        wrong = await it.call(None, "POST", "/auth/register", {**body, "email": "x@example.com"}, status=422)
        assert wrong["errors"][0]["path"] == "invitation"
        told = await it.call(None, "POST", "/auth/register", body, status=201)
        assert (told["user"]["role"], told["tenant"]["id"]) == ("viewer", "other")
        again = await it.call(None, "POST", "/auth/register", {**body, "email": "new2@example.com"})
        assert again.status == 422


async def test_open_registration_makes_a_tenant_of_ones_own(tmp_path):
    async with world(tmp_path, registration="open") as it:
        body = {"name": "New Co", "email": "new@example.com", "password": PASSWORD}
        told = await it.call(None, "POST", "/auth/register", body, status=201)
        assert told["user"]["role"] == "admin"
        assert told["tenant"]["id"].startswith("new-co-")
        assert (await it.call(None, "POST", "/auth/register", body)).status == 409


async def test_over_plain_http_from_elsewhere_no_password_is_taken(it):
    headers = {"host": "gateway.example.com", "content_type": "application/json"}
    told = await it.call(None, "POST", "/auth/login", LOGIN, **headers)
    assert (told.status, told["type"]) == (403, "insecure_http")
    told = await it.call(None, "POST", "/auth/login", LOGIN, x_forwarded_proto="https", **headers)
    assert told.status == 403


async def test_behind_a_trusted_proxy_with_tls_the_cookie_is_secure(tmp_path):
    async with world(tmp_path, trusted_proxies=["127.0.0.0/8"]) as it:
        headers = {"host": "gateway.example.com", "x_forwarded_proto": "https", "x_forwarded_for": "203.0.113.9"}
        told = await it.call(None, "POST", "/auth/login", {**LOGIN, "cookie": True}, **headers)
        assert told.status == 200
        assert told.headers["set-cookie"].startswith("__Host-gateway=")
        assert told.headers["set-cookie"].endswith("; Secure")
        assert (await it.entries("login"))[0].address == "203.0.113.9"


async def test_insecure_http_can_be_allowed(tmp_path):
    async with world(tmp_path, insecure_http=True) as it:
        told = await it.call(None, "POST", "/auth/login", LOGIN, host="gateway.example.com")
        assert told.status == 200
