"""Signing in and out, and what people do with their own account."""

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.accounts.invitations import NewAccount
from gateway.accounts.principal import Principal
from gateway.accounts.sessions import SignedIn as Opened
from gateway.admin.browser import Place, session_cookie
from gateway.admin.endpoint import Ask, Done, Endpoint
from gateway.admin.fields import Line, NoBody, NoQuery
from gateway.admin.services import Admin
from gateway.admin.tenants import TenantShown, tenant_shown
from gateway.admin.users import Email, Password, UserShown, user_shown
from gateway.admin.values import at
from gateway.errors import Forbidden, NotFound


class Login(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who signs in. With `cookie` the session comes as a cookie and not as a token, as it always does for browsers."""

    email: Email
    password: Password
    cookie: bool = False


class SignedIn(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A session. `access_token` is missing where a cookie holds it."""

    token_type: str
    expires_in: int
    user: UserShown
    tenant: TenantShown
    must_change_password: bool
    access_token: str | UnsetType = UNSET


class Registration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new account: in a tenant of its own, or where the invitation leads."""

    name: Line
    email: Email
    password: Password
    invitation: Annotated[str, Meta(max_length=200)] | None = None
    cookie: bool = False


class PasswordChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The old and the new password."""

    current_password: Password
    new_password: Password


class Me(msgspec.Struct, frozen=True, kw_only=True):
    """Who is signed in, and what they may do."""

    id: str
    kind: str
    role: str
    permissions: tuple[str, ...]
    user: UserShown | None
    tenant: TenantShown
    must_change_password: bool
    version: int


class MeChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What people may change of their own account."""

    name: Line | UnsetType = UNSET


class SessionShown(msgspec.Struct, frozen=True, kw_only=True):
    """A session of the user; `current` is the one that asks."""

    id: str
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    address: str
    user_agent: str
    current: bool


class Sessions(msgspec.Struct, frozen=True):
    """All sessions that are open."""

    items: tuple[SessionShown, ...]


async def login(admin: Admin, ask: Ask[NoQuery, Login]) -> Done:
    """Sign in with a password."""
    place = _safe_place(admin, ask)
    made = await admin.accounts.sessions.login(ask.body.email, ask.body.password, admin.origin(ask))
    return _signed_in(admin, ask, made, place, status=200)


async def register(admin: Admin, ask: Ask[NoQuery, Registration]) -> Done:
    """Make an account, where the configuration allows it."""
    body = ask.body
    if admin.registration == "off":
        raise Forbidden("Registration is off. Ask an administrator for an account.", code="registration_off")
    if admin.registration == "invite" and not body.invitation:
        raise Forbidden("Registration needs an invitation.", code="invitation_required")
    place = _safe_place(admin, ask)
    new = NewAccount(body.name, body.email, body.password)
    made = await admin.accounts.invitations.register(new, body.invitation, admin.origin(ask))
    return _signed_in(admin, ask, made, place, status=201)


async def logout(admin: Admin, ask: Ask[NoQuery, NoBody]) -> Done:
    """End the session that asks."""
    await admin.accounts.sessions.logout(ask.principal, admin.origin(ask))
    headers = {"set-cookie": session_cookie("", admin.place(ask), 0), "clear-site-data": '"cache", "storage"'}
    return Done(headers=headers)


async def me(admin: Admin, ask: Ask[NoQuery, NoBody]) -> Me:
    """Who asks."""
    return await _me(admin, ask.principal)


async def change_me(admin: Admin, ask: Ask[NoQuery, MeChange]) -> Me:
    """Change one's own name."""
    if ask.principal.user is None:
        raise NotFound("An admin token belongs to no user.")
    if ask.body.name is not UNSET:
        await admin.accounts.users.update_self(ask.principal, admin.origin(ask), ask.body.name, ask.version)
    return await _me(admin, await admin.accounts.sessions.again(ask.principal))


async def change_password(admin: Admin, ask: Ask[NoQuery, PasswordChange]) -> Done:
    """Set a new password; every other session of the user ends."""
    body = ask.body
    await admin.accounts.sessions.change_password(
        ask.principal, admin.origin(ask), body.current_password, body.new_password
    )
    return Done()


async def list_sessions(admin: Admin, ask: Ask[NoQuery, NoBody]) -> Sessions:
    """The user's own sessions."""
    found = await admin.accounts.sessions.opened(ask.principal)
    return Sessions(tuple(
        SessionShown(
            id=each.id, created_at=at(each.created), last_used_at=at(each.last_used), expires_at=at(each.expires_at),
            address=each.address, user_agent=each.agent, current=each.id == ask.principal.session,
        )
        for each in found
    ))  # fmt: skip


async def revoke_session(admin: Admin, ask: Ask[NoQuery, NoBody]) -> Done:
    """End one of the user's own sessions."""
    await admin.accounts.sessions.revoke(ask.principal, admin.origin(ask), ask.id())
    return Done()


ROUTES = (
    Endpoint("POST", "/auth/login", "public", login, "Sign in with a password", "auth", body=Login, answer=SignedIn,
             errors=(401, 403), secret=True),
    Endpoint("POST", "/auth/register", "public", register, "Make an account, where that is switched on", "auth",
             body=Registration, answer=SignedIn, status=201, errors=(403,), secret=True),
    Endpoint("POST", "/auth/logout", "self:write", logout, "Sign out", "auth", status=204),
    Endpoint("GET", "/auth/me", "self:read", me, "Show who is signed in", "auth", answer=Me),
    Endpoint("PATCH", "/auth/me", "self:write", change_me, "Change your own account", "auth", body=MeChange,
             answer=Me, errors=(404, 412), aliases=(("PUT", "/auth/me"),)),
    Endpoint("POST", "/auth/change-password", "self:write", change_password, "Change your own password", "auth",
             body=PasswordChange, status=204),
    Endpoint("GET", "/auth/sessions", "self:read", list_sessions, "List your own sessions", "auth", answer=Sessions),
    Endpoint("DELETE", "/auth/sessions/{id}", "self:write", revoke_session, "End one of your own sessions", "auth",
             status=204),
)  # fmt: skip


def _safe_place(admin: Admin, ask: Ask[NoQuery, Login] | Ask[NoQuery, Registration]) -> Place:
    """Where the request came from, if a password may come that way."""
    admin.check_origin(ask)
    place = admin.place(ask)
    if not (place.secure or place.loopback or admin.insecure_http):
        raise Forbidden(
            "Passwords are not taken over plain http. Use https; where a proxy in front speaks it, its address belongs "
            "into trusted_proxies of admin.api. Setting insecure_http allows it all the same.", code="insecure_http",
        )  # fmt: skip
    return place


def _signed_in(
    admin: Admin, ask: Ask[NoQuery, Login] | Ask[NoQuery, Registration], made: Opened, place: Place, *, status: int
) -> Done:
    """The answer with a token, or, for a browser, with a cookie: a page's script never sees a credential."""
    cookie = ask.body.cookie or "sec-fetch-site" in ask.request.headers
    value = SignedIn(
        access_token=UNSET if cookie else made.token, token_type="cookie" if cookie else "bearer",
        expires_in=made.expires_in, user=user_shown(made.user), tenant=tenant_shown(made.tenant),
        must_change_password=made.user.must_change,
    )  # fmt: skip
    longest = admin.accounts.sessions.lifetime_ms // 1000
    headers = {"set-cookie": session_cookie(made.token, place, longest)} if cookie else {}
    return Done(value=value, headers=headers, status=status)


async def _me(admin: Admin, principal: Principal) -> Me:
    tenant = await admin.accounts.tenants.own(principal)
    user = principal.user
    return Me(
        id=principal.id, kind=principal.kind, role=principal.role, permissions=principal.permissions,
        user=user_shown(user) if user else None, tenant=tenant_shown(tenant),
        must_change_password=principal.must_change_password, version=user.version if user else 1,
    )  # fmt: skip
