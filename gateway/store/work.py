"""Changes of accounts that are made together or not at all: a list of steps, run in one transaction by the owner.

A `Note` is the audit entry of what the other steps do: nothing is done without it being written down.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from gateway.accounts.records import AuditEntry
from gateway.clock import now_ms
from gateway.errors import NotFound, Stale
from gateway.store.chain import append
from gateway.store.database import Transaction
from gateway.store.expiry import Expire, Lease, expire, take
from gateway.store.tables import TABLES, condition, fields_of, table_of, values_of

# Tables without a struct: what their rows are is up to the statements that use them.
_PLAIN: Final = {
    "team_members": {"team_id", "user_id", "tenant_id", "created"},
    "login_failures": {"name", "failures", "last", "until"},
}  # fmt: skip


class Put(msgspec.Struct, frozen=True, tag=True):
    """Store a new row, given as columns; it takes the place of the one that is equal in the columns `replace`."""

    table: str
    values: dict[str, Any]
    replace: tuple[str, ...] = ()


class Change(msgspec.Struct, frozen=True, tag=True):
    """Set fields of the rows that `where` describes. `one` asks for exactly one: `NotFound` if there is none, and
    `Stale` if it has another `version`. A `quiet` change makes no new version: what people do not edit."""

    table: str
    where: dict[str, Any]
    values: dict[str, Any]
    version: int | None = None
    one: bool = True
    quiet: bool = False


class Remove(msgspec.Struct, frozen=True, tag=True):
    """Delete the rows that `where` describes; `one` as in `Change`."""

    table: str
    where: dict[str, Any]
    version: int | None = None
    one: bool = True


class Note(msgspec.Struct, frozen=True, tag=True):
    """Write an audit entry, chained to the last one with `key`."""

    entry: AuditEntry
    key: bytes

    def __repr__(self) -> str:
        return f"Note({self.entry!r})"


class Failed(msgspec.Struct, frozen=True, tag=True):
    """Count a failed login under a name. After `free` ones there is a pause of `pause` ms, twice as long each time, up
    to `longest`; what is older than `forgotten` ms counts no more."""

    name: str
    now: int
    free: int
    pause: int
    longest: int
    forgotten: int


Step = Put | Change | Remove | Note | Failed | Lease | Expire


def put(record: msgspec.Struct, **secrets: object) -> Put:
    """The step that stores a new object."""
    return Put(table_of(type(record)).name, values_of(fields_of(record) | secrets))


def change(
    kind: type[msgspec.Struct], where: dict[str, Any], fields: Mapping[str, object], *, version: int | None = None,
    one: bool = True, quiet: bool = False,
) -> Change:
    """The step that sets fields of objects."""
    return Change(table_of(kind).name, where, values_of(fields), version, one, quiet)


async def run(tx: Transaction, steps: Sequence[Step]) -> int:
    """Run all steps; returns how many rows those that may hit many have changed."""
    changed = 0
    for step in steps:
        if isinstance(step, Put):
            await _put(tx, step)
        elif isinstance(step, Note):
            await append(tx, step.entry, step.key)
        elif isinstance(step, Lease):
            changed += await take(tx, step)
        elif isinstance(step, Expire):
            changed += await expire(tx, step)
        elif isinstance(step, Failed):
            await _failed(tx, step)
        else:
            changed += await (_change(tx, step) if isinstance(step, Change) else _remove(tx, step))
    return changed


async def _put(tx: Transaction, step: Put) -> None:
    values = step.values
    _check_columns(step.table, values)
    if step.table in TABLES and TABLES[step.table].kept:
        values = {**values, "search": TABLES[step.table].text(values)}
    names = ", ".join(values)
    marks = ", ".join(f"${n}" for n in range(1, len(values) + 1))
    sql = f"INSERT INTO {step.table} ({names}) VALUES ({marks})"  # noqa: S608 - names are checked
    if step.replace:
        sets = ", ".join(f"{name} = excluded.{name}" for name in values if name not in step.replace)
        sql += f" ON CONFLICT ({', '.join(step.replace)}) DO UPDATE SET {sets}"
    await tx.rows(sql, *values.values())


async def _change(tx: Transaction, step: Change) -> int:
    values = step.values
    _check_columns(step.table, values)
    args: list[object] = list(values.values())
    sets = [f"{name} = ${n}" for n, name in enumerate(values, 1)]
    if not step.quiet and step.table in TABLES and TABLES[step.table].versioned:
        args.append(now_ms())
        sets += ["version = version + 1", f"updated = ${len(args)}"]
    where = _where(step.table, step.where, args)
    if step.version is not None:
        args.append(step.version)
        where += f" AND version = ${len(args)}"
    table = TABLES.get(step.table)
    texts = table.search if table is not None and table.kept and values.keys() & set(table.search) else ()
    back = ", ".join(("id", *texts)) if texts else "1"
    sql = f"UPDATE {step.table} SET {', '.join(sets)} WHERE {where} RETURNING {back}"  # noqa: S608 - names are checked
    rows = await tx.rows(sql, *args)
    if step.one and len(rows) != 1:
        raise await _missing(tx, step)
    for id_, *now in rows if texts else ():
        text = TABLES[step.table].text(dict(zip(texts, now, strict=True)))
        await tx.rows(f"UPDATE {step.table} SET search = $1 WHERE id = $2", text, id_)  # noqa: S608 - a name of ours
    return len(rows)


async def _remove(tx: Transaction, step: Remove) -> int:
    args: list[object] = []
    where = _where(step.table, step.where, args)
    if step.version is not None:
        args.append(step.version)
        where += f" AND version = ${len(args)}"
    sql = f"DELETE FROM {step.table} WHERE {where} RETURNING 1"  # noqa: S608 - names are checked
    count = len(await tx.rows(sql, *args))
    if step.one and count != 1:
        raise await _missing(tx, step)
    return count


async def _failed(tx: Transaction, step: Failed) -> None:
    rows = await tx.rows("SELECT failures, last FROM login_failures WHERE name = $1", step.name)
    failures, last = rows[0] if rows else (0, 0)
    failures = 1 if step.now - last > step.forgotten else failures + 1
    over = failures - step.free
    pause = min(step.longest, step.pause << min(over, 20)) if over >= 0 else 0
    await tx.rows(
        "INSERT INTO login_failures (name, failures, last, until) VALUES ($1, $2, $3, $4) ON CONFLICT (name) "
        "DO UPDATE SET failures = excluded.failures, last = excluded.last, until = excluded.until",
        step.name, failures, step.now, step.now + pause if pause else 0,
    )  # fmt: skip
    await tx.rows("DELETE FROM login_failures WHERE last < $1", step.now - 24 * step.forgotten)


async def _missing(tx: Transaction, step: Change | Remove) -> NotFound | Stale:
    args: list[object] = []
    sql = f"SELECT 1 FROM {step.table} WHERE {_where(step.table, step.where, args)}"  # noqa: S608 - names are checked
    if step.version is not None and await tx.rows(sql, *args):
        return Stale("It was changed since you read it. Read it again, and repeat your change if it still fits.")
    return NotFound("There is nothing with this id.")


def _where(table: str, where: dict[str, Any], args: list[object]) -> str:
    if table in TABLES:
        return condition(TABLES[table], where, args)
    _check_columns(table, where)
    parts = []
    for name, value in where.items():
        args.append(value)
        parts.append(f"{name} = ${len(args)}")
    return " AND ".join(parts)


def _check_columns(table: str, values: dict[str, Any]) -> None:
    known = {*TABLES[table].columns, *TABLES[table].secrets, "deleted"} if table in TABLES else _PLAIN[table]
    if unknown := values.keys() - known:
        raise KeyError(f"{table} has no column {min(unknown)}")
