"""Lists of any length as CSV or JSON lines, a page at a time: memory does not grow with the export."""

import csv
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final, Literal

import msgspec

from gateway.admin.endpoint import Done
from gateway.store import Page

Format = Literal["csv", "jsonl"]
MEDIA: Final = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}
# What a spreadsheet would run: a quote before it makes it text.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")

Next = Callable[[str | None], Awaitable[Page[msgspec.Struct]]]


async def exported(form: Format, name: str, columns: Sequence[str], following: Next) -> Done:
    """An answer that streams all pages that `following` gives for a cursor; the first is read before it begins."""
    first = await following(None)
    headers = {"content-type": MEDIA[form], "content-disposition": f'attachment; filename="{name}.{form}"'}
    return Done(headers=headers, parts=_parts(form, columns, first, following))


async def _parts(
    form: Format, columns: Sequence[str], page: Page[msgspec.Struct], following: Next
) -> AsyncIterator[bytes]:
    if form == "csv":
        yield _csv([list(columns)])
    while True:
        if page.items:
            yield _lines(page.items) if form == "jsonl" else _csv([_row(item, columns) for item in page.items])
        if page.next is None:
            return
        page = await following(page.next)


def _lines(items: Sequence[msgspec.Struct]) -> bytes:
    return b"".join(msgspec.json.encode(item) + b"\n" for item in items)


def _row(item: msgspec.Struct, columns: Sequence[str]) -> list[object]:
    return [_cell(getattr(item, column)) for column in columns]


def _cell(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return "'" + text if text.startswith(_FORMULA) else text


def _csv(rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()
