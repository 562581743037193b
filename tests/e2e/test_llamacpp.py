"""A real llama.cpp server with a tiny model answers through the gateway. `llamacpp/prepare.sh` installs it, once."""

import asyncio
import contextlib
import os
import secrets
import socket
from pathlib import Path

import pytest
import pytest_asyncio
from running import running
from selfhosted import SelfHosted, SelfHostedSuite

HERE = Path(__file__).parent / "llamacpp"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
PLACE = Path(os.environ.get("AI_GATEWAY_LLAMACPP") or CACHE / "ai-gateway" / "llamacpp")
pytestmark = pytest.mark.skipif(
    not (PLACE / "made-from").exists(), reason="llama.cpp is not installed: run tests/e2e/llamacpp/prepare.sh"
)
# The noise that the model makes becomes a call when the tokens that begin one are likely.
CALLING = {"logit_bias": {"260": 26, "10": 26}}


@contextlib.asynccontextmanager
async def llamacpp():
    """The server's address and key; it ends with its input."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    key = secrets.token_hex(8)
    process = await asyncio.create_subprocess_exec(
        str(PLACE / "venv/bin/python"), str(HERE / "serve.py"), str(PLACE / "tiny.gguf"), str(port), key,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert await asyncio.wait_for(process.stdout.readline(), 120) == b"listening\n"
        yield f"http://127.0.0.1:{port}", key
    finally:
        process.kill()
        await process.communicate()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def server(tmp_path_factory, gateway_view):
    async with llamacpp() as (root, key):
        options = {"base_url": root + "/v1", "api_key": key}
        entry = {"name": "llama", "use": "provider.openai_compatible", "with": options}
        models = [{"name": "tiny", "targets": ["llama/tiny"]}]
        async with running(tmp_path_factory.mktemp("llamacpp"), providers=[entry], models=models) as gw:
            hosted = SelfHosted(gateway_view(gw), "tiny", root, key, "llamacpp:requests_processing", CALLING)
            yield hosted
            await hosted.client.close()


class TestLlamaCpp(SelfHostedSuite):
    """The suite, with llama.cpp."""
