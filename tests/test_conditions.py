"""Targets that are known to be unable to answer are asked last: used up until their reset, or not ready."""

import asyncio

import msgspec
import pytest
from running import chat, provider, running

from gateway.readiness import waiting_in
from gateway.testing import FakeUpstream

USED_UP = {"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}
REPLY = msgspec.json.encode({
    "id": "c", "object": "chat.completion", "created": 1, "model": "m", "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}],
})
MODELS = [{"name": "m", "targets": ["one/m", "two/m"]}]
ALONE = [{"name": "m", "targets": ["one/m"]}]


async def asked(gw):
    async with gw.post(json=chat()) as reply:
        await reply.read()
        return reply.status, reply.headers["x-gateway-provider"]


async def page(gw):
    async with gw.client.get(gw.root + "/metrics", headers={"authorization": f"Bearer {gw.key}"}) as reply:
        return await reply.text()


async def until(condition, seconds=20.0):
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.02)


async def test_a_target_that_is_used_up_is_asked_last_until_its_reset(tmp_path):
    async with FakeUpstream() as one, FakeUpstream() as two:
        providers = [provider(one, "one"), provider(two, "two")]
        async with running(tmp_path, providers=providers, models=MODELS) as gw:
            one.script(REPLY, headers=USED_UP)
            assert await asked(gw) == (200, "one")
            assert await asked(gw) == (200, "two")
            (known,) = gw.process.gateway.conditions.known()
            assert (known.provider, known.model) == ("one", "m")
            assert 300 < known.seconds <= 360
            two.script(b"{}", status=500)
            assert await asked(gw) == (200, "one")  # better than nobody
            metrics = await page(gw)
            assert 'ai_gateway_upstream_ratelimit_remaining{model="m",provider="one",unit="requests"} 0.0' in metrics
            assert 'ai_gateway_upstream_ratelimit_limit{model="m",provider="one",unit="requests"} 60.0' in metrics


@pytest.mark.parametrize(
    ("body", "headers"), [(b"{}", {"retry-after": "90"}), (b'{"error": {"details": [{"retryDelay": "90s"}]}}', {})]
)
async def test_after_a_429_a_target_is_left_alone_for_as_long_as_it_said(tmp_path, body, headers):
    async with FakeUpstream() as one, FakeUpstream() as two:
        providers = [provider(one, "one"), provider(two, "two")]
        async with running(tmp_path, providers=providers, models=MODELS) as gw:
            one.script(body, status=429, headers=headers)
            assert await asked(gw) == (200, "two")
            assert await asked(gw) == (200, "two")
            assert len(one.requests) == 1


async def test_the_last_429_keeps_its_retry_after(tmp_path):
    async with FakeUpstream() as one, running(tmp_path, providers=[provider(one, "one")], models=ALONE) as gw:
        for _ in range(2):
            one.script(b"{}", status=429, headers={"retry-after": "90"})
            async with gw.post(json=chat()) as reply:
                assert (reply.status, reply.headers["retry-after"]) == (429, "90")
        assert len(one.requests) == 2


def vllm(upstream, name, **options):
    return {"name": name, "use": "provider.vllm", "with": {"base_url": upstream.url, "readiness_interval": 0.1, **options}}


async def test_a_server_that_is_not_ready_is_asked_last_and_shown(tmp_path):
    async with FakeUpstream() as one, FakeUpstream() as two:
        one.pages = {"/health": (503, b"")}
        async with running(tmp_path, providers=[vllm(one, "one"), vllm(two, "two")], models=MODELS) as gw:
            conditions = gw.process.gateway.conditions

            async def both():
                return {each.provider: each.reason for each in conditions.known()} == {"one": "its /health answers with status 503", "two": ""}

            await until(both)
            assert await asked(gw) == (200, "two")
            assert one.requests == []
            assert 'ai_gateway_upstream_ready{provider="one"} 0.0' in await page(gw)
            one.pages = {"/health": (200, b"")}

            async def back():
                return not any(each.reason for each in conditions.known())

            await until(back)
            assert await asked(gw) == (200, "one")
            queue = b'vllm:num_requests_waiting{model_name="m"} 65.0\nvllm:num_requests_waiting_by_reason{reason="x"} 900\n'
            one.pages = {"/health": (200, b""), "/metrics": (200, queue)}

            async def full():
                return any(each.reason == "65 requests wait in its queue" for each in conditions.known())

            await until(full)
            assert await asked(gw) == (200, "two")
            await one.close()

            async def dead():
                return any(each.reason == "its server does not answer" for each in conditions.known())

            await until(dead)
            assert await asked(gw) == (200, "two")


async def test_a_single_server_is_asked_even_if_it_is_not_ready(tmp_path):
    async with FakeUpstream() as one:
        one.pages = {"/health": (503, b"")}
        async with running(tmp_path, providers=[vllm(one, "one")], models=ALONE) as gw:
            assert await asked(gw) == (200, "one")


async def test_readiness_can_be_switched_off(tmp_path):
    async with FakeUpstream() as one, running(tmp_path, providers=[vllm(one, "one", readiness=False)], models=ALONE) as gw:
        assert await asked(gw) == (200, "one")
        assert gw.process.gateway.conditions.known() == []


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (b"", 0), (b"vllm:num_requests_waiting 3\n", 3), (b'vllm:num_requests_waiting{engine="0"} 3.0\nvllm:num_requests_waiting{engine="1"} 4.0\n', 7),
        (b"vllm:num_requests_waiting_by_reason 9\n# HELP vllm:num_requests_waiting x\n", 0), (b"vllm:num_requests_waiting{} NaN\n", 0),
        (b"vllm:num_requests_waiting{} x\n", 0),
    ],
)
def test_a_queue_is_read_from_a_page_of_metrics(text, count):
    assert waiting_in(text) == count
