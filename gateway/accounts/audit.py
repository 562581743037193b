"""Reads and proves the audit. Entries are written where things are done, in the same transaction (`book.py`)."""

import hmac
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from gateway.accounts.book import Book
from gateway.accounts.principal import Origin, Principal
from gateway.accounts.records import AuditEntry
from gateway.errors import InvalidRequest
from gateway.store import Page, Store
from gateway.store.accountrecords import Audited
from gateway.store.chain import FIRST_MAC, chained, emptied, entry_digest

_BATCH: Final = 1000
# Logins that failed, and everything that gives or takes rights.
SECURITY_ACTIONS: Final = (
    "login_failed", "password_changed", "password_change_failed", "password_reset", "session_revoked",
    "api_key_created", "api_key_revoked", "api_key_rotated", "user_created", "user_updated", "user_deleted",
    "admin_token_created", "admin_token_revoked", "service_account_created", "service_account_updated",
    "service_account_deleted", "member_added", "member_removed", "tenant_deactivated", "tenant_deleted", "sso_login",
    "sso_login_failed", "sso_updated", "policy_created", "policy_changed", "policy_deleted", "guardrail_triggered",
    "rate_limit_hit", "budget_exceeded", "content_read", "data_export",
    "credential_created", "credential_updated", "credential_deleted", "config_changed", "audit_pruned",
)  # fmt: skip


class AuditFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries; times are Unix milliseconds."""

    tenant: str | None = None
    actor: str | None = None
    action: tuple[str, ...] | None = None
    severity: str | None = None
    resource_type: str | None = None
    resource_id: str | None = None
    request_id: str | None = None
    since: int | None = None
    until: int | None = None
    search: str | None = None

    def where(self, who: Principal) -> dict[str, Any]:
        """The conditions, cut to what `who` may see."""
        where: dict[str, Any] = who.scope("audit:read", self.tenant) | {"pruned": 0}
        fields = {name: getattr(self, name) for name in self.__struct_fields__ if name != "tenant"}
        return where | {name: value for name, value in fields.items() if value is not None}


class Verdict(msgspec.Struct, frozen=True):
    """What checking the chain found: how many entries, the last link, and the first broken entry, if there is one."""

    intact: bool
    entries: int
    head_seq: int
    head_mac: str
    broken_seq: int | None = None
    reason: str = ""


class Audit:
    """One for a process."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._store = book.store

    async def page(self, who: Principal, which: AuditFilter, limit: int, cursor: str) -> Page[AuditEntry]:
        """Entries that `who` may see, newest first."""
        before = None
        if cursor:
            if not cursor.isascii() or not cursor.isdecimal() or len(cursor) > 18:
                raise InvalidRequest("The cursor is not one that this list gave out.", param="cursor")
            before = int(cursor)
        found = await self._store.audit_page(which.where(who), limit=limit + 1, before=before)
        items = tuple(each.entry for each in found[:limit] if each.entry is not None)
        return Page(items, str(found[limit - 1].seq) if len(found) > limit else None)

    async def summary(self, who: Principal, which: AuditFilter) -> Mapping[str, dict[str, int]]:
        """How many entries there are, by action, severity and actor."""
        where = which.where(who)
        return {by: await self._store.audit_counts(where, by) for by in ("action", "severity", "actor_name")}

    async def exported(self, who: Principal, origin: Origin, which: AuditFilter, form: str) -> None:
        """Write down that `who` takes entries away."""
        await self.took(who, origin, "audit", {"format": form, "tenant": which.where(who).get("tenant")})

    async def took(self, who: Principal, origin: Origin, what: str, detail: Mapping[str, Any]) -> None:
        """The same of anything else: `what` is `usage`, or another word for it."""
        note = self._book.note(who, origin, "data_export", resource=(what, ""), detail={"what": what, **detail})
        await self._book.commit(note, bump=False)

    async def verify(self, head: str | None = None) -> Verdict:
        """Check the whole chain, and that an earlier `head` (`seq:mac`) is still in it."""
        return await verify(self._store, self._book.audit_key, _parsed(head))


async def verify(store: Store, key: bytes, known: tuple[int, str] | None = None) -> Verdict:
    """Check the chain from its first entry on; stops at the first that is broken.

    `known` is a place in the chain and its link, as some earlier check saw it: kept outside of the database, it shows
    that nobody cut the chain off and wrote on from there. An entry whose time is over is empty, and has a
    mark that only the gateway can make.
    """
    last, last_mac = await store.audit_head()
    if known is not None and known[0] > last:
        return Verdict(False, 0, 0, FIRST_MAC, last + 1, f"the entries from {last + 1} to {known[0]} are missing")
    seq, mac, count = 0, FIRST_MAC, 0
    while found := await store.audit_page({}, limit=_BATCH, after=seq):
        for each in found:
            reason = _fault(each, key, seq + 1, mac)
            if reason:
                return Verdict(False, count, seq, mac, each.seq, reason)
            if known is not None and each.seq == known[0] and each.mac != known[1]:
                return Verdict(False, count, seq, mac, each.seq, "it is not the entry that the known head names")
            seq, mac, count = each.seq, each.mac, count + 1
    if seq < last or (seq == last and mac != last_mac):  # more may have been written meanwhile, never less
        return Verdict(False, count, seq, mac, seq + 1, f"the entries after {seq} are missing: there were {last}")
    return Verdict(True, count, seq, mac)


def _parsed(head: str | None) -> tuple[int, str] | None:
    if head is None:
        return None
    seq, _, mac = head.partition(":")
    if not seq.isascii() or not seq.isdecimal() or len(seq) > 18 or len(mac) != 64:
        raise InvalidRequest("A head is a number, a colon, and the 64 characters of the link.", param="head")
    return int(seq), mac


def _fault(each: Audited, key: bytes, expected: int, before: str) -> str:
    if each.seq != expected:
        return f"the entries from {expected} to {each.seq - 1} are missing"
    if each.entry is None and not hmac.compare_digest(emptied(key, each.seq, each.digest), each.mark):
        return "it was emptied before its time was over"
    if each.entry is not None and not hmac.compare_digest(entry_digest(key, each.entry), each.digest):
        return "its content was changed"
    if not hmac.compare_digest(chained(key, each.seq, before, each.digest), each.mac):
        return "its link to the entry before it is wrong"
    return ""
