"""What there is and how it does: models, providers, configuration. Nothing secret."""

from types import SimpleNamespace

import msgspec
import pytest
from running import chat, provider, running

from gateway.accounts.records import Limits, Tenant
from gateway.admin import routing
from gateway.admin.endpoint import Ask
from gateway.admin.fields import NoQuery
from gateway.testing import FakeUpstream

MODELS = [
    {"name": "m", "targets": ["up/gpt-4o", "down/gpt-4o"], "aliases": ["fast"], "modalities": ["text"]},
    {"name": "x-*", "targets": ["up/x-*"]},
]
CANARY = "canary-0123456789-credential"


@pytest.fixture
async def world(tmp_path):
    """A gateway with a provider that is on, one that is off, and one that fails."""
    async with FakeUpstream() as upstream:
        providers = [
            provider(upstream, api_key=CANARY, headers={"x-own-secret": CANARY}, models=["gpt-4o", "x-1"]),
            provider(upstream, "down", base_url="http://127.0.0.1:1/v1", models=["gpt-4o"]),
            {**provider(upstream, "off"), "when": ""},
        ]
        prices = [{"model": "up/gpt-4o", "input": "1.5", "output": "2"}]
        async with running(tmp_path, providers=providers, models=MODELS, prices=prices) as gateway:
            yield gateway


async def told(world, function, query=None, tenant=None):
    request = SimpleNamespace(principal=SimpleNamespace(tenant=tenant))
    answer = await function(world.process.gateway, Ask(query or NoQuery(), None, request))
    text = msgspec.json.encode(answer).decode()
    assert CANARY not in text
    assert "127.0.0.1" not in text
    return msgspec.json.decode(text)


async def test_models_are_listed_with_targets_and_prices(world):
    models = {each["id"]: each for each in (await told(world, routing.list_models, routing.ModelsQuery()))["items"]}
    assert {"m": "configured", "fast": "alias", "x-1": "wildcard", "up/gpt-4o": "provider"}.items() <= {
        name: model["source"] for name, model in models.items()
    }.items()
    first, second = models["m"]["targets"]
    assert (first["provider"], first["price"]["input"], second["provider"]) == ("up", "1.5", "down")
    assert (models["fast"]["alias_of"], models["m"]["modalities"]) == ("m", ["text"])


async def test_models_come_in_pages_and_can_be_searched(world):
    seen, cursor = [], ""
    while cursor is not None:
        page = await told(world, routing.list_models, routing.ModelsQuery(limit=2, cursor=cursor))
        seen += [each["id"] for each in page["items"]]
        cursor = page["next_cursor"]
    assert seen == sorted(set(seen))
    assert {"m", "fast"} < set(seen)
    found = await told(world, routing.list_models, routing.ModelsQuery(search="GPT", provider="down"))
    assert [each["id"] for each in found["items"]] == ["down/gpt-4o"]


async def test_a_tenant_sees_the_models_that_it_may_use(world):
    await world.store.create_tenant(Tenant(id="acme", name="Acme", created=1, limits=Limits(models=("m",))))
    page = await told(world, routing.list_models, routing.ModelsQuery(), tenant="acme")
    assert [each["id"] for each in page["items"]] == ["fast", "m"]
    gone = await told(world, routing.list_models, routing.ModelsQuery(), tenant="nobody")
    assert gone["items"] == []


async def test_providers_say_whether_they_are_on_and_how_they_do(world):
    before = (await told(world, routing.list_providers))["providers"]
    assert [(each["name"], each["is_active"], each["status"]) for each in before] == [
        ("up", True, "idle"), ("down", True, "idle"), ("off", False, "off"),
    ]  # fmt: skip
    async with world.post(json=chat()) as reply:
        assert reply.status == 200
    async with world.post(json=chat("down/gpt-4o")) as reply:
        assert reply.status == 502
    await world.rows(2)
    health = await told(world, routing.show_health)
    assert {each["name"]: each["status"] for each in health["providers"]} == {
        "up": "healthy", "down": "failing", "off": "off",
    }  # fmt: skip
    assert health["status"] == "degraded"


async def test_the_configuration_shows_names_and_no_options(world):
    config = await told(world, routing.show_config)
    assert config["model_aliases"] == {"fast": "m"}
    assert config["models"][0]["targets"] == ["up/gpt-4o", "down/gpt-4o"]
    assert {"name": "limiter.budget", "use": "limiter.budget", "role": "limiter"} in config["plugins"]


async def test_features_are_yes_or_no(world):
    features = (await told(world, routing.show_features))["features"]
    assert features["budgets"] is True
    assert features["caching"] is False
    assert {type(each) for each in features.values()} == {bool}
