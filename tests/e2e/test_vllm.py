"""A real vLLM answers through the gateway: runs where VLLM_BASE_URL (and VLLM_API_KEY) lead to one."""

import os

import aiohttp
import pytest
import pytest_asyncio
from running import running
from selfhosted import SelfHosted, SelfHostedSuite

BASE_URL = os.environ.get("VLLM_BASE_URL", "")
KEY = os.environ.get("VLLM_API_KEY", "")
pytestmark = pytest.mark.skipif(not BASE_URL, reason="VLLM_BASE_URL is not set")


async def first_model():
    headers = {"authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession() as client, client.get(BASE_URL + "/models", headers=headers) as reply:
        return (await reply.json())["data"][0]["id"]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def server(tmp_path_factory, gateway_view):
    options = {"base_url": BASE_URL, "allow_private": True, **({"api_key": KEY} if KEY else {})}
    entry = {"name": "vllm", "use": "provider.vllm", "with": options}
    models = [{"name": "tiny", "targets": [f"vllm/{await first_model()}"]}]
    async with running(tmp_path_factory.mktemp("vllm"), providers=[entry], models=models) as gw:
        root = BASE_URL.removesuffix("/").removesuffix("/v1")
        hosted = SelfHosted(gateway_view(gw), "tiny", root, KEY, "vllm:num_requests_running", {})
        yield hosted
        await hosted.client.close()


class TestVLLM(SelfHostedSuite):
    """The suite, with vLLM."""
