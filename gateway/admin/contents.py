"""Logged exchanges: lists of them for those with the right to content, and single ones with what was said."""

from datetime import datetime
from typing import Any

import msgspec

from gateway.accounts.contents import ContentFilter, Said
from gateway.accounts.records import Content
from gateway.admin.endpoint import Ask, Endpoint, Items
from gateway.admin.fields import Cursor, Id, Line, NoBody, NoQuery, PageSize
from gateway.admin.services import Admin
from gateway.admin.values import at, stored


class ContentShown(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of an exchange, without what was said; `id` is the request's, as in the ledger."""

    id: str
    tenant_id: str
    key_id: str
    user_id: str | None
    model: str
    created_at: datetime
    has_content: bool
    metadata: dict[str, Any]


class ContentRead(ContentShown, frozen=True, kw_only=True):
    """The same with what was said: `request` is the body as the model got it, after guardrails. `null` where only
    metadata is kept; a body that was cut is `request_text`."""

    request: dict[str, Any] | None
    request_text: str | None
    answer: tuple[Said, ...]
    truncated: bool


class ContentsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which exchanges, a page at a time, newest first; times with their zone, `end` not included."""

    limit: PageSize = 100
    cursor: Cursor = ""
    tenant: Id | None = None
    key_id: Id | None = None
    user_id: Id | None = None
    model: Line | None = None
    start: datetime | None = None
    end: datetime | None = None


async def list_contents(admin: Admin, ask: Ask[ContentsQuery, NoBody]) -> Items[ContentShown]:
    """Logged exchanges, without what was said."""
    query = ask.query
    which = ContentFilter(
        tenant=query.tenant, key=query.key_id, user=query.user_id, model=query.model,
        since=stored(query.start, "start"), until=stored(query.end, "end"),
    )  # fmt: skip
    page = await admin.accounts.contents.page(ask.principal, which, query.limit, query.cursor)
    return Items(tuple(ContentShown(**_fields(each)) for each in page.items), page.next)


async def read_content(admin: Admin, ask: Ask[NoQuery, NoBody]) -> ContentRead:
    """One logged exchange. That it was read is in the audit."""
    found, document = await admin.accounts.contents.read(ask.principal, admin.origin(ask), ask.id())
    if document is None:
        return ContentRead(**_fields(found), request=None, request_text=None, answer=(), truncated=False)
    request = msgspec.json.decode(document.request, type=dict[str, Any] | None)
    return ContentRead(
        **_fields(found), request=request, request_text=document.request_text, answer=document.answer,
        truncated=document.truncated,
    )  # fmt: skip


ROUTES = (
    Endpoint("GET", "/contents", "content:read", list_contents, "List logged exchanges", "contents",
             query=ContentsQuery, answer=Items[ContentShown]),
    Endpoint("GET", "/contents/{id}", "content:read", read_content, "Read a logged exchange", "contents",
             answer=ContentRead),
)  # fmt: skip


def _fields(each: Content) -> dict[str, Any]:
    metadata = dict(each.metadata)
    has_content = metadata.pop("content", False)
    return {
        "id": each.id, "tenant_id": each.tenant, "key_id": each.key_id, "user_id": each.owner or None,
        "model": each.model, "created_at": at(each.created), "has_content": bool(has_content), "metadata": metadata,
    }  # fmt: skip
