"""The audit: who did what, from where, and the proof that nothing of it was changed."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from gateway.accounts.audit import SECURITY_ACTIONS, AuditFilter
from gateway.accounts.records import AuditEntry, Severity
from gateway.admin.endpoint import Ask, Done, Endpoint, Items
from gateway.admin.export import MEDIA, Format, exported
from gateway.admin.fields import Id, NoBody, NoQuery, PageSize, Search
from gateway.admin.services import Admin
from gateway.admin.values import at, stored
from gateway.store import Page

Word = Annotated[str, Meta(max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")]
Position = Annotated[str, Meta(pattern=r"^([0-9]{1,18})?$", description="`next_cursor` of the page before.")]
_BATCH = 500


class EntryShown(msgspec.Struct, frozen=True, kw_only=True):
    """One entry. `metadata` has what changed, as `[before, after]` by field; never a secret."""

    id: str
    created_at: datetime
    tenant_id: str
    user_id: str
    actor_kind: str
    actor: str
    action: str
    severity: Severity
    resource_type: str
    resource_id: str
    ip_address: str
    user_agent: str
    request_id: str
    metadata: dict[str, Any]


class AuditQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which entries, a page at a time, newest first; times with their zone, `end` not included."""

    limit: PageSize = 100
    cursor: Position = ""
    search: Search = ""
    tenant: Id | None = None
    user_id: Id | None = None
    action: Word | None = None
    severity: Severity | None = None
    resource_type: Word | None = None
    resource_id: Id | None = None
    request_id: Id | None = None
    start: datetime | None = None
    end: datetime | None = None


class ExportQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which entries, in which form."""

    format: Format = "csv"
    search: Search = ""
    tenant: Id | None = None
    user_id: Id | None = None
    action: Word | None = None
    severity: Severity | None = None
    resource_type: Word | None = None
    resource_id: Id | None = None
    request_id: Id | None = None
    start: datetime | None = None
    end: datetime | None = None


class SummaryQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which entries count."""

    tenant: Id | None = None
    start: datetime | None = None
    end: datetime | None = None


class Summary(msgspec.Struct, frozen=True):
    """How many entries there are."""

    total: int
    by_action: dict[str, int]
    by_severity: dict[str, int]
    by_actor: dict[str, int]


class Proof(msgspec.Struct, frozen=True):
    """What checking the chain found. Keep `head_seq` and `head_mac` elsewhere: they prove what was there then."""

    intact: bool
    entries: int
    head_seq: int
    head_mac: str
    broken_seq: int | None
    reason: str


class Actions(msgspec.Struct, frozen=True):
    """The actions that the audit has entries of."""

    actions: tuple[str, ...]


async def list_entries(admin: Admin, ask: Ask[AuditQuery, NoBody]) -> Items[EntryShown]:
    """Entries."""
    return await _page(admin, ask, _filter(ask.query), ask.query.limit, ask.query.cursor)


async def list_security_events(admin: Admin, ask: Ask[AuditQuery, NoBody]) -> Items[EntryShown]:
    """Entries about logins, credentials and rights, and what limits and guardrails refused."""
    query = ask.query
    wanted = SECURITY_ACTIONS if query.action is None else tuple({query.action} & set(SECURITY_ACTIONS))
    which = msgspec.structs.replace(_filter(query), action=wanted)
    return await _page(admin, ask, which, query.limit, query.cursor)


async def export(admin: Admin, ask: Ask[ExportQuery, NoBody]) -> Done:
    """All entries, newest first, as they come out of the database. That they were taken is itself an entry."""
    which, principal, form = _filter(ask.query), ask.principal, ask.query.format
    await admin.accounts.audit.exported(principal, admin.origin(ask), which, form)

    async def following(cursor: str | None) -> Page[msgspec.Struct]:
        page = await admin.accounts.audit.page(principal, which, _BATCH, cursor or "")
        return Page(tuple(map(_shown, page.items)), page.next)

    return await exported(form, "audit-log", EntryShown.__struct_fields__, following)


async def show_summary(admin: Admin, ask: Ask[SummaryQuery, NoBody]) -> Summary:
    """How many entries there are of what."""
    query = ask.query
    which = AuditFilter(tenant=query.tenant, since=stored(query.start, "start"), until=stored(query.end, "end"))
    counts = await admin.accounts.audit.summary(ask.principal, which)
    severities = counts["severity"]
    return Summary(sum(severities.values()), counts["action"], severities, counts["actor_name"])


async def list_actions(admin: Admin, ask: Ask[SummaryQuery, NoBody]) -> Actions:
    """Which actions there are."""
    return Actions(tuple(sorted((await show_summary(admin, ask)).by_action)))


async def prove(admin: Admin, ask: Ask[NoQuery, NoBody]) -> Proof:
    """Check the whole chain."""
    del ask
    return Proof(**msgspec.structs.asdict(await admin.accounts.audit.verify()))


ROUTES = (
    Endpoint("GET", "/audit-logs", "audit:read", list_entries, "List audit entries", "audit", query=AuditQuery,
             answer=Items[EntryShown], aliases=(("GET", "/audit/logs"),)),
    Endpoint("GET", "/audit-logs/export", "audit:read", export, "Export audit entries as CSV or JSON lines", "audit",
             query=ExportQuery, media=tuple(MEDIA.values()), aliases=(("GET", "/audit/export"),)),
    Endpoint("GET", "/audit/summary", "audit:read", show_summary, "Count audit entries", "audit", query=SummaryQuery,
             answer=Summary),
    Endpoint("GET", "/audit/actions", "audit:read", list_actions, "List the actions in the audit", "audit",
             query=SummaryQuery, answer=Actions),
    Endpoint("GET", "/audit/security-events", "audit:read", list_security_events,
             "List audit entries about security", "audit", query=AuditQuery, answer=Items[EntryShown]),
    Endpoint("GET", "/audit/verify", "audit:verify", prove, "Check the chain of audit entries", "audit",
             answer=Proof),
)  # fmt: skip


async def _page(
    admin: Admin, ask: Ask[AuditQuery, NoBody], which: AuditFilter, limit: int, cursor: str
) -> Items[EntryShown]:
    page = await admin.accounts.audit.page(ask.principal, which, limit, cursor)
    return Items(tuple(map(_shown, page.items)), page.next)


def _filter(query: AuditQuery | ExportQuery) -> AuditFilter:
    return AuditFilter(
        tenant=query.tenant, actor=query.user_id, action=(query.action,) if query.action else None,
        severity=query.severity, resource_type=query.resource_type or None, resource_id=query.resource_id,
        request_id=query.request_id, since=stored(query.start, "start"), until=stored(query.end, "end"),
        search=query.search or None,
    )  # fmt: skip


def _shown(entry: AuditEntry) -> EntryShown:
    return EntryShown(
        id=entry.id, created_at=at(entry.ts_ms), tenant_id=entry.tenant, user_id=entry.actor,
        actor_kind=entry.actor_kind, actor=entry.actor_name, action=entry.action, severity=entry.severity,
        resource_type=entry.resource_type, resource_id=entry.resource_id, ip_address=entry.address,
        user_agent=entry.agent, request_id=entry.request_id, metadata=entry.detail,
    )  # fmt: skip
