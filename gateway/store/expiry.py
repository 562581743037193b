"""What is taken away when its time is over, a few rows in a transaction, and the leases of whoever does it.

An audit entry keeps its place in the chain and loses what it says. It gets a keyed mark instead, so that nobody else
can empty one unseen.
"""

# ruff: noqa: S608 - what is put into a statement is constant text of ours; every value is a parameter.

from typing import Final, Literal

import msgspec

from gateway.accounts.records import AuditEntry
from gateway.store.chain import append, emptied
from gateway.store.database import Transaction

PRUNED: Final = "audit_pruned"
_EMPTY: Final = ", ".join(
    f"{name} = ''" for name in AuditEntry.__struct_fields__ if name not in ("id", "ts_ms", "detail")
)  # fmt: skip
# Rows that end by themselves, whoever they belong to.
_ENDED: Final = (("sessions", "id"), ("idempotency", "name"), ("invitations", "id"))


class Lease(msgspec.Struct, frozen=True, tag=True):
    """Take or keep the lease `name` for `holder` until `until`: counts as one change, or none where another has it."""

    name: str
    holder: str
    now: int
    until: int


class Expire(msgspec.Struct, frozen=True, tag=True):
    """Take away up to `most` rows of a tenant that are older than `before` (Unix milliseconds), the oldest first.

    `ended` is for sessions and the like of all tenants, which know their end. For the audit, `entry` tells of it: what
    it says is completed with their number, and it is chained with `key`.
    """

    what: Literal["contents", "usage", "audit", "ended"]
    tenant: str
    before: int
    most: int
    entry: AuditEntry | None = None
    key: bytes = b""

    def __repr__(self) -> str:
        return f"Expire({self.what} of {self.tenant!r} before {self.before})"


async def take(tx: Transaction, lease: Lease) -> int:
    """See `Lease`."""
    rows = await tx.rows(
        "INSERT INTO leases (name, holder, until) VALUES ($1, $2, $3) ON CONFLICT (name) DO UPDATE "
        "SET holder = excluded.holder, until = excluded.until "
        "WHERE leases.holder = excluded.holder OR leases.until < $4 RETURNING 1",
        lease.name, lease.holder, lease.until, lease.now,
    )  # fmt: skip
    return len(rows)


async def expire(tx: Transaction, step: Expire) -> int:
    """See `Expire`. Returns how many rows it was."""
    if step.what == "contents":
        return await _contents(tx, step)
    if step.what == "usage":
        return await _usage(tx, step)
    if step.what == "audit":
        return await _audit(tx, step)
    return await _ended(tx, step)


async def _contents(tx: Transaction, step: Expire) -> int:
    rows = await tx.rows(
        "DELETE FROM contents WHERE id IN (SELECT id FROM contents WHERE tenant_id = $1 AND created < $2 "
        "ORDER BY created LIMIT $3) RETURNING 1",
        step.tenant, step.before, step.most,
    )  # fmt: skip
    return len(rows)


async def _usage(tx: Transaction, step: Expire) -> int:
    rows = await tx.rows(
        "SELECT id FROM exchanges WHERE tenant = $1 AND ts_ms < $2 ORDER BY ts_ms LIMIT $3",
        step.tenant, step.before, step.most,
    )  # fmt: skip
    ids = [row[0] for row in rows]
    if ids:
        marks = ", ".join(f"${n}" for n in range(1, len(ids) + 1))
        await tx.rows(f"DELETE FROM attempts WHERE exchange_id IN ({marks})", *ids)
        await tx.rows(f"DELETE FROM exchanges WHERE id IN ({marks})", *ids)
    return len(ids)


async def _audit(tx: Transaction, step: Expire) -> int:
    rows = await tx.rows(
        "SELECT seq, digest FROM audit WHERE tenant = $1 AND pruned = 0 AND ts_ms < $2 ORDER BY ts_ms LIMIT $3",
        step.tenant, step.before, step.most,
    )  # fmt: skip
    if not rows or step.entry is None:
        return 0
    await tx.many(
        f"UPDATE audit SET {_EMPTY}, ts_ms = 0, detail = '{{}}', pruned = 1, id = $2 WHERE seq = $1",
        [(seq, emptied(step.key, seq, digest)) for seq, digest in rows],
    )
    detail = {**step.entry.detail, "count": len(rows)}
    await append(tx, msgspec.structs.replace(step.entry, detail=detail), step.key)
    return len(rows)


async def _ended(tx: Transaction, step: Expire) -> int:
    gone = 0
    for table, name in _ENDED:
        rows = await tx.rows(
            f"DELETE FROM {table} WHERE {name} IN (SELECT {name} FROM {table} WHERE expires_at < $1 LIMIT $2) "
            "RETURNING 1",
            step.before, step.most,
        )  # fmt: skip
        gone += len(rows)
    return gone
