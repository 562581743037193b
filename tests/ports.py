"""Ports for servers that are stopped and started again in a test."""

import random
import socket

_CHOICE = range(15_000, 30_000)  # below the range from which the system gives ports to clients


def free_port() -> int:
    """A port on loopback that nobody uses, and that no client's connection takes while its server is away."""
    for port in random.SystemRandom().sample(_CHOICE, 100):
        with socket.socket() as attempt:
            try:
                attempt.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no port is free")
