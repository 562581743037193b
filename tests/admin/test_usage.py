"""One request and what it cost: seen as far as a role's right reaches, and by the holder of its key."""

import asyncio
from decimal import Decimal

import pytest

from gateway.money.ledger import AttemptRow, LedgerRow

NOW = 1_795_000_000_000


def row(name, **fields):
    attempt = AttemptRow("up", "gpt-4o", "ok", 200, input=10, output=2, cost=12_000_000, lines="input:10@1000000000 output:2@1000000000")
    made = {"ts_ms": NOW, "tenant": "default", "key": "k1", "owner": "member", "model": "m", "provider": "up",
            "target_model": "gpt-4o", "input": 10, "output": 2, "cost": 12_000_000, "attempts": (attempt,)}  # fmt: skip
    return LedgerRow(id=name, **{**made, **fields})


@pytest.fixture
async def filled(it):
    team = (await it.call("admin", "POST", "/teams", {"name": f"t{len(it.ids)}"}))
    name = team["id"] if team.status == 201 else (await it.call("admin", "GET", "/teams"))["items"][0]["id"]
    await it.call("admin", "POST", f"/teams/{name}/members", {"user_id": "team_admin"})
    await it.store.append("t", 1, [
        row("mine"), row("theirs", owner="admin"), row("teams", team=name, owner="admin"),
        row("foreign", tenant="other", owner="foreign"),
    ])  # fmt: skip
    return it


@pytest.mark.parametrize(
    ("who", "sees"),
    [
        ("owner", {"mine", "theirs", "teams", "foreign"}), ("auditor", {"mine", "theirs", "teams", "foreign"}),
        ("admin", {"mine", "theirs", "teams"}), ("viewer", {"mine", "theirs", "teams"}), ("team_admin", {"teams"}),
        ("member", {"mine"}), ("foreign", {"foreign"}),
    ],
)  # fmt: skip
async def test_each_role_sees_the_requests_that_its_right_reaches_and_of_others_not_that_they_exist(filled, who, sees):
    for name in ("mine", "theirs", "teams", "foreign", "none"):
        told = await filled.call(who, "GET", f"/usage/requests/{name}")
        assert told.status == (200 if name in sees else 404), name
        assert name in sees or told["type"] == "not_found"


async def test_a_charge_is_explained_to_the_last_unit_as_soon_as_the_answer_is_there(it):
    body = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
    async with it.gateway.post(json=body) as reply:
        await reply.read()
        name, cost = reply.headers["x-request-id"], reply.headers["x-gateway-cost"]
    async with it.gateway.get(f"/usage/requests/{name}") as reply:
        own = await reply.json()
    told = (await it.call("owner", "GET", f"/usage/requests/{name}", status=200)).body
    assert own == told
    assert Decimal(told["cost"]) == Decimal(cost) > 0
    (attempt,) = told["attempts"]
    assert sum(Decimal(line["amount"]) for line in attempt["lines"]) == Decimal(cost)
    assert [(line["unit"], line["price"], line["per"]) for line in attempt["lines"]] == [
        ("input", "1000", "1M tokens"), ("output", "1000", "1M tokens"),
    ]  # fmt: skip
    assert (told["lines_add_up"], told["notes"], told["currency"]) == (True, [], "USD")
    assert told["price_version"].startswith("config-")


async def test_a_key_sees_its_own_requests_only(filled):
    async with filled.gateway.get("/usage/requests/mine") as reply:
        assert reply.status == 404
    async with filled.gateway.get("/usage/requests/..%2f") as reply:
        assert reply.status == 404


async def test_what_is_no_id_is_not_found_at_once(it):
    for name in ("req_zz", "a%20b", "x" * 65, "req_"):
        async with asyncio.timeout(30):
            assert (await it.call("owner", "GET", f"/usage/requests/{name}")).status == 404
