"""Signing in with a password, and finding who is behind a session's or a service account's token."""

from typing import Final

import msgspec

from gateway.accounts.book import Book
from gateway.accounts.lockout import Lockout
from gateway.accounts.passwordpolicy import check_password
from gateway.accounts.passwords import Passwords
from gateway.accounts.principal import Origin, Principal
from gateway.accounts.records import AdminToken, ServiceAccount, Session, Tenant, User
from gateway.accounts.tokens import Tokens
from gateway.clock import now_ms
from gateway.errors import Conflict, Forbidden, InvalidFields, NotFound, Unauthenticated
from gateway.store.work import Note, Remove, Step, change, put

IDLE_MS: Final = 12 * 3600_000
LIFETIME_MS: Final = 7 * 24 * 3600_000
_TOUCH_MS: Final = 60_000
_WRONG: Final = "The address or the password is wrong, or the account is not active."


class SignedIn(msgspec.Struct, frozen=True, kw_only=True):
    """A new session. `token` is for whoever signed in, and kept nowhere."""

    token: str
    expires_in: int
    session: Session
    user: User
    tenant: Tenant

    def __repr__(self) -> str:
        return f"SignedIn({self.session.id})"


class Sessions:
    """One for a process. Times are options of the gateway's owner."""

    def __init__(
        self, book: Book, passwords: Passwords, *, idle_ms: int = IDLE_MS, lifetime_ms: int = LIFETIME_MS
    ) -> None:
        self._book = book
        self._store = book.store
        self._passwords = passwords
        self._lockout = Lockout(book.store, book.master)
        self._tokens = Tokens(book.master, "session")
        self._admin_tokens = Tokens(book.master, "admin-token")
        self._idle_ms = idle_ms
        self.lifetime_ms = lifetime_ms

    async def login(self, email: str, password: str, origin: Origin) -> SignedIn:
        """Sign in. Every failure is the same `Unauthenticated` after the same time; too many are `RateLimited`."""
        await self._lockout.check(email, origin.address)
        user = await self._store.find_user(email)
        stored = await self._store.secret(User, "password_hash", id=user.id) if user else None
        right = await self._passwords.verify(password, stored)
        tenant = await self._store.one(Tenant, id=user.tenant) if user else None
        if not right or user is None or tenant is None or user.status != "active" or not tenant.active:
            note = self._book.note(
                None, origin, "login_failed", tenant=user.tenant if user else "", severity="warning",
                resource=("user", user.id if user else ""), detail={"known_address": user is not None},
            )  # fmt: skip
            await self._book.commit(*self._lockout.failed(email, origin.address), note, bump=False)
            raise Unauthenticated(_WRONG, code="invalid_credentials")
        return await self.open(user, tenant, origin, "login", *self._lockout.forgotten(email, origin.address))

    async def open(
        self, user: User, tenant: Tenant, origin: Origin, action: str, *steps: Step, issuer: str | None = None,
        issuer_session: str | None = None, issuer_hint: str = "",
    ) -> SignedIn:
        """A new session for somebody who has proven who they are, and what else is to be stored with it."""
        now, made = now_ms(), self._tokens.make()
        session = Session(
            id=made.id, tenant=user.tenant, user=user.id, created=now, last_used=now,
            expires_at=now + self.lifetime_ms, address=origin.address, agent=origin.agent, issuer=issuer,
            issuer_session=issuer_session,
        )  # fmt: skip
        who = Principal(id=user.id, kind="user", name=user.email, role=user.role, home=user.tenant)
        note = self._book.note(who, origin, action, resource=("session", session.id))
        seen = change(User, {"id": user.id}, {"last_login": now}, quiet=True)
        ended = Remove("sessions", {"user": user.id, "ended": now}, one=False)
        stored = put(session, digest=made.digest, issuer_hint=issuer_hint or None)
        await self._book.commit(*steps, ended, stored, seen, note, bump=False)
        user = await self._store.one(User, id=user.id) or user
        expires_in = min(self._idle_ms, self.lifetime_ms) // 1000
        return SignedIn(token=made.token, expires_in=expires_in, session=session, user=user, tenant=tenant)

    async def resolve(self, token: str) -> Principal:
        """Who is behind a token, as things are now. Raises `Unauthenticated`."""
        parsed = self._tokens.parse(token)
        if parsed is not None:
            return await self._of_session(*parsed)
        parsed = self._admin_tokens.parse(token)
        if parsed is not None:
            return await self._of_service(*parsed)
        raise _unknown()

    async def logout(self, who: Principal, origin: Origin) -> None:
        """End the session that asks."""
        if who.session is None:
            raise Conflict("An admin token has no session: revoke the token instead.")
        await self._end(who, origin, {"id": who.session}, "logout", ("session", who.session))

    async def issuer_of(self, who: Principal) -> tuple[str | None, str]:
        """The identity provider that vouched for the session that asks (`None` for a password or a token), and the
        sealed hint for it."""
        session = await self._store.one(Session, id=who.session) if who.session else None
        if session is None or session.issuer is None:
            return None, ""
        return session.issuer, await self._store.secret(Session, "issuer_hint", id=session.id) or ""

    async def opened(self, who: Principal) -> tuple[Session, ...]:
        """The open sessions of whoever asks, newest first."""
        page = await self._store.page(Session, {"user": who.id}, limit=500)
        now = now_ms()
        return tuple(each for each in page.items if self._alive(each, now))

    async def revoke(self, who: Principal, origin: Origin, session: str) -> None:
        """End one of one's own sessions."""
        if await self._store.one(Session, id=session, user=who.id) is None:
            raise NotFound("You have no session with this id.")
        await self._end(who, origin, {"id": session, "user": who.id}, "session_revoked", ("session", session))

    async def change_password(self, who: Principal, origin: Origin, current: str, new: str) -> None:
        """Set one's own password. All other sessions end."""
        user = who.user
        if user is None:
            raise Forbidden("A service account has no password.")
        await self._lockout.check(user.email, origin.address)
        stored = await self._store.secret(User, "password_hash", id=user.id)
        if not await self._passwords.verify(current, stored):
            note = self._book.note(
                who, origin, "password_change_failed", severity="warning", resource=("user", user.id)
            )
            await self._book.commit(*self._lockout.failed(user.email, origin.address), note, bump=False)
            raise InvalidFields(("current_password", "is wrong"))
        if new == current:
            raise InvalidFields(("new_password", "must be another one than before"))
        check_password(new, "new_password", user.email, user.name)
        steps = [
            change(User, {"id": user.id}, {"password_hash": await self._passwords.hash(new), "must_change": False}),
            *self.ended(user.id, keep=who.session),
            self._book.note(who, origin, "password_changed", resource=("user", user.id)),
        ]
        await self._book.commit(*steps, bump=False)

    def ended(self, user: str, *, keep: str | None = None) -> list[Step]:
        """The steps that end all sessions of a user, but for the one to keep."""
        where = {"user": user} if keep is None else {"user": user, "not": keep}
        return [Remove("sessions", where, one=False)]

    async def again(self, who: Principal) -> Principal:
        """The same principal as things are now, after it changed itself."""
        user = await self._store.one(User, id=who.id)
        return who if user is None or who.user is None else msgspec.structs.replace(who, user=user, role=user.role)

    async def _end(
        self, who: Principal, origin: Origin, where: dict[str, object], action: str, resource: tuple[str, str]
    ) -> None:
        note: Note = self._book.note(who, origin, action, resource=resource)
        await self._book.commit(Remove("sessions", where, one=False), note, bump=False)

    async def _of_session(self, ident: str, secret: str) -> Principal:
        stored = await self._store.secret(Session, "digest", id=ident)
        right = self._tokens.matches(stored, secret)
        session = await self._store.one(Session, id=ident)
        now = now_ms()
        if not right or session is None or not self._alive(session, now):
            raise _unknown()
        user = await self._store.one(User, id=session.user)
        tenant = await self._store.one(Tenant, id=session.tenant)
        if user is None or tenant is None or user.status != "active" or not tenant.active:
            raise _unknown()
        if now - session.last_used > _TOUCH_MS:
            await self._book.commit(change(Session, {"id": ident}, {"last_used": now}, one=False), bump=False)
        return Principal(
            id=user.id, kind="user", name=user.email, role=user.role, home=user.tenant, user=user, session=ident,
            teams=await self._store.teams_of(user.id), must_change_password=user.must_change,
            content_access=user.content_access,
        )  # fmt: skip

    async def _of_service(self, ident: str, secret: str) -> Principal:
        stored = await self._store.secret(AdminToken, "digest", id=ident)
        right = self._admin_tokens.matches(stored, secret)
        token = await self._store.one(AdminToken, id=ident)
        now = now_ms()
        if not right or token is None or token.revoked_at is not None or token.expires_at <= now:
            raise _unknown()
        account = await self._store.one(ServiceAccount, id=token.service_account)
        tenant = await self._store.one(Tenant, id=token.tenant)
        if account is None or tenant is None or not account.active or not tenant.active:
            raise _unknown()
        if now - (token.last_used or 0) > _TOUCH_MS:
            await self._book.commit(change(AdminToken, {"id": ident}, {"last_used": now}, one=False), bump=False)
        return Principal(
            id=account.id, kind="service_account", name=account.name, role=account.role, home=account.tenant,
            teams=(account.team,), scopes=token.scopes,
        )  # fmt: skip

    def _alive(self, session: Session, now: int) -> bool:
        return now < min(session.expires_at, session.last_used + self._idle_ms)


def _unknown() -> Unauthenticated:
    return Unauthenticated("The token is unknown, has expired, or was revoked. Sign in again.", code="unauthenticated")
