"""API keys as people manage them. Their format is in `keys.py`; who may call with one is decided at each request."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from gateway.accounts import keys
from gateway.accounts.allowed import check_fields
from gateway.accounts.book import Book, difference, told, with_limits
from gateway.accounts.principal import Origin, Principal
from gateway.accounts.records import Key, Limits, ServiceAccount, Tenant, User
from gateway.accounts.roles import above, reach
from gateway.clock import now_ms
from gateway.errors import Conflict, Forbidden, InvalidFields, NotFound
from gateway.store import Page
from gateway.store.work import Step, change, put

_GONE: Final = "There is no API key with this id."
MAX_GRACE_MS: Final = 30 * 24 * 3600_000
_FAR: Final = 253_402_300_799_000  # the end of the year 9999
# What a key may be cut to: groups of routes of the data plane.
SCOPES: Final = (
    "chat", "completions", "embeddings", "images", "audio", "files", "batches", "fine_tuning", "models", "explain",
    "usage",
)  # fmt: skip


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key to be made; `owner` and `service_account` come from the route, never from a body."""

    name: str
    environment: str = ""
    expires_at: int | None = None
    scopes: tuple[str, ...] | None = None
    logging: Any = None
    guardrail_policy: str | None = None
    limits: Limits = Limits()


class KeyFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which keys: of one tenant, team, user, environment; usable ones or not; `search` looks at names and prefixes."""

    tenant: str | None = None
    team: str | None = None
    user: str | None = None
    service_account: str | None = None
    environment: str | None = None
    usable: bool | None = None
    search: str = ""

    def where(self, who: Principal) -> dict[str, object]:
        """The conditions, cut to what `who` may see."""
        where = who.scope("keys:read", self.tenant)
        if self.team is not None:
            where["teams"] = (self.team,) if "teams" not in where or self.team in who.teams else ()
        if self.usable is not None:
            where["usable" if self.usable else "unusable"] = now_ms()
        equal = {"owner": self.user, "service_account": self.service_account, "environment": self.environment}
        return where | {name: value for name, value in equal.items() if value is not None}


class ApiKeys:
    """One for a process."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._store = book.store
        self._pepper = keys.pepper(book.master)

    async def page(self, who: Principal, which: KeyFilter, limit: int, cursor: str) -> Page[Key]:
        """Keys that `who` may see, newest first."""
        return await self._store.page(Key, which.where(who), search=which.search, limit=limit, cursor=cursor)

    async def count(self, who: Principal, which: KeyFilter) -> int:
        """How many keys there are of those."""
        return await self._store.count(Key, which.where(who))

    async def get(self, who: Principal, key: str, permission: str = "keys:read") -> Key:
        """One key. `NotFound` for one that `who` may not see."""
        found = await self._store.one(Key, **{**who.scope(permission), "id": key})
        if found is None:
            raise NotFound(_GONE)
        return found

    async def create(
        self, who: Principal, origin: Origin, new: NewKey, *, user: User | None = None,
        account: ServiceAccount | None = None,
    ) -> tuple[str, Key]:
        """Make a key for `user`, for a service account, or for whoever asks. Its text is shown once."""
        who.scope("keys:write")
        chosen = ("expires_at", "scopes", "logging", "guardrail_policy")
        given = {name: getattr(new, name) for name in chosen if getattr(new, name)}
        check_fields(who, "key", given)
        _check(given)
        user = user or (who.user if account is None else None)
        if account is None and user is None:
            account = await self._store.one(ServiceAccount, id=who.id)
        await self._check_owner(who, user, account)
        owner = user or account
        assert owner is not None
        if reach(owner.role, "gateway:use") is None:
            raise Forbidden(f"Somebody with the role {owner.role} has no API keys.", code="role_not_allowed")
        key, text, digest = self._made(
            who, new, tenant=owner.tenant, owner=user.id if user else None,
            service_account=account.id if account else None, team=account.team if account else None,
        )  # fmt: skip
        note = self._note(who, origin, "api_key_created", key, told({
            "name": key.name, "owner": key.owner, "service_account": key.service_account, "limits": key.limits,
            "environment": key.environment, "expires_at": key.expires_at, "scopes": key.scopes, "logging": key.logging,
            "guardrail_policy": key.guardrail_policy,
        }))  # fmt: skip
        await self._book.commit(put(key, digest=digest), note, bump=False)
        return text, key

    async def create_unowned(self, who: Principal, origin: Origin, new: NewKey, tenant: str) -> tuple[str, Key]:
        """Make a key that belongs to a tenant and nobody in it. For operators."""
        who.scope("tenants:create")
        _check({name: getattr(new, name) for name in ("expires_at", "scopes") if getattr(new, name)})
        if await self._store.one(Tenant, id=tenant) is None:
            raise NotFound(f"The tenant {tenant!r} does not exist.")
        key, text, digest = self._made(who, new, tenant=tenant)
        told_of = ("name", "limits", "environment", "expires_at", "scopes", "logging", "guardrail_policy")
        given = {name: getattr(key, name) for name in told_of}
        await self._book.commit(
            put(key, digest=digest), self._note(who, origin, "api_key_created", key, told(given)), bump=False
        )
        return text, key

    async def update(
        self, who: Principal, origin: Origin, key: str, fields: Mapping[str, Any], limits: Mapping[str, Any],
        version: int | None,
    ) -> Key:
        """Change a key. It holds for the next request on every worker."""
        check_fields(who, "key", [*fields, *limits])
        _check(fields)
        before = await self._mine(who, key)
        if before.revoked_at is not None:
            raise Conflict("This key was revoked, for good.", code="key_revoked")
        changes = with_limits(before, fields, limits)
        note = self._note(who, origin, "api_key_updated", before, difference(before, changes))
        await self._book.commit(change(Key, {"id": key}, changes, version=version), note)
        return await self.get(who, key, "keys:write")

    async def rotate(self, who: Principal, origin: Origin, key: str, grace_ms: int) -> tuple[str, Key, Key]:
        """A new key with everything of the old one, which works on for a while. Returns the text, the new, the old.

        A key has one successor: what ends the grace sooner or later is a change of its `expires_at`.
        """
        old = await self._mine(who, key)
        now = now_ms()
        if old.revoked_at is not None or (old.expires_at is not None and old.expires_at <= now):
            raise Conflict("This key is revoked or expired: make a new one.", code="key_revoked")
        if old.replaced_by is not None:
            raise _rotated(old.replaced_by)
        ends = min(now + grace_ms, old.expires_at or _FAR)
        new = NewKey(
            name=old.name, environment=old.environment, expires_at=old.expires_at, scopes=old.scopes,
            logging=old.logging, limits=old.limits, guardrail_policy=old.guardrail_policy,
        )  # fmt: skip
        fresh, text, digest = self._made(
            who, new, tenant=old.tenant, owner=old.owner, service_account=old.service_account, team=old.team
        )
        await self._book.commit(
            put(fresh, digest=digest),
            change(
                Key, {"id": key, "revoked_at": None, "replaced_by": None}, {"expires_at": ends, "replaced_by": fresh.id}
            ),
            self._note(who, origin, "api_key_rotated", old, {"new_key": fresh.id, "old_key_expires_at": ends}),
        )
        return text, fresh, await self.get(who, key, "keys:write")

    async def revoke(self, who: Principal, origin: Origin, key: str, version: int | None = None) -> Key:
        """Revoke a key for good. It is dead on every worker when this returns. Again is no error."""
        before = await self._mine(who, key)
        steps: list[Step] = []
        if before.revoked_at is None:
            revoked = {"revoked_at": now_ms(), "active": False}
            note = self._note(who, origin, "api_key_revoked", before, {"name": before.name})
            steps = [change(Key, {"id": key}, revoked, version=version), note]
        await self._book.commit(*steps)
        return await self.get(who, key, "keys:write")

    async def revoke_many(
        self, who: Principal, origin: Origin, wanted: Sequence[str]
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Revoke many keys in one step; returns the ids that are revoked now, and those that are no keys of yours."""
        now, found, missing = now_ms(), list[Key](), list[str]()
        for ident in dict.fromkeys(wanted):
            try:
                found.append(await self._mine(who, ident))
            except (NotFound, Forbidden):
                missing.append(ident)
        steps: list[Step] = []
        for key in found:
            if key.revoked_at is None:
                steps.append(change(Key, {"id": key.id}, {"revoked_at": now, "active": False}))
                steps.append(self._note(who, origin, "api_key_revoked", key, {"name": key.name, "bulk": True}))
        await self._book.commit(*steps)
        return tuple(key.id for key in found), tuple(missing)

    async def _mine(self, who: Principal, key: str) -> Key:
        """A key that `who` may change."""
        found = await self.get(who, key, "keys:write")
        user = await self._store.one(User, id=found.owner) if found.owner else None
        account = await self._store.one(ServiceAccount, id=found.service_account) if found.service_account else None
        await self._check_owner(who, user, account)
        return found

    async def _check_owner(self, who: Principal, user: User | None, account: ServiceAccount | None) -> None:
        """Nobody makes or takes over a key of those above them; it would give them rights which they do not have."""
        owner = user or account
        if owner is not None and owner.id != who.id and not above(who.role, owner.role):
            raise Forbidden("This key belongs to somebody with a role above or beside yours.", code="role_not_allowed")

    def _made(self, who: Principal, new: NewKey, **belongs: Any) -> tuple[Key, str, str]:  # noqa: ANN401 - ids
        tenant = belongs.pop("tenant")
        text, record = keys.issue(
            self._pepper, tenant=tenant, created=now_ms(), name=new.name, environment=new.environment,
            expires_at=new.expires_at, limits=new.limits,
        )  # fmt: skip
        key = Key(
            id=record.id, tenant=tenant, name=new.name, prefix=record.prefix, environment=new.environment, active=True,
            created=record.created, scopes=new.scopes, logging=new.logging, expires_at=new.expires_at,
            created_by=who.id, limits=new.limits, guardrail_policy=new.guardrail_policy, **belongs,
        )  # fmt: skip
        return key, text, record.digest

    def _note(self, who: Principal, origin: Origin, action: str, key: Key, detail: Mapping[str, Any]) -> Step:
        return self._book.note(
            who, origin, action, tenant=key.tenant, resource=("api_key", key.id), detail=detail
        )


def _rotated(by: str) -> Conflict:
    return Conflict(
        f"This key was rotated already: the key {by} takes its place. Rotate that one, or set this one's expires_at.",
        code="already_rotated",
    )


def _check(fields: Mapping[str, Any]) -> None:
    expires = fields.get("expires_at")
    if expires is not None and not now_ms() < expires <= _FAR:
        raise InvalidFields(("expires_at", "must be in the future"))
    unknown = sorted(set(fields.get("scopes") or ()) - set(SCOPES))
    if unknown:
        raise InvalidFields(("scopes", f"has no {unknown[0][:64]!r}: there are {', '.join(SCOPES)}"))
