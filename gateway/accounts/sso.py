"""People whom an identity provider vouches for: found again by issuer and subject, made, linked, and signed in.

What the provider said has been proved before (`gateway/oidc.py`). Whoever has no account and no right by the rules gets
none: the default is no rights.
"""

from collections.abc import Mapping, Sequence

import msgspec

from gateway.accounts.book import Book
from gateway.accounts.keys import new_id
from gateway.accounts.principal import Origin
from gateway.accounts.records import Identity, Team, Tenant, User
from gateway.accounts.roles import Role
from gateway.accounts.sessions import Sessions, SignedIn
from gateway.clock import now_ms
from gateway.errors import Forbidden
from gateway.store.work import Put, Remove, Step, change, put

_PLATFORM: tuple[Role, ...] = ("owner", "auditor")


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Who signs in, as the provider says. `session` is its own session with them; `groups` what they belong to;
    `hint`, sealed, is what it wants to see again when they sign out."""

    issuer: str
    subject: str
    email: str = ""
    verified: bool = False
    name: str = ""
    groups: tuple[str, ...] = ()
    session: str | None = None
    hint: str = ""


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider's people become. `roles` and `teams` go by group; without a role there is no right.

    `link` lets a person in whose verified address has an account already; `create` makes one for who has none.
    """

    tenant: str
    roles: Mapping[str, Role]
    default_role: Role | None
    teams: Mapping[str, str]
    link: bool
    create: bool

    def role(self, groups: Sequence[str]) -> Role | None:
        """The first role of the table that one of the groups has, else the default."""
        return next((role for group, role in self.roles.items() if group in groups), self.default_role)


class SignOn:
    """One for a process."""

    def __init__(self, book: Book, sessions: Sessions) -> None:
        self._book = book
        self._store = book.store
        self._sessions = sessions

    async def sign_in(self, person: Person, rules: Rules, origin: Origin) -> SignedIn:
        """A session for this person. Raises `Forbidden`, which is on record."""
        try:
            tenant = await self._tenant(rules)
            user, steps = await self._user(person, rules)
        except Forbidden as error:
            note = self._book.note(
                None, origin, "sso_login_failed", tenant=rules.tenant, severity="warning",
                detail={"issuer": person.issuer, "subject": person.subject, "reason": error.code or ""},
            )
            await self._book.commit(note, bump=False)
            raise
        steps += await self._teams(user, person, rules)
        return await self._sessions.open(
            user, tenant, origin, "sso_login", *steps, issuer=person.issuer, issuer_session=person.session,
            issuer_hint=person.hint,
        )

    async def ended(self, issuer: str, session: str | None, subject: str | None, origin: Origin) -> None:
        """The provider has ended a session, or all sessions of a subject: so do we."""
        where: dict[str, object] = {"issuer": issuer}
        if session is not None:
            where["issuer_session"] = session
        if subject is not None:
            identity = await self._store.one(Identity, issuer=issuer, subject=subject)
            if identity is None:
                return
            where["user"] = identity.user
        note = self._book.note(None, origin, "logout", detail={"issuer": issuer, "by": "provider"})
        await self._book.commit(Remove("sessions", where, one=False), note, bump=False)

    async def _tenant(self, rules: Rules) -> Tenant:
        tenant = await self._store.one(Tenant, id=rules.tenant)
        if tenant is None or not tenant.active:
            raise Forbidden("The organisation of this provider is not active.", code="sso_no_tenant")
        return tenant

    async def _user(self, person: Person, rules: Rules) -> tuple[User, list[Step]]:
        """The account, and what has to be stored with the new session."""
        identity = await self._store.one(Identity, issuer=person.issuer, subject=person.subject)
        role = rules.role(person.groups)
        if identity is not None:
            user = await self._store.one(User, id=identity.user, tenant=rules.tenant)
            if user is None or user.status != "active":
                raise Forbidden("This account is not active. Ask an administrator.", code="sso_not_active")
            return self._with_role(user, role, rules)
        if not person.email or not person.verified:
            raise Forbidden("The identity provider did not vouch for an e-mail address.", code="sso_unverified")
        user = await self._store.find_user(person.email)
        if user is None:
            return self._made(person, role, rules)
        if user.tenant != rules.tenant or user.role in _PLATFORM or user.status != "active" or not rules.link:
            raise Forbidden("This address cannot be signed in here. Ask an administrator.", code="sso_not_linked")
        user, steps = self._with_role(user, role, rules)
        return user, [*steps, _linked(person, user)]

    def _made(self, person: Person, role: Role | None, rules: Rules) -> tuple[User, list[Step]]:
        if not rules.create:
            raise Forbidden("There is no account for this address. Ask an administrator.", code="sso_no_account")
        if role is None or role in _PLATFORM:
            raise Forbidden("This person has no right to use the gateway.", code="sso_no_rights")
        user = User(
            id=new_id(), tenant=rules.tenant, email=person.email.lower(), name=person.name[:200], role=role,
            created=now_ms(),
        )
        return user, [put(user, password_hash=None), _linked(person, user)]

    def _with_role(self, user: User, role: Role | None, rules: Rules) -> tuple[User, list[Step]]:
        """The groups decide each time, where there is a table of roles; nobody is made or unmade an owner."""
        if not rules.roles or user.role in _PLATFORM:
            return user, []
        if role is None or role in _PLATFORM:
            raise Forbidden("This person has no right to use the gateway.", code="sso_no_rights")
        if role == user.role:
            return user, []
        return msgspec.structs.replace(user, role=role), [change(User, {"id": user.id}, {"role": role})]

    async def _teams(self, user: User, person: Person, rules: Rules) -> list[Step]:
        """Memberships of the teams in the table, as the groups are now; other teams are left alone."""
        steps: list[Step] = []
        mine = await self._store.teams_of(user.id)
        wanted = {team for group, team in rules.teams.items() if group in person.groups}
        for team in dict.fromkeys(rules.teams.values()):
            if team in mine and team not in wanted:
                steps.append(Remove("team_members", {"team_id": team, "user_id": user.id}, one=False))
            elif team in wanted and team not in mine and await self._store.one(Team, id=team, tenant=user.tenant):
                row = {"team_id": team, "user_id": user.id, "tenant_id": user.tenant, "created": now_ms()}
                steps.append(Put("team_members", row))
        return steps


def _linked(person: Person, user: User) -> Put:
    row = {"issuer": person.issuer, "subject": person.subject, "tenant_id": user.tenant, "user_id": user.id}
    return Put("sso_identities", {**row, "created": now_ms()})
