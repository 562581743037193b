"""Reads of accounts, the same for every kind of object: one, a page, how many. What may be selected is in `tables.py`.
"""

# ruff: noqa: S608 - what is put into a statement is constant text of ours; every value is a parameter.

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from gateway.accounts.records import AuditEntry, Team
from gateway.errors import InvalidRequest
from gateway.store import Page
from gateway.store.database import Reader
from gateway.store.tables import condition, table_of

R = TypeVar("R", bound=msgspec.Struct)
_AUDIT = AuditEntry.__struct_fields__


class Audited(msgspec.Struct, frozen=True):
    """An audit entry as it is stored: its place in the chain, and `None` with a mark where its time is over."""

    seq: int
    entry: AuditEntry | None
    digest: str
    mac: str
    mark: str = ""


class AccountRecords:
    """The reading half of accounts; part of every store."""

    _lookups: Reader
    _reports: Reader
    _searches: Reader

    async def one(self, kind: type[R], **where: object) -> R | None:
        """The object that `where` describes, if there is one."""
        table, args = table_of(kind), list[object]()
        sql = f"SELECT {', '.join(table.columns)} FROM {table.name} WHERE {condition(table, where, args)} LIMIT 1"
        rows = await self._lookups.rows(sql, *args)
        return table.record(rows[0]) if rows else None

    async def secret(self, kind: type[R], column: str, **where: object) -> str | None:
        """A stored hash, to compare a credential with: for nothing else."""
        table, args = table_of(kind), list[object]()
        if column not in table.secrets:
            raise KeyError(column)
        sql = f"SELECT {column} FROM {table.name} WHERE {condition(table, where, args)}"
        rows = await self._lookups.rows(sql, *args)
        return rows[0][0] if rows else None

    async def page(
        self, kind: type[R], where: Mapping[str, object], *, search: str = "", limit: int = 100, cursor: str = ""
    ) -> Page[R]:
        """Objects, newest first, a page at a time."""
        table, args = table_of(kind), list[object]()
        conditions = [condition(table, where, args)]
        if search:
            args.append(f"%{_escaped(search.lower())}%")
            conditions.append(table.found(f"${len(args)}"))
        if cursor:
            args += _position(cursor)
            conditions.append(f"(created, id) < (${len(args) - 1}, ${len(args)})")
        args.append(limit + 1)
        chosen, order = f"FROM {table.name} WHERE {' AND '.join(conditions)}", "ORDER BY created DESC, id DESC"
        if table.kept and (search or where.keys() - {"tenant"}):
            # First by what the index knows alone: of 100,000 rows only those of the page are read.
            chosen = f"FROM {table.name} WHERE id IN (SELECT id {chosen} {order} LIMIT ${len(args)})"
        sql = f"SELECT {', '.join(table.columns)} {chosen} {order} LIMIT ${len(args)}"
        rows = await (self._searches if search else self._lookups).rows(sql, *args)
        items = [table.record(row) for row in rows[:limit]]
        return Page(tuple(items), f"{items[-1].created}:{items[-1].id}" if len(rows) > limit else None)

    async def part(self, kind: type[R], where: Mapping[str, object], skip: int, limit: int) -> tuple[R, ...]:
        """Objects, oldest first, without the first `skip`: for protocols that count."""
        table, args = table_of(kind), list[object]()
        condition_ = condition(table, where, args)
        args += [limit, skip]
        rows = await self._lookups.rows(
            f"SELECT {', '.join(table.columns)} FROM {table.name} WHERE {condition_} "
            f"ORDER BY created, id LIMIT ${len(args) - 1} OFFSET ${len(args)}", *args,
        )  # fmt: skip
        return tuple(table.record(row) for row in rows)

    async def count(self, kind: type[R], where: Mapping[str, object]) -> int:
        """How many there are."""
        table, args = table_of(kind), list[object]()
        sql = f"SELECT COUNT(*) FROM {table.name} WHERE {condition(table, where, args)}"
        rows = await self._lookups.rows(sql, *args)
        return int(rows[0][0])

    async def teams_of(self, user: str) -> tuple[str, ...]:
        """The ids of the teams that a user is a member of."""
        rows = await self._lookups.rows("SELECT team_id FROM team_members WHERE user_id = $1 ORDER BY team_id", user)
        return tuple(row[0] for row in rows)

    async def members(self, team: Team) -> tuple[str, ...]:
        """The ids of a team's members, in the order in which they came."""
        rows = await self._lookups.rows(
            "SELECT user_id FROM team_members WHERE team_id = $1 ORDER BY created, user_id", team.id
        )
        return tuple(row[0] for row in rows)

    async def login_failures(self, names: tuple[str, ...]) -> dict[str, tuple[int, int, int]]:
        """Failures, time of the last one, and time until which no more tries are taken, by name."""
        marks = ", ".join(f"${n}" for n in range(1, len(names) + 1))
        rows = await self._lookups.rows(
            f"SELECT name, failures, last, until FROM login_failures WHERE name IN ({marks})", *names
        )
        return {row[0]: (row[1], row[2], row[3]) for row in rows}

    async def audit_page(
        self, where: Mapping[str, Any], *, limit: int = 100, before: int | None = None, after: int | None = None
    ) -> tuple[Audited, ...]:
        """Audit entries: newest first, or from `after` on oldest first. `where` may also have since, until, search."""
        args: list[object] = []
        conditions = [_audit_condition(name, value, args) for name, value in where.items()]
        for sign, bound in (("<", before), (">", after)):
            if bound is not None:
                args.append(bound)
                conditions.append(f"seq {sign} ${len(args)}")
        args.append(limit)
        rows = await self._reports.rows(
            f"SELECT seq, {', '.join(_AUDIT)}, digest, mac, pruned FROM audit "
            f"WHERE {' AND '.join(conditions) or '1 = 1'} "
            f"ORDER BY seq {'DESC' if after is None else 'ASC'} LIMIT ${len(args)}",
            *args,
        )
        return tuple(
            Audited(row[0], None if row[-1] else _entry(row[1:-3]), row[-3], row[-2], row[1] if row[-1] else "")
            for row in rows
        )

    async def audit_head(self) -> tuple[int, str]:
        """The number and the link of the last entry that was written."""
        rows = await self._lookups.rows("SELECT seq, mac FROM audit_head WHERE id = 1")
        return rows[0][0], rows[0][1]

    async def audit_counts(self, where: Mapping[str, Any], by: str) -> dict[str, int]:
        """How many entries there are, by `action`, `severity` or `actor_name`."""
        if by not in ("action", "severity", "actor_name"):
            raise KeyError(by)
        args: list[object] = []
        conditions = [_audit_condition(name, value, args) for name, value in where.items()]
        rows = await self._reports.rows(
            f"SELECT {by}, COUNT(*) FROM audit WHERE {' AND '.join(['pruned = 0', *conditions])} "
            "GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 200",
            *args,
        )
        return {row[0]: row[1] for row in rows}


def _audit_condition(name: str, value: object, args: list[object]) -> str:
    if name == "search":
        args.append(f"%{_escaped(str(value).lower())}%")
        return "(" + " OR ".join(
            f"LOWER({each}) LIKE ${len(args)} ESCAPE '!'" for each in ("actor_name", "resource_id", "action", "detail")
        ) + ")"  # fmt: skip
    values = value if isinstance(value, tuple) else (value,)
    args += values
    if name in ("since", "until"):
        return f"ts_ms {'>=' if name == 'since' else '<'} ${len(args)}"
    if name not in _AUDIT and name != "pruned":
        raise KeyError(name)
    marks = ", ".join(f"${n}" for n in range(len(args) - len(values) + 1, len(args) + 1))
    return f"{name} IN ({marks or 'NULL'})"


def _entry(row: tuple[Any, ...]) -> AuditEntry:
    values = dict(zip(_AUDIT, row, strict=True))
    return AuditEntry(**{**values, "detail": msgspec.json.decode(values["detail"])})


def _escaped(text: str) -> str:
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")


def _position(cursor: str) -> tuple[int, str]:
    moment, _, ident = cursor.partition(":")
    if not moment.isascii() or not moment.isdecimal() or len(moment) > 18:
        raise InvalidRequest("The cursor is not one that this list gave out.", param="cursor")
    return int(moment), ident
