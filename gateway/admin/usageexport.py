"""The ledger as a file: every request, or sums of them, as CSV, JSON lines, Parquet or in the columns of FOCUS."""

from collections.abc import AsyncIterator
from typing import Annotated

from msgspec import Meta

from gateway.admin.endpoint import Ask, Done, Endpoint
from gateway.admin.fields import NoBody
from gateway.admin.reports import Scope, UsageQuery, scope
from gateway.admin.services import Admin
from gateway.reporting.exports import (
    ENDING,
    HEAD,
    MEDIA,
    Format,
    arrow,
    csv_lines,
    csv_page,
    jsonl_page,
    objects_as,
    rows_as,
)
from gateway.reporting.tables import FOCUS, focus_rows, grouped_rows, read_groups
from gateway.store.reports import read_cursor

Place = Annotated[str, Meta(max_length=128, description="Where to go on: `x-next-cursor` of the part before.")]
Part = Annotated[int, Meta(ge=1, le=100_000, description="At most so many requests; all of them unless said.")]


class ExportQuery(UsageQuery, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What, in which form; `group_by` adds up (`day,model`). A `limit` gives a part, and the header `x-next-cursor`."""

    format: Format = "csv"
    group_by: Annotated[str, Meta(max_length=200)] = ""
    cursor: Place = ""
    limit: Part | None = None


async def export(admin: Admin, ask: Ask[ExportQuery, NoBody]) -> Done:
    """Streamed as it comes out of the database. That it was taken is an entry of the audit."""
    query, asked = ask.query, await scope(admin, ask)
    groups = read_groups(query.group_by) if query.group_by else None
    read_cursor(query.cursor)
    if query.format == "parquet":
        arrow()
    headers = {
        "content-type": MEDIA[query.format],
        "content-disposition": f'attachment; filename="usage.{ENDING[query.format]}"',
    }
    store, which, when = admin.gateway.store, asked.which, asked.period
    await _noted(admin, ask, asked)
    if query.format == "focus":
        return Done(headers=headers, parts=objects_as("csv", FOCUS, await focus_rows(store, which, when)))
    if groups is not None:
        head, rows = await grouped_rows(store, which, when, *groups)
        return Done(headers=headers, parts=objects_as(query.format, head, rows))
    if query.limit is not None and query.format in ("csv", "jsonl"):
        return await _part(admin, query, asked, headers)
    parts = rows_as(
        query.format, store, which, when.start, when.end, cursor=query.cursor, on_rows=lambda _: None
    )
    return Done(headers=headers, parts=parts)


ROUTES = (
    Endpoint("GET", "/usage/export", "usage:read", export, "Export usage as CSV, JSON lines, Parquet or FOCUS", "usage",
             query=ExportQuery, media=tuple(dict.fromkeys(MEDIA.values())), aliases=(("GET", "/billing/export/csv"),)),
)  # fmt: skip


async def _part(admin: Admin, query: ExportQuery, asked: Scope, headers: dict[str, str]) -> Done:
    """So many requests, and where to go on."""
    store, when = admin.gateway.store, asked.period
    limit = query.limit or 1
    if query.format == "jsonl":
        page = await store.usage_page(asked.which, when.start, when.end, cursor=query.cursor, limit=min(limit, 1000))
        body, following = jsonl_page(page.items), page.next
    else:
        rows, following = await store.usage_values(
            asked.which, when.start, when.end, cursor=query.cursor, limit=limit
        )
        body = (b"" if query.cursor else csv_lines([HEAD])) + csv_page(rows)
    more = {"x-next-cursor": following} if following else {}
    return Done(headers={**headers, **more}, parts=_one(body))


async def _one(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def _noted(admin: Admin, ask: Ask[ExportQuery, NoBody], asked: Scope) -> None:
    query = ask.query
    detail = {"format": query.format, "tenant": asked.which.tenant, "group_by": query.group_by}
    await admin.accounts.audit.took(ask.principal, admin.origin(ask), "usage", detail)
