"""People of a tenant: made, changed, deactivated and deleted by administrators."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from gateway.accounts.allowed import check_fields, check_grant
from gateway.accounts.book import Book, difference, told, with_limits
from gateway.accounts.keys import new_id
from gateway.accounts.passwordpolicy import check_password
from gateway.accounts.passwords import Passwords, generate
from gateway.accounts.principal import Origin, Principal
from gateway.accounts.records import Key, Limits, Tenant, User
from gateway.accounts.roles import Role
from gateway.clock import now_ms
from gateway.errors import Conflict, InvalidFields, NotFound
from gateway.store import Page
from gateway.store.work import Remove, Step, change, put

GONE: Final = "There is no user with this id."


class NewPerson(msgspec.Struct, frozen=True, kw_only=True):
    """A user to be made. Without a password one is made that works once."""

    email: str
    name: str = ""
    role: Role = "member"
    password: str | None = None
    limits: Limits = Limits()
    content_access: bool = False
    external_id: str | None = None


class UserFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which users: of one tenant, team, role, status; `search` looks at names and addresses."""

    tenant: str | None = None
    team: str | None = None
    role: str | None = None
    status: str | None = None
    search: str = ""

    def where(self, who: Principal) -> dict[str, object]:
        """The conditions, cut to what `who` may see."""
        where = who.scope("users:read", self.tenant)
        if self.team is not None:
            where["teams"] = (self.team,) if "teams" not in where or self.team in who.teams else ()
        equal = {"role": self.role, "status": self.status}
        return where | {name: value for name, value in equal.items() if value is not None}


class Users:
    """One for a process."""

    def __init__(self, book: Book, passwords: Passwords) -> None:
        self._book = book
        self._store = book.store
        self._passwords = passwords

    async def page(self, who: Principal, which: UserFilter, limit: int, cursor: str) -> Page[User]:
        """Users that `who` may see, newest first."""
        return await self._store.page(User, which.where(who), search=which.search, limit=limit, cursor=cursor)

    async def count(self, who: Principal, which: UserFilter) -> int:
        """How many users there are of those."""
        return await self._store.count(User, which.where(who))

    async def get(self, who: Principal, user: str, permission: str = "users:read") -> User:
        """One user. `NotFound` for one whom `who` may not see."""
        if permission == "users:read" and user == who.id and who.user is not None:
            return who.user
        found = await self._store.one(User, **{**who.scope(permission), "id": user})
        if found is None:
            raise NotFound(GONE)
        return found

    async def seen_usage_of(self, who: Principal, user: str) -> User:
        """A user whose usage `who` may see."""
        return await self.get(who, user, "usage:read")

    async def create(
        self, who: Principal, origin: Origin, new: NewPerson, tenant: str | None = None
    ) -> tuple[User, str | None]:
        """Make a user. Returns the password too when it was made here: it is shown once, and must be changed."""
        home = await self._home(who, tenant)
        check_grant(who, new.role)
        if new.content_access:
            check_fields(who, "user", ["content_access"])
        if new.role in ("owner", "auditor") and home != who.home:
            raise InvalidFields(("role", "owners and auditors belong to the platform's own tenant"))
        if new.password is not None:
            check_password(new.password, "password", new.email, new.name)
        password = new.password or generate()
        user = User(
            id=new_id(), tenant=home, email=new.email.lower(), name=new.name, role=new.role, created=now_ms(),
            limits=new.limits, content_access=new.content_access, must_change=new.password is None,
            external_id=new.external_id,
        )  # fmt: skip
        await self._free(user.email)
        fields = {name: getattr(user, name) for name in ("email", "name", "role", "limits", "content_access")}
        note = self._book.note(
            who, origin, "user_created", tenant=home, resource=("user", user.id), detail=told(fields)
        )
        stored = put(user, password_hash=await self._passwords.hash(password))
        await self._book.commit(stored, note, bump=False)
        return user, password if new.password is None else None

    async def update(
        self, who: Principal, origin: Origin, user: str, fields: Mapping[str, Any], limits: Mapping[str, Any],
        version: int | None,
    ) -> User:
        """Change a user. Another role or status ends the sessions; keys of who is not active are refused at once."""
        check_fields(who, "user", [*fields, *limits])
        before = await self.get(who, user, "users:write")
        check_grant(who, fields.get("role", before.role), before.role)
        changes = with_limits(before, fields, limits)
        if "email" in changes:
            changes["email"] = changes["email"].lower()
            await self._free(changes["email"], besides=user)
        after = msgspec.structs.replace(before, **changes)
        if before.role == "owner" and before.status == "active" and (after.role, after.status) != ("owner", "active"):
            await self._not_last_owner(user)
        if after.role in ("owner", "auditor") and before.role != after.role and before.tenant != who.home:
            raise InvalidFields(("role", "owners and auditors belong to the platform's own tenant"))
        steps: list[Step] = [change(User, {"id": user}, changes, version=version)]
        if after.role != before.role or after.status != "active":
            steps.append(Remove("sessions", {"user": user}, one=False))
        note = self._book.note(
            who, origin, "user_updated", tenant=before.tenant, resource=("user", user),
            detail=difference(before, changes),
        )  # fmt: skip
        await self._book.commit(*steps, note)
        return await self._fresh(user)

    async def update_self(
        self, who: Principal, origin: Origin, name: str, version: int | None
    ) -> User:
        """Change what people may change of themselves: their name."""
        assert who.user is not None
        note = self._book.note(
            who, origin, "user_updated", resource=("user", who.id), detail=difference(who.user, {"name": name})
        )
        await self._book.commit(change(User, {"id": who.id}, {"name": name}, version=version), note, bump=False)
        return await self._fresh(who.id)

    async def reset_password(self, who: Principal, origin: Origin, user: str) -> tuple[User, str]:
        """A new password that works once, and must be changed then. Ends all sessions of the user."""
        before = await self.get(who, user, "users:write")
        check_grant(who, before.role)
        password = generate()
        await self._book.commit(
            change(User, {"id": user}, {"password_hash": await self._passwords.hash(password), "must_change": True}),
            Remove("sessions", {"user": user}, one=False),
            self._book.note(
                who, origin, "password_reset", tenant=before.tenant, severity="warning", resource=("user", user)
            ),
            bump=False,
        )
        return await self._fresh(user), password

    async def delete(self, who: Principal, origin: Origin, user: str, version: int | None) -> None:
        """Take a user away: keys revoked, sessions ended, teams left, address free again. The ledger keeps the id."""
        before = await self.get(who, user, "users:write")
        check_grant(who, before.role)
        if user == who.id:
            raise Conflict("You cannot delete yourself.", code="own_account")
        if before.role == "owner":
            await self._not_last_owner(user)
        changes = {"status": "deleted", "email": f"deleted:{user}", "name": "", "password_hash": None}
        await self._book.commit(
            change(User, {"id": user}, changes, version=version),
            Remove("sessions", {"user": user}, one=False),
            Remove("team_members", {"user_id": user}, one=False),
            Remove("sso_identities", {"user_id": user}, one=False),
            change(Key, {"owner": user, "revoked_at": None}, {"revoked_at": now_ms()}, one=False),
            self._book.note(
                who, origin, "user_deleted", tenant=before.tenant, severity="warning", resource=("user", user),
                detail={"email": before.email},
            ),
        )  # fmt: skip

    async def _home(self, who: Principal, tenant: str | None) -> str:
        """The tenant that something is made in: the own one, or, with the right to all, any."""
        where = who.scope("users:write", tenant)
        wanted = str(where.get("tenant", tenant or who.home))
        if await self._store.one(Tenant, id=wanted) is None:
            raise NotFound("There is no tenant with this id.")
        return wanted

    async def _free(self, email: str, besides: str = "") -> None:
        known = await self._store.find_user(email)
        if known is not None and known.id != besides:
            raise Conflict("This address belongs to an account already.", code="address_taken")

    async def _not_last_owner(self, user: str) -> None:
        owners = await self._store.page(User, {"role": "owner", "status": "active"}, limit=2)
        if not [each for each in owners.items if each.id != user]:
            raise Conflict("This is the last active owner: make another one first.", code="last_owner")

    async def _fresh(self, user: str) -> User:
        found = await self._store.one(User, id=user)
        if found is None:
            raise NotFound(GONE)
        return found

