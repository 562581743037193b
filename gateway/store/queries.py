"""Every statement that reads, once for all databases, and the records made of their rows."""

# ruff: noqa: S608 - what is put into a statement is constant text of ours; every value is a parameter.

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from gateway.accounts.records import KeyRecord, Limits, Tenant, User
from gateway.errors import InvalidRequest
from gateway.money import ledger
from gateway.money.ledger import LedgerRow
from gateway.store import GroupBy, Page, Spending, Spent, UsageGroup
from gateway.store.accountrecords import AccountRecords
from gateway.store.database import Reader, Row
from gateway.store.reports import UsageReports
from gateway.store.rollups import days, first_hours
from gateway.store.tables import LIMITS, TABLES

_TENANTS, _USERS, _TEAMS, _SERVICES = (TABLES[name] for name in ("tenants", "users", "teams", "service_accounts"))
_KEY: Final = (
    "id", "name", "prefix", "digest", "environment", "active", "revoked_at", "expires_at", "created", "last_used",
    "scopes", "logging", "guardrail_policy", *LIMITS,
)  # fmt: skip


def _of(table: str, columns: Sequence[str]) -> str:
    return ", ".join(f"{table}.{column}" for column in columns)


SELECT_KEY: Final = (
    f"SELECT {_of('k', _KEY)}, {_of('t', _TENANTS.columns)}, {_of('u', _USERS.columns)}, {_of('m', _TEAMS.columns)}, "
    f"{_of('s', _SERVICES.columns)} FROM api_keys k JOIN tenants t ON t.id = k.tenant_id "
    "LEFT JOIN users u ON u.id = k.owner_id LEFT JOIN teams m ON m.id = "
    # A key counts to the team that it was made for, else to the one that its owner joined first.
    "COALESCE(k.team_id, (SELECT j.team_id FROM team_members j WHERE j.user_id = k.owner_id "
    "ORDER BY j.created, j.team_id LIMIT 1)) "
    "LEFT JOIN service_accounts s ON s.id = k.service_account_id"
)
SELECT_TENANT: Final = f"SELECT {_of('t', _TENANTS.columns)} FROM tenants t"
SELECT_USER: Final = f"SELECT {_of('u', _USERS.columns)} FROM users u"

_GROUPS: Final[Mapping[str | None, str]] = {
    None: "''", "model": "model", "provider": "provider", "key": "key", "tenant": "tenant",
    "day": f"ts_ms / {24 * 3600 * 1000}",
}  # fmt: skip
_SUMS: Final = ", ".join(
    f"CAST(COALESCE(SUM({column}), 0) AS BIGINT)"
    for column in (
        "CASE WHEN outcome = 'ok' THEN 1 ELSE 0 END", "input", "output", "cached", "cache_write", "reasoning",
        "cost", "unpriced", "estimated",
    )
)  # fmt: skip


class Queries(AccountRecords, UsageReports):
    """The reading half of a store. `reports` is for what may take long, `searches` for what looks at many rows:
    look-ups, which requests wait for, never wait behind them."""

    def __init__(self, lookups: Reader, reports: Reader, searches: Reader) -> None:
        self._lookups = lookups
        self._reports = reports
        self._searches = searches

    async def find_key(self, key_id: str) -> KeyRecord | None:
        """See `Accounts.find_key`."""
        rows = await self._lookups.rows(f"{SELECT_KEY} WHERE k.id = $1", key_id)
        return key_record(rows[0]) if rows else None

    async def list_keys(
        self, tenant: str | None = None, *, limit: int = 100, cursor: str | None = None
    ) -> Page[KeyRecord]:
        """See `Accounts.list_keys`."""
        limit = _limit(limit)
        scope = "" if tenant is None else "k.tenant_id = $4 AND "
        rows = await self._lookups.rows(
            f"{SELECT_KEY} WHERE {scope}(k.created, k.id) < ($1, $2) ORDER BY k.created DESC, k.id DESC LIMIT $3",
            *_cursor(cursor, newest=True), limit + 1, *(() if tenant is None else (tenant,)),
        )  # fmt: skip
        items = tuple(key_record(row) for row in rows[:limit])
        return Page(items, f"{items[-1].created}:{items[-1].id}" if len(rows) > limit else None)

    async def get_tenant(self, tenant_id: str) -> Tenant | None:
        """See `Accounts.get_tenant`."""
        rows = await self._lookups.rows(f"{SELECT_TENANT} WHERE t.id = $1", tenant_id)
        return tenant_record(rows[0]) if rows else None

    async def list_tenants(self, *, limit: int = 100, cursor: str | None = None) -> Page[Tenant]:
        """See `Accounts.list_tenants`."""
        limit = _limit(limit)
        rows = await self._lookups.rows(
            f"{SELECT_TENANT} WHERE t.id > $1 ORDER BY t.id LIMIT $2", cursor or "", limit + 1
        )
        items = tuple(tenant_record(row) for row in rows[:limit])
        return Page(items, items[-1].id if len(rows) > limit else None)

    async def find_user(self, email: str) -> User | None:
        """See `Accounts.find_user`."""
        rows = await self._lookups.rows(f"{SELECT_USER} WHERE u.email = $1", email.strip().lower())
        return user_record(rows[0]) if rows else None

    async def password_hash(self, user_id: str) -> str | None:
        """See `Accounts.password_hash`."""
        rows = await self._lookups.rows("SELECT password_hash FROM users WHERE id = $1", user_id)
        return rows[0][0] if rows else None

    async def count_users(self, tenant: str | None = None) -> int:
        """See `Accounts.count_users`."""
        where = "CAST($1 AS TEXT) IS NULL OR tenant_id = $1"
        rows = await self._lookups.rows(f"SELECT COUNT(*) FROM users WHERE {where}", tenant)
        return int(rows[0][0])

    async def position(self, journal: str) -> int:
        """See `LedgerStore.position`."""
        rows = await self._lookups.rows("SELECT position FROM journal_positions WHERE journal = $1", journal)
        return int(rows[0][0]) if rows else 0

    async def usage_summary(
        self,
        start_ms: int,
        end_ms: int,
        group_by: GroupBy | None = None,
        *,
        tenant: str | None = None,
        key: str | None = None,
        owner: str | None = None,
    ) -> tuple[UsageGroup, ...]:
        """See `LedgerStore.usage_summary`."""
        order = "1" if group_by == "day" else "9 DESC, 1"
        group = "" if group_by is None else "GROUP BY 1"
        where, args = _where(start_ms, end_ms, tenant=tenant, key=key, owner=owner)
        rows = await self._reports.rows(
            f"SELECT {_GROUPS[group_by]}, COUNT(*), {_SUMS} FROM exchanges WHERE {where} {group} ORDER BY {order}",
            *args,
        )
        named = ledger.day if group_by == "day" else None
        return tuple(
            UsageGroup(named(row[0] * 24 * 3600 * 1000) if named else str(row[0]), *row[1:]) for row in rows
        )

    async def usage_rows(
        self,
        start_ms: int,
        end_ms: int,
        *,
        cursor: str | None = None,
        limit: int = 500,
        tenant: str | None = None,
    ) -> Page[LedgerRow]:
        """See `LedgerStore.usage_rows`."""
        limit = _limit(limit)
        after_ms, after_id = _cursor(cursor, newest=False)
        # From the cursor's time on, not from the start: or each page would walk over all pages before it.
        where, args = _where(max(start_ms, after_ms), end_ms, tenant=tenant)
        n = len(args)
        rows = await self._reports.rows(
            f"SELECT {', '.join(ledger.COLUMNS)} FROM exchanges WHERE {where} "
            f"AND (ts_ms, id) > (${n + 1}, ${n + 2}) ORDER BY ts_ms, id LIMIT ${n + 3}",
            *args, after_ms, after_id, limit + 1,
        )  # fmt: skip
        attempts = await self.attempts_of([row[0] for row in rows[:limit]]) if rows else {}
        items = tuple(ledger.from_values(row, attempts.get(row[0], [])) for row in rows[:limit])
        return Page(items, f"{items[-1].ts_ms}:{items[-1].id}" if len(rows) > limit else None)

    async def budget_sums(self, day: str, month: str) -> Mapping[tuple[str, str], Spent]:
        """See `LedgerStore.budget_sums`."""
        sums: dict[tuple[str, str], Spent] = {}
        for kind in ("key", "tenant"):
            rows = await self._reports.rows(
                f"SELECT {kind}_id, CAST(SUM(CASE WHEN day = $1 THEN cost ELSE 0 END) AS BIGINT), "
                f"CAST(SUM(cost) AS BIGINT) FROM usage_daily WHERE day BETWEEN $2 AND $3 GROUP BY {kind}_id",
                day, f"{month}-01", f"{month}-31",
            )  # fmt: skip
            sums |= {(kind, row[0]): Spent(row[1], row[2]) for row in rows}
        rows = await self._reports.rows(
            "SELECT kind, id, CAST(SUM(CASE WHEN day = $1 THEN cost ELSE 0 END) AS BIGINT), CAST(SUM(cost) AS BIGINT) "
            "FROM usage_spenders WHERE day BETWEEN $2 AND $3 GROUP BY kind, id",
            day, f"{month}-01", f"{month}-31",
        )  # fmt: skip
        return sums | {(row[0], row[1]): Spent(row[2], row[3]) for row in rows}

    async def rollups_since(self) -> Mapping[str, int]:
        """See `UsageStore.rollups_since`."""
        return await first_hours(self._reports)

    async def rollup_days(self) -> Sequence[int]:
        """See `UsageStore.rollup_days`."""
        return await days(self._reports)

    async def rollups_missing(self) -> bool:
        """See `UsageStore.rollups_missing`."""
        return bool(await self._lookups.rows("SELECT 1 FROM meta WHERE name = 'rollups'"))
    async def level_sums(self, tenant: str, day_ms: int, month_ms: int) -> Mapping[tuple[str, str], Spent]:
        """See `LedgerStore.level_sums`."""
        rows = await self._reports.rows(
            "SELECT key, team, owner, CAST(SUM(CASE WHEN ts_ms >= $2 THEN cost ELSE 0 END) AS BIGINT), "
            "CAST(SUM(cost) AS BIGINT) FROM exchanges WHERE tenant = $1 AND ts_ms >= $3 GROUP BY key, team, owner",
            tenant, day_ms, month_ms,
        )  # fmt: skip
        sums: dict[tuple[str, str], Spent] = {}
        for key, team, owner, daily, monthly in rows:
            for whose in (("tenant", tenant), ("team", team), ("user", owner), ("key", key)):
                if whose[1]:
                    before = sums.get(whose, Spent(0, 0))
                    sums[whose] = Spent(before.daily + daily, before.monthly + monthly)
        return sums

    async def spending(
        self, start_ms: int, end_ms: int, step_ms: int, scope: Mapping[str, str], before_ms: int | None = None
    ) -> Sequence[Spending]:
        """See `LedgerStore.spending`."""
        if not scope.keys() <= {"tenant", "team", "owner", "key"}:
            raise KeyError(f"spending is not asked for by {', '.join(scope)}")
        where, args = _where(start_ms, end_ms, **scope)
        if before_ms is not None:
            args.append(before_ms)
            where += f" AND ts_ms + duration_us / 1000 < ${len(args)}"
        rows = await self._reports.rows(
            f"SELECT (ts_ms - $1) / ${len(args) + 1}, model, provider, target_model, CAST(SUM(cost) AS BIGINT) "
            f"FROM exchanges WHERE {where} AND cost > 0 GROUP BY 1, 2, 3, 4",
            *args, step_ms,
        )  # fmt: skip
        return [Spending(*row) for row in rows]

    async def ping(self) -> None:
        """See `Store.ping`."""
        await self._lookups.rows("SELECT 1 FROM meta LIMIT 1")


def placeholders(count: int, start: int = 1) -> str:
    """`$1, $2, …` for lists and rows of values."""
    return ", ".join(f"${n}" for n in range(start, start + count))


def key_record(row: Row) -> KeyRecord:
    """A row of `SELECT_KEY`."""
    values, rest = dict(zip(_KEY, row, strict=False)), row[len(_KEY) :]
    parts: list[Any] = []
    for table in (_TENANTS, _USERS, _TEAMS, _SERVICES):
        own, rest = rest[: len(table.columns)], rest[len(table.columns) :]
        parts.append(table.record(own) if own[0] is not None else None)
    tenant, owner, team, service_account = parts
    names = {name: values.pop(name) for name in LIMITS}
    models = names.pop("models")
    values["scopes"] = values["scopes"] and msgspec.json.decode(values["scopes"], type=tuple[str, ...])
    limits = Limits(**names, models=None if models is None else msgspec.json.decode(models, type=tuple[str, ...]))
    return KeyRecord(
        **{**values, "active": bool(values["active"])}, tenant=tenant, owner=owner, team=team,
        service_account=service_account, limits=limits,
    )  # fmt: skip


def tenant_record(row: Row) -> Tenant:
    """A row of `SELECT_TENANT`."""
    record: Tenant = _TENANTS.record(row)
    return record


def user_record(row: Row) -> User:
    """A row of `SELECT_USER`."""
    record: User = _USERS.record(row)
    return record


def _where(start_ms: int, end_ms: int, **equal: str | None) -> tuple[str, list[Any]]:
    """Only the conditions that are asked for: the database then picks the index that serves them."""
    where, args = "ts_ms >= $1 AND ts_ms < $2", list[Any]((start_ms, end_ms))
    for column, value in equal.items():
        if value is not None:
            args.append(value)
            where += f" AND {column} = ${len(args)}"
    return where, args


def _limit(limit: int) -> int:
    return min(max(limit, 1), 1000)


def _cursor(cursor: str | None, *, newest: bool) -> tuple[int, str]:
    if cursor is None:
        return (1 << 62, "") if newest else (-1, "")
    moment, _, ident = cursor.partition(":")
    if not moment.isascii() or not moment.isdecimal() or len(moment) > 18:
        raise InvalidRequest("The cursor is not one that this list gave out.", param="cursor")
    return int(moment), ident
