"""How windows, leases and budgets count, on rows of integers. Pure: no clock, no storage, no holds.

`memory.py` keeps the rows in a dict, `mapped.py` in LMDB; both count by these functions, so they cannot differ.
All times are nanoseconds of the monotonic clock.

A row's name is the first letter of its kind and the counter's key. Rows:
- window: [step length, total, step, count, step, count, ...], steps ascending, counts above 0
- lease:  [open]
- budget: [spent, reserved, keep, last touched]   (`keep` 0: never forgotten)
- rolling: as a window
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import structs

from gateway.shared_state import Ask, Granted, Refused, Standing

MOST = 1 << 60           # no counter goes above: rows are 64 bits wide
MOST_IN_WINDOW = 1 << 40  # of one settled amount, so that no sum of a window can overflow
MOST_ROLLING = 1 << 52    # the same of money: four million dollars

Row = list[int]
Entry = tuple[str, int, int]  # row name, step (windows), amount: what a hold took of one counter

_STEPS = 60
_SECOND = 1_000_000_000


class Rows(Protocol):
    """Where rows are kept. A row that was changed is set again."""

    def get(self, name: str, /) -> Row | None:
        """The row, or `None`."""

    def __setitem__(self, name: str, row: Row, /) -> None: ...

    def __delitem__(self, name: str, /) -> None: ...


def take(rows: Rows, hold: str, asks: Sequence[Ask], now: int) -> tuple[Granted | Refused, tuple[Entry, ...]]:
    """Take all asks or none; the entries are for `settle`. Nothing is written when it is refused.

    Raises `ValueError` for asks that make no sense: a mistake of the caller, not of traffic.
    """
    if len(asks) == 1 and not hold:
        return _take_window(rows, asks[0], now)
    loaded = {}
    for ask in asks:
        if ask.amount < 0 or (not hold and ask.kind != "window"):
            raise ValueError(f"{ask} is negative, or needs a hold by which it is given back")
        name, row, used = _load(rows, ask, now)
        total = used + ask.amount
        if total > ask.limit or total > MOST:
            return _refused(asks, [_load(rows, each, now) for each in asks], now), ()
        loaded[ask.key] = (ask, name, row, total)
    if len(loaded) != len(asks):
        raise ValueError(f"hold {hold!r} asks twice for one key: {', '.join(ask.key for ask in asks)}")
    after = []
    entries = []
    for ask, name, row, total in loaded.values():
        step = _add(row, ask, now)
        rows[name] = row
        entries.append((name, step, ask.amount))
        reset = ((row[-2] + _STEPS + 1) * row[0] - now) / _SECOND if step and len(row) > 2 else 0.0
        after.append(Standing(ask.key, ask.limit, total, reset))
    return Granted(tuple(after)), tuple(entries)


def _take_window(rows: Rows, ask: Ask, now: int) -> tuple[Granted | Refused, tuple[Entry, ...]]:
    """One window that nothing is given back to, as most requests ask for; its entries are of no use to anybody."""
    if ask.amount < 0 or ask.kind != "window":
        raise ValueError(f"{ask} is negative, or needs a hold by which it is given back")
    name, row, used = _load(rows, ask, now)
    total = used + ask.amount
    if total > ask.limit or total > MOST:
        return _refused((ask,), [(name, row, used)], now), ()
    _add(row, ask, now)
    rows[name] = row
    reset = ((row[-2] + _STEPS + 1) * row[0] - now) / _SECOND if len(row) > 2 else 0.0
    return Granted((Standing(ask.key, ask.limit, total, reset),)), ()


def settle(rows: Rows, entries: Sequence[Entry], actual: Mapping[str, int], now: int) -> None:
    """Give back what a hold took, and count what was really used."""
    for name, step, amount in entries:
        used = actual.get(name[1:])
        if used is not None and used < 0:
            used = 0
        kind = name[0]
        if kind == "w":
            if used is not None and used != amount:
                _correct(rows, name, step, min(used, MOST_IN_WINDOW) - amount, now)
        elif kind == "l":
            _give_back(rows, name, amount)
        elif kind == "r":
            if (used or 0) != amount:
                _correct(rows, name, step, min(used or 0, MOST_ROLLING) - amount, now)
        else:
            _spend(rows, name, used or 0, amount, now)


def charge(rows: Rows, asks: Sequence[Ask], now: int, amount: int | None = None) -> None:
    """Add each ask's amount, or `amount`, to what is spent, whatever its limit."""
    for ask in asks:
        if ask.kind == "rolling":
            _charge_rolling(rows, ask if amount is None else structs.replace(ask, amount=amount), now)
            continue
        if ask.kind != "budget":
            raise ValueError(f"{ask.key} is a {ask.kind}: only money can be charged without a hold")
        name = "b" + ask.key
        row = rows.get(name) or [0, 0, 0, now]
        row[0] += ask.amount if amount is None else amount
        if row[0] > MOST:
            row[0] = MOST
        row[2] = int(ask.keep * _SECOND) if ask.keep else 0
        row[3] = now
        rows[name] = row


def seeded(spent: int, row: Row | None, now: int) -> Row:
    """The row of a budget whose spending is known from the ledger; what is reserved stays."""
    return [min(max(0, spent), MOST), row[1] if row else 0, row[2] if row else 0, now]


def standings(rows: Rows, asks: Sequence[Ask], now: int) -> tuple[Standing, ...]:
    """How the counters stand, with `retry_after` for each ask that would be refused; writes nothing."""
    return _standings(asks, [_load(rows, ask, now) for ask in asks], now)


def dead(name: str, row: Row, now: int) -> bool:
    """Whether a row can be forgotten, because a missing one counts the same."""
    if name[0] in "wr":
        return len(row) == 2 or _reset(name, row, now) <= 0
    if name[0] == "b":
        return row[1] == 0 and 0 < row[2] <= now - row[3]
    return row[0] == 0


def _load(rows: Rows, ask: Ask, now: int) -> tuple[str, Row, int]:
    """The row's name, the row (a new one if there is none), and what is used of it."""
    kind = ask.kind
    name = kind[0] + ask.key
    row = rows.get(name)
    if kind == "window" or kind == "rolling":
        if row is not None and len(row) > 2:
            if row[2] < now // row[0] - _STEPS:
                _expire(row, now)
            if row[1]:
                return name, row, row[1]
        return name, [max(1, -int(-ask.span * _SECOND // _STEPS)), 0], 0
    if kind == "lease":
        return (name, [0], 0) if row is None else (name, row, row[0])
    return (name, [0, 0, 0, now], 0) if row is None else (name, row, row[0] + row[1])


def _add(row: Row, ask: Ask, now: int) -> int:
    """Count the ask's amount in its row; returns the step it went into, 0 where there are none."""
    amount = ask.amount
    kind = ask.kind
    if kind == "window" or kind == "rolling":
        step = now // row[0]
        if row[-2] == step and len(row) > 2:
            row[1] += amount
            row[-1] += amount
        else:
            _count(row, step, amount)
        return step
    if kind == "lease":
        row[0] += amount
        return 0
    row[1] += amount
    _touch(row, ask, now)
    return 0


def _charge_rolling(rows: Rows, ask: Ask, now: int) -> None:
    name, row, _ = _load(rows, ask, now)
    step = (now - int(ask.age * _SECOND)) // row[0]
    if step >= now // row[0] - _STEPS:
        _count(row, step, min(ask.amount, MOST_ROLLING))
    if len(row) > 2:
        rows[name] = row


def _touch(row: Row, ask: Ask, now: int) -> None:
    row[2] = int(ask.keep * _SECOND) if ask.keep else 0
    row[3] = now


def _expire(row: Row, now: int) -> None:
    """Drop the steps that no window of the full span can reach any more."""
    oldest = now // row[0] - _STEPS
    end = 2
    while end < len(row) and row[end] < oldest:
        row[1] -= row[end + 1]
        end += 2
    if end > 2:
        del row[2:end]


def _count(row: Row, step: int, amount: int) -> None:
    """Add `amount` (which may be negative) to one step of a window; an empty step is not kept."""
    at = len(row) - 2
    while at > 0 and row[at] > step:
        at -= 2
    if at > 0 and row[at] == step:
        row[1] += amount
        row[at + 1] += amount
        if row[at + 1] == 0:
            del row[at : at + 2]
    elif amount > 0:
        row[1] += amount
        row[at + 2 : at + 2] = (step, amount)


def _correct(rows: Rows, name: str, step: int, difference: int, now: int) -> None:
    row = rows.get(name)
    if row is None:  # it was empty and is forgotten
        return
    if step >= now // row[0] - _STEPS:
        _count(row, step, difference)
        rows[name] = row


def _give_back(rows: Rows, name: str, amount: int) -> None:
    row = rows.get(name)
    if row is None:
        return
    row[0] -= amount
    if row[0] > 0:
        rows[name] = row
    else:
        del rows[name]


def _spend(rows: Rows, name: str, used: int, amount: int, now: int) -> None:
    row = rows.get(name)
    if row is None:
        row = [0, 0, 0, now]
    row[0] += used
    if row[0] > MOST:
        row[0] = MOST
    row[1] -= amount
    row[3] = now
    rows[name] = row


def _over(ask: Ask, used: int) -> bool:
    total = used + ask.amount
    return total > ask.limit or total > MOST


def _refused(asks: Sequence[Ask], loaded: list[tuple[str, Row, int]], now: int) -> Refused:
    """Points at the failed ask that blocks longest, so that its `retry_after` is true for all of them."""
    all_standings = _standings(asks, loaded, now)
    index, longest = -1, -1.0
    for i, (ask, standing) in enumerate(zip(asks, all_standings, strict=True)):
        if _over(ask, standing.used):
            wait = float("inf") if standing.retry_after is None else standing.retry_after
            if wait > longest:
                index, longest = i, wait
    return Refused(index, all_standings)


def _standings(asks: Sequence[Ask], loaded: list[tuple[str, Row, int]], now: int) -> tuple[Standing, ...]:
    return tuple(
        Standing(ask.key, ask.limit, used, _reset(name, row, now), _retry_after(ask, row, used, now))
        for ask, (name, row, used) in zip(asks, loaded, strict=True)
    )


def _reset(name: str, row: Row, now: int) -> float:
    """Seconds until the window is empty."""
    if name[0] not in "wr" or len(row) == 2:
        return 0.0
    return ((row[-2] + _STEPS + 1) * row[0] - now) / _SECOND


def _retry_after(ask: Ask, row: Row, used: int, now: int) -> float | None:
    """Seconds until enough steps have left the window for the ask to pass."""
    excess = used + ask.amount - ask.limit
    if excess <= 0 or ask.kind not in ("window", "rolling") or ask.amount > ask.limit:
        return None
    for at in range(2, len(row), 2):
        excess -= row[at + 1]
        if excess <= 0:
            return ((row[at] + _STEPS + 1) * row[0] - now) / _SECOND
    return None
