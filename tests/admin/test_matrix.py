"""Every route with every role, from the route table: who lacks the right is refused, who has it is not; foreign is 404."""

import re

import pytest

from gateway.accounts.records import Content
from gateway.accounts.roles import GRANTS, MATRIX, RANK, ROLES, reach
from gateway.money.ledger import LedgerRow
from gateway.store.work import put

PUBLIC = {
    ("GET", "/"), ("GET", "/health"), ("GET", "/health/live"), ("GET", "/health/ready"), ("GET", "/metrics"), ("GET", "/docs"),
    ("GET", "/api/v1/openapi.json"), ("POST", "/api/v1/admin/auth/login"), ("POST", "/api/v1/admin/auth/register"),
}  # fmt: skip
ENDS_THE_SESSION = {"/api/v1/admin/auth/logout"}
READS = {"GET"}


def routes(it):
    """All routes of the running process, as the table has them."""
    return sorted(it.gateway.process._app._routes, key=lambda route: (route.pattern, route.method))


def admin_routes(it):
    """Those that need a right; a few have a second path, which is for the same function."""
    under = "/api/v1/admin/"
    return [route for route in routes(it) if ":" in route.permission and route.pattern.startswith(under)]


def asks(route):
    """A question too long for a query: it changes nothing."""
    return route.permission.endswith(":read") and route.pattern.endswith("/check")


def filled(pattern: str, value: str = "nothing0") -> str:
    return re.sub(r"\{\w+(\.\.\.)?\}", value, pattern).removeprefix("/api/v1/admin")


async def test_what_is_public_is_a_short_list(it):
    assert {(route.method, route.pattern) for route in routes(it) if route.permission == "public"} == PUBLIC
    assert len(PUBLIC) <= 9


async def test_every_right_that_a_route_asks_for_is_in_the_matrix(it):
    assert {route.permission for route in admin_routes(it)} <= set(MATRIX)


async def test_every_route_under_admin_needs_a_right(it):
    under = [route for route in routes(it) if route.pattern.startswith("/api/v1/admin/")]
    assert [route for route in under if ":" not in route.permission and (route.method, route.pattern) not in PUBLIC] == []


async def test_nobody_gets_in_without_a_session_or_with_an_api_key(it):
    for route in admin_routes(it):
        for who in (None, it.gateway.key, "gws-" + "A" * 55, "gwt-" + "A" * 55):
            told = await it.call(who, route.method, filled(route.pattern))
            assert (told.status, told["type"]) == (401, "unauthenticated"), (route, who)


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_can_call_what_it_has_the_right_for_and_nothing_else(it, role):
    for route in admin_routes(it):
        if route.pattern in ENDS_THE_SESSION:
            continue
        told = await it.call(role, route.method, filled(route.pattern), {} if route.method != "GET" else None)
        refused = told.status == 403 and told["type"] == "permission_denied"
        lacking = reach(role, route.permission) is None
        if route.permission == "content:read":  # beside the role's right, others' words need `content_access`
            lacking = role != "member"
        assert refused == lacking, (role, route, told.status, told.body)
        assert told.status != 401
        assert told.status < 500


async def test_roles_that_read_change_nothing(it):
    for role in ("auditor", "viewer"):
        for route in admin_routes(it):
            if route.method not in READS and not route.permission.startswith("self:") and not asks(route):
                told = await it.call(role, route.method, filled(route.pattern), {})
                assert told.status == 403, (role, route)


async def objects(it):
    """One of each in the tenant `default`: path pieces by the route's first word."""
    team = (await it.call("admin", "POST", "/teams", {"name": "blue"}, status=201))["id"]
    await it.call("admin", "POST", f"/teams/{team}/members", {"user_id": "member"}, status=200)
    account = (
        await it.call("admin", "POST", "/service-accounts", {"name": "ci", "team_id": team}, status=201)
    )["id"]
    token = (await it.call("admin", "POST", f"/service-accounts/{account}/tokens", {"name": "t"}, status=201))["id"]
    key = (await it.call("member", "POST", "/api-keys", {"name": "k"}, status=201))["id"]
    credential = (
        await it.call("admin", "POST", "/credentials", {"provider": "up", "secret": "sk-0123456789abcdef"}, status=201)
    )["id"]
    policy = (await it.call("admin", "POST", "/guardrails/policies", {"name": "mine"}, status=201))["id"]
    invitation = (await it.call("admin", "POST", "/invitations", {"email": "a@b.c"}, status=201))["id"]
    kept = Content(id="req_1", tenant="default", key_id=key, owner="member", model="m", created=1)
    await it.store.commit([put(kept, sealed=None)])
    for name in ("admin", "foreign"):
        await it.call("owner", "PATCH", f"/users/{name}", {"content_access": True}, status=200)
    await it.store.append("matrix", 1, [LedgerRow("r-of-default", 1, "default", "k1")])
    budget = (await it.call("admin", "POST", "/budgets", {"name": "b", "hard_limit_usd": "1"}, status=201))["id"]
    return {
        "usage": "r-of-default", "tenants": "default", "users": "member", "teams": team, "organization": team, "service-accounts": account,
        "api-keys": key, "invitations": invitation, "credentials": credential, "guardrails": policy,
        "contents": kept.id, "auth": it.sessions["admin"], "budgets": budget, "budget": budget,
    }, {"user": "member", "token": token}  # fmt: skip


BODIES = {
    "PATCH": {"name": "x"}, "PUT": {"name": "x"}, "members": {"user_id": "member"}, "api-keys": {"name": "x"},
    "tokens": {"name": "x"}, "restore": {"version": 1},
}  # fmt: skip


async def test_an_object_of_another_tenant_does_not_exist_for_every_verb(it):
    ids, others = await objects(it)
    seen = 0
    for route in admin_routes(it):
        if "{" not in route.pattern or reach("admin", route.permission) is None:
            continue
        words = route.pattern.removeprefix("/api/v1/admin/").split("/")
        path = route.pattern.removeprefix("/api/v1/admin").replace("{id}", ids[words[0]])
        path = re.sub(r"\{(\w+)\}", lambda match: others[match[1]], path)
        body = BODIES.get(words[-1], BODIES.get(route.method, {}))
        told = await it.call("foreign", route.method, path, body if route.method != "GET" else None)
        nothing = await it.call(
            "foreign", route.method, filled(route.pattern), body if route.method != "GET" else None
        )
        assert (told.status, told["type"]) == (404, "not_found"), (route, told.body)
        assert (nothing.status, nothing["detail"]) == (404, told["detail"]), route
        seen += 1
    assert seen > 20


async def test_nothing_of_another_tenant_is_in_a_list_whatever_is_asked_for(it):
    await objects(it)
    for path in ("/users", "/teams", "/api-keys", "/service-accounts", "/invitations", "/audit-logs", "/credentials",
                 "/contents", "/budgets"):
        for query in ("", "?tenant=default", "?search=e"):
            if query == "?search=e" and path in ("/invitations", "/credentials", "/contents"):
                continue
            told = await it.call("foreign", "GET", path + query, status=200)
            assert {item["tenant_id"] for item in told["items"]} <= {"other"}, path
    assert [each["id"] for each in (await it.call("foreign", "GET", "/tenants", status=200))["items"]] == ["other"]
    assert (await it.call("foreign", "GET", "/users/count?tenant=default"))["count"] == 0
    assert (await it.call("foreign", "GET", "/users/count"))["count"] == 1
    summary = await it.call("foreign", "GET", "/audit/summary?tenant=default", status=200)
    assert summary["total"] == 0


async def test_a_path_in_disguise_is_never_somebody_elses_route(it):
    for path in (
        "//users", "/users/", "/Users", "/users/../tenants", "/users/%2e%2e/tenants", "/users;x=1", "/users%2F", "/./users",
        "/auth/login/../../tenants", "/auth/login%2F..%2F..%2Ftenants",
    ):  # fmt: skip
        told = await it.call("viewer", "GET", path)
        assert told.status in (404, 405), path
    told = await it.call("viewer", "GET", "/router/config", host="evil.example", x_original_url="/docs")
    assert told.status == 403


def test_the_matrix_names_roles_and_reaches_only():
    for permission, row in MATRIX.items():
        assert set(row) <= set(ROLES), permission
        assert re.fullmatch(r"[a-z-]+:[a-z]+", permission)
        assert row.get("owner"), f"{permission}: owners have every right"
        if not permission.startswith("self:"):
            assert permission.endswith((":read", ":verify")) or not ({"auditor", "viewer"} & set(row)), permission


def test_nobody_grants_above_themselves():
    for role, granted in GRANTS.items():
        assert all(RANK[each] <= RANK[role] for each in granted)
        assert not (granted & {"owner", "auditor"}) or role == "owner"
