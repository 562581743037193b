"""The ledger as CSV, JSON lines and Parquet: page after page, so that memory does not grow with what is exported.

Writing a page is plain work without waiting, and done in a thread. What a spreadsheet would run gets a quote before it.
"""

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, Literal

import msgspec

from gateway.errors import InvalidFields
from gateway.money import dollars
from gateway.money.charges import charge
from gateway.money.ledger import COLUMNS
from gateway.store import Store
from gateway.store.database import Row
from gateway.store.reports import Which

Format = Literal["csv", "jsonl", "parquet", "focus"]
MEDIA: Final = {
    "csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson", "parquet": "application/vnd.apache.parquet",
    "focus": "text/csv; charset=utf-8",
}  # fmt: skip
ENDING: Final = {"csv": "csv", "jsonl": "jsonl", "parquet": "parquet", "focus": "focus.csv"}
PAGE: Final = 5_000
_WITH_ATTEMPTS: Final = 1_000
HEAD: Final = (
    "time", *(("cost_dollars" if name == "cost" else name) for name in COLUMNS if name != "ts_ms"), "attempts",
)  # fmt: skip

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
_QUOTED: Final = (",", '"', "\r", "\n")
_WHOSE: Final = slice(COLUMNS.index("tenant"), COLUMNS.index("http_status"))
_TIME, _COST = COLUMNS.index("ts_ms"), COLUMNS.index("cost")
_NUMBERS: Final = frozenset({
    "http_status", "streamed", "input", "output", "cached", "cache_write", "reasoning", "estimated", "unpriced",
    "ttfb_us", "duration_us", "overhead_us", "attempts",
})


async def rows_as(
    form: Format, store: Store, which: Which, start: int, end: int, *, cursor: str = "", on_rows: Callable[[int], None]
) -> AsyncIterator[bytes]:
    """All requests of a period, oldest first; `on_rows` is told how many were written."""
    pages = pages_of(store, which, start, end, cursor=cursor, attempts=form == "jsonl")
    if form == "parquet":
        async for part in parquet_parts(HEAD, _told(_parquet_rows(pages), on_rows)):
            yield part
        return
    encode = jsonl_page if form == "jsonl" else csv_page
    if form == "csv" and not cursor:
        yield csv_lines([HEAD])
    async for page in pages:
        yield await asyncio.to_thread(encode, page)
        on_rows(len(page))


async def pages_of(
    store: Store, which: Which, start: int, end: int, *, cursor: str = "", attempts: bool = False
) -> AsyncIterator[Sequence[Any]]:
    """Rows of the database, a page at a time."""
    following: str | None = cursor
    while following is not None:
        items: Sequence[Any]
        if attempts:
            page = await store.usage_page(which, start, end, cursor=following, limit=_WITH_ATTEMPTS)
            items, following = page.items, page.next
        else:
            items, following = await store.usage_values(which, start, end, cursor=following, limit=PAGE)
        if items:
            yield items


def csv_page(rows: Iterable[Row]) -> bytes:
    """Rows of the database (`COLUMNS` and the number of attempts) as lines of CSV."""
    return "".join(map(_Lines().of, rows)).encode("utf-8", "replace")


def csv_lines(rows: Iterable[Sequence[object]]) -> bytes:
    """Any rows as lines of CSV."""
    return _written(rows).encode("utf-8", "replace")


def jsonl_page(rows: Iterable[Any]) -> bytes:
    """Rows of the ledger as JSON, one a line, with their attempts and the lines of their bills."""
    return b"".join(map(_json_line, rows))


def objects_as(form: Format, head: Sequence[str], rows: Sequence[Sequence[object]]) -> AsyncIterator[bytes]:
    """A table that is not long, in any of the formats."""
    if form == "parquet":
        return parquet_parts(head, _once(rows))

    async def parts() -> AsyncIterator[bytes]:
        if form == "jsonl":
            yield b"".join(msgspec.json.encode(dict(zip(head, row, strict=True))) + b"\n" for row in rows)
        else:
            yield csv_lines([head])
            yield await asyncio.to_thread(csv_lines, rows)

    return parts()


async def parquet_parts(head: Sequence[str], pages: AsyncIterator[list[Sequence[Any]]]) -> AsyncIterator[bytes]:
    """A Parquet file, a row group for each page. Raises `InvalidFields` where its library is not installed."""
    pyarrow, parquet = arrow()
    sink, writer = _Sink(), None
    async for page in pages:
        table = await asyncio.to_thread(_table, pyarrow, head, page)
        if writer is None:
            writer = parquet.ParquetWriter(pyarrow.PythonFile(sink, mode="w"), table.schema, compression="zstd")
        writer.write_table(table.cast(writer.schema))
        yield sink.taken()
    if writer is None:
        table = _table(pyarrow, head, [])
        writer = parquet.ParquetWriter(pyarrow.PythonFile(sink, mode="w"), table.schema, compression="zstd")
    writer.close()
    yield sink.taken()


def arrow() -> tuple[Any, Any]:
    """The library for Parquet, which is an extra."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise InvalidFields(
            ("format", "needs the package pyarrow on the gateway: pip install 'ai-gateway[parquet]'")
        ) from None
    return pyarrow, parquet


def iso(milliseconds: int) -> str:
    """A time as exports show it."""
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC).isoformat(timespec="milliseconds")


def cell(value: object) -> object:
    """A text that a spreadsheet would run as a formula gets a quote before it."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value
    return "" if value is None else value


class _Sink(io.RawIOBase):
    """Takes what the library writes until it is fetched."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._at = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:  # noqa: ANN401 - any buffer
        self._parts.append(bytes(data))
        self._at += len(data)
        return len(data)

    def tell(self) -> int:
        return self._at

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


class _Lines:
    """Writes lines of CSV, three times as fast as the library: most texts, moments and amounts come again and again."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._names: dict[tuple[str, ...], str] = {}
        self._seconds: dict[int, str] = {}
        self._amounts: dict[int, str] = {}

    def of(self, row: Row) -> str:
        """A row of the database as a line."""
        ident, moment, whose = row[0], row[_TIME], row[_WHOSE]
        (
            status, streamed, read, said, cached, written, reasoning, estimated, cost, version, unpriced, ttfb,
            duration, overhead, error, team, attempts,
        ) = row[_WHOSE.stop :]  # fmt: skip
        second, rest = divmod(moment, 1000)
        return (
            f"{self._seconds.get(second) or self._second(second)}.{rest:03d}+00:00,"
            f"{ident if ident.isidentifier() else self._safe(ident)},{self._names.get(whose) or self._named(whose)},"
            f"{status},{streamed},{read},{said},{cached},{written},{reasoning},{estimated},"
            f"{self._amounts.get(cost) or self._amount(cost)},{self._texts.get(version) or self._safe(version)},"
            f"{unpriced},{'' if ttfb is None else ttfb},{duration},{overhead},"
            f"{self._safe(error) if error else ''},{self._safe(team) if team else ''},{attempts}\r\n"
        )

    def _named(self, whose: tuple[str, ...]) -> str:
        made = self._names[whose] = ",".join([self._safe(text) for text in whose])
        return made

    def _amount(self, cost: int) -> str:
        made = self._amounts[cost] = dollars(cost)
        return made

    def _safe(self, text: str) -> str:
        if (known := self._texts.get(text)) is not None:
            return known
        made = "'" + text if text.startswith(_FORMULA) else text
        if any(sign in made for sign in _QUOTED):
            made = '"' + made.replace('"', '""') + '"'
        self._texts[text] = made
        return made

    def _second(self, second: int) -> str:
        made = self._seconds[second] = iso(second * 1000)[:19]
        return made


def _line(row: Row) -> list[object]:
    return [
        iso(row[_TIME]), *row[:_TIME], *row[_TIME + 1 : _COST], dollars(row[_COST]), *row[_COST + 1 :]
    ]


def _written(lines: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows([[cell(value) for value in line] for line in lines])
    return text.getvalue()


def _json_line(row: Any) -> bytes:  # noqa: ANN401 - a row of the ledger
    tree = msgspec.structs.asdict(row) | {"cost": dollars(row.cost), "time": iso(row.ts_ms)}
    shown = charge(row).attempts if row.attempts else ()
    tree["attempts"] = [
        msgspec.structs.asdict(attempt) | {"cost": dollars(attempt.cost), "lines": explained.lines}
        for attempt, explained in zip(row.attempts, shown, strict=True)
    ]
    return msgspec.json.encode(tree) + b"\n"


async def _parquet_rows(pages: AsyncIterator[Sequence[Row]]) -> AsyncIterator[list[Sequence[Any]]]:
    async for page in pages:
        yield [_line(row) for row in page]


async def _told(
    pages: AsyncIterator[list[Sequence[Any]]], on_rows: Callable[[int], None]
) -> AsyncIterator[list[Sequence[Any]]]:
    async for page in pages:
        yield page
        on_rows(len(page))


async def _once(rows: Sequence[Sequence[Any]]) -> AsyncIterator[list[Sequence[Any]]]:
    yield list(rows)


def _table(pyarrow: Any, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:  # noqa: ANN401 - untyped
    """Numbers as numbers, dollars as decimals, times as times, the rest as text."""
    columns = list(zip(*rows, strict=True)) if rows else [() for _ in head]
    arrays = []
    for name, values in zip(head, columns, strict=True):
        if name in _NUMBERS or name.endswith(("_tokens", "_requests")):
            made = pyarrow.array([None if v is None else int(v) for v in values], pyarrow.int64())
        elif name in ("cost_dollars", "total_cost") or name.endswith(("Cost", "UnitPrice", "Quantity")):
            made = pyarrow.array([None if v is None else Decimal(v) for v in values], pyarrow.decimal128(38, 12))
        elif name in ("time", "start", "end") or name.endswith(("PeriodStart", "PeriodEnd")):
            moments = [None if v is None else datetime.fromisoformat(v) for v in values]
            made = pyarrow.array(moments, pyarrow.timestamp("ms", tz="UTC"))
        else:
            made = pyarrow.array([None if v is None else str(v) for v in values], pyarrow.string())
        arrays.append(made)
    return pyarrow.table(arrays, names=list(head))
