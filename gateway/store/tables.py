"""Which struct is stored in which table, and what of it may be asked for. Credentials are in no struct: what lists and
reads objects cannot select them.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any, Final

import msgspec

from gateway.accounts.records import (
    AdminToken,
    Content,
    Credential,
    Identity,
    Invitation,
    Kept,
    Key,
    Limits,
    PolicyVersion,
    ServiceAccount,
    Session,
    StoredPolicy,
    Team,
    Tenant,
    User,
)
from gateway.money.policies import BudgetPolicy
from gateway.store.database import Row

LIMITS: Final = ("requests_per_minute", "tokens_per_minute", "concurrency", "cost_daily", "cost_monthly", "models")
_RENAMED: Final = MappingProxyType({
    "tenant": "tenant_id", "owner": "owner_id", "user": "user_id", "team": "team_id",
    "service_account": "service_account_id",
})
_MODELS: Final = msgspec.json.Decoder(tuple[str, ...])
_MEMBERS: Final = "IN (SELECT user_id FROM team_members WHERE team_id IN ({0}))"


class Table(msgspec.Struct, frozen=True, eq=False):
    """One table. `filters` are conditions by name, with `{0}` for the value or the list of values; a column is one by
    itself. `secrets` are columns that are written and never selected. With `kept` the texts that are searched stand
    together, in lower case, in a column `search`, which an index has. `few` are filters that leave few rows: beside
    one of them the index of the tenant is not used, which databases without statistics think better of."""

    name: str
    kind: type[msgspec.Struct]
    search: tuple[str, ...] = ()
    filters: Mapping[str, str] = MappingProxyType({})
    base: str = ""
    secrets: tuple[str, ...] = ()
    versioned: bool = True
    kept: bool = False
    few: frozenset[str] = frozenset()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the struct, in the order of its fields; limits flattened."""
        found: list[str] = []
        for field in self.kind.__struct_fields__:
            found += LIMITS if field == "limits" else (column(field),)
        return tuple(found)

    def record(self, row: Row) -> Any:  # noqa: ANN401 - of `kind`
        """A row of `columns` as a struct."""
        values: dict[str, Any] = {}
        rest = iter(row)
        for name, load in _plan(self.kind):
            if name == "limits":
                *numbers, models = (next(rest) for _ in LIMITS)
                names = None if models is None else _MODELS.decode(models)
                values["limits"] = Limits(*[], **dict(zip(LIMITS, numbers, strict=False)), models=names)
            else:
                value = next(rest)
                values[name] = value if load is None else load(value)
        return self.kind(**values)

    def text(self, values: Mapping[str, object]) -> str:
        """What of a row is searched."""
        return " ".join(str(values.get(name) or "") for name in self.search).lower()

    def found(self, mark: str) -> str:
        """The SQL for rows that have the pattern `mark`, which is in lower case."""
        if self.kept:
            return f"search LIKE {mark} ESCAPE '!'"
        return "(" + " OR ".join(f"LOWER({each}) LIKE {mark} ESCAPE '!'" for each in self.search) + ")"


def column(field: str) -> str:
    """The column of a struct's field."""
    return _RENAMED.get(field, field)


def values_of(fields: Mapping[str, object]) -> dict[str, object]:
    """Columns with their values, from fields of a struct; a `Limits` becomes its columns."""
    found: dict[str, object] = {}
    for name, value in fields.items():
        if isinstance(value, Limits):
            found |= {each: _stored(getattr(value, each)) for each in LIMITS}
        else:
            found[column(name)] = _stored(value)
    return found


def fields_of(record: msgspec.Struct) -> dict[str, object]:
    """All fields of a struct, to be stored."""
    return {name: getattr(record, name) for name in record.__struct_fields__}


TABLES: Final[Mapping[str, Table]] = MappingProxyType({
    table.name: table
    for table in (
        Table("tenants", Tenant, ("name", "id"), {"tenant": "id = {0}", "zoned": "time_zone <> 'UTC'"},
              base="deleted = 0"),
        Table("users", User, ("name", "email"), {
            "teams": f"id {_MEMBERS}", "own": "id = {0}", "active": "status = {0}", "inactive": "status <> {0}",
        }, base="status <> 'deleted'", secrets=("password_hash",), kept=True),
        Table("teams", Team, ("name",), {
            "named": "LOWER(name) = {0}", "holds": "id IN (SELECT team_id FROM team_members WHERE user_id = {0})",
            "teams": "id IN ({0})", "member": "id IN (SELECT team_id FROM team_members WHERE user_id = {0})",
        }),
        Table("api_keys", Key, ("name", "prefix"), {
            "teams": f"(team_id IN ({{0}}) OR owner_id {_MEMBERS})",
            "own": "(owner_id = {0} OR service_account_id = {0})",
            "usable": "(revoked_at IS NULL AND active = 1 AND (expires_at IS NULL OR expires_at > {0}))",
            "unusable": "(revoked_at IS NOT NULL OR active = 0 OR expires_at <= {0})",
        }, secrets=("digest",), kept=True, few=frozenset({"own", "owner"})),
        Table("service_accounts", ServiceAccount, ("name",), {"teams": "team_id IN ({0})", "own": "id = {0}"}),
        Table("admin_tokens", AdminToken, ("name",), secrets=("digest",), versioned=False),
        Table("sessions", Session, filters={"not": "id <> {0}", "ended": "expires_at <= {0}"},
              secrets=("digest", "issuer_hint"), versioned=False),
        Table("sso_identities", Identity, versioned=False),
        Table("credentials", Credential, ("name", "provider"), secrets=("sealed",)),
        Table("guardrail_policies", StoredPolicy, ("name", "description")),
        Table("guardrail_policy_versions", PolicyVersion, versioned=False),
        Table("contents", Content, filters={
            "own": "owner_id = {0}", "since": "created >= {0}", "until": "created < {0}",
        }, secrets=("sealed",), versioned=False),
        Table("objects", Kept, versioned=False),
        Table("budgets", BudgetPolicy, ("name",), {"teams": "(scope = 'team' AND scope_id IN ({0}))"}),
        Table("invitations", Invitation, ("email",), secrets=("digest",), versioned=False),
    )
})  # fmt: skip
_BY_KIND: Final = MappingProxyType({table.kind: table for table in TABLES.values()})


def table_of(kind: type[msgspec.Struct]) -> Table:
    """Where a struct is stored."""
    return _BY_KIND[kind]


def condition(table: Table, where: Mapping[str, object], args: list[object]) -> str:
    """The SQL for `where`, whose values are appended to `args`. Names are checked: they never come from a request."""
    parts = [table.base] if table.base else []
    known = {*table.columns, *table.secrets, "id"}
    few = bool(table.few & where.keys())
    for name, value in where.items():
        text = table.filters.get(name)
        if text is None:
            if column(name) not in known:
                raise KeyError(f"{table.name} cannot be asked for {name}")
            listed = isinstance(value, tuple | list)
            text = f"{column(name)} IS NULL" if value is None else f"{column(name)} {'IN ({0})' if listed else '= {0}'}"
        if few and name == "tenant":
            text = text.replace("tenant_id", "tenant_id || ''", 1)
        parts.append(text.format(_numbered(value, args)) if "{0}" in text else text)
    return " AND ".join(parts) or "1 = 1"


def _numbered(value: object, args: list[object]) -> str:
    values: Sequence[object] = value if isinstance(value, tuple | list) else (value,)
    start = len(args) + 1
    args += [_stored(each) for each in values]
    return ", ".join(f"${n}" for n in range(start, start + len(values))) or "NULL"


def _stored(value: object) -> object:
    if isinstance(value, bool):
        return int(value)
    if value is None or isinstance(value, str | int):
        return value
    return msgspec.json.encode(value).decode()


@cache
def _plan(kind: type[msgspec.Struct]) -> tuple[tuple[str, Callable[[Any], object] | None], ...]:
    """What is done to the value of each field, in order; `None` where it is as it is stored."""
    return tuple((field.name, _loader(field.type)) for field in msgspec.structs.fields(kind))


def _loader(type_: Any) -> Callable[[Any], object] | None:  # noqa: ANN401 - a type as written
    if type_ is bool:
        return bool
    if not _is_json(type_):
        return None
    decode = msgspec.json.Decoder(type_).decode
    return lambda value: decode(value) if isinstance(value, str) else value


def _is_json(type_: object) -> bool:
    origin = getattr(type_, "__origin__", None)
    if origin in (tuple, dict):
        return True
    return any(_is_json(each) for each in getattr(type_, "__args__", ()) if each is not type_)
