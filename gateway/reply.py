"""The answer of an upstream as the pipeline reads it: status, headers, and the body piece by piece.

How its bytes come in is the business of `httpclient.py`, which fills it.
"""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from gateway.errors import UpstreamCut, UpstreamError

if TYPE_CHECKING:
    from gateway.httpclient import Connection


class UpstreamReply:
    """An upstream's answer, from its head on. Read it to its end or `close` it; one reader at a time."""

    __slots__ = (
        "_bodiless", "_connection", "_ended", "_fields", "_headers", "_name", "_pieces", "_size", "_waiter",
        "failure", "status", "unanswered",
    )

    def __init__(self, name: str, connection: "Connection", *, bodiless: bool) -> None:
        self.status = 0
        self.failure: UpstreamError | None = None          # why there is no (complete) answer
        self.unanswered = False                            # the connection went away before any byte of it
        self._name = name
        self._connection: Connection | None = connection   # until the reply is complete, failed or closed
        self._bodiless = bodiless                          # the answer to a HEAD
        self._fields: list[tuple[bytes, bytes]] = []
        self._headers: dict[str, str] | None = None
        self._pieces: list[bytes] = []
        self._size = 0                                     # of what is buffered, as it came over the wire
        self._ended = False
        self._waiter: asyncio.Future[None] | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        """Header values by lower-case name; of a repeated header the first."""
        if self._headers is None:
            self._headers = {
                name.decode("latin-1").lower(): value.decode("latin-1") for name, value in reversed(self._fields)
            }
        return self._headers

    def all_headers(self, name: str) -> list[str]:
        """Every value of one header (`name` in lower case), in order."""
        wanted = name.encode("latin-1")
        return [value.decode("latin-1") for field, value in self._fields if field.lower() == wanted]

    async def read(self, quiet: float | None = None) -> bytes | None:
        """The bytes that came since the last read; `b""` at the clean end; `None` after `quiet` silent seconds.

        Raises `UpstreamTimeout` when a deadline passed and `UpstreamCut` when the answer broke off, after all
        that came before it was read. A cancelled read closes the connection.
        """
        connection = self._connection
        if connection is not None and not self._pieces:
            try:
                await connection.next_piece(self, quiet)
            except BaseException:
                self.close()  # cancelled: what is still to come belongs to nobody
                raise
        if self._pieces:
            return self._take()
        if self.failure is not None:
            raise self.failure
        return b"" if self._ended else None

    async def body(self, limit: int) -> bytes:
        """The rest of the body. One that is larger than `limit` bytes closes the connection: `UpstreamCut`."""
        parts: list[bytes] = []
        size = 0
        if self._ended and sum(map(len, self._pieces)) <= limit:  # all of it is here, as for most short answers
            return self._take()
        while piece := await self.read():
            size += len(piece)
            if size > limit:
                self.close()
                raise UpstreamCut(
                    f"The answer of provider {self._name} is larger than the {limit} bytes that the gateway keeps."
                )
            parts.append(piece)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Done with it. An answer that has not come to its end loses its connection at once."""
        self._pieces.clear()
        if (connection := self._connection) is not None:
            self.fail(UpstreamCut(f"The gateway closed its connection to provider {self._name}."))
            connection.abort()

    def fail(self, error: UpstreamError) -> None:
        """There will be no more of this answer."""
        self.failure = error
        self.leave()

    def leave(self) -> None:
        """Part from the connection, and tell the reader."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.reply = None
        self.wake()

    def wake(self) -> None:
        """Tell whoever waits for this reply that something happened."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _take(self) -> bytes:
        pieces = self._pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._size = 0
        if self._connection is not None:
            self._connection.resume()
        return data
