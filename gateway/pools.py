"""The connections to one place with one credential: which are kept, who waits for one.

A pool opens no connection; `upstream.py` does, and puts it in `standing`.
"""

import asyncio
from collections import deque

import msgspec

from gateway.httpclient import Connection

# Provider, scheme, host, port, digest of the credential, and what else a connection was made under.
Key = tuple[str, str, str, int, bytes, bool, str | None]


class Connections(msgspec.Struct, frozen=True):
    """How many connections a provider has: `open` counts all, `idle` those without a request; who waits for one."""

    open: int
    idle: int
    waiting: int


class Pool:
    """The connections to one place with one credential, last used first, and who waits for one."""

    __slots__ = (
        "_keepalive", "_key", "_leaving", "_pools", "asking", "dialing", "idle", "limit", "loop", "name",
        "standing", "waiting",
    )

    def __init__(
        self, key: Key, limit: int, keepalive: float, pools: "dict[Key, Pool]", leaving: set[Connection]
    ) -> None:
        self.name = key[0]
        self.limit = limit
        self.loop = asyncio.get_running_loop()
        self.asking = 0      # requests that look for a connection
        self.dialing = 0     # of these: making one
        self.standing: set[Connection] = set()
        self.idle: dict[Connection, None] = {}
        self.waiting: deque[asyncio.Future[None]] = deque()
        self._keepalive = keepalive
        self._key = key
        self._pools = pools
        self._leaving = leaving

    @property
    def open(self) -> int:
        """Connections that stand or are being made."""
        return self.dialing + len(self.standing)

    def take(self) -> Connection | None:
        """The idle connection used last, if it is still good."""
        while self.idle:
            connection, _ = self.idle.popitem()
            if connection.usable():
                return connection
            connection.abort()
        return None

    async def turn(self) -> Connection | None:
        """Wait until another request leaves a connection, or until there is room for a new one (`None`)."""
        first = False
        while True:
            waiter = self.loop.create_future()
            if first:
                self.waiting.appendleft(waiter)
            else:
                self.waiting.append(waiter)
            try:
                await waiter
            except BaseException:
                if waiter in self.waiting:
                    self.waiting.remove(waiter)
                else:
                    self._next()  # it was our turn, and we do not take it
                raise
            if (connection := self.take()) is not None:
                return connection
            if self.open < self.limit:
                return None
            first = True  # someone was faster: next time it is us

    def tidy(self) -> None:
        """Room may have come free; a pool without connections and requests goes away."""
        self._next()
        if not self.standing and not self.asking and self._pools.get(self._key) is self:
            del self._pools[self._key]

    def close(self) -> None:
        """Close all connections."""
        for connection in list(self.standing):
            connection.abort()

    def freed(self, connection: Connection) -> None:
        """Keep a connection for the next request."""
        if connection in self.standing:
            self.idle[connection] = None
            connection.expire_at(self.loop.time() + self._keepalive)
            self._next()

    def gone(self, connection: Connection) -> None:
        """A connection carries nothing more: its place is free."""
        if connection in self.standing:
            self.standing.remove(connection)
            self.idle.pop(connection, None)
            self._leaving.add(connection)
            self.tidy()

    def lost(self, connection: Connection) -> None:
        """Its socket is closed."""
        self._leaving.discard(connection)

    def _next(self) -> None:
        while self.waiting and (self.idle or self.open < self.limit):
            waiter = self.waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
