"""The same at Azure (both styles of address), vLLM and Anthropic, with the clients of each."""

import json

import anthropic
import openai
import pytest
import pytest_asyncio
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from openaiservice import CREDENTIAL, MP3, OpenAIService
from running import running

from gateway.accounts.keys import issue, pepper
from gateway.accounts.records import Tenant
from gateway.clock import now_ms

pytestmark = pytest.mark.asyncio(loop_scope="module")
PRICES = [{"model": "claude/claude-x", "input": "2", "output": "8", "variants": {"batch": {"input": "1", "output": "4"}}}]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gw(tmp_path_factory):
    async with OpenAIService() as service:
        root = service.url.removesuffix("/v1")
        providers = [
            {"name": "claude", "use": "provider.anthropic", "with": {"base_url": root, "api_key": CREDENTIAL}},
            {"name": "old", "use": "provider.azure_openai", "with": {"base_url": root, "api_key": CREDENTIAL, "api_version": "2024-10-21"}},
            {"name": "new", "use": "provider.azure_openai", "with": {"base_url": root, "api_key": CREDENTIAL, "responses": True}},
            {"name": "vllm", "use": "provider.vllm", "with": {"base_url": service.url, "api_key": CREDENTIAL}},
        ]
        models = [{"name": f"{provider}-model", "targets": [f"{provider}/dep"]} for provider in ("old", "new", "vllm")]
        async with running(tmp_path_factory.mktemp("elsewhere"), providers=providers, models=models, prices=PRICES) as gw:
            gw.cloud = service
            yield gw


@pytest.mark.parametrize(
    ("provider", "at"), [("old", "/openai/deployments/dep{0}?api-version=2024-10-21"), ("new", "/openai/v1{0}"), ("vllm", "/v1{0}")]
)
async def test_sound_and_images_go_to_each_address(gw, provider, at):
    async with AsyncOpenAI(base_url=gw.url, api_key=gw.key, max_retries=0) as client:
        model = f"{provider}-model"
        assert (await client.audio.transcriptions.create(model=model, file=("a.wav", b"RIFF"))).text == "hello there"
        assert gw.cloud.calls[-1][1] == at.format("/audio/transcriptions")
        assert (await client.audio.speech.create(model=model, voice="a", input="x")).content == MP3
        assert gw.cloud.calls[-1][1] == at.format("/audio/speech")
        await client.images.edit(model=model, image=("a.png", b"png"), prompt="x")
        assert gw.cloud.calls[-1][1] == at.format("/images/edits")
        sent = gw.cloud.calls[-1][2]
        assert CREDENTIAL in (sent.get("api-key"), sent.get("authorization", "").removeprefix("Bearer "))


@pytest.mark.parametrize(("provider", "at"), [("old", "/openai/files{0}?api-version=2024-10-21"), ("new", "/openai/v1/files{0}")])
async def test_files_at_azure_stand_beside_the_deployments(gw, provider, at):
    headers = {"x-gateway-provider": provider}
    async with AsyncOpenAI(base_url=gw.url, api_key=gw.key, max_retries=0, default_headers=headers) as client:
        made = await client.files.create(file=("f", b"x"), purpose="batch")
        assert gw.cloud.calls[-1][1] == at.format("")
        await client.files.retrieve(made.id)
        assert gw.cloud.calls[-1][1] == at.format(f"/{made.id}")
        listed = [each.id async for each in client.files.list()]
        assert listed == [made.id]
        assert "limit=100" in gw.cloud.calls[-1][1]
        await client.files.delete(made.id)


@pytest.mark.parametrize("provider", ["new", "vllm"])
async def test_stored_responses_at_azure_and_vllm(gw, provider):
    async with AsyncOpenAI(base_url=gw.url, api_key=gw.key, max_retries=0) as client:
        made = await client.responses.create(model=f"{provider}-model", input="hi")
        raw = await client.responses.with_raw_response.retrieve(made.id)
        assert raw.headers["x-gateway-provider"] == provider


async def test_message_batches(gw):
    """With Anthropic's own client; results are billed once, at the batch price; errors are Anthropic's."""
    line = {"custom_id": "a", "result": {"type": "succeeded", "message": {"type": "message", "model": "claude-x", "usage": {"input_tokens": 10, "cache_read_input_tokens": 5, "output_tokens": 2}, "content": [], "id": "m", "role": "assistant"}}}
    gw.cloud.results = json.dumps(line).encode() + b"\n"
    ask = {"custom_id": "a", "params": {"model": "claude-x", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}}
    async with AsyncAnthropic(base_url=gw.root + "/anthropic", api_key=gw.key, max_retries=0) as client:
        batch = await client.messages.batches.create(requests=[ask])
        assert gw.cloud.calls[-1][1] == "/v1/messages/batches"
        assert gw.cloud.calls[-1][2]["anthropic-version"] == client.default_headers["anthropic-version"]
        assert (await client.messages.batches.retrieve(batch.id)).id == batch.id
        assert [each.id async for each in client.messages.batches.list()] == [batch.id]
        async with gw.client.get(f"{gw.url}/messages/batches/{batch.id}/results", headers={"x-api-key": gw.key, "anthropic-version": "2023-06-01"}) as reply:
            assert await reply.read() == gw.cloud.results
        async with gw.client.get(f"{gw.root}/anthropic/v1/messages/batches/{batch.id}/results", headers={"x-api-key": gw.key}) as reply:
            assert await reply.read() == gw.cloud.results
        rows = [row for row in await gw.rows() if row.endpoint == "messages.batches.results"]
        assert [row.cost for row in rows] == [15 * 1000 + 2 * 4000, 0]
        await client.messages.batches.cancel(batch.id)
        await client.messages.batches.delete(batch.id)
        with pytest.raises(anthropic.NotFoundError) as caught:
            await client.messages.batches.retrieve(batch.id)
        assert caught.value.body["error"]["type"] == "not_found_error"


async def test_files_of_two_apis_on_one_path(gw):
    """Anthropic's clients are known by their header; each file is where it was made."""
    async with AsyncAnthropic(base_url=gw.root + "/api", api_key=gw.key, max_retries=0) as claude, AsyncOpenAI(base_url=gw.url, api_key=gw.key, max_retries=0) as client:
        theirs = await claude.beta.files.upload(file=("f.txt", b"text"))
        assert gw.cloud.calls[-1][2]["x-api-key"] == CREDENTIAL
        mine = await client.files.create(file=("f", b"x"), purpose="batch")
        assert "x-api-key" not in gw.cloud.calls[-1][2]
        assert (await claude.beta.files.retrieve_metadata(theirs.id)).id == theirs.id
        with pytest.raises(openai.BadRequestError):  # it is at a provider of the other API
            await client.files.retrieve(theirs.id)
        assert (await client.files.retrieve(mine.id)).id == mine.id


async def test_another_tenant_has_no_message_batches(gw):
    gateway = gw.process.gateway
    await gateway.store.create_tenant(Tenant(id="other", name="other", created=now_ms()))
    text, record = issue(pepper(gateway.secret), tenant="other", created=now_ms())
    await gateway.store.create_key(record)
    ask = {"custom_id": "a", "params": {"model": "claude-x", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}}
    async with AsyncAnthropic(base_url=gw.root + "/anthropic", api_key=gw.key, max_retries=0) as mine, AsyncAnthropic(base_url=gw.root + "/anthropic", api_key=text, max_retries=0) as theirs:
        batch = await mine.messages.batches.create(requests=[ask])
        assert [each async for each in theirs.messages.batches.list()] == []
        with pytest.raises(anthropic.NotFoundError):
            await theirs.messages.batches.retrieve(batch.id)
