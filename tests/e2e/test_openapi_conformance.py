"""schemathesis against the OpenAPI document: no 5xx, nothing undeclared, bad data refused, good data taken."""

import asyncio
import sys
from pathlib import Path

import pytest
from people import World, world

# What ends the session that the run lives on, or slows down logins; they have tests of their own.
SETTINGS = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "401", "403", "404", "409", "412", "422", "429"]

# A word in the place of an id: other methods take it for one.
[[operations]]
include-path = ["/api/v1/admin/api-keys/revoke", "/api/v1/admin/users/count"]
checks.unsupported_method.enabled = false
"""
LEFT_OUT = r"/auth/(login|logout|register|change-password|sessions/)"


@pytest.fixture
async def it(tmp_path):
    async with world(tmp_path / "gateway") as made:
        yield made


async def fuzz(it: World, directory: Path, token: str, *options: str, examples: int = 3) -> tuple[int, str]:
    """Run schemathesis, and return its status and report."""
    (directory / "schemathesis.toml").write_text(SETTINGS)
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "schemathesis"), "run", it.gateway.url + "/openapi.json",
        "--url", it.gateway.root, "-H", f"Authorization: Bearer {token}", "--checks", "all",
        "--phases", "coverage,fuzzing", "--max-examples", str(examples), "--seed", "1", "--no-color",
        "--continue-on-failure", "--suppress-health-check", "all", *options,
        cwd=directory, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        output, _ = await asyncio.wait_for(process.communicate(), 560)
    except TimeoutError:
        process.kill()
        raise
    return process.returncode or 0, output.decode()


async def test_what_a_key_may_call_does_what_the_document_says(it, tmp_path):
    status, report = await fuzz(it, tmp_path, it.gateway.key, "--include-tag", "key", examples=15)
    assert status == 0, report


@pytest.mark.timeout(600)  # half a minute of computing, on a machine that may be busy
async def test_what_an_owner_may_call_does_what_the_document_says(it, tmp_path):
    status, report = await fuzz(
        it, tmp_path, it.tokens["owner"], "--exclude-tag", "key", "--exclude-path-regex", LEFT_OUT,
        "--exclude-checks", "allow_header_conformance",
    )  # fmt: skip
    assert status == 0, report
