"""Teams of a tenant, and who is in them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.accounts.allowed import check_fields
from gateway.accounts.book import Book, difference, told, with_limits
from gateway.accounts.keys import new_id
from gateway.accounts.principal import Origin, Principal
from gateway.accounts.records import Key, Limits, ServiceAccount, Team, Tenant, User
from gateway.clock import now_ms
from gateway.errors import Conflict, NotFound
from gateway.store import Page
from gateway.store.work import Note, Put, Remove, Step, change, put

_AT_ONCE: Final = 500  # ids in one question
_GONE: Final = "There is no team with this id."


class Teams:
    """One for a process."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._store = book.store

    async def page(
        self, who: Principal, *, tenant: str | None = None, search: str = "", limit: int = 100, cursor: str = ""
    ) -> Page[Team]:
        """Teams that `who` may see, newest first."""
        where = who.scope("teams:read", tenant)
        return await self._store.page(Team, where, search=search, limit=limit, cursor=cursor)

    async def get(self, who: Principal, team: str, permission: str = "teams:read") -> Team:
        """One team. `NotFound` for one that `who` may not see."""
        found = await self._store.one(Team, **{**who.scope(permission), "id": team})
        if found is None:
            raise NotFound(_GONE)
        return found

    async def create(
        self, who: Principal, origin: Origin, name: str, limits: Limits, tenant: str | None = None,
        policy: str | None = None,
    ) -> Team:
        """Make a team."""
        where = who.scope("teams:write", tenant)
        home = str(where.get("tenant", tenant or who.home))
        if await self._store.one(Tenant, id=home) is None:
            raise NotFound("There is no tenant with this id.")
        team = Team(id=new_id(), tenant=home, name=name, created=now_ms(), limits=limits, guardrail_policy=policy)
        note = self._book.note(
            who, origin, "team_created", tenant=home, resource=("team", team.id),
            detail=told({"name": name, "limits": limits, "guardrail_policy": policy}),
        )  # fmt: skip
        await self._book.commit(put(team), note, bump=False)
        return team

    async def update(
        self, who: Principal, origin: Origin, team: str, fields: Mapping[str, Any], limits: Mapping[str, Any],
        version: int | None,
    ) -> Team:
        """Change a team."""
        check_fields(who, "team", [*fields, *limits])
        before = await self.get(who, team, "teams:write")
        changes = with_limits(before, fields, limits)
        note = self._book.note(
            who, origin, "team_updated", tenant=before.tenant, resource=("team", team),
            detail=difference(before, changes),
        )  # fmt: skip
        await self._book.commit(change(Team, {"id": team}, changes, version=version), note)
        return await self.get(who, team, "teams:write")

    async def delete(self, who: Principal, origin: Origin, team: str, version: int | None) -> None:
        """Take a team away. Its members stay; a team that still has service accounts does too."""
        before = await self.get(who, team, "teams:write")
        if await self._store.count(ServiceAccount, {"team": team}):
            raise Conflict("The team has service accounts: delete them first.", code="team_in_use")
        note = self._book.note(
            who, origin, "team_deleted", tenant=before.tenant, resource=("team", team), detail={"name": before.name}
        )
        await self._book.commit(
            Remove("team_members", {"team_id": team}, one=False),
            change(Key, {"team": team}, {"team": None}, one=False),
            Remove("teams", {"id": team}, version), note,
        )  # fmt: skip

    async def members(self, who: Principal, team: str) -> tuple[User, ...]:
        """Who is in a team."""
        found = await self.get(who, team)
        users = [await self._store.one(User, id=each) for each in await self._store.members(found)]
        return tuple(user for user in users if user is not None)

    async def add(self, who: Principal, origin: Origin, team: str, user: str) -> None:
        """Put a user of the team's tenant into it. `NotFound` for any other."""
        found = await self.get(who, team, "members:write")
        person = await self._store.one(User, id=user, tenant=found.tenant)
        if person is None:
            raise NotFound("There is no user with this id in the team's tenant.")
        if person.id in await self._store.members(found):
            return
        row = {"team_id": team, "user_id": user, "tenant_id": found.tenant, "created": now_ms()}
        note = self._book.note(
            who, origin, "member_added", tenant=found.tenant, resource=("team", team), detail={"user": user}
        )
        await self._book.commit(Put("team_members", row), note)

    async def rearrange(
        self, who: Principal, origin: Origin, team: str, add: Sequence[str], remove: Sequence[str]
    ) -> None:
        """Put many users of the team's tenant into it and take others out, or do nothing. `NotFound` for any other."""
        found = await self.get(who, team, "members:write")
        steps: list[Step] = []
        now = now_ms()
        for start in range(0, len(add), _AT_ONCE):
            some = tuple(add[start : start + _AT_ONCE])
            if await self._store.count(User, {"id": some, "tenant": found.tenant}) != len(some):
                raise NotFound("There is no user with this id in the team's tenant.")
        for number, user in enumerate(add):
            row = {"team_id": team, "user_id": user, "tenant_id": found.tenant, "created": now + number}
            steps += [Put("team_members", row), self._noted(who, origin, found, "member_added", user)]
        for user in remove:
            gone = Remove("team_members", {"team_id": team, "user_id": user}, one=False)
            steps += [gone, self._noted(who, origin, found, "member_removed", user)]
        if steps:
            await self._book.commit(*steps)

    def _noted(self, who: Principal, origin: Origin, team: Team, action: str, user: str) -> Note:
        return self._book.note(
            who, origin, action, tenant=team.tenant, resource=("team", team.id), detail={"user": user}
        )

    async def remove(self, who: Principal, origin: Origin, team: str, user: str) -> None:
        """Take a member out of a team."""
        found = await self.get(who, team, "members:write")
        note = self._book.note(
            who, origin, "member_removed", tenant=found.tenant, resource=("team", team), detail={"user": user}
        )
        await self._book.commit(Remove("team_members", {"team_id": team, "user_id": user}), note)
