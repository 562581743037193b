"""A gateway as people run it: a process of its own, started from a file, told by signals."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import aiohttp
import msgspec
from waiting import PATIENCE

from gateway.scratch import scratch_directory

PLUGINS = [
    "auth.api_keys", "limiter.requests", "limiter.concurrency", "limiter.budget", "sink.ledger", "sink.prometheus",
]


def tree(directory: Path, *, server=None, **sections) -> dict:
    """A small configuration in front of the demo provider."""
    return {
        "server": {"port": 0, "drain_timeout": 5, **(server or {})},
        "data_dir": str(directory / "data"),
        "providers": [{"name": "demo", "use": "provider.demo"}],
        "models": [{"name": "demo-small", "targets": ["demo/demo-small"]}],
        "plugins": [{"use": name} for name in PLUGINS],
        **sections,
    }


class GatewayProcess:
    """`gateway serve` with a configuration of its own. Leave the `with` block and it is gone, workers included."""

    def __init__(self, directory: Path, **sections) -> None:
        self.directory = directory
        self.file = directory / "gateway.yaml"
        self.data_dir = directory / "data"
        self.url = self.key = ""
        self._process: subprocess.Popen | None = None
        self._starts = 0
        self.write(**sections)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_) -> None:
        self.kill()
        if self.data_dir.is_dir():  # what a killed supervisor leaves for its next start
            shutil.rmtree(scratch_directory(self.data_dir, 0))

    def write(self, **sections) -> None:
        """Write the configuration (YAML is a superset of JSON)."""
        self.file.write_bytes(msgspec.json.encode(tree(self.directory, **sections)))

    def launch(self) -> None:
        """Start, and do not wait."""
        self._starts += 1
        environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gateway", "serve", "--config", str(self.file)],
                stdout=out, stderr=err, stdin=subprocess.DEVNULL, env=environ,
            )

    def start(self) -> "GatewayProcess":
        """Start, and wait until it is ready."""
        self.launch()
        self.url = self.wait_for(r"ready .*url=(\S+)")[1]
        found = re.search(r"^key: (\S+)$", self.output, re.MULTILINE)
        self.key = found[1] if found else self.key
        return self

    @property
    def _out(self) -> Path:
        return self.directory / f"out.{self._starts}"

    @property
    def _err(self) -> Path:
        return self.directory / f"err.{self._starts}"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        """What the terminal shows."""
        return self._out.read_text()

    @property
    def log(self) -> str:
        return self._err.read_text()

    def wait_for(self, pattern: str, seconds: float = 3 * PATIENCE) -> re.Match:
        """Wait for a line of the log."""
        give_up = time.monotonic() + seconds
        while (found := re.search(pattern, self.log)) is None:
            if self._process.poll() is not None or time.monotonic() > give_up:
                raise AssertionError(f"no {pattern!r} in the log (exit {self._process.poll()}):\n{self.log}")
            time.sleep(0.01)
        return found

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self, seconds: float = 3 * PATIENCE) -> int:
        """The exit status."""
        return self._process.wait(seconds)

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """kill -9, and wait until its workers have seen it."""
        workers = self.workers() if self._process and self._process.poll() is None else []
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def workers(self) -> list[int]:
        """The process ids of the workers that live."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(pid) for pid in children.read_text().split()] if children.exists() else []

    def rows(self) -> list[tuple]:
        """(id, outcome, cost) of the ledger's rows, as they are in the file."""
        connection = sqlite3.connect(f"file:{self.data_dir}/gateway.db?mode=ro", uri=True)
        with contextlib.closing(connection):
            return connection.execute("SELECT id, outcome, cost FROM exchanges ORDER BY ts_ms").fetchall()

    def command(self, *arguments: str) -> str:
        """Run another `gateway` command with the same configuration."""
        command = [sys.executable, "-m", "gateway", *arguments, "--config", str(self.file)]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=3 * PATIENCE).stdout

    def post(self, session: aiohttp.ClientSession, key: str | None = None, **fields):
        """A chat request."""
        body = {"model": "demo-small", "messages": [{"role": "user", "content": "hello"}], **fields}
        headers = {"authorization": f"Bearer {key or self.key}", "content-type": "application/json"}
        return session.post(
            f"{self.url}/api/v1/chat/completions", data=msgspec.json.encode(body), headers=headers
        )

    async def ask(self, session: aiohttp.ClientSession, key: str | None = None, **fields) -> tuple[int, str, bytes]:
        """Status, request id and body of a chat request."""
        async with self.post(session, key, **fields) as reply:
            return reply.status, reply.headers.get("x-request-id", ""), await reply.read()


def client(**options) -> aiohttp.ClientSession:
    """A client with as many connections as it wants."""
    connector = aiohttp.TCPConnector(limit=0, **options)
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60))


class Load:
    """Clients that ask one request after another until `stop`; each request has a connection of its own."""

    def __init__(self, gateway: GatewayProcess, clients: int = 8) -> None:
        self.received: list[str] = []
        self.refused: list[tuple[int, bytes]] = []
        self.lost: list[str] = []
        self._gateway = gateway
        self._clients = clients
        self._stopping = False

    async def __aenter__(self) -> Self:
        self._session = client(force_close=True)
        self._tasks = [asyncio.ensure_future(self._ask()) for _ in range(self._clients)]
        return self

    async def __aexit__(self, *_) -> None:
        self._stopping = True
        await asyncio.gather(*self._tasks)
        await self._session.close()

    async def at_least(self, count: int) -> None:
        """Wait until so many more replies were received."""
        wanted = len(self.received) + count
        async with asyncio.timeout(PATIENCE):
            while len(self.received) < wanted:
                await asyncio.sleep(0.005)

    async def _ask(self) -> None:
        while not self._stopping:
            try:
                status, request_id, body = await self._gateway.ask(self._session)
            except (aiohttp.ClientError, TimeoutError) as error:
                self.lost.append(f"{type(error).__name__}: {error}")
                await asyncio.sleep(0.02)
                continue
            if status == 200:
                self.received.append(request_id)
            else:
                self.refused.append((status, body))
