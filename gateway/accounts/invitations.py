"""Accounts that people make for themselves: in a tenant of their own, or where an invitation leads."""

from typing import Final

import msgspec

from gateway.accounts.allowed import check_grant
from gateway.accounts.book import Book
from gateway.accounts.keys import new_id
from gateway.accounts.passwordpolicy import check_password
from gateway.accounts.passwords import Passwords
from gateway.accounts.principal import Origin, Principal
from gateway.accounts.records import Invitation, Tenant, User
from gateway.accounts.roles import Role
from gateway.accounts.sessions import Sessions, SignedIn
from gateway.accounts.tenants import id_from
from gateway.accounts.tokens import Tokens
from gateway.clock import now_ms
from gateway.errors import Conflict, InvalidFields, NotFound
from gateway.store import Page
from gateway.store.work import Remove, Step, change, put

MAX_LIFE_MS: Final = 30 * 24 * 3600_000
_UNUSABLE: Final = "is not valid: it is unknown, used, expired, or for another address"


class NewAccount(msgspec.Struct, frozen=True):
    """What somebody says of themselves."""

    name: str
    email: str
    password: str

    def __repr__(self) -> str:
        return f"NewAccount({self.email})"


class Invitations:
    """One for a process."""

    def __init__(self, book: Book, passwords: Passwords, sessions: Sessions) -> None:
        self._book = book
        self._store = book.store
        self._passwords = passwords
        self._sessions = sessions
        self._tokens = Tokens(book.master, "invitation")

    async def page(self, who: Principal, tenant: str | None, limit: int, cursor: str) -> Page[Invitation]:
        """Invitations that `who` may see, newest first; used ones included."""
        where = who.scope("users:write", tenant)
        return await self._store.page(Invitation, where, limit=limit, cursor=cursor)

    async def create(
        self, who: Principal, origin: Origin, email: str, role: Role, life_ms: int, tenant: str | None = None
    ) -> tuple[str, Invitation]:
        """Invite an address. The token is shown once, for whoever passes it on."""
        where = who.scope("users:write", tenant)
        home = str(where.get("tenant", tenant or who.home))
        if await self._store.one(Tenant, id=home) is None:
            raise NotFound("There is no tenant with this id.")
        check_grant(who, role)
        if role in ("owner", "auditor") and home != who.home:
            raise InvalidFields(("role", "owners and auditors belong to the platform's own tenant"))
        made, now = self._tokens.make(), now_ms()
        invitation = Invitation(
            id=made.id, tenant=home, email=email.lower(), role=role, created=now, expires_at=now + life_ms,
            created_by=who.id,
        )  # fmt: skip
        note = self._book.note(
            who, origin, "user_invited", tenant=home, resource=("invitation", made.id),
            detail={"email": invitation.email, "role": role},
        )  # fmt: skip
        await self._book.commit(put(invitation, digest=made.digest), note, bump=False)
        return made.token, invitation

    async def delete(self, who: Principal, origin: Origin, invitation: str) -> None:
        """Take an invitation back."""
        found = await self._store.one(Invitation, **{**who.scope("users:write"), "id": invitation})
        if found is None:
            raise NotFound("There is no invitation with this id.")
        note = self._book.note(
            who, origin, "invitation_deleted", tenant=found.tenant, resource=("invitation", invitation)
        )
        await self._book.commit(Remove("invitations", {"id": invitation}), note, bump=False)

    async def register(self, new: NewAccount, token: str | None, origin: Origin) -> SignedIn:
        """Make an account and sign in: with an invitation in its tenant, without one in a new tenant, as its admin."""
        check_password(new.password, "password", new.email, new.name)
        invitation = None if token is None else await self._valid(token, new.email)
        if await self._store.find_user(new.email) is not None:
            raise Conflict("This address belongs to an account already.", code="address_taken")
        now, steps = now_ms(), list[Step]()
        if invitation is None:
            tenant = Tenant(id=id_from(new.name), name=new.name, created=now)
            steps.append(put(tenant))
            role: Role = "admin"
        else:
            found = await self._store.one(Tenant, id=invitation.tenant)
            if found is None or not found.active:
                raise InvalidFields(("invitation", _UNUSABLE))
            tenant, role = found, invitation.role
            steps.append(change(Invitation, {"id": invitation.id, "used_at": None}, {"used_at": now}))
        user = User(
            id=new_id(), tenant=tenant.id, email=new.email.lower(), name=new.name, role=role, created=now
        )
        steps.append(put(user, password_hash=await self._passwords.hash(new.password)))
        return await self._sessions.open(user, tenant, origin, "registered", *steps)

    async def _valid(self, token: str, email: str) -> Invitation:
        parsed = self._tokens.parse(token)
        if parsed is None:
            raise InvalidFields(("invitation", _UNUSABLE))
        ident, secret = parsed
        right = self._tokens.matches(await self._store.secret(Invitation, "digest", id=ident), secret)
        found = await self._store.one(Invitation, id=ident)
        if not right or found is None or found.used_at is not None or found.expires_at <= now_ms():
            raise InvalidFields(("invitation", _UNUSABLE))
        if found.email != email.lower():
            raise InvalidFields(("invitation", _UNUSABLE))
        return found
