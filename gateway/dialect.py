"""The role of a wire format that clients speak: what the gateway asks of it. The formats are in `dialects/`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec

from gateway.errors import GatewayError
from gateway.events import Event, Usage
from gateway.exchange import Request
from gateway.framing import Framing


class RateStanding(msgspec.Struct, frozen=True):
    """A limit for the reply's headers: `unit` is requests or tokens; `reset` in seconds."""

    unit: str
    limit: int
    remaining: int
    reset: float


class Tap(Protocol):
    """Watches a stream on its way for what the ledger needs.

    `records` and `text_bytes` are for estimates; `last` is the terminal record, held back until the books are closed.
    """

    usage: Usage | None
    error: str | None
    last: bytes
    done: bool
    records: int
    text_bytes: int

    @property
    def complete(self) -> bool:
        """Whether the stream may end here."""

    @property
    def between_records(self) -> bool:
        """Whether what was sent so far ends at a record boundary."""

    def feed(self, data: bytes) -> bytes:
        """Take bytes as read; returns the bytes to send now."""

    def rest(self) -> bytes:
        """At the upstream's end: bytes that were not sent yet."""

    def fail(self, error: GatewayError) -> bytes:
        """The record that ends the stream with an error, where the tap knows better than `Dialect.error_event`."""


@runtime_checkable
class Dialect(Protocol):
    """A wire format that clients speak. Pure: bytes and JSON in, values out. Errors: `InvalidRequest`.

    `generates` says whether the model writes (an output cap applies), `id_header` names a reply's request id.
    For guardrails a dialect may have more: `stopped(error, request_id, record, choices, usage, sent=…) -> bytes`, the
    records that properly end a stream that was stopped; `sealed_parts`, the parts of answers that providers sign, to be
    passed or withheld whole; and `parts_are_independent`, where records of different parts may change places.
    """

    name: str
    framing: Framing
    generates: bool
    id_header: str

    def decode(self, raw: bytes, body: dict[str, Any], params: Mapping[str, str] = ...) -> Request:
        """Check the fields that stages need and pick them out. `params` are those of the path."""

    def changes(self, request: Request, model: str, cap: int | None) -> dict[str, Any]:
        """Top-level fields to set for a target of this dialect: the model's name, an output cap, asking for usage."""

    def tap(self, request: Request, *, whole: bool, scrub: Callable[[bytes], bytes]) -> Tap:
        """For one stream of this dialect. `whole` sends whole records only; `scrub` takes credentials out of errors."""

    def reported(self, body: bytes) -> Usage | None:
        """The usage of an unstreamed reply. Raises `msgspec.DecodeError` or `UnicodeDecodeError` for no JSON."""

    def counted(self, tokens: int) -> bytes | None:
        """The whole reply to a request that only counts tokens, of which about `tokens` were found; else `None`."""

    def texts(self, request: Request) -> list[str]:
        """All text that the model would read."""

    def map_texts(self, request: Request, change: Callable[[str, str], str]) -> Request:
        """The request with each such text replaced by `change(text, part)`; the same object if none changed."""

    def map_reply_texts(self, body: bytes, change: Callable[[str, str], str]) -> bytes:
        """The same for an unstreamed reply."""

    def events(self, record: bytes) -> list[Event]:
        """What one record of a stream says, each event with its `Record`."""

    def encode(self, event: Event) -> bytes:
        """A record with this event alone, made from the one it came in: nothing of that one's other texts."""

    def head(self, error: GatewayError) -> tuple[int, Mapping[str, str]]:
        """The status of an HTTP error, and headers of this dialect alone."""

    def is_error(self, body: bytes) -> bool:
        """Whether an upstream's error already has the shape that clients of the dialect read."""

    def error(self, error: GatewayError, request_id: str) -> bytes:
        """The body of an HTTP error."""

    def error_event(self, error: GatewayError, request_id: str) -> bytes:
        """The record that ends a stream with an error."""

    def rate_headers(self, standings: Sequence[RateStanding]) -> dict[str, str]:
        """Rate-limit headers as clients of this dialect read them."""
