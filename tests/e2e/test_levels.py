"""Tenant, team, user and key: limits of each hold together, and scopes and providers cut what a key may do."""


import pytest
from running import chat, provider, running
from waiting import until

from gateway.accounts.records import Key, Limits, Team, Tenant, User
from gateway.money import NANO
from gateway.store.work import Put, change, put
from gateway.testing import FakeUpstream

REPLY = b'{"choices":[{"index":0,"message":{"content":"Hi"}}],"usage":{"prompt_tokens":1000000,"completion_tokens":0}}'
PRICES = [{"model": "up/*", "input": "1", "output": "0"}]


@pytest.fixture
async def upstream():
    async with FakeUpstream() as fake:
        fake.script(REPLY)  # the first answer; all others are the demo model's
        yield fake


@pytest.fixture
async def gate(tmp_path, upstream):
    models = [{"name": "m", "targets": ["up/m"]}]
    async with running(tmp_path, providers=[provider(upstream)], models=models, prices=PRICES) as gate:
        gate.user = (await gate.store.find_user("admin@localhost")).id
        gate.key_id = gate.key[6:18]
        team = Team(id="t1", tenant="default", name="Team", created=1)
        member = {"team_id": "t1", "user_id": gate.user, "tenant_id": "default", "created": 1}
        await gate.store.commit([put(team), Put("team_members", member)], bump=True)
        yield gate


async def ask(gate, path="/chat/completions", **body):
    async with gate.post(path, json={**chat(), **body}) as reply:
        return reply.status, await reply.json()


def target(gate, level: str):
    kinds = {"tenant": (Tenant, "default"), "team": (Team, "t1"), "user": (User, gate.user), "key": (Key, gate.key_id)}
    return kinds[level]


@pytest.mark.parametrize("level", ["tenant", "team", "user", "key"])
async def test_a_rate_at_any_level_refuses_and_names_it(gate, level):
    kind, ident = target(gate, level)
    await gate.store.commit([change(kind, {"id": ident}, {"limits": Limits(requests_per_minute=1)})], bump=True)
    assert (await ask(gate))[0] == 200
    status, body = await ask(gate)
    assert status == 429
    assert level in body["error"]["message"]


@pytest.mark.parametrize("level", ["tenant", "team", "user", "key"])
async def test_a_budget_that_is_set_later_counts_what_was_spent_before(gate, level):
    assert (await ask(gate, max_tokens=1))[0] == 200  # a dollar
    kind, ident = target(gate, level)
    await gate.store.commit([change(kind, {"id": ident}, {"limits": Limits(cost_monthly=NANO)})], bump=True)
    status, body = await ask(gate, max_tokens=1)
    assert (status, body["error"]["code"]) == (429, "insufficient_quota")
    assert level in body["error"]["message"]


async def test_what_was_spent_at_each_level_is_known_after_a_restart(tmp_path, upstream, gate):
    assert (await ask(gate, max_tokens=1))[0] == 200
    await gate.rows(1)
    from gateway.clock import now_ms
    from gateway.money.budgets import periods

    sums = await gate.store.budget_sums(*periods(now_ms()))
    assert {name: spent.daily for name, spent in sums.items()} == {
        ("tenant", "default"): NANO, ("team", "t1"): NANO, ("user", gate.user): NANO, ("key", gate.key_id): NANO,
    }  # fmt: skip


@pytest.mark.parametrize("level", ["tenant", "team", "user", "key"])
async def test_models_are_cut_at_every_level(gate, level):
    kind, ident = target(gate, level)
    await gate.store.commit([change(kind, {"id": ident}, {"limits": Limits(models=("other",))})], bump=True)
    status, body = await ask(gate)
    assert (status, body["error"]["code"]) == (403, "model_not_allowed")


async def test_a_tenants_providers_are_the_only_ones_that_serve_it(gate):
    await gate.store.commit([change(Tenant, {"id": "default"}, {"providers": ("elsewhere",)})], bump=True)
    status, body = await ask(gate)
    assert (status, body["error"]["code"]) == (403, "provider_not_allowed")
    async with gate.get("/models") as reply:
        assert (await reply.json())["data"] == []
    await gate.store.commit([change(Tenant, {"id": "default"}, {"providers": ("up",)})], bump=True)
    assert (await ask(gate))[0] == 200


@pytest.mark.parametrize(
    ("scope", "open_"), [("chat", "/chat/completions"), ("embeddings", "/embeddings"), ("models", "/models"), ("explain", "/explain")]
)
async def test_a_key_with_one_scope_opens_only_its_routes(gate, scope, open_):
    await gate.store.commit([change(Key, {"id": gate.key_id}, {"scopes": (scope,)})], bump=True)
    found = {}
    for path in ("/chat/completions", "/completions", "/embeddings", "/explain", "/messages"):
        body = {"prompt": "x"} if path == "/completions" else {"input": "x"} if path == "/embeddings" else {"max_tokens": 5}
        found[path] = (await ask(gate, path, **body))[0]
    async with gate.get("/models") as reply:
        found["/models"] = reply.status
    opened = {path for path, status in found.items() if status != 403}
    assert opened == ({open_, "/messages"} if scope == "chat" else {open_})


async def test_a_leaver_is_refused_within_a_second(gate):
    assert (await ask(gate))[0] == 200
    await gate.store.set_user_status(gate.user, "inactive")

    async def refused():
        return (await ask(gate))[0] == 401

    assert await until(refused) < 10  # much less, but for a busy machine
