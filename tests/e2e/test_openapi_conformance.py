"""schemathesis against the OpenAPI document: no 5xx, nothing undeclared, bad data refused, good data taken."""

import asyncio
import sys
from pathlib import Path

import pytest
from running import provider, running

from gateway.testing import FakeUpstream

PLUGINS = [
    {"use": "auth.api_keys", "with": {"refusal_delay": 0}}, {"use": "limiter.budget"}, {"use": "sink.ledger"},
    {"use": "admin.api"},
]  # fmt: skip
SECONDS = 30


async def fuzz(gateway, directory: Path, token: str, *options: str) -> tuple[int, str]:
    """Run schemathesis for a while, and return its status and report."""
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "schemathesis"), "run", gateway.url + "/openapi.json",
        "--url", gateway.root, "-H", f"Authorization: Bearer {token}", "--checks", "all", "--phases", "coverage,fuzzing",
        "--max-examples", "15", "--seed", "1", "--no-color", "--continue-on-failure", "--suppress-health-check", "all",
        *options, cwd=directory, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        output, _ = await asyncio.wait_for(process.communicate(), 100)
    except TimeoutError:
        process.kill()
        raise
    return process.returncode or 0, output.decode()


@pytest.fixture
async def gateway(tmp_path):
    async with (
        FakeUpstream() as upstream,
        running(tmp_path, providers=[provider(upstream)], plugins=PLUGINS) as started,
    ):
        yield started


async def test_what_a_key_may_call_does_what_the_document_says(gateway, tmp_path):
    status, report = await fuzz(gateway, tmp_path, gateway.key, "--include-tag", "key")
    assert status == 0, report
