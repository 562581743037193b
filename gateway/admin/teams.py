"""Teams of a tenant, and their members."""

from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from gateway.accounts.records import Limits, Team
from gateway.admin.endpoint import Ask, Done, Endpoint, Items
from gateway.admin.fields import Cursor, Id, Line, NoBody, NoQuery, PageSize, Search
from gateway.admin.limits import LimitsGiven, LimitsShown, limits_given, limits_shown
from gateway.admin.policies import check_policy
from gateway.admin.services import Admin
from gateway.admin.users import TenantQuery, UserShown, user_shown
from gateway.admin.values import at, moment


class TeamShown(LimitsShown, frozen=True, kw_only=True):
    """A team; its limits hold for its service accounts' keys together."""

    id: str
    tenant_id: str
    name: str
    guardrail_policy: str | None
    created_at: datetime
    updated_at: datetime | None
    version: int


class NewTeam(LimitsGiven, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A team to be made."""

    name: Line
    guardrail_policy: Line | None = None


class TeamChange(LimitsGiven, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What changes of a team."""

    name: Line | UnsetType = UNSET
    guardrail_policy: Line | UnsetType | None = UNSET


class TeamsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which teams, a page at a time, newest first."""

    limit: PageSize = 100
    cursor: Cursor = ""
    search: Search = ""
    tenant: Id | None = None


class Members(msgspec.Struct, frozen=True):
    """Who is in a team, in the order in which they came."""

    items: tuple[UserShown, ...]


class NewMember(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is to be put into the team."""

    user_id: Id


async def list_teams(admin: Admin, ask: Ask[TeamsQuery, NoBody]) -> Items[TeamShown]:
    """Teams."""
    query = ask.query
    page = await admin.accounts.teams.page(
        ask.principal, tenant=query.tenant, search=query.search, limit=query.limit, cursor=query.cursor
    )
    return Items(tuple(map(_shown, page.items)), page.next)


async def create_team(admin: Admin, ask: Ask[TenantQuery, NewTeam]) -> TeamShown:
    """Make a team."""
    limits = Limits(**limits_given(ask.body))
    await check_policy(admin.gateway, ask.body.guardrail_policy, ask.query.tenant or ask.principal.home)
    made = await admin.accounts.teams.create(
        ask.principal, admin.origin(ask), ask.body.name, limits, ask.query.tenant, ask.body.guardrail_policy
    )
    return _shown(made)


async def get_team(admin: Admin, ask: Ask[NoQuery, NoBody]) -> TeamShown:
    """One team."""
    return _shown(await admin.accounts.teams.get(ask.principal, ask.id()))


async def change_team(admin: Admin, ask: Ask[NoQuery, TeamChange]) -> TeamShown:
    """Change a team."""
    if isinstance(ask.body.guardrail_policy, str):
        team = await admin.accounts.teams.get(ask.principal, ask.id(), "teams:write")
        await check_policy(admin.gateway, ask.body.guardrail_policy, team.tenant)
    given = {"name": ask.body.name, "guardrail_policy": ask.body.guardrail_policy}
    fields: dict[str, Any] = {name: value for name, value in given.items() if value is not UNSET}
    changed = await admin.accounts.teams.update(
        ask.principal, admin.origin(ask), ask.id(), fields, limits_given(ask.body), ask.version
    )
    return _shown(changed)


async def delete_team(admin: Admin, ask: Ask[NoQuery, NoBody]) -> Done:
    """Take a team away."""
    await admin.accounts.teams.delete(ask.principal, admin.origin(ask), ask.id(), ask.version)
    return Done()


async def list_members(admin: Admin, ask: Ask[NoQuery, NoBody]) -> Members:
    """Who is in a team."""
    return await _members(admin, ask)


async def add_member(admin: Admin, ask: Ask[NoQuery, NewMember]) -> Members:
    """Put somebody into a team."""
    await admin.accounts.teams.add(ask.principal, admin.origin(ask), ask.id(), ask.body.user_id)
    return await _members(admin, ask)


async def remove_member(admin: Admin, ask: Ask[NoQuery, NoBody]) -> Done:
    """Take somebody out of a team."""
    await admin.accounts.teams.remove(ask.principal, admin.origin(ask), ask.id(), ask.id("user"))
    return Done()


ROUTES = (
    Endpoint("GET", "/teams", "teams:read", list_teams, "List teams", "teams", query=TeamsQuery,
             answer=Items[TeamShown], aliases=(("GET", "/organization/teams"),)),
    Endpoint("POST", "/teams", "teams:write", create_team, "Make a team", "teams", query=TenantQuery, body=NewTeam,
             answer=TeamShown, status=201, errors=(404,), aliases=(("POST", "/organization/teams"),)),
    Endpoint("GET", "/teams/{id}", "teams:read", get_team, "Show a team", "teams", answer=TeamShown,
             aliases=(("GET", "/organization/teams/{id}"),)),
    Endpoint("PATCH", "/teams/{id}", "teams:write", change_team, "Change a team", "teams", body=TeamChange,
             answer=TeamShown, errors=(412,), aliases=(("PUT", "/teams/{id}"), ("PUT", "/organization/teams/{id}"))),
    Endpoint("DELETE", "/teams/{id}", "teams:write", delete_team, "Delete a team", "teams", status=204,
             errors=(412,), aliases=(("DELETE", "/organization/teams/{id}"),)),
    Endpoint("GET", "/teams/{id}/members", "teams:read", list_members, "List a team's members", "teams",
             answer=Members, aliases=(("GET", "/organization/teams/{id}/members"),)),
    Endpoint("POST", "/teams/{id}/members", "members:write", add_member, "Put a user into a team", "teams",
             body=NewMember, answer=Members, aliases=(("POST", "/organization/teams/{id}/members"),)),
    Endpoint("DELETE", "/teams/{id}/members/{user}", "members:write", remove_member, "Take a user out of a team",
             "teams", status=204, aliases=(("DELETE", "/organization/teams/{id}/members/{user}"),)),
)  # fmt: skip


def _shown(team: Team) -> TeamShown:
    return TeamShown(
        id=team.id, tenant_id=team.tenant, name=team.name, created_at=at(team.created), updated_at=moment(team.updated),
        version=team.version, guardrail_policy=team.guardrail_policy, **limits_shown(team.limits),
    )  # fmt: skip


async def _members(admin: Admin, ask: Ask[Any, Any]) -> Members:
    return Members(tuple(map(user_shown, await admin.accounts.teams.members(ask.principal, ask.id()))))
