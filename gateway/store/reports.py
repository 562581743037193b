"""Sums of usage for reports: from the roll-ups where those have whole hours and days, from the ledger at the edges."""

# ruff: noqa: S608 - what is put into a statement is constant text of ours; every value is a parameter.

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from gateway.clock import now_ms
from gateway.errors import InvalidRequest
from gateway.money import ledger
from gateway.money.ledger import LedgerRow
from gateway.store import Page
from gateway.store.database import Reader, Row
from gateway.store.rollups import DAY_MS, HOUR_MS, MODEL, SUMS

By = Literal["tenant", "team", "owner", "key", "provider", "model", "target_model"]

_QUARTER: Final = 900_000  # every time zone is whole quarters of an hour away from UTC
_ROLLED: Final = ", ".join(f"CAST(COALESCE(SUM(h.{name}), 0) AS BIGINT)" for name in SUMS)
_LEDGER: Final = ", ".join(f"CAST(COALESCE({sql}, 0) AS BIGINT)" for sql in SUMS.values())


class Which(msgspec.Struct, frozen=True, kw_only=True):
    """Whose usage of what; `None` is any. `teams` are the only ones that count, where they are given."""

    tenant: str | None = None
    teams: tuple[str, ...] | None = None
    owner: str | None = None
    key: str | None = None
    provider: str | None = None
    model: str | None = None

    @property
    def fine(self) -> bool:
        """Whether only the roll-ups by key can tell."""
        return not (self.teams is None and self.owner is None and self.key is None)


class Sums(msgspec.Struct, frozen=True):
    """Usage added up, of one group, from `start_ms` on. `cost` is in nano-dollars, times are sums in microseconds.

    `names` are the group's, one for each thing that was grouped by. `answered` counts those that a first byte came
    for; `refused` those that the gateway refused itself.
    """

    names: tuple[str, ...]
    start_ms: int
    requests: int = 0
    succeeded: int = 0
    refused: int = 0
    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0
    cost: int = 0
    unpriced: int = 0
    estimated: int = 0
    duration_us: int = 0
    ttfb_us: int = 0
    answered: int = 0

    @property
    def group(self) -> str:
        """The name of the group, where it was grouped by one thing; empty for all together."""
        return self.names[0] if self.names else ""


class UsageReports:
    """The reading half of reports; part of every store."""

    _reports: Reader

    async def usage_row(self, request_id: str) -> LedgerRow | None:
        """One exchange with its attempts."""
        columns = ", ".join(ledger.COLUMNS)
        rows = await self._reports.rows(f"SELECT {columns} FROM exchanges WHERE id = $1", request_id)
        if not rows:
            return None
        attempts = await self._reports.rows(
            f"SELECT {', '.join(ledger.ATTEMPT_COLUMNS)} FROM attempts WHERE exchange_id = $1 ORDER BY n", request_id
        )
        return ledger.from_values(rows[0], [*attempts])

    async def usage_values(
        self, which: Which, start_ms: int, end_ms: int, *, cursor: str = "", limit: int = 5000
    ) -> tuple[Sequence[Row], str | None]:
        """Exchanges as `ledger.COLUMNS` and the number of their attempts, oldest first, and the cursor of the next."""
        after_ms, after_id = read_cursor(cursor)
        # From the cursor's time on, not from the start: or each page would walk over all pages before it.
        args: list[object] = [max(start_ms, after_ms), end_ms]
        where = "ts_ms >= $1 AND ts_ms < $2" + _conditions(which, args, "")
        n = len(args)
        columns = ", ".join(ledger.COLUMNS)
        rows = await self._reports.rows(
            f"SELECT {columns}, (SELECT COUNT(*) FROM attempts a WHERE a.exchange_id = e.id) FROM exchanges e "
            f"WHERE {where} AND (ts_ms, id) > (${n + 1}, ${n + 2}) ORDER BY ts_ms, id LIMIT ${n + 3}",
            *args, after_ms, after_id, limit + 1,
        )  # fmt: skip
        more = len(rows) > limit
        rows = rows[:limit]
        return rows, f"{rows[-1][1]}:{rows[-1][0]}" if more else None

    async def usage_page(
        self, which: Which, start_ms: int, end_ms: int, *, cursor: str = "", limit: int = 500
    ) -> Page[LedgerRow]:
        """The same with the attempts themselves."""
        rows, following = await self.usage_values(which, start_ms, end_ms, cursor=cursor, limit=limit)
        attempts = await self.attempts_of([row[0] for row in rows]) if rows else {}
        return Page(tuple(ledger.from_values(row[:-1], attempts.get(row[0], [])) for row in rows), following)

    async def attempts_of(self, ids: Sequence[str]) -> dict[str, list[Row]]:
        """The attempts of these exchanges, in order."""
        found: dict[str, list[Row]] = {}
        places = ", ".join(f"${n}" for n in range(1, len(ids) + 1))
        for exchange_id, *values in await self._reports.rows(
            f"SELECT exchange_id, {', '.join(ledger.ATTEMPT_COLUMNS)} FROM attempts "
            f"WHERE exchange_id IN ({places}) ORDER BY exchange_id, n", *ids,
        ):  # fmt: skip
            found.setdefault(exchange_id, []).append(tuple(values))
        return found

    async def usage_sums(
        self, which: Which, start_ms: int, end_ms: int, by: By | Sequence[By] | None = None, starts: Sequence[int] = ()
    ) -> tuple[Sums, ...]:
        """Usage from `start_ms` until before `end_ms`, of each group that has any; by group, then by time.

        `starts` cuts the time into pieces, each from one of them to the next: the first is `start_ms`.
        """
        pieces = [*(starts or (start_ms,))]
        columns: tuple[By, ...] = () if by is None else (by,) if isinstance(by, str) else tuple(by)
        found: dict[tuple[tuple[str, ...], int], list[int]] = {}
        width = len(columns)
        for rows in [await self._piece(which, columns, *part) for part in _parts(pieces, end_ms)]:
            for row in rows:
                at = row[:width], pieces[max(0, bisect_right(pieces, row[width]) - 1)]
                known = found.get(at)
                if known is None:
                    found[at] = [*row[width + 1 :]]
                else:
                    known[:] = map(int.__add__, known, row[width + 1 :])
        return tuple(Sums(*at, *found[at]) for at in sorted(found) if found[at][0])

    async def _piece(
        self, which: Which, by: Sequence[By], source: str, start: int, end: int, step: int
    ) -> Sequence[Row]:
        """Names, time, and sums: of one table, times in its steps."""
        ledger_rows = source == "exchanges"
        unit = 1 if ledger_rows else HOUR_MS if source == "usage_hours" else DAY_MS
        args: list[object] = [start // unit, end // unit]
        column = "ts_ms" if ledger_rows else "h.span"
        moment = f"{column} / {step}" if step else "0"
        where = f"{column} >= $1 AND {column} < $2"
        if ledger_rows:
            names, sums, table = [MODEL if name == "model" else name for name in by], _LEDGER, "exchanges"
        else:
            names, sums = [f"d.{name}" for name in by], _ROLLED
            table = f"usage_dims d CROSS JOIN {source} h"  # SQLite then looks at the few names first
            args.append("all" if which.fine or not {"team", "owner", "key"}.isdisjoint(by) else "model")
            where = "h.dim = d.id AND d.grain = $3 AND " + where
        where += _conditions(which, args, "" if ledger_rows else "d.")
        grouping = ", ".join(str(n) for n in range(1, len(names) + 2))
        rows = await self._reports.rows(
            f"SELECT {', '.join([*names, moment, sums])} FROM {table} WHERE {where} GROUP BY {grouping}", *args
        )
        at, width = step * unit, len(names)
        return [(*row[:width], row[width] * at if step else start, *row[width + 1 :]) for row in rows]


def read_cursor(cursor: str) -> tuple[int, str]:
    """After which exchange a page begins: its time and id."""
    if not cursor:
        return -1, ""
    moment, _, ident = cursor.partition(":")
    if not moment.isascii() or not moment.isdecimal() or len(moment) > 18:
        raise InvalidRequest("The cursor is not one that this list gave out.", param="cursor")
    return int(moment), ident


def _conditions(which: Which, args: list[object], table: str) -> str:
    found = ""
    for name in ("tenant", "owner", "key", "provider", "model"):
        if (value := getattr(which, name)) is not None:
            args.append(value)
            column = MODEL if name == "model" and not table else f"{table}{name}"
            found += f" AND {column} = ${len(args)}"
    if which.teams is not None:
        places = []
        for team in which.teams:
            args.append(team)
            places.append(f"${len(args)}")
        found += f" AND {table}team IN ({', '.join(places)})" if places else " AND 1 = 0"
    return found


def _parts(pieces: Sequence[int], end_ms: int) -> list[tuple[str, int, int, int]]:
    """Which table has which part of the time: days, hours, and the ledger for what is less than an hour.

    Each part is a table, its start and end, and the step in the table's own unit in which its times are wanted.
    """
    if end_ms > (now := now_ms()):  # nothing is later than now: the running hour is whole
        end_ms = min(end_ms, (max(now, pieces[-1]) // HOUR_MS + 1) * HOUR_MS)
    cuts = [*pieces[1:], end_ms]
    if len(pieces) == 1:
        return _whole(pieces[0], end_ms)
    if all(cut % DAY_MS == 0 for cut in pieces):
        last = max(pieces[-1], end_ms // DAY_MS * DAY_MS)
        days = [("usage_days", pieces[0], last, 1)] if last > pieces[0] else []
        return [*days, *_whole(last, end_ms)]
    rough = sorted({cut // HOUR_MS for cut in (pieces[0], *cuts) if cut % HOUR_MS})
    found, at = [], pieces[0]
    for hour in rough:  # an hour with a border in it: the ledger knows on which side a row is
        start, end = max(at, hour * HOUR_MS), min(end_ms, (hour + 1) * HOUR_MS)
        if at < hour * HOUR_MS:
            found.append(("usage_hours", at, start, 1))
        found.append(("exchanges", start, end, _QUARTER))
        at = end
    if at < end_ms:
        found.append(("usage_hours", at, end_ms, 1))
    return found


def _whole(start: int, end: int) -> list[tuple[str, int, int, int]]:
    """One piece of time, in the largest units."""
    first_hour, last_hour = -(-start // HOUR_MS) * HOUR_MS, end // HOUR_MS * HOUR_MS
    if first_hour >= last_hour:
        return [("exchanges", start, end, 0)] if start < end else []
    first_day, last_day = -(-first_hour // DAY_MS) * DAY_MS, last_hour // DAY_MS * DAY_MS
    middle: list[tuple[str, int, int]] = [("usage_hours", first_hour, last_hour)]
    if first_day < last_day:
        middle = [
            ("usage_hours", first_hour, first_day), ("usage_days", first_day, last_day),
            ("usage_hours", last_day, last_hour),
        ]  # fmt: skip
    parts = [("exchanges", start, first_hour), *middle, ("exchanges", last_hour, end)]
    return [(source, since, until, 0) for source, since, until in parts if since < until]
