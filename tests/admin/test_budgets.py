"""Budgets through the API: they hold at once and for everything spent before, and only for whom they are meant."""

import asyncio

import pytest


async def a_key(it, **fields):
    told = await it.call("admin", "POST", "/api-keys", {"name": "k", **fields}, status=201)
    return told["id"], told["api_key"]


async def make(it, who="owner", **fields):
    return (await it.call(who, "POST", "/budgets", {"name": "cap", "hard_limit_usd": "1", **fields}, status=201)).body


async def spend(it, key, model="m"):
    """The answer's status and headers."""
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 20}
    url, headers = it.gateway.url + "/chat/completions", {"authorization": f"Bearer {key}"}
    async with it.gateway.client.post(url, json=body, headers=headers) as reply:
        await reply.read()
        return reply.status, reply.headers


async def test_a_budget_is_made_shown_changed_switched_and_deleted(it):
    made = await make(it, "admin", name="March", hard_limit_usd=12.5, period="week", thresholds=[90, 50, 90])
    assert (made["scope_type"], made["scope_id"], made["tenant_id"]) == ("tenant", "default", "default")
    assert (made["hard_limit_usd"], made["remaining"], made["spent"], made["utilization"]) == ("12.5", "12.5", "0", 0.0)
    assert (made["thresholds"], made["action_on_limit"]) == ([50, 90], "block")
    assert (made["window"], made["is_platform"]) == ("calendar", False)
    path = f"/budgets/{made['id']}"
    assert (await it.call("viewer", "GET", path, status=200)).body == made
    await it.call("auditor", "GET", "/budgets?period=x", status=422)
    assert [each["id"] for each in (await it.call("auditor", "GET", "/budgets?search=mar", status=200))["items"]] == [made["id"]]
    changed = await it.call("admin", "PATCH", path, {"hard_limit_usd": "3", "period": "day"}, status=200, If_Match='"1"')
    assert (changed["hard_limit_usd"], changed["period"], changed["version"]) == ("3", "day", 2)
    await it.call("admin", "PATCH", path, {"hard_limit_usd": "4"}, status=412, If_Match='"1"')
    assert (await it.call("admin", "POST", f"{path}/toggle", status=200))["enabled"] is False
    await it.call("admin", "DELETE", path, status=204)
    await it.call("admin", "GET", path, status=404)
    assert [entry.action for entry in (await it.entries())[:4]] == [
        "budget_deleted", "budget_updated", "budget_updated", "budget_created",
    ]  # fmt: skip
    assert (await it.entries("budget_updated"))[1].detail == {"amount": ["12.5", "3"], "period": ["week", "day"]}


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"name": ""}, "name"), ({"hard_limit_usd": -1}, "hard_limit_usd"), ({"hard_limit_usd": "1e9"}, "hard_limit_usd"),
        ({"hard_limit_usd": "0.0000000001"}, "hard_limit_usd"), ({"period": "year"}, "period"),
        ({"scope_type": "team"}, "scope_id"), ({"scope_type": "team", "scope_id": "nobody"}, "scope_id"),
        ({"scope_type": "key", "scope_id": "../x"}, "scope_id"), ({"scope_id": "other"}, "scope_id"),
        ({"action_on_limit": "tier_down"}, "tier_down_to"), ({"tier_down_to": "no-such-model"}, "tier_down_to"),
        ({"model_filter": []}, "model_filter"), ({"thresholds": [0]}, "thresholds[0]"), ({"color": "red"}, "color"),
    ],
)  # fmt: skip
async def test_what_makes_no_sense_is_refused_by_field(it, fields, path):
    told = await it.call("admin", "POST", "/budgets", {"name": "cap", "hard_limit_usd": "1", **fields}, status=422)
    assert path in [each["path"] for each in told["errors"]], told.body
    assert (await it.call("admin", "GET", "/budgets", status=200))["items"] == []


async def test_a_budget_knows_what_was_spent_before_it_and_holds_at_once(it):
    key_id, key = await a_key(it)
    for _ in range(3):
        status, headers = await spend(it, key)
        assert status == 200
        assert "x-gateway-budget-remaining" not in headers
    spent = sum(row.cost for row in await it.gateway.rows(3))
    made = await make(it, scope_type="key", scope_id=key_id, hard_limit_usd=f"{spent / 1e9:.9f}")
    assert (made["spent"], made["remaining"], made["utilization"]) == (f"{spent / 1e9:.9f}".rstrip("0"), "0", 100.0)
    status, headers = await spend(it, key)
    assert status == 429
    assert headers["x-gateway-budget-remaining"] == "0"
    assert int(headers["retry-after"]) > 0
    await it.call("owner", "PATCH", f"/budgets/{made['id']}", {"hard_limit_usd": "5"}, status=200)
    status, headers = await spend(it, key)
    assert status == 200
    assert 0 < float(headers["x-gateway-budget-remaining"]) < 5
    rolling = await make(it, scope_type="key", scope_id=key_id, window="rolling", period="hour", hard_limit_usd="0.00001")
    assert rolling["resets_at"] is None
    assert float(rolling["spent"]) > spent / 1e9
    assert (await spend(it, key))[0] == 429
    await it.call("owner", "POST", f"/budgets/{rolling['id']}/toggle", status=200)
    assert (await spend(it, key))[0] == 200


async def test_the_counter_equals_the_ledger_after_every_change_of_what_is_counted(it):
    key_id, key = await a_key(it)
    made = await make(it, scope_type="key", scope_id=key_id, model_filter=["n"])
    for model in ("m", "n", "n"):
        assert (await spend(it, key, model))[0] == 200
    rows = await it.gateway.rows(3)
    path = f"/budgets/{made['id']}"

    async def spent():
        return round(float((await it.call("owner", "GET", path, status=200))["spent"]) * 1e9)

    assert await spent() == sum(row.cost for row in rows if row.model == "n")
    await it.call("owner", "PATCH", path, {"model_filter": None}, status=200)
    assert await spent() == sum(row.cost for row in rows)
    await it.call("owner", "PATCH", path, {"model_filter": ["up/gpt-4o"], "period": "day"}, status=200)
    assert await spent() == sum(row.cost for row in rows if row.model == "m")
    await it.call("owner", "PATCH", path, {"provider_filter": ["elsewhere"]}, status=200)
    assert await spent() == 0


async def test_a_used_up_budget_leads_to_the_cheaper_model(it):
    key_id, key = await a_key(it)
    await make(it, scope_type="key", scope_id=key_id, hard_limit_usd="0", action_on_limit="tier_down", tier_down_to="n")
    status, headers = await spend(it, key)
    assert (status, headers["x-gateway-model"]) == (200, "gpt-4o-mini")
    assert headers["x-gateway-warnings"] == "budget=cap, model=n"
    other, narrow = await a_key(it, allowed_models=["m"])
    await make(it, scope_type="key", scope_id=other, hard_limit_usd="0", action_on_limit="tier_down", tier_down_to="n")
    assert (await spend(it, narrow))[0] == 429  # nobody gets a model that they may not use


async def test_what_the_platform_set_the_tenant_sees_and_cannot_change(it):
    made = await make(it, "owner")
    path = f"/budgets/{made['id']}"
    assert (await it.call("admin", "GET", path, status=200))["is_platform"] is True
    for method, body in (("PATCH", {"hard_limit_usd": "9"}), ("DELETE", None)):
        told = await it.call("admin", method, path, body, status=403)
        assert told["type"] == "set_by_platform"
    await it.call("admin", "POST", f"{path}/toggle", status=403)


async def test_team_admins_see_the_budgets_of_their_teams_alone(it):
    teams = [(await it.call("admin", "POST", "/teams", {"name": name}, status=201))["id"] for name in ("a", "b")]
    await it.call("admin", "POST", f"/teams/{teams[0]}/members", {"user_id": "team_admin"}, status=200)
    for team in teams:
        await make(it, "admin", scope_type="team", scope_id=team)
    await make(it, "admin")
    await it.sign_in("team_admin")
    found = await it.call("team_admin", "GET", "/budgets", status=200)
    assert [each["scope_id"] for each in found["items"]] == [teams[0]]


async def test_a_question_is_answered_without_taking_anything(it):
    key_id, _ = await a_key(it)
    made = await make(it, scope_type="key", scope_id=key_id, hard_limit_usd="1", model_filter=["m"])
    ask = {"model": "m", "api_key_id": key_id, "estimated_cost": "1.01"}
    told = await it.call("admin", "POST", "/budgets/check", ask, status=200)
    assert told.body == {
        "allowed": False,
        "reasons": [{"budget_id": made["id"], "name": "cap", "action": "block", "remaining": "1"}],
    }  # fmt: skip
    for fits in ({"estimated_cost": "1"}, {"model": "n"}, {"api_key_id": "nobody"}):
        assert (await it.call("admin", "POST", "/budget/check", {**ask, **fits}, status=200))["allowed"] is True
    options = await it.call("admin", "GET", "/budgets/scope-options", status=200)
    assert key_id in [each["id"] for each in options["keys"]]
    assert options["models"] == ["m", "n"]


async def test_many_requests_at_once_never_pass_a_new_budget_together(it):
    _, key = await a_key(it)
    assert (await spend(it, key))[0] == 200
    (row,) = await it.gateway.rows(1)
    made = await make(it, "owner", scope_type="user", scope_id=row.owner or "admin", hard_limit_usd="0.5")
    statuses = [status for status, _ in await asyncio.gather(*(spend(it, key) for _ in range(100)))]
    shown = await it.call("owner", "GET", f"/budgets/{made['id']}", status=200)
    assert set(statuses) <= {200, 429}
    assert float(shown["spent"]) <= 0.5
    assert shown["reserved"] == "0"
    rows = await it.gateway.rows(101)
    assert round(float(shown["spent"]) * 1e9) == sum(row.cost for row in rows)
