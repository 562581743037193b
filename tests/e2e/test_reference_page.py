"""The API reference in a real browser that reaches nothing but the gateway: it shows every operation, and breaks no rule of its policy."""

import asyncio
import re
import shutil

import msgspec
import pytest
from people import world as started

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: `apt-get install chromium`")


async def shown(url, directory):
    """The page as it stands after its scripts have run, and what the browser had to say of it."""
    process = await asyncio.create_subprocess_exec(
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--user-data-dir={directory}",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--virtual-time-budget=10000", "--enable-logging=stderr",
        "--dump-dom", url, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        out, said = await asyncio.wait_for(process.communicate(), 90)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return out.decode(), [line for line in said.decode(errors="replace").splitlines() if "CONSOLE" in line]


async def test_every_operation_is_shown_without_a_complaint_of_the_browser(tmp_path):
    async with started(tmp_path) as world:
        async with world.gateway.client.get(world.gateway.root + "/api/v1/openapi.json") as reply:
            document = msgspec.json.decode(await reply.read())
        operations = [each["operationId"] for path in document["paths"].values() for each in path.values()]
        page, complaints = await shown(f"{world.gateway.root}/docs#{operations[0]}", tmp_path / "browser")
    assert complaints == []
    ids = re.findall(r'<details id="([^"]+)"', page)
    assert sorted(ids) == sorted(operations)
    assert len(ids) > 80
    assert "With curl" in page  # the one that the address names is open
    tags = re.findall(r'<h2 id="([^"]+)"', page)
    assert len({tag.lower() for tag in tags}) == len(tags) > 10
