"""Programs of a team: they own API keys, and carry admin tokens with scopes and an end for automation."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.accounts.allowed import check_fields, check_grant
from gateway.accounts.book import Book, difference, told
from gateway.accounts.keys import new_id
from gateway.accounts.principal import Origin, Principal
from gateway.accounts.records import AdminToken, Key, ServiceAccount, Team
from gateway.accounts.roles import PERMISSIONS, Role, reach
from gateway.accounts.tokens import Tokens
from gateway.clock import now_ms
from gateway.errors import Forbidden, InvalidFields, NotFound
from gateway.store import Page
from gateway.store.work import Remove, change, put

_GONE: Final = "There is no service account with this id."
MAX_LIFE_MS: Final = 366 * 24 * 3600_000


class ServiceAccounts:
    """One for a process."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._store = book.store
        self._tokens = Tokens(book.master, "admin-token")

    async def page(
        self, who: Principal, *, tenant: str | None = None, team: str | None = None, search: str = "", limit: int = 100,
        cursor: str = "",
    ) -> Page[ServiceAccount]:
        """Service accounts that `who` may see, newest first."""
        where = who.scope("service-accounts:read", tenant) | ({} if team is None else {"team": team})
        return await self._store.page(ServiceAccount, where, search=search, limit=limit, cursor=cursor)

    async def get(
        self, who: Principal, account: str, permission: str = "service-accounts:read"
    ) -> ServiceAccount:
        """One service account. `NotFound` for one that `who` may not see."""
        found = await self._store.one(ServiceAccount, **{**who.scope(permission), "id": account})
        if found is None:
            raise NotFound(_GONE)
        return found

    async def create(self, who: Principal, origin: Origin, team: str, name: str, role: Role) -> ServiceAccount:
        """Make a service account of a team."""
        home = await self._store.one(Team, **{**who.scope("service-accounts:write"), "id": team})
        if home is None:
            raise NotFound("There is no team with this id.")
        check_grant(who, role)
        account = ServiceAccount(id=new_id(), tenant=home.tenant, team=team, name=name, created=now_ms(), role=role)
        if role in ("owner", "auditor") and home.tenant != who.home:
            raise InvalidFields(("role", "owners and auditors belong to the platform's own tenant"))
        note = self._book.note(
            who, origin, "service_account_created", tenant=home.tenant, resource=("service_account", account.id),
            detail=told({"name": name, "team": team, "role": role}),
        )  # fmt: skip
        await self._book.commit(put(account), note, bump=False)
        return account

    async def update(
        self, who: Principal, origin: Origin, account: str, fields: Mapping[str, Any], version: int | None
    ) -> ServiceAccount:
        """Change a service account; its keys and tokens are refused while it is not active."""
        check_fields(who, "service_account", fields)
        before = await self.get(who, account, "service-accounts:write")
        check_grant(who, fields.get("role", before.role), before.role)
        if fields.get("role") in ("owner", "auditor") and before.tenant != who.home:
            raise InvalidFields(("role", "owners and auditors belong to the platform's own tenant"))
        note = self._book.note(
            who, origin, "service_account_updated", tenant=before.tenant, resource=("service_account", account),
            detail=difference(before, fields),
        )  # fmt: skip
        await self._book.commit(change(ServiceAccount, {"id": account}, fields, version=version), note)
        return await self.get(who, account, "service-accounts:write")

    async def delete(self, who: Principal, origin: Origin, account: str, version: int | None) -> None:
        """Take a service account away, with its tokens; its keys are revoked."""
        before = await self.get(who, account, "service-accounts:write")
        check_grant(who, before.role)
        note = self._book.note(
            who, origin, "service_account_deleted", tenant=before.tenant, severity="warning",
            resource=("service_account", account), detail={"name": before.name},
        )  # fmt: skip
        await self._book.commit(
            change(Key, {"service_account": account, "revoked_at": None}, {"revoked_at": now_ms(), "active": False},
                   one=False),
            Remove("admin_tokens", {"service_account": account}, one=False),
            Remove("service_accounts", {"id": account}, version), note,
        )  # fmt: skip

    async def tokens(self, who: Principal, account: str) -> tuple[AdminToken, ...]:
        """The tokens of a service account, newest first; never their text."""
        await self.get(who, account)
        return (await self._store.page(AdminToken, {"service_account": account}, limit=500)).items

    async def make_token(
        self, who: Principal, origin: Origin, account: str, name: str, scopes: Sequence[str] | None, expires_at: int
    ) -> tuple[str, AdminToken]:
        """A token for the admin API. Its text is shown once; it can do no more than its account and whoever made it."""
        owner = await self.get(who, account, "service-accounts:write")
        check_grant(who, owner.role)
        now = now_ms()
        if not now < expires_at <= now + MAX_LIFE_MS:
            raise InvalidFields(("expires_at", "must be in the future, and at most 366 days away"))
        _check_scopes(who, owner, scopes)
        made = self._tokens.make()
        token = AdminToken(
            id=made.id, tenant=owner.tenant, service_account=account, name=name, prefix=made.shown, created=now,
            expires_at=expires_at, scopes=None if scopes is None else tuple(scopes),
        )  # fmt: skip
        note = self._book.note(
            who, origin, "admin_token_created", tenant=owner.tenant, resource=("admin_token", token.id),
            detail=told({"service_account": account, "name": name, "scopes": token.scopes, "expires_at": expires_at}),
        )  # fmt: skip
        await self._book.commit(put(token, digest=made.digest), note, bump=False)
        return made.token, token

    async def revoke_token(self, who: Principal, origin: Origin, account: str, token: str) -> None:
        """Revoke a token for good."""
        owner = await self.get(who, account, "service-accounts:write")
        known = await self._store.one(AdminToken, id=token, service_account=account)
        if known is None:
            raise NotFound("The service account has no token with this id.")
        note = self._book.note(
            who, origin, "admin_token_revoked", tenant=owner.tenant, resource=("admin_token", token)
        )
        await self._book.commit(change(AdminToken, {"id": token}, {"revoked_at": now_ms()}), note)


def _check_scopes(who: Principal, owner: ServiceAccount, scopes: Sequence[str] | None) -> None:
    if unknown := sorted(set(scopes or ()) - PERMISSIONS):
        raise InvalidFields(("scopes", f"has no {unknown[0][:64]!r}: rights are listed in the documentation"))
    beyond = [each for each in scopes or () if reach(owner.role, each) is None]
    if beyond:
        raise InvalidFields(("scopes", f"the account's role {owner.role} has not the right {beyond[0]!r}"))
    if who.scopes is not None and (scopes is None or set(scopes) - set(who.scopes)):
        raise Forbidden("A token cannot make another one with more rights than its own.", code="scope_not_allowed")
