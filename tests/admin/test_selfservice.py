"""What a key may ask with nothing but itself."""

from running import chat, provider, running

from gateway.testing import FakeUpstream

PLUGINS = [
    {"use": "auth.api_keys"}, {"use": "limiter.requests", "with": {"per_key": 5}}, {"use": "limiter.budget"},
    {"use": "sink.ledger"}, {"use": "admin.api"},
]  # fmt: skip
MODELS = [{"name": "m", "targets": ["up/gpt-4o"]}]


def sections(upstream):
    return {"providers": [provider(upstream)], "models": MODELS, "plugins": PLUGINS, "direct_models": False,
            "prices": [{"model": "up/*", "input": "1000", "output": "1000"}]}


async def test_a_key_sees_what_it_is_what_it_spent_and_what_is_left(tmp_path):
    async with FakeUpstream() as upstream, running(tmp_path, **sections(upstream)) as gateway:
        async with gateway.post(json=chat()) as reply:
            assert reply.status == 200
            cost = reply.headers["x-gateway-cost"]
        await gateway.rows(1)
        async with gateway.get("/usage/me") as reply:
            usage = await reply.json()
        assert usage["total"]["total_requests"] == 1
        assert float(usage["total"]["total_cost"]) == float(cost) > 0
        assert [group["name"] for group in usage["by_model"]] == ["m"]
        async with gateway.get("/usage/limits") as reply:
            limits = await reply.json()
        (rate,) = limits["rates"]
        assert (rate["limit"], rate["level"], rate["max"], rate["used"], rate["remaining"]) == (
            "requests_per_minute", "key", 5, 1, 4,
        )  # fmt: skip
        spent = {(each["level"], each["period"]): float(each["spent"]) for each in limits["costs"]}
        assert spent["key", "daily"] == spent["tenant", "monthly"] == float(cost)
        async with gateway.get("/key") as reply:
            key = await reply.json()
            assert reply.headers["cache-control"] == "no-store"
        assert (key["models"], key["is_active"], key["name"]) == (["m"], True, "First key")
        assert key["key_prefix"][-4:] == gateway.key[-4:]
        assert gateway.key not in str(key)


async def test_without_a_key_there_is_nothing(tmp_path):
    async with FakeUpstream() as upstream, running(tmp_path, **sections(upstream)) as gateway:
        for path in ("/usage/me", "/usage/limits", "/key"):
            async with gateway.client.get(gateway.url + path) as reply:
                error = await reply.json()
                assert (reply.status, sorted(error)) == (401, ["detail", "errors", "request_id", "type"])


async def test_wrong_query_fields_are_named(tmp_path):
    async with (
        FakeUpstream() as upstream, running(tmp_path, **sections(upstream)) as gateway,
        gateway.get("/usage/me?days=0&key=other") as reply,
    ):  # fmt: skip
        assert reply.status == 422
        assert [each["path"] for each in (await reply.json())["errors"]] == ["days", "key"]
