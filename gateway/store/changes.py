"""Every statement that writes, once for all databases."""

# ruff: noqa: S608 - what is put into a statement is constant text of ours; every value is a parameter.

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from gateway.accounts.records import KeyRecord, NewKey, NewUser, Status, Tenant, User
from gateway.money import ledger
from gateway.money.ledger import LedgerRow
from gateway.store import OnChange, once, rollups, work
from gateway.store import queries as q
from gateway.store.database import Row, Transaction, Writer
from gateway.store.tables import fields_of, values_of

_SCOPED: Final = "id = $1 AND (CAST($2 AS TEXT) IS NULL OR tenant_id = $2)"
_ADD_DAILY: Final = (
    "INSERT INTO usage_daily (key_id, tenant_id, day, requests, tokens, cost) VALUES ($1, $2, $3, $4, $5, $6) "
    "ON CONFLICT (day, key_id, tenant_id) DO UPDATE SET requests = usage_daily.requests + excluded.requests, "
    "tokens = usage_daily.tokens + excluded.tokens, cost = usage_daily.cost + excluded.cost"
)
_ADD_SPENDERS: Final = (
    "INSERT INTO usage_spenders (kind, id, day, requests, tokens, cost) VALUES ($1, $2, $3, $4, $5, $6) "
    "ON CONFLICT (day, kind, id) DO UPDATE SET requests = usage_spenders.requests + excluded.requests, "
    "tokens = usage_spenders.tokens + excluded.tokens, cost = usage_spenders.cost + excluded.cost"
)
_SET_POSITION: Final = (
    "INSERT INTO journal_positions (journal, position) VALUES ($1, $2) "
    "ON CONFLICT (journal) DO UPDATE SET position = excluded.position"
)


class Changes:
    """The writing half of a store. `on_change("auth")` runs after the commit of what a cached caller may hold."""

    def __init__(self, writer: Writer, on_change: OnChange | None) -> None:
        self._writer = writer
        self._on_change = on_change

    async def create_key(self, new: NewKey) -> KeyRecord:
        """See `Accounts.create_key`."""

        async def steps_of(tx: Transaction) -> KeyRecord:
            await _insert_key(tx, new)
            return (await _keys(tx, new.id))[0]

        return await self._writer.write(steps_of)

    async def revoke_key(self, key_id: str, at_ms: int, tenant: str | None = None) -> KeyRecord | None:
        """See `Accounts.revoke_key`."""
        return await self._change_key("revoked_at = COALESCE(revoked_at, $3)", key_id, tenant, at_ms)

    async def set_key_active(self, key_id: str, active: bool, tenant: str | None = None) -> KeyRecord | None:
        """See `Accounts.set_key_active`."""
        return await self._change_key("active = $3", key_id, tenant, int(active))

    async def touch_keys(self, used: Mapping[str, int]) -> None:
        """See `Accounts.touch_keys`."""
        values = list(used.items())

        async def steps_of(tx: Transaction) -> None:
            await tx.many(
                "UPDATE api_keys SET last_used = $2 WHERE id = $1 AND (last_used IS NULL OR last_used < $2)", values
            )

        if values:
            await self._writer.write(steps_of)

    async def create_tenant(self, tenant: Tenant) -> Tenant:
        """See `Accounts.create_tenant`."""
        await self._writer.write(lambda tx: _insert_tenant(tx, tenant))
        return tenant

    async def set_tenant_active(self, tenant_id: str, active: bool) -> Tenant | None:
        """See `Accounts.set_tenant_active`."""

        async def steps_of(tx: Transaction) -> Tenant | None:
            await tx.rows("UPDATE tenants SET active = $2, version = version + 1 WHERE id = $1", tenant_id, int(active))
            rows = await tx.rows(f"{q.SELECT_TENANT} WHERE t.id = $1", tenant_id)
            return q.tenant_record(rows[0]) if rows else None

        tenant = await self._writer.write(steps_of)
        await self._changed()
        return tenant

    async def create_user(self, new: NewUser) -> User:
        """See `Accounts.create_user`."""
        await self._writer.write(lambda tx: _insert_user(tx, new))
        return new.user

    async def set_user_status(self, user_id: str, status: Status, tenant: str | None = None) -> User | None:
        """See `Accounts.set_user_status`."""

        async def steps_of(tx: Transaction) -> User | None:
            sql = f"UPDATE users SET status = $3, version = version + 1 WHERE {_SCOPED} RETURNING id"
            if not await tx.rows(sql, user_id, tenant, status):
                return None
            return q.user_record((await tx.rows(f"{q.SELECT_USER} WHERE u.id = $1", user_id))[0])

        user = await self._writer.write(steps_of)
        await self._changed()
        return user

    async def create_first(self, tenant: Tenant, user: NewUser, key: NewKey) -> bool:
        """See `Accounts.create_first`."""

        async def steps_of(tx: Transaction) -> bool:
            if await tx.rows("SELECT 1 FROM users LIMIT 1"):
                return False
            if not await tx.rows("SELECT 1 FROM tenants WHERE id = $1", tenant.id):
                await _insert_tenant(tx, tenant)
            await _insert_user(tx, user)
            await _insert_key(tx, key)
            return True

        return await self._writer.write(steps_of)

    async def append(self, journal: str, position: int, rows: Sequence[LedgerRow]) -> int:
        """See `LedgerStore.append`."""

        async def steps_of(tx: Transaction) -> int:
            fresh = await _fresh(tx, rows)
            await tx.insert("exchanges", ledger.COLUMNS, [ledger.exchange_values(row) for row in fresh])
            attempts = [values for row in fresh for values in ledger.attempt_values(row)]
            await tx.insert("attempts", ("exchange_id", "n", *ledger.ATTEMPT_COLUMNS), attempts)
            await tx.many(_ADD_DAILY, _sums(fresh, lambda row: [(row.key, row.tenant)]))
            await tx.many(_ADD_SPENDERS, _sums(fresh, lambda row: ledger.levels(row)[1:-1]))
            await rollups.add(tx, fresh)
            await tx.rows(_SET_POSITION, journal, position)
            return len(fresh)

        return await self._writer.write(steps_of)

    async def forget(self, journal: str) -> None:
        """See `LedgerStore.forget`."""
        await self._writer.write(lambda tx: tx.rows("DELETE FROM journal_positions WHERE journal = $1", journal))

    async def rebuild_day(self, day: int, since: dict[str, int]) -> int:
        """See `UsageStore.rebuild_day`."""
        return await self._writer.write(lambda tx: rollups.rebuild_day(tx, day, since))

    async def rebuilt(self) -> None:
        """See `UsageStore.rebuilt`."""
        await self._writer.write(lambda tx: tx.rows("DELETE FROM meta WHERE name = 'rollups'"))

    async def commit(self, steps: Sequence[work.Step], bump: bool = False) -> int:
        """See `AccountStore.commit`."""
        changed = await self._writer.write(lambda tx: work.run(tx, steps))
        if bump:
            await self._changed()
        return changed

    async def begin_once(self, name: str, body: str, now: int, expires: int) -> once.Once | None:
        """See `AccountStore.begin_once`."""
        return await self._writer.write(lambda tx: once.begin(tx, name, body, now, expires))

    async def finish_once(self, name: str, answered: once.Once) -> None:
        """See `AccountStore.finish_once`."""
        await self._writer.write(lambda tx: once.finish(tx, name, answered))

    async def extend_once(self, name: str, expires: int) -> None:
        """See `AccountStore.extend_once`."""
        await self._writer.write(lambda tx: once.extend(tx, name, expires))

    async def drop_once(self, name: str) -> None:
        """See `AccountStore.drop_once`."""
        await self._writer.write(lambda tx: once.drop(tx, name))

    async def _change_key(self, change: str, key_id: str, tenant: str | None, value: int) -> KeyRecord | None:
        async def steps_of(tx: Transaction) -> KeyRecord | None:
            sql = f"UPDATE api_keys SET {change}, version = version + 1 WHERE {_SCOPED} RETURNING id"
            if not await tx.rows(sql, key_id, tenant, value):
                return None
            return (await _keys(tx, key_id))[0]

        key = await self._writer.write(steps_of)
        await self._changed()
        return key

    async def _changed(self) -> None:
        """Also after a change that changed nothing: repeating a revocation repeats what the first may have missed."""
        if self._on_change is not None:
            await self._on_change("auth")


async def _keys(tx: Transaction, key_id: str) -> list[KeyRecord]:
    return [q.key_record(row) for row in await tx.rows(f"{q.SELECT_KEY} WHERE k.id = $1", key_id)]


async def _insert_tenant(tx: Transaction, tenant: Tenant) -> None:
    await work.run(tx, [work.put(tenant)])


async def _insert_user(tx: Transaction, new: NewUser) -> None:
    user = msgspec.structs.replace(new.user, email=new.user.email.lower())
    await work.run(tx, [work.put(user, password_hash=new.password_hash)])


async def _insert_key(tx: Transaction, new: NewKey) -> None:
    await work.run(tx, [work.Put("api_keys", values_of(fields_of(new) | {"active": True}))])


async def _fresh(tx: Transaction, rows: Sequence[LedgerRow]) -> list[LedgerRow]:
    """The rows that are not stored yet, each id once."""
    unique = {row.id: row for row in reversed(rows)}
    ids = list(unique)
    for start in range(0, len(ids), 500):
        part = ids[start : start + 500]
        for (known,) in await tx.rows(f"SELECT id FROM exchanges WHERE id IN ({q.placeholders(len(part))})", *part):
            del unique[known]
    return [*reversed(unique.values())]


def _sums(rows: Sequence[LedgerRow], names: Callable[[LedgerRow], Sequence[tuple[str, str]]]) -> list[Row]:
    """Requests, tokens and cost by name and day."""
    sums: dict[tuple[str, str, str], tuple[int, int, int]] = {}
    for row in rows:
        for name in names(row):
            dated = (*name, ledger.day(row.ts_ms))
            requests, tokens, cost = sums.get(dated, (0, 0, 0))
            sums[dated] = (requests + 1, tokens + row.input + row.output, cost + row.cost)
    return [(*name, *values) for name, values in sums.items()]
