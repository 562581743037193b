"""Writes every exchange into the journal, from where it reaches the database.

    - use: sink.ledger

Before a target is touched its exchange is recorded as open: when that cannot be done (disk full, database away for
too long) the request is refused with 503 `ledger_unavailable`, rather than served without being billed.
"""

from typing import TYPE_CHECKING

from gateway import Exchange, Target, hookimpl
from gateway.money.ledger import row

if TYPE_CHECKING:
    from gateway import Gateway


class LedgerSink:
    """Opens and closes the books on each exchange."""

    name = "sink.ledger"

    @hookimpl
    async def startup(self, gateway: "Gateway") -> None:
        """The journal is the process's, so that it outlives a reload."""
        self._journal = gateway.journal

    @hookimpl
    async def before_attempt(self, exchange: Exchange, target: Target) -> None:  # noqa: ARG002
        """Record that the exchange goes to its target: if this process is killed, its row says so."""
        self._journal.open(exchange)

    @hookimpl
    async def on_usage(self, exchange: Exchange) -> None:
        """Record the end. When this returns the row survives a kill."""
        self._journal.close(row(exchange))
