"""The ledger's rows: what is kept of a finished exchange, and their columns.

No text of a request or answer is in a row. Storing is `gateway.store`, surviving until then the journal.
"""

import operator
import time
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from gateway.events import Usage
from gateway.exchange import Attempt, Caller, Exchange
from gateway.secrets import scrub

_MAX_TEXT: Final = 256
_MAX_COUNT: Final = 1 << 53  # an upstream may claim any number of tokens: sums must still fit 64 bits


class AttemptRow(msgspec.Struct, frozen=True, array_like=True):
    """One try at one target, as stored; costs are nano-dollars. Fields: see `LedgerRow`.

    `lines` is the bill, with the rates that were used (`cost.read_lines`); `tier` the service tier that answered.
    """

    provider: str
    model: str
    outcome: str
    status: int = 0
    error: str | None = None
    duration_us: int = 0
    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0
    estimated: bool = False
    cost: int = 0
    lines: str = ""
    tier: str = ""


class LedgerRow(msgspec.Struct, frozen=True, array_like=True):
    """One exchange, as stored. `id` is the request id, `ts_ms` its start, `model` the name that the client used.

    `unpriced` means that the target had no price: `cost` is 0 because it is unknown. `estimated` means that the
    gateway counted the tokens, since the provider sent no numbers. A new field goes last and has a default: the
    journal writes a row without the names of its fields, and reads those of older versions.
    """

    id: str
    ts_ms: int
    tenant: str
    key: str
    key_name: str = ""
    owner: str = ""
    environment: str = ""
    endpoint: str = ""
    model: str = ""
    provider: str = ""
    target_model: str = ""
    outcome: str = "ok"
    http_status: int = 0
    streamed: bool = False
    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0
    estimated: bool = False
    cost: int = 0
    price_version: str = ""
    unpriced: bool = False
    ttfb_us: int | None = None
    duration_us: int = 0
    overhead_us: int = 0
    error: str | None = None
    attempts: tuple[AttemptRow, ...] = ()
    team: str = ""


COLUMNS: Final = tuple(name for name in LedgerRow.__struct_fields__ if name != "attempts")
ATTEMPT_COLUMNS: Final = AttemptRow.__struct_fields__


def row(exchange: Exchange) -> LedgerRow:
    """The row of a finished exchange."""
    caller, target, error = exchange.caller or _NOBODY, exchange.target, exchange.error
    usage, attempts, started = exchange.usage or _NOTHING, exchange.attempts, exchange.started
    price = target.price if target else None
    finished = time.monotonic() if exchange.finished is None else exchange.finished
    return LedgerRow(  # by position, which takes a third of the time: every exchange comes through here
        exchange.id, exchange.started_ms, caller.tenant, caller.key, _text(caller.key_name), caller.owner,
        _text(caller.environment), exchange.endpoint, _text(asked_model(exchange)),
        target.provider.name if target else "", _text(target.model) if target else "", exchange.outcome,
        exchange.http_status, exchange.streamed, *_counts(usage), usage.estimated, _count(exchange.cost),
        price.version if price else "", target is not None and price is None and bool(attempts) and not target.free,
        None if exchange.first_byte is None else _micro(exchange.first_byte - started), _micro(finished - started),
        _micro(exchange.overhead), (error.code or error.type) if error else None, tuple(map(_attempt, attempts)),
        caller.team,
    )


def asked_model(exchange: Exchange) -> str:
    """The model's name as the client wrote it, without what looks like a key: it may have been put there by mistake."""
    name = exchange.request.model if exchange.request is not None else ""
    return name if name == exchange.model else scrub(name.encode("utf-8", "replace")).decode()


def levels(row: LedgerRow) -> list[tuple[str, str]]:
    """Whose money it was, by kind and id, outermost first: tenant, team and user where there are any, key."""
    spenders = [("tenant", row.tenant), ("team", row.team), ("user", row.owner), ("key", row.key)]
    return [spender for spender in spenders if spender[1] or spender[0] in ("tenant", "key")]


def day(ts_ms: int) -> str:
    """The UTC day of a moment, as `2026-01-31`."""
    return datetime.fromtimestamp(ts_ms / 1000, tz=UTC).date().isoformat()


def exchange_values(row: LedgerRow) -> tuple[Any, ...]:
    """The values of `COLUMNS`."""
    values: tuple[Any, ...] = _columns_of(row)
    return values


def attempt_values(row: LedgerRow) -> list[tuple[Any, ...]]:
    """The row's id, a number from 1, and the values of `ATTEMPT_COLUMNS`, for each attempt of a row."""
    return [(row.id, n, *msgspec.structs.astuple(attempt)) for n, attempt in enumerate(row.attempts, 1)]


def from_values(values: tuple[Any, ...], attempts: list[tuple[Any, ...]]) -> LedgerRow:
    """A row from its columns, and those of its attempts (in order)."""
    fields: dict[str, Any] = dict(zip(COLUMNS, values, strict=True))
    fields["attempts"] = attempts
    in_order = [fields[name] for name in LedgerRow.__struct_fields__]
    return msgspec.convert(in_order, LedgerRow, strict=False)  # flags are stored as 0 and 1


_NOTHING: Final = Usage()
_NOBODY: Final = Caller(tenant="", key="")
_columns_of = operator.attrgetter(*COLUMNS)  # flags go as they are: every driver stores them as it should


def _attempt(attempt: Attempt) -> AttemptRow:
    usage, error = attempt.usage or _NOTHING, attempt.error
    return AttemptRow(
        attempt.provider, _text(attempt.model), attempt.outcome, attempt.status,
        None if error is None else _text(error), _micro(attempt.duration), *_counts(usage), usage.estimated,
        _count(attempt.cost), attempt.lines, _text(usage.tier),
    )


def _counts(usage: Usage) -> tuple[int, int, int, int, int]:
    counts = (usage.input, usage.output, usage.cached, usage.cache_write, usage.reasoning)
    if not _all_plain(*counts):
        return (
            _count(usage.input), _count(usage.output), _count(usage.cached), _count(usage.cache_write),
            _count(usage.reasoning),
        )
    return counts


def _all_plain(a: int, b: int, c: int, d: int, e: int) -> bool:
    """As `min` and `max` would say, in a third of the time."""
    most = _MAX_COUNT
    return 0 <= a <= most and 0 <= b <= most and 0 <= c <= most and 0 <= d <= most and 0 <= e <= most


def _text(text: str) -> str:
    """`text` as every database can store it: at most 256 characters, no NUL, no half surrogates."""
    if len(text) <= _MAX_TEXT and text.isascii() and text.isprintable():
        return text
    return text[:_MAX_TEXT].replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _count(number: int) -> int:
    return min(max(number, 0), _MAX_COUNT)


def _micro(seconds: float) -> int:
    return int(seconds * 1_000_000 + 0.5) if seconds > 0 else 0
