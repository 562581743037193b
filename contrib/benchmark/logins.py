"""What 50 people who sign in at the same moment cost the requests of others: p99 with and without them, interleaved.

    python contrib/benchmark/logins.py [--rounds 3] [--seconds 6] [--people 50]

Every login is a password hash of 0.3 s and 128 MiB, so a storm lasts. The goal is a p99 under 1.2 times the usual one.
"""

import argparse
import asyncio
import contextlib
import json
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import aiohttp
import run

ADMIN = "  - use: admin.api\n"


async def storm(port: int, password: str, people: int, until: float) -> list[int]:
    """People who sign in, again and again; returns the statuses of their answers."""
    statuses: list[int] = []
    body = {"email": "admin@localhost", "password": password}

    async def one(session: aiohttp.ClientSession) -> None:
        while True:
            async with session.post(f"http://127.0.0.1:{port}/api/v1/admin/auth/login", json=body) as reply:
                statuses.append(reply.status)
                await reply.read()

    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        with contextlib.suppress(TimeoutError):  # who still waits goes
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + until - time.monotonic()):
                await asyncio.gather(*(one(session) for _ in range(people)))
    return statuses


def measured(subject: run.Subject, password: str, options: argparse.Namespace) -> dict[str, list[float]]:
    """p99 in milliseconds without and with a storm, round by round; and how many logins there were."""
    found: dict[str, list[float]] = {"calm": [], "storm": [], "logins": [], "refused": []}
    for number in range(options.rounds):
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
        found["calm"].append(run.load("open", subject, rate=200, seconds=options.seconds)["p99_ms"])
        statuses: list[int] = []
        until = time.monotonic() + options.seconds + 1
        people = threading.Thread(
            target=lambda: statuses.extend(asyncio.run(storm(subject.port, password, options.people, until)))  # noqa: B023
        )
        people.start()
        time.sleep(0.5)
        found["storm"].append(run.load("open", subject, rate=200, seconds=options.seconds)["p99_ms"])
        people.join()
        found["logins"].append(statuses.count(200))
        found["refused"].append(len(statuses) - statuses.count(200))
    return found


def main() -> None:
    """Start everything, measure, print, stop everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        port = run.free_port()
        command = [sys.executable, str(run.HERE / "upstream.py"), str(port)]
        stack.callback(subprocess.Popen(run.pinned(0, command)).kill)
        run.wait_for(port)
        run.CONFIG += ADMIN
        subject = run.gateway(Path(name), port)
        stack.callback(subject.stop)
        password = re.search(r"^password: (\S+)$", subject.printed(), re.MULTILINE)[1]
        found = measured(subject, password, options)
    ratio = statistics.median(storm / calm for storm, calm in zip(found["storm"], found["calm"], strict=True))
    print(f"p99 ms at 200/s: {statistics.median(found['calm']):.2f} alone, {statistics.median(found['storm']):.2f} "
          f"while {options.people} people sign in ({sum(found['logins']):.0f} did, {sum(found['refused']):.0f} were "
          f"told to try again): ratio {ratio:.2f}  (goal 1.2)")  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps({**found, "ratio": ratio}, indent=1))


if __name__ == "__main__":
    main()
