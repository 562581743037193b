"""Moments on the command line: a day, a time, or a span back from now."""

import re
from datetime import UTC, datetime
from typing import Final

import click

from gateway.clock import now_ms

WHEN: Final = "2026-01-31 (UTC), 2026-01-31T12:00, or a span back from now such as 7d, 12h."
_SPANS: Final = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}


class Moment(click.ParamType[int]):
    """An option's value in Unix milliseconds."""

    name = "moment"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """What a person wrote."""
        if isinstance(value, int):
            return value
        text = str(value)
        span = re.fullmatch(r"([0-9]{1,6})([mhdw])", text)
        try:
            return now_ms() - int(span[1]) * _SPANS[span[2]] if span else _milliseconds(text)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no date such as 2026-01-31 and no span such as 7d, 12h", param, ctx)


def _milliseconds(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
