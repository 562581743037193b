"""What the statements need of a database: reading, and writing in transactions. SQL parameters are `$1`, `$2`, …"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
Row = tuple[Any, ...]  # a column can hold any type that SQL knows


class Reader(Protocol):
    """Reads what is committed."""

    async def rows(self, sql: str, *args: object) -> Sequence[Row]:
        """All rows of one statement."""


class Transaction(Reader, Protocol):
    """Statements that are committed together or not at all."""

    async def many(self, sql: str, rows: Sequence[Row]) -> None:
        """Run one statement for each row of parameters."""

    async def insert(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Insert many rows with few statements. `table` and `columns` are names of ours, never data."""


    async def guard(self, *, alone: bool = False) -> None:
        """Keep those who add to the roll-ups and the one who builds them anew (`alone`) apart until the commit."""


class Writer(Protocol):
    """Writes, one transaction at a time."""

    async def write(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run `work` in a transaction: committed and on disk when this returns, rolled back if it raises."""
