"""SCIM 2.0: an identity provider keeps users and groups (teams) of a tenant up to date, so that leavers lose access.

Sources: RFC 7643 (schemas), RFC 7644 (protocol). Of filters `attribute eq "value"` is understood, which is what
providers send; of PATCH all operations on the attributes that there are.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from gateway.accounts.principal import Origin, Principal
from gateway.accounts.records import Limits, Team, User
from gateway.accounts.roles import Role
from gateway.accounts.services import Accounts
from gateway.accounts.users import NewPerson
from gateway.admin.errors import REPLY_HEADERS
from gateway.errors import Conflict, GatewayError, InvalidRequest, NotFound
from gateway.hookspecs import Reply, Route, RouteRequest

PREFIX: Final = "/api/v1/admin/scim/v2"
MEDIA: Final = "application/scim+json"
_USER: Final = "urn:ietf:params:scim:schemas:core:2.0:User"
_GROUP: Final = "urn:ietf:params:scim:schemas:core:2.0:Group"
_LIST: Final = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
_ERROR: Final = "urn:ietf:params:scim:api:messages:2.0:Error"
_FILTER: Final = re.compile(r'\s*([A-Za-z.]{1,40})\s+eq\s+"((?:[^"\\]|\\.){0,320})"\s*', re.IGNORECASE)
_MEMBER: Final = re.compile(r'members\[value eq "([A-Za-z0-9._-]{1,64})"\]')
_PAGE: Final = 200
_MOST: Final = 100_000


class Scim:
    """The functions behind the routes. `role` is what a person gets that an identity provider makes."""

    def __init__(self, accounts: Accounts, role: Role, base: Callable[[RouteRequest], str]) -> None:
        self._accounts = accounts
        self._role = role
        self._base = base

    def routes(self) -> list[Route]:
        """All routes; who may call them is the matrix' business."""
        table: Sequence[tuple[str, str, str, Callable[[RouteRequest], Awaitable[Reply]]]] = (
            ("GET", "/ServiceProviderConfig", "users:read", self._abilities),
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

    async def users(self, ask: RouteRequest) -> Reply:
        """List users, or find one by `userName`."""
        who: Principal = ask.principal
        name, value = _filter(ask, ("username", "emails.value", "emails"))
        where = who.scope("users:read")
        if name:
            found = await self._accounts.book.store.find_user(value.lower())
            users = [found] if found is not None and where.get("tenant", found.tenant) == found.tenant else []
            return self._listed(ask, [self._user(ask, each) for each in users])
        return self._listed(ask, [self._user(ask, each) for each in await self._all(User, where)])

    async def user(self, ask: RouteRequest) -> Reply:
        """One user."""
        return _reply(self._user(ask, await self._accounts.users.get(ask.principal, ask.params["id"])))

    async def make_user(self, ask: RouteRequest) -> Reply:
        """Make a user, who signs in through the identity provider: there is no password."""
        body = await ask.json()
        email, name, active = _email(body), _name(body), body.get("active", True)
        if await self._accounts.book.store.find_user(email) is not None:
            raise Conflict("There is a user with this userName.", code="uniqueness")
        made, _ = await self._accounts.users.create(
            ask.principal, _origin(ask), NewPerson(email=email, name=name, role=self._role)
        )
        if not _flag(active):
            made = await self._change(ask, made, {"active": active})
        return _reply(self._user(ask, made), 201)

    async def put_user(self, ask: RouteRequest) -> Reply:
        """Replace what is known of a user."""
        body = await ask.json()
        before = await self._accounts.users.get(ask.principal, ask.params["id"], "users:write")
        wanted = {"userName": _email(body), "displayName": _name(body), "active": body.get("active", True)}
        return _reply(self._user(ask, await self._change(ask, before, wanted)))

    async def patch_user(self, ask: RouteRequest) -> Reply:
        """Change some of it: `active: false` ends sessions and keys at once."""
        before = await self._accounts.users.get(ask.principal, ask.params["id"], "users:write")
        wanted: dict[str, Any] = {}
        for operation in _operations(await ask.json()):
            path, value = operation.get("path"), operation.get("value")
            wanted |= {path: value} if isinstance(path, str) else value if isinstance(value, dict) else {}
        return _reply(self._user(ask, await self._change(ask, before, wanted)))

    async def delete_user(self, ask: RouteRequest) -> Reply:
        """Take a user away."""
        await self._accounts.users.delete(ask.principal, _origin(ask), ask.params["id"], None)
        return _reply(None, 204)

    async def groups(self, ask: RouteRequest) -> Reply:
        """List teams, or find one by `displayName`."""
        name, value = _filter(ask, ("displayname",))
        teams = await self._all(Team, ask.principal.scope("teams:read"))
        chosen = [team for team in teams if not name or team.name.lower() == value.lower()]
        return self._listed(ask, [await self._group(ask, team) for team in chosen])

    async def group(self, ask: RouteRequest) -> Reply:
        """One team."""
        return _reply(await self._group(ask, await self._accounts.teams.get(ask.principal, ask.params["id"])))

    async def make_group(self, ask: RouteRequest) -> Reply:
        """Make a team."""
        body = await ask.json()
        team = await self._accounts.teams.create(ask.principal, _origin(ask), _title(body), Limits())
        await self._members(ask, team, add=_values(body.get("members")))
        return _reply(await self._group(ask, team), 201)

    async def put_group(self, ask: RouteRequest) -> Reply:
        """Replace name and members of a team."""
        body = await ask.json()
        team = await self._rename(ask, ask.params["id"], _title(body))
        wanted, now = _values(body.get("members")), await self._accounts.book.store.members(team)
        await self._members(
            ask, team, add=[x for x in wanted if x not in now], remove=[x for x in now if x not in wanted]
        )
        return _reply(await self._group(ask, team))

    async def patch_group(self, ask: RouteRequest) -> Reply:
        """Add and remove members, or rename."""
        team = await self._accounts.teams.get(ask.principal, ask.params["id"], "teams:write")
        for operation in _operations(await ask.json()):
            team = await self._patched(ask, team, operation)
        return _reply(await self._group(ask, team))

    async def delete_group(self, ask: RouteRequest) -> Reply:
        """Take a team away; its members stay."""
        await self._accounts.teams.delete(ask.principal, _origin(ask), ask.params["id"], None)
        return _reply(None, 204)

    async def _patched(self, ask: RouteRequest, team: Team, operation: Mapping[str, Any]) -> Team:
        verb, path, value = str(operation.get("op", "")).lower(), operation.get("path"), operation.get("value")
        if path is None and isinstance(value, dict):
            name = value.get("displayName")
            team = await self._rename(ask, team.id, name) if isinstance(name, str) else team
            path, value = "members", value.get("members", [])
        if path == "displayName":
            return await self._rename(ask, team.id, str(value))
        one = _MEMBER.fullmatch(path) if isinstance(path, str) else None
        if one is None and path != "members":
            raise InvalidRequest("This path of a group cannot be changed.", code="invalidPath")
        now = await self._accounts.book.store.members(team)
        named = [one[1]] if one else _values(value)
        if verb == "remove":
            gone = named or [*now]
            await self._members(ask, team, remove=[each for each in gone if each in now])
        else:
            gone = [each for each in now if each not in named] if verb == "replace" else []
            await self._members(ask, team, add=[each for each in named if each not in now], remove=gone)
        return team

    async def _rename(self, ask: RouteRequest, team: str, name: str) -> Team:
        before = await self._accounts.teams.get(ask.principal, team, "teams:write")
        if before.name == name:
            return before
        return await self._accounts.teams.update(ask.principal, _origin(ask), team, {"name": name[:200]}, {}, None)

    async def _members(
        self, ask: RouteRequest, team: Team, *, add: Sequence[str] = (), remove: Sequence[str] = ()
    ) -> None:
        for user in add:
            await self._accounts.teams.add(ask.principal, _origin(ask), team.id, user)
        for user in remove:
            await self._accounts.teams.remove(ask.principal, _origin(ask), team.id, user)

    async def _change(self, ask: RouteRequest, before: User, wanted: Mapping[str, Any]) -> User:
        """Set what differs; attributes that are not kept here are passed over, as the protocol has it."""
        given = {str(name).lower(): value for name, value in wanted.items()}
        fields: dict[str, Any] = {}
        if "active" in given:
            fields["status"] = "active" if _flag(given["active"]) else "inactive"
        if "username" in given:
            fields["email"] = _email({"userName": given["username"]})
        for name in ("displayname", "name.formatted"):
            if isinstance(given.get(name), str):
                fields["name"] = given[name][:200]
        if isinstance(given.get("name"), dict) and isinstance(given["name"].get("formatted"), str):
            fields["name"] = given["name"]["formatted"][:200]
        fields = {name: value for name, value in fields.items() if getattr(before, name) != value}
        if not fields:
            return before
        return await self._accounts.users.update(ask.principal, _origin(ask), before.id, fields, {}, None)

    async def _all(self, kind: type[Any], where: Mapping[str, object]) -> list[Any]:
        found: list[Any] = []
        cursor = ""
        while len(found) < _MOST:
            page = await self._accounts.book.store.page(kind, where, limit=500, cursor=cursor)
            found += page.items
            if page.next is None:
                break
            cursor = page.next
        return found

    def _user(self, ask: RouteRequest, user: User) -> dict[str, Any]:
        return {
            "schemas": [_USER], "id": user.id, "userName": user.email, "displayName": user.name,
            "name": {"formatted": user.name}, "active": user.status == "active",
            "emails": [{"value": user.email, "primary": True}], "roles": [{"value": user.role}],
            "meta": {"resourceType": "User", "location": f"{self._base(ask)}{PREFIX}/Users/{user.id}"},
        }  # fmt: skip

    async def _group(self, ask: RouteRequest, team: Team) -> dict[str, Any]:
        members = await self._accounts.book.store.members(team)
        return {
            "schemas": [_GROUP], "id": team.id, "displayName": team.name,
            "members": [{"value": each} for each in members],
            "meta": {"resourceType": "Group", "location": f"{self._base(ask)}{PREFIX}/Groups/{team.id}"},
        }  # fmt: skip

    def _listed(self, ask: RouteRequest, resources: list[dict[str, Any]]) -> Reply:
        start, count = _number(ask, "startIndex", 1), min(_number(ask, "count", _PAGE), _PAGE)
        start = max(start, 1)
        part = resources[start - 1 : start - 1 + count]
        return _reply({
            "schemas": [_LIST], "totalResults": len(resources), "startIndex": start, "itemsPerPage": len(part),
            "Resources": part,
        })  # fmt: skip

    async def _abilities(self, ask: RouteRequest) -> Reply:  # noqa: ARG002 - the same for everybody
        no = {"supported": False}
        return _reply({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"], "patch": {"supported": True},
            "bulk": {"supported": False, "maxOperations": 0, "maxPayloadSize": 0},
            "filter": {"supported": True, "maxResults": _PAGE},
            "changePassword": no, "sort": no, "etag": no,
            "authenticationSchemes": [{"type": "oauthbearertoken", "name": "Bearer", "description": "An admin token."}],
        })  # fmt: skip


def _answering(call: Callable[[RouteRequest], Awaitable[Reply]]) -> Callable[[RouteRequest], Awaitable[Reply]]:
    """Errors in the protocol's own shape."""

    async def answer(ask: RouteRequest) -> Reply:
        try:
            return await call(ask)
        except GatewayError as error:
            body: dict[str, Any] = {"schemas": [_ERROR], "detail": error.message, "status": str(error.status)}
            if error.code in ("uniqueness", "invalidFilter", "invalidPath", "invalidValue"):
                body["scimType"] = error.code
            return _reply(body, error.status)

    return answer


def _reply(value: object, status: int = 200) -> Reply:
    body = b"" if value is None else msgspec.json.encode(value)
    return Reply(status, body, content_type=MEDIA, headers=REPLY_HEADERS)


def _origin(ask: RouteRequest) -> Origin:
    return Origin(address=ask.peer, agent=ask.headers.get("user-agent", "")[:200], request_id=ask.request_id)


def _filter(ask: RouteRequest, names: Sequence[str]) -> tuple[str, str]:
    text = ask.query.get("filter", "")
    if not text.strip():
        return "", ""
    found = _FILTER.fullmatch(text)
    if found is None or found[1].lower() not in names:
        raise InvalidRequest(f'Filters are {names[0]} eq "…".', code="invalidFilter")
    return found[1].lower(), re.sub(r"\\(.)", r"\1", found[2])


def _number(ask: RouteRequest, name: str, default: int) -> int:
    text = ask.query.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 9 else default


def _operations(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = body.get("Operations")
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise InvalidRequest("`Operations` must be a list of objects.", code="invalidValue")
    return found


def _email(body: Mapping[str, Any]) -> str:
    value = body.get("userName")
    if not isinstance(value, str) or not re.fullmatch(r"[^@\s]{1,64}@[^@\s]{1,255}", value):
        raise InvalidRequest("`userName` must be an e-mail address.", code="invalidValue", param="userName")
    return value.lower()


def _name(body: Mapping[str, Any]) -> str:
    name = body.get("name")
    parts = name if isinstance(name, dict) else {}
    whole = parts.get("formatted") or body.get("displayName")
    if not whole:
        whole = " ".join(str(parts[each]) for each in ("givenName", "familyName") if parts.get(each))
    return str(whole)[:200]


def _title(body: Mapping[str, Any]) -> str:
    value = body.get("displayName")
    if not isinstance(value, str) or not value.strip():
        raise InvalidRequest("`displayName` is missing.", code="invalidValue", param="displayName")
    return value[:200]


def _values(members: object) -> list[str]:
    found = members if isinstance(members, list) else [members]
    named = [each.get("value") for each in found if isinstance(each, dict)]
    if not all(isinstance(each, str) and re.fullmatch(r"[A-Za-z0-9._-]{1,64}", each) for each in named):
        raise NotFound("A member is no id of a user.")
    return list(dict.fromkeys(str(each) for each in named))


def _flag(value: object) -> bool:
    """Some providers send the word."""
    return value is True or (isinstance(value, str) and value.lower() == "true")
