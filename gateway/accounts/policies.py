"""Guardrail policies that administrators make at run time, with every version that there was.

One belongs to a tenant, or (`PLATFORM`) to all. What its rules mean is not known here: whoever calls has checked them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from gateway.accounts.book import Book, difference, told
from gateway.accounts.keys import new_id
from gateway.accounts.principal import Origin, Principal
from gateway.accounts.records import Key, PolicyVersion, StoredPolicy, Team, Tenant
from gateway.clock import now_ms
from gateway.errors import Conflict, Forbidden, NotFound, Stale
from gateway.store import Page, Store
from gateway.store.work import Remove, Step, change, put

PLATFORM: Final = "*"
_GONE: Final = "There is no guardrail policy with this id."
_MOST: Final = 200
_TRIES: Final = 5
_BODY: Final = ("name", "description", "label", "shadow_of", "rules")
Done = Literal["created", "changed", "deleted", "restored"]


class NewPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy is, apart from whose."""

    name: str
    description: str = ""
    label: str = ""
    shadow_of: str | None = None
    rules: tuple[dict[str, Any], ...] = ()


class Policies:
    """One for a process."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._store = book.store

    async def page(
        self, who: Principal, *, tenant: str | None = None, search: str = "", limit: int = 100, cursor: str = ""
    ) -> Page[StoredPolicy]:
        """Policies that `who` may see, newest first; those of the platform are for everybody."""
        return await self._store.page(
            StoredPolicy, _visible(who, tenant), search=search, limit=limit, cursor=cursor
        )

    async def get(self, who: Principal, policy: str) -> StoredPolicy:
        """One policy. `NotFound` for one that `who` may not see."""
        found = await self._store.one(StoredPolicy, **{**_visible(who), "id": policy})
        if found is None:
            raise NotFound(_GONE)
        return found

    async def versions(self, who: Principal, policy: str, *, limit: int = 100, cursor: str = "") -> Page[PolicyVersion]:
        """Every version, newest first, also of a policy that is deleted."""
        page = await self._store.page(
            PolicyVersion, {**_visible(who), "policy": policy}, limit=limit, cursor=cursor
        )
        if not page.items and not cursor:
            raise NotFound(_GONE)
        return page

    async def version(self, who: Principal, policy: str, number: int) -> PolicyVersion:
        """One version."""
        found = await self._store.one(PolicyVersion, **{**_visible(who), "policy": policy, "number": number})
        if found is None:
            raise NotFound("There is no such version of this guardrail policy.")
        return found

    async def home(self, who: Principal, tenant: str | None) -> str:
        """Whose a policy would be that `who` makes. Raises `Forbidden`, and `NotFound` for an unknown tenant."""
        home = str(who.scope("policies:write", tenant).get("tenant", PLATFORM))
        if home != PLATFORM and await self._store.one(Tenant, id=home) is None:
            raise NotFound("There is no tenant with this id.")
        return home

    async def create(self, who: Principal, origin: Origin, new: NewPolicy, tenant: str | None = None) -> StoredPolicy:
        """Store a policy. Its name is nobody else's among those that its tenant sees."""
        home = await self.home(who, tenant)
        await self._check_name(new.name, home)
        if await self._store.count(StoredPolicy, {"tenant": home}) >= _MOST:
            raise Conflict(f"There are {_MOST} guardrail policies: delete some first.", code="too_many_policies")
        made = StoredPolicy(
            id=new_id(), tenant=home, created_by=who.id, created=now_ms(), **msgspec.structs.asdict(new)
        )
        note = self._note(who, origin, "policy_created", made, told(msgspec.structs.asdict(new)))
        await self._book.commit(put(made), put(_version(made, 1, "created", who)), note)
        return made

    async def update(
        self, who: Principal, origin: Origin, policy: str, fields: Mapping[str, Any], version: int | None,
        done: Done = "changed",
    ) -> StoredPolicy:
        """Change a policy: every worker judges by the new one from the next request on."""
        for _ in range(_TRIES - 1):
            try:
                return await self._update(who, origin, policy, fields, version, done)
            except Stale:  # without a version the last one wins
                if version is not None:
                    raise
        return await self._update(who, origin, policy, fields, version, done)

    async def delete(self, who: Principal, origin: Origin, policy: str, version: int | None) -> None:
        """Take a policy away; what its versions were stays known. One that is in use stays."""
        before = await self._mine(who, policy)
        await self._check_unused(before)
        expected = before.version if version is None else version
        gone = _version(before, expected + 1, "deleted", who)
        note = self._note(who, origin, "policy_deleted", before, {"name": before.name})
        await self._book.commit(Remove("guardrail_policies", {"id": policy}, expected), put(gone), note)

    async def _update(
        self, who: Principal, origin: Origin, policy: str, fields: Mapping[str, Any], version: int | None, done: Done
    ) -> StoredPolicy:
        before = await self._mine(who, policy)
        changes = {name: value for name, value in fields.items() if getattr(before, name) != value}
        expected = before.version if version is None else version
        if not changes and expected == before.version:
            return before
        if "name" in changes or changes.get("shadow_of"):
            await self._check_unused(before)
        if "name" in changes:
            await self._check_name(changes["name"], before.tenant)
        after = msgspec.structs.replace(before, **changes)
        note = self._note(who, origin, "policy_changed", before, difference(before, changes))
        await self._book.commit(
            change(StoredPolicy, {"id": policy}, changes, version=expected),
            put(_version(after, expected + 1, done, who)), note,
        )
        return await self.get(who, policy)

    async def _mine(self, who: Principal, policy: str) -> StoredPolicy:
        """A policy that `who` may change."""
        found = await self.get(who, policy)
        if who.scope("policies:write").get("tenant", found.tenant) != found.tenant:
            raise Forbidden("This guardrail policy is the platform's: its owners change it.", code="policy_of_platform")
        return found

    async def _check_name(self, name: str, home: str) -> None:
        taken = {"name": name} if home == PLATFORM else {"name": name, "tenant": (home, PLATFORM)}
        if await self._store.count(StoredPolicy, taken):
            raise Conflict("There is a guardrail policy with this name.", code="policy_exists")

    async def _check_unused(self, policy: StoredPolicy) -> None:
        """Raise `Conflict` while a tenant, team or key is under the policy, or a draft stands beside it."""
        named: dict[str, Any] = {"guardrail_policy": policy.name}
        own = {} if policy.tenant == PLATFORM else {"tenant": policy.tenant}
        counts = {
            "tenants": await self._store.count(Tenant, named | own),
            "teams": await self._store.count(Team, named | own),
            "keys": await self._store.count(Key, named | own | {"revoked_at": None}),
            "drafts": await self._store.count(StoredPolicy, {"shadow_of": policy.name} | own),
        }
        used = [f"{count} {what if count > 1 else what[:-1]}" for what, count in counts.items() if count]
        if used:
            raise Conflict(f"This guardrail policy is in use by {', '.join(used)}.", code="policy_in_use")

    def _note(
        self, who: Principal, origin: Origin, action: str, policy: StoredPolicy, detail: Mapping[str, Any]
    ) -> Step:
        return self._book.note(
            who, origin, action, tenant="" if policy.tenant == PLATFORM else policy.tenant, severity="warning",
            resource=("guardrail_policy", policy.id), detail=detail,
        )  # fmt: skip


async def policies_of(store: Store, tenant: str) -> Sequence[StoredPolicy]:
    """All that requests of a tenant can be under; the platform's last: a name is theirs, should two have it."""
    found: list[StoredPolicy] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await store.page(StoredPolicy, {"tenant": (tenant, PLATFORM)}, limit=500, cursor=cursor)
        found += page.items
        cursor = page.next
    return sorted(found, key=lambda each: each.tenant == PLATFORM)


def _visible(who: Principal, tenant: str | None = None) -> dict[str, object]:
    where = who.scope("policies:read", tenant)
    return {**where, "tenant": (where["tenant"], PLATFORM)} if "tenant" in where else where


def _version(policy: StoredPolicy, number: int, done: Done, who: Principal) -> PolicyVersion:
    return PolicyVersion(
        id=new_id(), policy=policy.id, number=number, tenant=policy.tenant, done=done, created_by=who.id,
        created=now_ms(), **{name: getattr(policy, name) for name in _BODY},
    )  # fmt: skip
