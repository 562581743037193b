"""SCIM 2.0: an identity provider keeps users and groups (teams) of a tenant up to date, so that leavers lose access.

What providers write is read in `scimwire.py`; what this service can do is told in `scimabout.py`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from gateway.accounts.principal import Origin
from gateway.accounts.records import Limits, Team, User
from gateway.accounts.roles import Role
from gateway.accounts.services import Accounts
from gateway.accounts.users import NewPerson
from gateway.admin import scimabout
from gateway.admin.errors import REPLY_HEADERS
from gateway.admin.scimwire import (
    GROUP,
    USER,
    Circle,
    Person,
    circle,
    conditions,
    patched_circle,
    patched_person,
    person,
    shown,
)
from gateway.errors import Conflict, GatewayError, NotFound
from gateway.hookspecs import Reply, Route, RouteRequest

PREFIX: Final = "/api/v1/admin/scim/v2"
MEDIA: Final = "application/scim+json"
_LIST: Final = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
_ERROR: Final = "urn:ietf:params:scim:api:messages:2.0:Error"
_PAGE: Final = 200
_TYPES: Final = ("invalidFilter", "invalidPath", "invalidSyntax", "invalidValue", "noTarget", "uniqueness")
_USERS: Final = {
    "username": "email", "emails": "email", "emails.value": "email", "externalid": "external_id", "id": "id",
    "active": "active", "displayname": "name",
}  # fmt: skip
_GROUPS: Final = {
    "displayname": "name", "externalid": "external_id", "id": "id", "members": "holds", "members.value": "holds",
}  # fmt: skip


class Scim:
    """The functions behind the routes. `role` is what a person gets that an identity provider makes."""

    def __init__(self, accounts: Accounts, role: Role, base: Callable[[RouteRequest], str]) -> None:
        self._accounts = accounts
        self._store = accounts.book.store
        self._role = role
        self._base = base

    def routes(self) -> list[Route]:
        """All routes; who may call them is the matrix' business."""
        table: Sequence[tuple[str, str, str, Callable[[RouteRequest], Awaitable[Reply]]]] = (
            ("GET", "/ServiceProviderConfig", "users:read", self.about),
            ("GET", "/ResourceTypes", "users:read", self.about),
            ("GET", "/ResourceTypes/{id}", "users:read", self.about),
            ("GET", "/Schemas", "users:read", self.about), ("GET", "/Schemas/{id}", "users:read", self.about),
            ("GET", "/Users", "users:read", self.users), ("POST", "/Users", "users:write", self.make_user),
            ("GET", "/Users/{id}", "users:read", self.user), ("PUT", "/Users/{id}", "users:write", self.put_user),
            ("PATCH", "/Users/{id}", "users:write", self.patch_user),
            ("DELETE", "/Users/{id}", "users:write", self.delete_user),
            ("GET", "/Groups", "teams:read", self.groups), ("POST", "/Groups", "teams:write", self.make_group),
            ("GET", "/Groups/{id}", "teams:read", self.group), ("PUT", "/Groups/{id}", "teams:write", self.put_group),
            ("PATCH", "/Groups/{id}", "teams:write", self.patch_group),
            ("DELETE", "/Groups/{id}", "teams:write", self.delete_group),
        )  # fmt: skip
        return [Route(method, PREFIX + path, right, _answering(call)) for method, path, right, call in table]

    async def about(self, ask: RouteRequest) -> Reply:
        """What this service can do, and what its resources look like."""
        found = scimabout.document(ask.path.removeprefix(PREFIX), self._base(ask) + PREFIX)
        if found is None:
            raise NotFound("There is nothing with this id.")
        return _reply(found)

    async def users(self, ask: RouteRequest) -> Reply:
        """List users, or find those that a filter describes."""
        where: dict[str, object] = {**conditions(ask.query.get("filter", ""), _USERS)}
        if "email" in where:
            where["email"] = str(where["email"]).lower()
        if (active := where.pop("active", None)) is not None:
            where["active" if active == "true" else "inactive"] = "active"
        total, found = await self._part(ask, User, where | ask.principal.scope("users:read"))
        return _listed(ask, total, [self._user(ask, each) for each in found])

    async def user(self, ask: RouteRequest) -> Reply:
        """One user."""
        return self._told(ask, self._user(ask, await self._accounts.users.get(ask.principal, ask.params["id"])))

    async def make_user(self, ask: RouteRequest) -> Reply:
        """Make a user, who signs in through the identity provider: there is no password."""
        wanted = person(await ask.json())
        if await self._store.find_user(wanted.address) is not None:
            raise Conflict("There is a user with this userName.", code="uniqueness")
        new = NewPerson(email=wanted.address, name=wanted.name, role=self._role, external_id=wanted.external)
        made, _ = await self._accounts.users.create(ask.principal, _origin(ask), new)
        return self._told(ask, self._user(ask, await self._change(ask, made, wanted)), 201)

    async def put_user(self, ask: RouteRequest) -> Reply:
        """Replace what is known of a user."""
        before = await self._accounts.users.get(ask.principal, ask.params["id"], "users:write")
        wanted = person(await ask.json(), _kept(before))
        return self._told(ask, self._user(ask, await self._change(ask, before, wanted)))

    async def patch_user(self, ask: RouteRequest) -> Reply:
        """Change some of it: `active: false` ends sessions and keys at once."""
        before = await self._accounts.users.get(ask.principal, ask.params["id"], "users:write")
        wanted = patched_person(_kept(before), await ask.json())
        return self._told(ask, self._user(ask, await self._change(ask, before, wanted)))

    async def delete_user(self, ask: RouteRequest) -> Reply:
        """Take a user away."""
        await self._accounts.users.delete(ask.principal, _origin(ask), ask.params["id"], None)
        return _reply(None, 204)

    async def groups(self, ask: RouteRequest) -> Reply:
        """List teams, or find those that a filter describes."""
        where: dict[str, object] = {**conditions(ask.query.get("filter", ""), _GROUPS)}
        if "name" in where:
            where["named"] = str(where.pop("name")).lower()
        total, found = await self._part(ask, Team, where | ask.principal.scope("teams:read"))
        return _listed(ask, total, [await self._group(ask, team) for team in found])

    async def group(self, ask: RouteRequest) -> Reply:
        """One team."""
        team = await self._accounts.teams.get(ask.principal, ask.params["id"])
        return self._told(ask, await self._group(ask, team))

    async def make_group(self, ask: RouteRequest) -> Reply:
        """Make a team."""
        wanted = circle(await ask.json())
        team = await self._accounts.teams.create(ask.principal, _origin(ask), wanted.name, Limits())
        try:
            team = await self._arranged(ask, team, Circle(team.name), wanted)
        except GatewayError:  # a member that there is not: no half of a group stays
            await self._accounts.teams.delete(ask.principal, _origin(ask), team.id, None)
            raise
        return self._told(ask, await self._group(ask, team), 201)

    async def put_group(self, ask: RouteRequest) -> Reply:
        """Replace name and members of a team."""
        team, before = await self._circle(ask)
        wanted = circle(await ask.json(), before)
        return self._told(ask, await self._group(ask, await self._arranged(ask, team, before, wanted)))

    async def patch_group(self, ask: RouteRequest) -> Reply:
        """Add and remove members, or rename."""
        team, before = await self._circle(ask)
        wanted = patched_circle(before, await ask.json())
        return self._told(ask, await self._group(ask, await self._arranged(ask, team, before, wanted)))

    async def delete_group(self, ask: RouteRequest) -> Reply:
        """Take a team away; its members stay."""
        await self._accounts.teams.delete(ask.principal, _origin(ask), ask.params["id"], None)
        return _reply(None, 204)

    async def _circle(self, ask: RouteRequest) -> tuple[Team, Circle]:
        team = await self._accounts.teams.get(ask.principal, ask.params["id"], "teams:write")
        return team, Circle(team.name, team.external_id, await self._store.members(team))

    async def _arranged(self, ask: RouteRequest, team: Team, before: Circle, wanted: Circle) -> Team:
        """Make a team what it should be; each change is one transaction."""
        fields: dict[str, Any] = {}
        if wanted.name != before.name:
            fields["name"] = wanted.name
        if wanted.external != before.external:
            fields["external_id"] = wanted.external
        have, want = set(before.members), set(wanted.members)
        if have != want:
            add, remove = [each for each in wanted.members if each not in have], sorted(have - want)
            await self._accounts.teams.rearrange(ask.principal, _origin(ask), team.id, add, remove)
        if not fields:
            return team
        return await self._accounts.teams.update(ask.principal, _origin(ask), team.id, fields, {}, None)

    async def _change(self, ask: RouteRequest, before: User, wanted: Person) -> User:
        """Set what differs."""
        same = (before.status == "active") == wanted.active
        status = before.status if same else "active" if wanted.active else "inactive"
        fields = {"email": wanted.address, "name": wanted.name, "external_id": wanted.external, "status": status}
        fields = {name: value for name, value in fields.items() if getattr(before, name) != value}
        if not fields:
            return before
        return await self._accounts.users.update(ask.principal, _origin(ask), before.id, fields, {}, None)

    async def _part(self, ask: RouteRequest, kind: type[Any], where: Mapping[str, object]) -> tuple[int, Sequence[Any]]:
        """How many there are, and the page that is asked for, oldest first."""
        total = await self._store.count(kind, where)
        start, count = _range(ask)
        return total, await self._store.part(kind, where, start - 1, count) if count and start <= total else ()

    def _user(self, ask: RouteRequest, user: User) -> dict[str, Any]:
        first, _, last = user.name.partition(" ")
        name = {"formatted": user.name, "givenName": first, "familyName": last}
        told: dict[str, Any] = {"schemas": [USER], "id": user.id}
        told |= {"externalId": user.external_id} if user.external_id is not None else {}
        return told | {
            "userName": user.email, "displayName": user.name, "active": user.status == "active",
            "name": {part: text for part, text in name.items() if text},
            "emails": [{"value": user.email, "type": "work", "primary": True}],
            "roles": [{"value": user.role}],
            "meta": {"resourceType": "User", "location": f"{self._base(ask)}{PREFIX}/Users/{user.id}"},
        }  # fmt: skip

    async def _group(self, ask: RouteRequest, team: Team) -> dict[str, Any]:
        told: dict[str, Any] = {"schemas": [GROUP], "id": team.id, "displayName": team.name}
        told |= {"externalId": team.external_id} if team.external_id is not None else {}
        told["meta"] = {"resourceType": "Group", "location": f"{self._base(ask)}{PREFIX}/Groups/{team.id}"}
        if "members" in shown({"members": 0}, ask.query.get("attributes", ""), ask.query.get("excludedAttributes", "")):
            users = f"{self._base(ask)}{PREFIX}/Users/"
            told["members"] = [
                {"value": each, "type": "User", "$ref": users + each} for each in await self._store.members(team)
            ]
        return told

    def _told(self, ask: RouteRequest, resource: dict[str, Any], status: int = 200) -> Reply:
        body = shown(resource, ask.query.get("attributes", ""), ask.query.get("excludedAttributes", ""))
        return _reply(body, status, location=resource["meta"]["location"] if status == 201 else "")


def _answering(call: Callable[[RouteRequest], Awaitable[Reply]]) -> Callable[[RouteRequest], Awaitable[Reply]]:
    """Errors in the protocol's own shape."""

    async def answer(ask: RouteRequest) -> Reply:
        try:
            return await call(ask)
        except GatewayError as error:
            status = 400 if error.status == 422 else error.status
            body: dict[str, Any] = {"schemas": [_ERROR], "detail": error.message, "status": str(status)}
            kind = "uniqueness" if status == 409 else "invalidValue" if error.status == 422 else error.code
            if kind in _TYPES:
                body["scimType"] = kind
            return _reply(body, status)

    return answer


def _kept(user: User) -> Person:
    return Person(user.email, user.name, user.external_id, user.status == "active")


def _listed(ask: RouteRequest, total: int, resources: list[dict[str, Any]]) -> Reply:
    only, without = ask.query.get("attributes", ""), ask.query.get("excludedAttributes", "")
    return _reply({
        "schemas": [_LIST], "totalResults": total, "startIndex": _range(ask)[0], "itemsPerPage": len(resources),
        "Resources": [shown(each, only, without) for each in resources],
    })  # fmt: skip


def _range(ask: RouteRequest) -> tuple[int, int]:
    """Where a page begins, from 1, and how much it holds at most."""
    return max(1, _number(ask, "startIndex", 1)), max(0, min(_number(ask, "count", _PAGE), _PAGE))


def _reply(value: object, status: int = 200, *, location: str = "") -> Reply:
    body = b"" if value is None else msgspec.json.encode(value)
    headers = {**REPLY_HEADERS, "location": location} if location else REPLY_HEADERS
    return Reply(status, body, content_type=MEDIA, headers=headers)


def _origin(ask: RouteRequest) -> Origin:
    return Origin(address=ask.peer, agent=ask.headers.get("user-agent", "")[:200], request_id=ask.request_id)


def _number(ask: RouteRequest, name: str, default: int) -> int:
    text = ask.query.get(name, "")
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdecimal() and len(digits) < 9 else default
