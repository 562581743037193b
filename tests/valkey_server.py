"""Starts a real Valkey (or Redis) server on loopback for a test, and ends it."""

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager

import pytest
from ports import free_port

PROGRAM = shutil.which("valkey-server") or shutil.which("redis-server")


AWAY, BACK = "the shared state cannot be reached", "the shared state is back"


def losses(*gateways) -> tuple[int, bool]:
    """How often a process of these gateways could not reach the server, and whether each can again.

    On a machine that is busy enough the server counts as away for a moment: then the limits are not common.
    """
    log = "".join(gateway.log for gateway in gateways)
    return log.count(AWAY), log.count(AWAY) == log.count(BACK)


class Server:
    """One server without persistence; `stop` and `start` again on the same port lose what it knew."""

    def __init__(self, folder: str) -> None:
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen | None = None

    @property
    def url(self) -> str:
        return f"valkey://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self._process = subprocess.Popen(
            [PROGRAM, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", self._folder],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for _ in range(1500):
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as there:
                    there.sendall(b"PING\r\n")
                    if there.recv(64).startswith(b"+PONG"):
                        return
            except OSError:
                time.sleep(0.02)
        raise RuntimeError("the server did not start")

    def pause(self) -> None:
        """Fall silent, and forget nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def valkey_server():
    if PROGRAM is None:
        pytest.skip("neither valkey-server nor redis-server is installed: `apt-get install redis-server`")
    with tempfile.TemporaryDirectory() as folder:
        server = Server(folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()
