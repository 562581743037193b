"""The ledger added up per hour and day: written in the transaction of the rows, and built anew from them on demand.

Reading them is `reports.py`. A roll-up outlives the rows that it was made of: retention takes those.
"""

# ruff: noqa: S608 - what is put into a statement is constant text of ours; every value is a parameter.

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Final

from gateway.money.ledger import LedgerRow
from gateway.store.database import Reader, Transaction

HOUR_MS: Final = 3_600_000
HOURS: Final = 24
DAY_MS: Final = HOURS * HOUR_MS

# What is added up, and how the ledger says it.
SUMS: Final[Mapping[str, str]] = {
    "requests": "COUNT(*)", "succeeded": "SUM(CASE WHEN outcome = 'ok' THEN 1 ELSE 0 END)",
    "refused": "SUM(CASE WHEN outcome = 'refused' THEN 1 ELSE 0 END)", "input": "SUM(input)", "output": "SUM(output)",
    "cached": "SUM(cached)", "cache_write": "SUM(cache_write)", "reasoning": "SUM(reasoning)", "cost": "SUM(cost)",
    "unpriced": "SUM(unpriced)", "estimated": "SUM(estimated)", "duration_us": "SUM(duration_us)",
    "ttfb_us": "SUM(COALESCE(ttfb_us, 0))", "answered": "COUNT(ttfb_us)",
}  # fmt: skip
DIMS: Final = ("tenant", "team", "owner", "key", "provider", "model", "target_model")
# Clients make up names of models, and what leads nowhere must not pile up here.
MODEL: Final = "CASE WHEN provider = '' THEN '' ELSE model END"

_FULL, _BY_MODEL = "all", "model"
_LEDGER: Final = ", ".join(f"CAST({sql} AS BIGINT)" for sql in SUMS.values())
_DIM_COLUMNS: Final = ", ".join(MODEL if name == "model" else name for name in DIMS)
_ADD: Final = ", ".join(f"{name} = {{0}}.{name} + excluded.{name}" for name in SUMS)
_PLACES: Final = ", ".join(f"${n}" for n in range(1, len(SUMS) + 3))
_ADD_DIM: Final = (
    f"INSERT INTO usage_dims (id, grain, {', '.join(DIMS)}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) "
    "ON CONFLICT (id) DO NOTHING"
)

Dim = tuple[str, ...]  # grain, then DIMS
Counts = list[int]


async def add(tx: Transaction, rows: Sequence[LedgerRow]) -> None:
    """Add rows of the ledger that are stored in the same transaction."""
    await tx.guard()
    found: dict[tuple[Dim, int], Counts] = {}
    for row in rows:
        values = _values(row)
        model = row.model if row.provider else ""
        whole = (row.tenant, row.team, row.owner, row.key, row.provider, model, row.target_model)
        _count(found, whole, row.ts_ms // HOUR_MS, values)
    await _store(tx, found, per_day=True)


async def first_hours(database: Reader) -> dict[str, int]:
    """From which hour on each tenant's roll-ups can be built from the ledger: what is older may have lost rows."""
    oldest = await database.rows("SELECT tenant, MIN(ts_ms) FROM exchanges GROUP BY tenant")
    known: dict[str, int] = dict(
        await database.rows(
            "SELECT d.tenant, MIN(h.span) FROM usage_dims d JOIN usage_hours h ON h.dim = d.id GROUP BY d.tenant"
        )
    )
    hours = {tenant: moment // HOUR_MS for tenant, moment in oldest}
    return {tenant: hour + (known.get(tenant, hour) < hour) for tenant, hour in hours.items()}


async def days(database: Reader) -> list[int]:
    """The UTC days that the ledger or its roll-ups have anything of."""
    found = await database.rows(f"SELECT DISTINCT ts_ms / {DAY_MS} FROM exchanges")
    rolled = await database.rows("SELECT DISTINCT span FROM usage_days")
    hours = await database.rows(f"SELECT DISTINCT span / {HOURS} FROM usage_hours")
    return sorted({row[0] for row in (*found, *rolled, *hours)})


async def rebuild_day(tx: Transaction, day: int, since: Mapping[str, int]) -> int:
    """Build one UTC day anew, for each tenant from its hour in `since` on; returns how many rows were added up."""
    await tx.guard(alone=True)
    total = 0
    for tenant, hour in sorted(since.items()):
        start, end = max(hour, day * HOURS), (day + 1) * HOURS
        if start >= end:
            continue
        mine = "dim IN (SELECT id FROM usage_dims WHERE tenant = $1)"
        await tx.rows(f"DELETE FROM usage_hours WHERE {mine} AND span >= $2 AND span < $3", tenant, start, end)
        found: dict[tuple[Dim, int], Counts] = {}
        groups = ", ".join(str(n) for n in range(1, len(DIMS) + 2))
        for row in await tx.rows(
            f"SELECT {_DIM_COLUMNS}, ts_ms / {HOUR_MS}, {_LEDGER} FROM exchanges "
            f"WHERE tenant = $1 AND ts_ms >= $2 AND ts_ms < $3 GROUP BY {groups}",
            tenant, start * HOUR_MS, end * HOUR_MS,
        ):  # fmt: skip
            total += row[len(DIMS) + 1]
            _count(found, row[: len(DIMS)], row[len(DIMS)], row[len(DIMS) + 1 :])
        await _store(tx, found, per_day=False)
        await tx.rows(f"DELETE FROM usage_days WHERE {mine} AND span = $2", tenant, day)
        sums = ", ".join(f"CAST(SUM({name}) AS BIGINT)" for name in SUMS)
        await tx.rows(
            f"INSERT INTO usage_days (dim, span, {', '.join(SUMS)}) SELECT dim, CAST($2 AS BIGINT), {sums} "
            f"FROM usage_hours WHERE {mine} AND span >= $3 AND span < $4 GROUP BY dim",
            tenant, day, day * HOURS, end,
        )  # fmt: skip
    return total


def dim_id(dim: Dim) -> int:
    """The name of a dimension: 63 bits of a hash."""
    return int.from_bytes(blake2b("\0".join(dim).encode(), digest_size=8).digest()) >> 1


def _values(row: LedgerRow) -> Counts:
    outcome, ttfb = row.outcome, row.ttfb_us
    return [
        1, outcome == "ok", outcome == "refused", row.input, row.output, row.cached, row.cache_write, row.reasoning,
        row.cost, row.unpriced, row.estimated, row.duration_us, ttfb or 0, ttfb is not None,
    ]  # fmt: skip


def _count(found: dict[tuple[Dim, int], Counts], whole: Dim, span: int, values: Iterable[int]) -> None:
    tenant, _, _, _, provider, model, target = whole
    for dim in ((_FULL, *whole), (_BY_MODEL, tenant, "", "", "", provider, model, target)):
        known = found.get((dim, span))
        if known is None:
            found[dim, span] = [*map(int, values)]
        else:
            for n, value in enumerate(values):
                known[n] += value


async def _store(tx: Transaction, found: Mapping[tuple[Dim, int], Counts], *, per_day: bool) -> None:
    ids = {dim: dim_id(dim) for dim, _ in found}
    hours = {(ids[dim], span): values for (dim, span), values in found.items()}
    # In one order: two gateways that add at the same time then wait for each other instead of in a circle.
    await tx.many(_ADD_DIM, sorted((ident, *dim) for dim, ident in ids.items()))
    await tx.many(_upsert("usage_hours"), [(*at, *hours[at]) for at in sorted(hours)])
    if per_day:
        days: dict[tuple[int, int], Counts] = {}
        for (ident, span), values in hours.items():
            known = days.setdefault((ident, span // HOURS), [0] * len(values))
            known[:] = map(int.__add__, known, values)
        await tx.many(_upsert("usage_days"), [(*at, *days[at]) for at in sorted(days)])


def _upsert(table: str) -> str:
    return (
        f"INSERT INTO {table} (dim, span, {', '.join(SUMS)}) VALUES ({_PLACES}) "
        f"ON CONFLICT (dim, span) DO UPDATE SET {_ADD.format(table)}"
    )
