"""Periods of reports, in a time zone: days and months begin when people's clocks say so, summer time or not."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

import msgspec

from gateway.errors import InvalidFields

Interval = Literal["hour", "day", "week", "month"]

MOST_PIECES: Final = 3_000
_MONTH: Final = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_LONGEST: Final = 64
_LAST: Final = 32_503_680_000_000  # the year 3000: later is never meant, and earlier than 1970 there is nothing
_FORM: Final = "must be a day such as 2027-01-31, or a moment such as 2027-01-31T12:00:00Z"


class Period(msgspec.Struct, frozen=True):
    """From `start` until before `end` (Unix milliseconds), as clocks in `zone` count it."""

    start: int
    end: int
    zone: str = "UTC"

    def moment(self, milliseconds: int) -> datetime:
        """A time as clocks there show it."""
        return datetime.fromtimestamp(milliseconds / 1000, ZoneInfo(self.zone))


def zone_of(name: str) -> ZoneInfo:
    """A time zone by name. Raises `InvalidFields`."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        raise InvalidFields(("time_zone", "is no time zone such as Europe/Berlin")) from None


def period(
    now: int, zone: str = "UTC", *, start: str | None = None, end: str | None = None, days: int | None = None,
    month: str | None = None,
) -> Period:
    """What was asked for; without anything the last 30 days, the running one included.

    Days and moments without a zone are those of `zone`. Raises `InvalidFields` for what is no time, and for an end that
    is not after the start.
    """
    there = zone_of(zone)
    if month is not None:
        if start or end or days:
            raise InvalidFields(("month", "cannot be together with start, end or days"))
        first = _month(month, there)
        return Period(first, _milliseconds(_next_month(_local(first, there)), there), zone)
    if days is not None and start is not None:
        raise InvalidFields(("days", "cannot be together with start"))
    until = now + 1 if end is None else _read(end, "end", there)
    if start is not None:
        since = _read(start, "start", there)
    else:
        today = _local(min(until, now + 1) - 1, there).replace(hour=0, minute=0, second=0, microsecond=0)
        since = _milliseconds(today - timedelta(days=(days or 30) - 1), there)
    if since >= until:
        raise InvalidFields(("end", "must be after the start"))
    return Period(since, until, zone)


def month_of(now: int, zone: str = "UTC") -> Period:
    """The running month."""
    there = zone_of(zone)
    first = _local(now, there).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return Period(_milliseconds(first, there), _milliseconds(_next_month(first), there), zone)


def day_of(now: int, zone: str = "UTC") -> Period:
    """Today."""
    there = zone_of(zone)
    today = _local(now, there).replace(hour=0, minute=0, second=0, microsecond=0)
    return Period(_milliseconds(today, there), _milliseconds(today + timedelta(days=1), there), zone)


def starts(whole: Period, interval: Interval) -> list[int]:
    """Where the pieces of a period begin: its start, and each hour, day, week (Monday) or month within it.

    Raises `InvalidFields` where that would be too many.
    """
    found, there = [whole.start], ZoneInfo(whole.zone)
    if interval == "hour":
        found += range((whole.start // 3_600_000 + 1) * 3_600_000, whole.end, 3_600_000)[: MOST_PIECES + 1]
    else:
        local = _local(whole.start, there).replace(hour=0, minute=0, second=0, microsecond=0)
        if interval == "week":
            local -= timedelta(days=local.weekday())
        elif interval == "month":
            local = local.replace(day=1)
        while len(found) <= MOST_PIECES:
            step = timedelta(days=7 if interval == "week" else 1)
            local = _next_month(local) if interval == "month" else local + step
            at = _milliseconds(local, there)
            if at >= whole.end:
                break
            if at > found[-1]:
                found.append(at)
    if len(found) > MOST_PIECES:
        raise InvalidFields(("interval", f"gives more than {MOST_PIECES} pieces: ask for less time, or longer ones"))
    return found


def _read(text: str, name: str, there: ZoneInfo) -> int:
    if len(text) > _LONGEST:
        raise InvalidFields((name, _FORM))
    try:
        if _DAY.fullmatch(text):
            return _within(datetime.combine(date.fromisoformat(text), datetime.min.time()), there)
        if _MONTH.fullmatch(text):
            return _month(text, there)
        # In an address a plus sign stands for a space: it is easily forgotten to write it as %2B.
        return _within(datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text), there)
    except (ValueError, OverflowError):
        raise InvalidFields((name, _FORM)) from None


def _month(text: str, there: ZoneInfo) -> int:
    if not _MONTH.fullmatch(text) or text.startswith("0000"):
        raise InvalidFields(("month", "must be a month such as 2027-01"))
    return _within(datetime.fromisoformat(text + "-01"), there)


def _within(moment: datetime, there: ZoneInfo) -> int:
    milliseconds = _epoch(moment) if moment.tzinfo else _milliseconds(moment, there)
    return min(max(0, milliseconds), _LAST)


def _local(milliseconds: int, there: ZoneInfo) -> datetime:
    """What a clock shows, without its zone: arithmetic with days is then about days of the calendar."""
    return datetime.fromtimestamp(milliseconds / 1000, there).replace(tzinfo=None)


def _milliseconds(local: datetime, there: ZoneInfo) -> int:
    return _epoch(local.replace(tzinfo=there))


def _epoch(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def _next_month(local: datetime) -> datetime:
    return (local.replace(day=1) + timedelta(days=32)).replace(day=1)
