"""Users of a tenant, their usage, and invitations."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.accounts.records import Invitation, Limits, User
from gateway.accounts.roles import Role
from gateway.accounts.users import NewPerson, UserFilter
from gateway.admin.endpoint import Ask, Done, Endpoint, Items
from gateway.admin.fields import Cursor, Id, Line, NoBody, NoQuery, PageSize, Search
from gateway.admin.limits import LimitsGiven, LimitsShown, limits_given, limits_shown
from gateway.admin.services import Admin
from gateway.admin.values import Days, Group, Totals, at, grouped, moment, totals
from gateway.clock import now_ms

Status = Literal["active", "inactive", "suspended", "pending"]
Password = Annotated[str, Meta(min_length=1, max_length=256)]
Email = Annotated[str, Meta(min_length=3, max_length=254, pattern=r"^[^\x00-\x20\x7f@]+@[^\x00-\x20\x7f@]+$")]
Hours = Annotated[int, Meta(ge=1, le=720)]
_DAY_MS = 86_400_000


class UserShown(LimitsShown, frozen=True, kw_only=True):
    """A user; no field holds a credential. `content_access` is the right to read logged content."""

    id: str
    tenant_id: str
    email: str
    name: str
    role: Role
    status: str
    content_access: bool
    must_change_password: bool
    last_login_at: datetime | None
    created_at: datetime
    updated_at: datetime | None
    version: int


class UserMade(UserShown, frozen=True, kw_only=True):
    """A new user; `one_time_password` is shown once, where none was given."""

    one_time_password: str | None = None


class NewUser(LimitsGiven, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A user to be made. Without a password one is made, which must be changed at the first login."""

    email: Email
    name: Annotated[str, Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""
    role: Role = "member"
    password: Password | None = None
    content_access: bool = False


class UserChange(LimitsGiven, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What changes of a user."""

    email: Email | UnsetType = UNSET
    name: Line | UnsetType = UNSET
    role: Role | UnsetType = UNSET
    status: Status | UnsetType = UNSET
    content_access: bool | UnsetType = UNSET


class CountQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which users."""

    tenant: Id | None = None
    team: Id | None = None
    role: Role | None = None
    status: Status | None = None


class UsersQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which users, a page at a time, newest first."""

    limit: PageSize = 100
    cursor: Cursor = ""
    search: Search = ""
    tenant: Id | None = None
    team: Id | None = None
    role: Role | None = None
    status: Status | None = None


class TenantQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where something is made: for those who manage all tenants; everybody else's is their own."""

    tenant: Id | None = None


class Count(msgspec.Struct, frozen=True):
    """How many."""

    count: int


class UsageQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which days count."""

    days: Days = 30


class UserUsage(Totals, frozen=True, kw_only=True):
    """What all keys of a user used from `start` on."""

    user: str
    start: datetime
    end: datetime
    by_model: tuple[Group, ...]


class PasswordReset(msgspec.Struct, frozen=True, kw_only=True):
    """A password that works once and must be changed then. It is shown this once."""

    user: UserShown
    one_time_password: str


class NewInvitation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom to invite, as what, and for how long."""

    email: Email
    role: Role = "member"
    valid_hours: Hours = 72


class InvitationShown(msgspec.Struct, frozen=True, kw_only=True):
    """An invitation, without its token."""

    id: str
    tenant_id: str
    email: str
    role: Role
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None


class InvitationMade(InvitationShown, frozen=True, kw_only=True):
    """A new invitation with its token, which is shown once."""

    token: str


class InvitationsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which invitations, a page at a time, newest first."""

    limit: PageSize = 100
    cursor: Cursor = ""
    tenant: Id | None = None


def user_fields(user: User) -> dict[str, Any]:
    """The fields of `UserShown`."""
    return {
        "id": user.id, "tenant_id": user.tenant, "email": user.email, "name": user.name, "role": user.role,
        "status": user.status, "content_access": user.content_access, "must_change_password": user.must_change,
        "last_login_at": moment(user.last_login), "created_at": at(user.created), "updated_at": moment(user.updated),
        "version": user.version, **limits_shown(user.limits),
    }  # fmt: skip


def user_shown(user: User) -> UserShown:
    """A user as it is shown."""
    return UserShown(**user_fields(user))


async def list_users(admin: Admin, ask: Ask[UsersQuery, NoBody]) -> Items[UserShown]:
    """Users."""
    query = ask.query
    which = UserFilter(
        tenant=query.tenant, team=query.team, role=query.role, status=query.status, search=query.search
    )
    page = await admin.accounts.users.page(ask.principal, which, query.limit, query.cursor)
    return Items(tuple(map(user_shown, page.items)), page.next)


async def count_users(admin: Admin, ask: Ask[CountQuery, NoBody]) -> Count:
    """How many users there are."""
    query = ask.query
    which = UserFilter(tenant=query.tenant, team=query.team, role=query.role, status=query.status)
    return Count(await admin.accounts.users.count(ask.principal, which))


async def create_user(admin: Admin, ask: Ask[TenantQuery, NewUser]) -> UserMade:
    """Make a user."""
    body = ask.body
    new = NewPerson(
        email=body.email, name=body.name, role=body.role, password=body.password,
        limits=Limits(**limits_given(body)), content_access=body.content_access,
    )  # fmt: skip
    user, password = await admin.accounts.users.create(ask.principal, admin.origin(ask), new, ask.query.tenant)
    return UserMade(**user_fields(user), one_time_password=password)


async def get_user(admin: Admin, ask: Ask[NoQuery, NoBody]) -> UserShown:
    """One user."""
    return user_shown(await admin.accounts.users.get(ask.principal, ask.id()))


async def change_user(admin: Admin, ask: Ask[NoQuery, UserChange]) -> UserShown:
    """Change a user."""
    body = ask.body
    names = ("email", "name", "role", "status", "content_access")
    fields = {name: value for name in names if (value := getattr(body, name)) is not UNSET}
    changed = await admin.accounts.users.update(
        ask.principal, admin.origin(ask), ask.id(), fields, limits_given(body), ask.version
    )
    return user_shown(changed)


async def delete_user(admin: Admin, ask: Ask[NoQuery, NoBody]) -> Done:
    """Take a user away."""
    await admin.accounts.users.delete(ask.principal, admin.origin(ask), ask.id(), ask.version)
    return Done()


async def reset_password(admin: Admin, ask: Ask[NoQuery, NoBody]) -> PasswordReset:
    """A new password for a user."""
    user, password = await admin.accounts.users.reset_password(ask.principal, admin.origin(ask), ask.id())
    return PasswordReset(user=user_shown(user), one_time_password=password)


async def user_usage(admin: Admin, ask: Ask[UsageQuery, NoBody]) -> UserUsage:
    """What a user spent."""
    user = await admin.accounts.users.seen_usage_of(ask.principal, ask.id())
    now = now_ms()
    start = (now // _DAY_MS - ask.query.days + 1) * _DAY_MS
    groups = await admin.gateway.store.usage_summary(start, now + 1, "model", tenant=user.tenant, owner=user.id)
    sums = msgspec.structs.asdict(totals(groups))
    return UserUsage(user=user.id, start=at(start), end=at(now), by_model=grouped(groups), **sums)


async def list_invitations(admin: Admin, ask: Ask[InvitationsQuery, NoBody]) -> Items[InvitationShown]:
    """Invitations."""
    query = ask.query
    page = await admin.accounts.invitations.page(ask.principal, query.tenant, query.limit, query.cursor)
    return Items(tuple(InvitationShown(**_invitation(each)) for each in page.items), page.next)


async def invite(admin: Admin, ask: Ask[TenantQuery, NewInvitation]) -> InvitationMade:
    """Invite somebody."""
    body = ask.body
    token, made = await admin.accounts.invitations.create(
        ask.principal, admin.origin(ask), body.email, body.role, body.valid_hours * 3600_000, ask.query.tenant
    )
    return InvitationMade(**_invitation(made), token=token)


async def delete_invitation(admin: Admin, ask: Ask[NoQuery, NoBody]) -> Done:
    """Take an invitation back."""
    await admin.accounts.invitations.delete(ask.principal, admin.origin(ask), ask.id())
    return Done()


ROUTES = (
    Endpoint("GET", "/users", "users:read", list_users, "List users", "users", query=UsersQuery,
             answer=Items[UserShown]),
    Endpoint("POST", "/users", "users:write", create_user, "Make a user", "users", query=TenantQuery, body=NewUser,
             answer=UserMade, status=201, secret=True, errors=(404,)),
    Endpoint("GET", "/users/count", "users:read", count_users, "Count users", "users", query=CountQuery,
             answer=Count),
    Endpoint("GET", "/users/{id}", "users:read", get_user, "Show a user", "users", answer=UserShown),
    Endpoint("PATCH", "/users/{id}", "users:write", change_user, "Change a user", "users", body=UserChange,
             answer=UserShown, errors=(412,), aliases=(("PUT", "/users/{id}"),)),
    Endpoint("DELETE", "/users/{id}", "users:write", delete_user, "Delete a user", "users", status=204,
             errors=(412,)),
    Endpoint("GET", "/users/{id}/usage", "usage:read", user_usage, "Show what a user spent", "users",
             query=UsageQuery, answer=UserUsage),
    Endpoint("POST", "/users/{id}/reset-password", "users:write", reset_password, "Give a user a one-time password",
             "users", answer=PasswordReset, secret=True),
    Endpoint("GET", "/invitations", "users:write", list_invitations, "List invitations", "users",
             query=InvitationsQuery, answer=Items[InvitationShown]),
    Endpoint("POST", "/invitations", "users:write", invite, "Invite somebody", "users", query=TenantQuery,
             body=NewInvitation, answer=InvitationMade, status=201, secret=True, errors=(404,)),
    Endpoint("DELETE", "/invitations/{id}", "users:write", delete_invitation, "Take an invitation back", "users",
             status=204),
)  # fmt: skip


def _invitation(invitation: Invitation) -> dict[str, Any]:
    return {
        "id": invitation.id, "tenant_id": invitation.tenant, "email": invitation.email, "role": invitation.role,
        "created_at": at(invitation.created), "expires_at": at(invitation.expires_at),
        "used_at": moment(invitation.used_at),
    }  # fmt: skip
