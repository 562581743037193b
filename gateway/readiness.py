"""Looks after a server of one's own: whether it answers `/health`, and how long the queue in its `/metrics` is.

The names are those of vLLM. A server that knows no such address counts as ready: others speak its API too.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from gateway.config import Timeouts
from gateway.errors import GatewayError
from gateway.hookspecs import HttpRequest

if TYPE_CHECKING:
    from gateway.runtime import Gateway
    from gateway.upstream import Peer

_WAITS = Timeouts(connect=2.0, first_byte=5.0, idle=5.0, total=5.0)
_MOST = 4 * 1024 * 1024
_WAITING = b"vllm:num_requests_waiting"


class Readiness:
    """Looks after one provider's server at `root` and tells `gateway.conditions`."""

    def __init__(
        self, gateway: "Gateway", name: str, peer: "Callable[[Timeouts], Peer]", root: str,
        headers: tuple[tuple[str, str], ...], most: int | None,
    ) -> None:
        self._gateway = gateway
        self._name = name
        self._peer = msgspec.structs.replace(peer(_WAITS), name=f"{name} (readiness)", timeouts=_WAITS)
        self._root = root
        self._headers = headers
        self._most = most

    async def run(self, interval: float) -> None:
        """Look again and again."""
        try:
            while True:
                self._gateway.conditions.ready(self._name, await self.look())
                await asyncio.sleep(interval)
        finally:
            self._gateway.conditions.forget(self._name)

    async def look(self) -> str:
        """Why the server is not ready; empty where it is."""
        try:
            status, _ = await self._get("/health")
        except GatewayError:
            return "its server does not answer"
        if status >= 500:
            return f"its /health answers with status {status}"
        if self._most is None:
            return ""
        try:
            status, page = await self._get("/metrics")
        except GatewayError:
            return ""
        waiting = waiting_in(page) if status == 200 else 0
        return f"{waiting:.0f} requests wait in its queue" if waiting > self._most else ""

    async def _get(self, path: str) -> tuple[int, bytes]:
        request = HttpRequest("GET", self._root + path, self._headers)
        reply = await self._gateway.upstream.send(self._peer, request)
        return reply.status, await reply.body(_MOST)


def waiting_in(page: bytes) -> float:
    """How many requests wait, over all engines of a page of metrics."""
    total = 0.0
    for line in page.splitlines():
        if line.startswith(_WAITING) and line[len(_WAITING) : len(_WAITING) + 1] in (b"{", b" "):
            try:
                total += float(line.rpartition(b" ")[2])
            except ValueError:
                continue
    return total if total == total else 0.0
