"""The models that providers list: asked for when somebody wants a list, kept, refreshed, and kept when that fails."""

import asyncio
import json

import pytest
from running import provider, running

from gateway import catalogue
from gateway.testing import FakeUpstream
from gateway_plugins.providers import anthropic, azure_openai, bedrock, gemini, openai_compatible, vllm

URL = "http://127.0.0.1:1"


def listed(*names):
    return 200, json.dumps({"object": "list", "data": [{"id": name, "object": "model"} for name in names]}).encode()


async def names(gw, path="/models"):
    async with gw.get(path) as reply:
        assert reply.status == 200
        return [line["id"] for line in (await reply.json())["data"]]


async def until_listed(gw, wanted):
    async with asyncio.timeout(20):
        while await names(gw) != wanted:
            await asyncio.sleep(0.02)


async def test_lists_have_what_the_provider_lists_and_a_failure_keeps_them(tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "_FRESH", 0.0)
    monkeypatch.setattr(catalogue, "_PAUSE", 0.0)
    async with FakeUpstream() as upstream:
        upstream.pages["/v1/models"] = listed("alpha", "beta", 7)
        wild = [{"name": "local/*", "targets": ["up/*"]}]
        async with running(tmp_path, providers=[provider(upstream)], models=wild) as gw:
            assert await names(gw) == ["local/alpha", "local/beta", "up/alpha", "up/beta"]
            upstream.pages["/v1/models"] = (500, b"<html>")
            await names(gw)
            assert await names(gw) == ["local/alpha", "local/beta", "up/alpha", "up/beta"]
            upstream.pages["/v1/models"] = listed("gamma")
            await until_listed(gw, ["local/gamma", "up/gamma"])
            assert upstream.requests == []


async def test_nobody_is_asked_where_it_is_off_or_the_names_are_given(tmp_path):
    async with FakeUpstream() as upstream:
        upstream.pages["/v1/models"] = listed("alpha")
        providers = [provider(upstream, "off", discover=False), provider(upstream, "given", models=["named"])]
        async with running(tmp_path, providers=providers) as gw:
            assert await names(gw) == ["given/named"]
            assert not gw.process.gateway.catalogue._next


async def test_of_what_is_listed_the_configured_patterns_count(tmp_path):
    async with FakeUpstream() as upstream:
        upstream.pages["/v1/models"] = listed("chat-a", "embed-a")
        async with running(tmp_path, providers=[provider(upstream, models=["chat-*"])]) as gw:
            assert await names(gw) == ["up/chat-a"]


async def test_a_provider_that_is_away_does_not_hold_up_the_list(tmp_path):
    async with FakeUpstream() as upstream:
        away = {"name": "away", "use": "provider.openai_compatible", "with": {"base_url": f"{URL}/v1", "api_key": "k"}}
        upstream.pages["/v1/models"] = listed("alpha")
        async with running(tmp_path, providers=[away, provider(upstream)]) as gw:
            assert await names(gw) == ["up/alpha"]


async def test_a_provider_that_never_answers_is_waited_for_once_and_not_by_everybody(monkeypatch):
    class Silent:
        discovers = True

        async def list_models(self, send):
            await asyncio.Event().wait()

    waits, wait = [], asyncio.wait

    async def counted(tasks, timeout):
        waits.append(timeout)
        return await wait(tasks, timeout=timeout)

    monkeypatch.setattr(asyncio, "wait", counted)
    lists = catalogue.Catalogue(None)
    try:
        await lists.look({"silent": Silent()}, {"silent": None}, wait=0.01)
        await asyncio.sleep(0.02)
        await lists.look({"silent": Silent()}, {"silent": None}, wait=0.01)
        assert waits == [pytest.approx(0.01)]
    finally:
        await lists.close()


def answers(pages):
    """What `list_models` is given to send with: each URL once."""

    async def send(request):
        asked.append(request)
        return 200, json.dumps(pages[request.url]).encode()

    asked = []
    return send, asked


async def test_anthropics_pages_are_followed():
    plugin = anthropic.Anthropic(anthropic.Options(base_url=URL, api_key=openai_compatible.Secret("k-anthropic")))
    send, asked = answers({
        f"{URL}/v1/models?limit=1000": {"data": [{"id": "claude-a"}, {"id": "claude b"}], "has_more": True},
        f"{URL}/v1/models?limit=1000&after_id=claude%20b": {"data": [{"id": "claude-c"}], "has_more": False},
    })
    assert await plugin.list_models(send) == ["claude-a", "claude b", "claude-c"]
    assert ("x-api-key", "k-anthropic") in asked[0].headers
    assert ("anthropic-version", "2023-06-01") in asked[0].headers


async def test_geminis_pages_are_followed_and_names_are_bare():
    plugin = gemini.Gemini(gemini.Options(base_url=f"{URL}/v1beta", api_key=openai_compatible.Secret("k-gemini")))
    send, asked = answers({
        f"{URL}/v1beta/models?pageSize=1000": {"models": [{"name": "models/gemini-a"}], "nextPageToken": "a/b"},
        f"{URL}/v1beta/models?pageSize=1000&pageToken=a%2Fb": {"models": [{"name": "models/gemini-b"}]},
    })
    assert await plugin.list_models(send) == ["gemini-a", "gemini-b"]
    assert ("x-goog-api-key", "k-gemini") in asked[0].headers


async def test_bedrock_lists_models_to_be_asked_directly_and_profiles():
    options = bedrock.Options(region="us-east-1", access_key_id="AKIDEXAMPLE", secret_access_key=openai_compatible.Secret("s-bedrock"))
    plugin = bedrock.Bedrock(options)
    root = "https://bedrock.us-east-1.amazonaws.com"
    summaries = [
        {"modelId": "amazon.nova", "inferenceTypesSupported": ["ON_DEMAND"]},
        {"modelId": "anthropic.new", "inferenceTypesSupported": ["INFERENCE_PROFILE"]}, {"modelId": 7}, 7,
    ]
    send, asked = answers({
        f"{root}/foundation-models": {"modelSummaries": summaries},
        f"{root}/inference-profiles?maxResults=1000": {"inferenceProfileSummaries": [{"inferenceProfileId": "us.anthropic.new"}]},
    })
    assert await plugin.list_models(send) == ["amazon.nova", "us.anthropic.new"]
    assert all(dict(request.varying)["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/") for request in asked)


async def test_azure_lists_deployments():
    plugin = azure_openai.AzureOpenAI(azure_openai.Options(base_url=URL, api_key=openai_compatible.Secret("k-azure")))
    send, asked = answers({f"{URL}/openai/deployments?api-version=2022-12-01": {"data": [{"id": "my-gpt", "model": "gpt-4o"}]}})
    assert await plugin.list_models(send) == ["my-gpt"]
    assert ("api-key", "k-azure") in asked[0].headers


@pytest.mark.parametrize("answer", [(401, b"{}"), (200, b"<html>"), (200, b"[]"), (200, b'{"data": {}}'), (200, b"{}")])
async def test_what_is_no_list_is_said(answer):
    async def send(request):
        return answer

    plugin = vllm.VLLM(vllm.Options(base_url=f"{URL}/v1"))
    with pytest.raises(ValueError, match="answer"):
        await plugin.list_models(send)
