"""Guardrail policies over HTTP: those of the configuration to read, those of the database to make, change, delete.

Who is under which policy is said at the tenant, team or key (`guardrail_policy`), and at models in the file.
"""

import asyncio
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.accounts.policies import PLATFORM, NewPolicy
from gateway.accounts.records import PolicyVersion, StoredPolicy
from gateway.admin.endpoint import Ask, Done, Endpoint, Items
from gateway.admin.fields import Cursor, Id, NoBody, NoQuery, PageSize, Search
from gateway.admin.policies import policies
from gateway.admin.services import Admin
from gateway.admin.users import TenantQuery
from gateway.admin.values import at, moment
from gateway.config import Name, PluginEntry, PolicyEntry
from gateway.errors import Conflict, InvalidFields
from gateway.guardrails.book import Book, PolicyShown, RuleShown, Source
from gateway.guardrails.policy import hash_of
from gateway.guardrails.trial import Trial, trial

Description = Annotated[str, Meta(max_length=1000)]
Label = Annotated[str, Meta(max_length=64, description="For people; `version` counts by itself.")]
Rules = Annotated[
    tuple[PluginEntry, ...], Meta(max_length=50, description="As under `guardrails: policies:` of the file.")
]
DRAFT = "draft"


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """A guardrail policy. `tenant_id` is `null` for one that all tenants may use. One of the configuration, or that
    ships, is `read_only`: it has its name as id, no version, and does not show the options of its rules."""

    id: str
    name: str
    tenant_id: str | None
    source: Source
    read_only: bool
    description: str
    label: str
    hash: str
    shadow_of: str | None
    rules: tuple[dict[str, Any], ...]
    created_by: str | None
    created_at: datetime | None
    updated_at: datetime | None
    version: int | None


class PolicyNew(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A policy to be made. With `shadow_of` it is a draft: it runs beside that policy and changes nothing."""

    name: Name
    description: Description = ""
    label: Label = ""
    shadow_of: Name | None = None
    rules: Rules = ()


class PolicyChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What changes of a policy; `rules` are replaced as a whole."""

    name: Name | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    label: Label | UnsetType = UNSET
    shadow_of: Name | UnsetType | None = UNSET
    rules: Rules | UnsetType = UNSET


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy was from some moment on, and what made it so."""

    number: int
    done: str
    name: str
    description: str
    label: str
    shadow_of: str | None
    rules: tuple[dict[str, Any], ...]
    created_by: str
    created_at: datetime


class Restore(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The number of the version that is to hold again."""

    version: Annotated[int, Meta(ge=1, le=2**53 - 1)]


class PoliciesQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which policies, a page at a time: first those of the configuration, then stored ones, newest first."""

    limit: PageSize = 100
    cursor: Cursor = ""
    search: Search = ""
    tenant: Id | None = None


class VersionsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A page at a time."""

    limit: PageSize = 100
    cursor: Cursor = ""


class Try(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A text, and a policy by name or as rules that are stored nowhere; without both, the configured one."""

    text: Annotated[str, Meta(max_length=1_000_000)]
    policy: Name | None = None
    rules: Rules | None = None
    is_input: bool = True


async def list_policies(admin: Admin, ask: Ask[PoliciesQuery, NoBody]) -> Items[Policy]:
    """Policies."""
    query = ask.query
    page = await admin.accounts.policies.page(
        ask.principal, tenant=query.tenant, search=query.search, limit=query.limit, cursor=query.cursor
    )
    shown = () if query.cursor else policies(admin.gateway).base.described()
    words = query.search.lower()
    fixed = [_fixed(each) for each in shown if words in f"{each.name} {each.description}".lower()]
    return Items((*fixed, *map(_stored, page.items)), page.next)


async def create_policy(admin: Admin, ask: Ask[TenantQuery, PolicyNew]) -> Policy:
    """Store a policy."""
    body = ask.body
    home = await admin.accounts.policies.home(ask.principal, ask.query.tenant)
    _check_free(admin, body.name)
    await _check(admin, home, PolicyEntry(name=body.name, shadow_of=body.shadow_of, rules=body.rules))
    new = NewPolicy(
        name=body.name, description=body.description, label=body.label, shadow_of=body.shadow_of,
        rules=_plain(body.rules),
    )  # fmt: skip
    return _stored(await admin.accounts.policies.create(ask.principal, admin.origin(ask), new, ask.query.tenant))


async def get_policy(admin: Admin, ask: Ask[NoQuery, NoBody]) -> Policy:
    """One policy."""
    fixed = {each.name: each for each in policies(admin.gateway).base.described()}.get(ask.id())
    return _fixed(fixed) if fixed else _stored(await admin.accounts.policies.get(ask.principal, ask.id()))


async def change_policy(admin: Admin, ask: Ask[NoQuery, PolicyChange]) -> Policy:
    """Change a policy: it holds for the next request."""
    body = ask.body
    given = {name: value for name in body.__struct_fields__ if (value := getattr(body, name)) is not UNSET}
    _check_writable(admin, ask.id())
    before = await admin.accounts.policies.get(ask.principal, ask.id())
    if given.get("name", before.name) != before.name:
        _check_free(admin, given["name"])
    entry = policies(admin.gateway).drafts.entry(before)
    checked = {name: given[name] for name in ("name", "shadow_of", "rules") if name in given}
    if checked:
        whole = entry if "rules" in checked else msgspec.structs.replace(entry, rules=())
        await _check(admin, before.tenant, msgspec.structs.replace(whole, **checked))
    if "rules" in given:
        given["rules"] = _plain(given["rules"])
    return _stored(
        await admin.accounts.policies.update(ask.principal, admin.origin(ask), ask.id(), given, ask.version)
    )


async def delete_policy(admin: Admin, ask: Ask[NoQuery, NoBody]) -> Done:
    """Take a policy away."""
    _check_writable(admin, ask.id())
    await admin.accounts.policies.delete(ask.principal, admin.origin(ask), ask.id(), ask.version)
    return Done()


async def list_versions(admin: Admin, ask: Ask[VersionsQuery, NoBody]) -> Items[Version]:
    """Every version of a policy, newest first."""
    page = await admin.accounts.policies.versions(
        ask.principal, ask.id(), limit=ask.query.limit, cursor=ask.query.cursor
    )
    shown = sorted(map(_version, page.items), key=lambda each: -each.number)
    return Items(tuple(shown), page.next)


async def restore_version(admin: Admin, ask: Ask[NoQuery, Restore]) -> Policy:
    """Let an earlier version hold again, as a new one."""
    _check_writable(admin, ask.id())
    before = await admin.accounts.policies.get(ask.principal, ask.id())
    old = await admin.accounts.policies.version(ask.principal, ask.id(), ask.body.version)
    rules = msgspec.convert(old.rules, tuple[PluginEntry, ...])
    await _check(admin, before.tenant, PolicyEntry(name=before.name, shadow_of=old.shadow_of, rules=rules))
    fields = {name: getattr(old, name) for name in ("description", "label", "shadow_of", "rules")}
    return _stored(await admin.accounts.policies.update(
        ask.principal, admin.origin(ask), ask.id(), fields, ask.version, done="restored"
    ))  # fmt: skip


async def try_policy(admin: Admin, ask: Ask[TenantQuery, Try]) -> Trial:
    """What a policy does to a text. Judges outside of the gateway are asked."""
    body, who = ask.body, ask.principal
    book = await policies(admin.gateway).book(ask.query.tenant if who.tenant is None and ask.query.tenant else who.home)
    name = body.policy or book.default or "default"
    if body.rules is not None:
        await _check(admin, who.home, PolicyEntry(name=DRAFT, rules=body.rules))
        stored = StoredPolicy(
            id=DRAFT, tenant=PLATFORM, name=DRAFT, description="", label="", rules=_plain(body.rules), created_by="",
            created=0,
        )  # fmt: skip
        others = [entry for each, entry in book.entries.items() if each != DRAFT]
        book = Book(rules=book.rules, entries={each.name: each for each in others}).beside(
            [policies(admin.gateway).drafts.entry(stored)]
        )
        name = DRAFT
    elif name not in book.entries:
        raise InvalidFields(("policy", f"there is no guardrail policy {name!r}"))
    return await trial(await book.policy((name,)), body.text, is_input=body.is_input)


ROUTES = (
    Endpoint("GET", "/guardrails/policies", "policies:read", list_policies, "List guardrail policies", "guardrails",
             query=PoliciesQuery, answer=Items[Policy]),
    Endpoint("POST", "/guardrails/policies", "policies:write", create_policy, "Make a guardrail policy", "guardrails",
             query=TenantQuery, body=PolicyNew, answer=Policy, status=201, errors=(404, 409),
             aliases=(("POST", "/api/v1/guardrails/policies"),)),
    Endpoint("GET", "/guardrails/policies/{id}", "policies:read", get_policy, "Show a guardrail policy", "guardrails",
             answer=Policy, aliases=(("GET", "/api/v1/guardrails/policies/{id}"),)),
    Endpoint("PATCH", "/guardrails/policies/{id}", "policies:write", change_policy, "Change a guardrail policy",
             "guardrails", body=PolicyChange, answer=Policy, errors=(409, 412),
             aliases=(("PATCH", "/api/v1/guardrails/policies/{id}"), ("PUT", "/guardrails/policies/{id}"))),
    Endpoint("DELETE", "/guardrails/policies/{id}", "policies:write", delete_policy, "Delete a guardrail policy",
             "guardrails", status=204, errors=(409, 412),
             aliases=(("DELETE", "/api/v1/guardrails/policies/{id}"),)),
    Endpoint("GET", "/guardrails/policies/{id}/versions", "policies:read", list_versions,
             "List the versions of a guardrail policy", "guardrails", query=VersionsQuery, answer=Items[Version]),
    Endpoint("POST", "/guardrails/policies/{id}/restore", "policies:write", restore_version,
             "Let an earlier version of a guardrail policy hold again", "guardrails", body=Restore, answer=Policy,
             errors=(409, 412)),
    Endpoint("POST", "/guardrails/test", "policies:write", try_policy, "Try a guardrail policy on a text", "guardrails",
             query=TenantQuery, body=Try, answer=Trial),
)  # fmt: skip


def _check_free(admin: Admin, name: str) -> None:
    base = policies(admin.gateway).base
    if name in base.entries:
        where = "ships with the gateway" if base.source_of(name) == "shipped" else "is in the configuration file"
        raise Conflict(f"A guardrail policy with this name {where}.", code="policy_exists")


def _check_writable(admin: Admin, ident: str) -> None:
    base = policies(admin.gateway).base
    if ident in base.entries:
        where = "ships with the gateway: copy it under another name" if base.source_of(ident) == "shipped" else (
            "is in the configuration file: change it there"
        )  # fmt: skip
        raise Conflict(f"This guardrail policy {where}.", code="policy_read_only")


async def _check(admin: Admin, home: str, entry: PolicyEntry) -> None:
    known = policies(admin.gateway)
    seen = await known.book(home)
    # Reading a model's weights takes a while: nobody else waits for it.
    wrong = await asyncio.to_thread(known.drafts.mistakes, entry, seen)
    if wrong:
        raise InvalidFields(*wrong)


def _plain(rules: tuple[PluginEntry, ...]) -> tuple[dict[str, Any], ...]:
    """Rules as they are stored: what was left to its default is not there."""
    unset = msgspec.to_builtins(PluginEntry(use=""))
    return tuple(
        {name: value for name, value in msgspec.to_builtins(rule).items() if value != unset[name]} for rule in rules
    )


def _stored(policy: StoredPolicy) -> Policy:
    rules = msgspec.convert(policy.rules, tuple[PluginEntry, ...])
    return Policy(
        id=policy.id, name=policy.name, tenant_id=None if policy.tenant == PLATFORM else policy.tenant,
        source="database", read_only=False, description=policy.description, label=policy.label,
        hash=hash_of(PolicyEntry(name=policy.name, rules=rules)), shadow_of=policy.shadow_of, rules=policy.rules,
        created_by=policy.created_by, created_at=at(policy.created), updated_at=moment(policy.updated),
        version=policy.version,
    )  # fmt: skip


def _fixed(policy: PolicyShown) -> Policy:
    return Policy(
        id=policy.name, name=policy.name, tenant_id=None, source=policy.source, read_only=True,
        description=policy.description, label=policy.label, hash=policy.hash, shadow_of=policy.shadow_of,
        rules=tuple(map(_rule, policy.rules)), created_by=None, created_at=None, updated_at=None, version=None,
    )  # fmt: skip


def _rule(rule: RuleShown) -> dict[str, Any]:
    shown = {("async" if name == "is_async" else name): value for name, value in msgspec.structs.asdict(rule).items()}
    return {name: value for name, value in shown.items() if value not in (None, {}, False)}


def _version(each: PolicyVersion) -> Version:
    return Version(
        number=each.number, done=each.done, name=each.name, description=each.description, label=each.label,
        shadow_of=each.shadow_of, rules=each.rules, created_by=each.created_by, created_at=at(each.created),
    )

