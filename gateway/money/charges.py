"""A charge explained: what an exchange cost, line by line, at the rates that the ledger kept with it."""

from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from gateway.money import dollars
from gateway.money.cost import Line, lines_cost, read_lines
from gateway.money.ledger import AttemptRow, LedgerRow

Dollars = Annotated[str, Meta(description="Dollars as a decimal string, exact.")]

_MILLION: Final = 1_000_000
_HOUR: Final = 3_600_000
# Unit of a line -> how a person reads it: the noun, how many of them a price is for, and of what.
_COUNTED: Final = {
    "request": ("request", 1, "request"), "searches": ("web searches", 1, "search"),
    "millisecond": ("milliseconds of the machine", _HOUR, "hour"),
}  # fmt: skip
_TOKENS: Final = {
    "input": "input tokens", "cached": "input tokens read from the cache", "output": "output tokens",
    "cache_write": "input tokens written to the cache", "cache_write_1h": "input tokens cached for an hour",
    "reasoning": "reasoning tokens",
}  # fmt: skip


class LineShown(msgspec.Struct, frozen=True, kw_only=True):
    """`quantity` of `unit`, at `price` dollars `per` so many: `amount`, not rounded."""

    unit: str
    description: str
    quantity: int
    price: Dollars
    per: str
    amount: Dollars


class AttemptShown(msgspec.Struct, frozen=True, kw_only=True):
    """One try at one target. `cost` is the sum of its lines, rounded half up to the nano-dollar, once."""

    provider: str
    model: str
    outcome: str
    status: int
    error: str | None
    duration_ms: float
    service_tier: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    estimated: bool
    cost: Dollars
    lines: tuple[LineShown, ...]


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """One request and what it cost. `lines_add_up` proves `cost` from the lines; `notes` say what is not exact."""

    id: str
    time: datetime
    tenant: str
    team: str
    owner: str
    key: str
    key_name: str
    environment: str
    endpoint: str
    model: str
    provider: str
    target_model: str
    outcome: str
    http_status: int
    error: str | None
    streamed: bool
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    estimated: bool
    unpriced: bool
    price_version: str
    currency: str
    cost: Dollars
    lines_add_up: bool
    ttfb_ms: float | None
    duration_ms: float
    overhead_ms: float
    attempts: tuple[AttemptShown, ...]
    notes: tuple[str, ...]


def charge(row: LedgerRow) -> Charge:
    """A row of the ledger, explained."""
    attempts = tuple(_attempt(each) for each in row.attempts)
    return Charge(
        id=row.id, time=datetime.fromtimestamp(row.ts_ms / 1000, UTC), tenant=row.tenant, team=row.team,
        owner=row.owner, key=row.key, key_name=row.key_name, environment=row.environment, endpoint=row.endpoint,
        model=row.model, provider=row.provider, target_model=row.target_model, outcome=row.outcome,
        http_status=row.http_status, error=row.error, streamed=row.streamed, input_tokens=row.input,
        output_tokens=row.output, cached_tokens=row.cached, cache_write_tokens=row.cache_write,
        reasoning_tokens=row.reasoning, estimated=row.estimated, unpriced=row.unpriced,
        price_version=row.price_version, currency="USD", cost=dollars(row.cost),
        lines_add_up=row.cost == sum(lines_cost(read_lines(each.lines)) for each in row.attempts),
        ttfb_ms=None if row.ttfb_us is None else row.ttfb_us / 1000, duration_ms=row.duration_us / 1000,
        overhead_ms=row.overhead_us / 1000, attempts=attempts, notes=tuple(_notes(row)),
    )  # fmt: skip


def exact(pico: int) -> str:
    """Pico-dollars as a decimal string without trailing zeros."""
    whole, rest = divmod(abs(pico), 10**12)
    text = f"{whole}.{rest:012d}".rstrip("0").rstrip(".")
    return f"-{text}" if pico < 0 else text


def line_shown(line: Line) -> LineShown:
    """A line for people: prices for a million tokens, an hour, a request, a search."""
    tokens = _TOKENS.get(line.unit, f"{line.unit.replace('_', ' ')} tokens")
    noun, count, per = _COUNTED.get(line.unit, (tokens, _MILLION, "1M tokens"))
    return LineShown(
        unit=line.unit, description=noun, quantity=line.quantity, price=exact(line.rate * count), per=per,
        amount=exact(line.pico),
    )  # fmt: skip


def _attempt(row: AttemptRow) -> AttemptShown:
    return AttemptShown(
        provider=row.provider, model=row.model, outcome=row.outcome, status=row.status, error=row.error,
        duration_ms=row.duration_us / 1000, service_tier=row.tier or "standard", input_tokens=row.input,
        output_tokens=row.output, cached_tokens=row.cached, cache_write_tokens=row.cache_write,
        reasoning_tokens=row.reasoning, estimated=row.estimated, cost=dollars(row.cost),
        lines=tuple(line_shown(line) for line in read_lines(row.lines)),
    )  # fmt: skip


def _notes(row: LedgerRow) -> list[str]:
    notes = []
    if row.unpriced:
        notes.append("The model had no price: its cost is unknown and counted as 0. Set one under `prices:`.")
    if row.estimated:
        notes.append(f"The provider's own numbers did not come ({row.outcome}): the gateway counted the tokens.")
    if row.outcome == "killed":
        notes.append("The process was killed while the request ran: its input is counted, its output is not known.")
    if not row.attempts:
        notes.append("No provider was asked: nothing was charged.")
    return notes
