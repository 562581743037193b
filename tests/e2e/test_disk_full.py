"""A disk that fills up under load: requests are refused before they cost anything, and no answer is lost from the ledger.

What was kept for that day lets the database go on: it takes the rows that wait, and keys can be revoked.
"""

import asyncio
import contextlib
import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest
from processes import GatewayProcess, client
from waiting import until

MIB = 1 << 20


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 48 MiB for the gateway's data."""
    place = tmp_path / "data"
    place.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=48m,mode=0700", "tmpfs", str(place)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here (that takes root)")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> Path:
    """Use up all space but some pages."""
    hog = place / "hog"
    with hog.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(65_536))
    return hog


async def asked(gateway, session, ids, *, until_status, most=5000):
    """Ask until an answer has this status; ids of all that were answered with 200 are noted."""
    seen = {}
    for _ in range(most):
        status, ident, body = await gateway.ask(session)
        seen[status] = seen.get(status, 0) + 1
        if status == 200:
            ids.add(ident)
        if status == until_status:
            return seen, body
    raise AssertionError(seen)


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_full_disk_refuses_what_begins_loses_nothing_and_serves_again_when_there_is_space(tmp_path, small_disk, workers):
    ids = set()
    with GatewayProcess(tmp_path, server={"workers": workers}) as gateway:
        async with client() as session:
            await asked(gateway, session, ids, until_status=200)
            hog = fill(small_disk)
            _, body = await asked(gateway, session, ids, until_status=503)
            assert b"ledger_unavailable" in body
            lines = gateway.log.count("\n")
            for _ in range(300):
                assert (await gateway.ask(session))[0] in (200, 503)
            assert gateway.log.count("\n") - lines < 200  # a full disk is not filled with lines about it
            await until(lambda: "the disk is full" in gateway.log)
            assert (small_disk / "ballast").stat().st_size == 0
            await until(lambda: ids <= {ident for ident, _, _ in gateway.rows()})
            made = msgspec.json.decode(await asyncio.to_thread(gateway.command, "keys", "create", "--json"))
            await asyncio.to_thread(gateway.command, "keys", "revoke", made["key"])
            assert (await gateway.ask(session))[0] == 503
            async with session.get(gateway.url + "/health/ready") as reply:
                assert reply.status == 503
            async with session.get(gateway.url + "/metrics") as reply:
                free = float(re.search(r"^ai_gateway_disk_free_bytes (\S+)$", await reply.text(), re.MULTILINE)[1])
            assert 0 < free < 16 * MIB
            hog.unlink()
            await until(lambda: _serves(gateway, session, ids))
            await until(lambda: (small_disk / "ballast").stat().st_size)
            for _ in range(50):
                await asked(gateway, session, ids, until_status=200)
        assert await asyncio.to_thread(gateway.stop) == 0
        stored = [ident for ident, outcome, _ in gateway.rows() if outcome == "ok"]
    assert len(stored) == len(set(stored))
    assert ids <= set(stored)


async def _serves(gateway, session, ids):
    status, ident, _ = await gateway.ask(session)
    if status == 200:
        ids.add(ident)
    return status == 200
