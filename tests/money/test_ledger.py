"""The row of an exchange: complete, and storable whatever the client and the upstream sent."""

import time
from types import SimpleNamespace

from gateway.errors import RateLimited
from gateway.events import Usage
from gateway.exchange import Attempt, Caller, Exchange, Price, Request, Target
from gateway.money import ledger
from gateway.money.ledger import AttemptRow, LedgerRow


def exchange(**fields: object) -> Exchange:
    made = Exchange("r1", "chat/completions", SimpleNamespace(name="openai.chat"), {}, 1_700_000_000_000)
    made.caller = Caller(tenant="acme", key="k1", key_name="n", owner="u1", environment="test")
    made.request = Request(raw=b"{}", body={}, model="fast")
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def target(price: Price | None = None, *, free: bool = False) -> Target:
    return Target(provider=SimpleNamespace(name="openai"), model="gpt", price=price, free=free)


def test_a_finished_exchange_gives_a_complete_row():
    usage = Usage(input=10, output=5, cached=3, cache_write=1, reasoning=2)
    done = exchange(target=target(Price(1, 2, 1, 1, "v7")), usage=usage, cost=42, http_status=200, streamed=True)
    done.started = 100.0
    done.first_byte, done.finished, done.overhead = 100.25, 101.5, 0.0005
    done.attempts = [
        Attempt("azure", "gpt", "upstream_error", 500, "boom", 0.1),
        Attempt("openai", "gpt", "ok", 200, None, 1.2, usage, 42),
    ]
    assert ledger.row(done) == LedgerRow(
        id="r1", ts_ms=1_700_000_000_000, tenant="acme", key="k1", key_name="n", owner="u1", environment="test",
        endpoint="chat/completions", model="fast", provider="openai", target_model="gpt", outcome="ok",
        http_status=200, streamed=True, input=10, output=5, cached=3, cache_write=1, reasoning=2, cost=42,
        price_version="v7", ttfb_us=250_000, duration_us=1_500_000, overhead_us=500,
        attempts=(
            AttemptRow("azure", "gpt", "upstream_error", 500, "boom", 100_000),
            AttemptRow("openai", "gpt", "ok", 200, None, 1_200_000, 10, 5, 3, 1, 2, cost=42),
        ),
    )  # fmt: skip


def test_a_refused_exchange_has_a_row_without_target_or_first_byte():
    refused = exchange(outcome="refused", http_status=429, error=RateLimited("slow down"), request=None)
    row = ledger.row(refused)
    assert (row.outcome, row.http_status, row.error) == ("refused", 429, "rate_limit_exceeded")
    assert (row.provider, row.model, row.ttfb_us, row.cost, row.attempts) == ("", "", None, 0, ())
    assert row.duration_us <= (time.monotonic() - refused.started) * 1e6 + 1


def test_unpriced_is_a_used_target_without_a_price_that_is_not_free():
    tried = [Attempt("openai", "gpt", "ok")]
    assert ledger.row(exchange(target=target(), attempts=tried)).unpriced
    assert not ledger.row(exchange(target=target(), attempts=[])).unpriced
    assert not ledger.row(exchange(target=target(free=True), attempts=tried)).unpriced
    assert not ledger.row(exchange(target=target(Price(0, 0, 0, 0, "v")), attempts=tried)).unpriced


def test_what_no_database_can_store_is_made_storable():
    wild = exchange(
        request=Request(raw=b"", body={}, model="m\0\udc80" + "x" * 1000),
        usage=Usage(input=10**40, output=-5), cost=10**40,
    )  # fmt: skip
    row = ledger.row(wild)
    assert row.model == "m\ufffd?" + "x" * 253
    assert (row.input, row.output, row.cost) == (1 << 53, 0, 1 << 53)


def test_values_and_rows_are_each_others_inverse():
    row = LedgerRow("r", 1, "t", "k", streamed=True, attempts=(AttemptRow("p", "m", "ok", estimated=True),))
    attempts = [values[2:] for values in ledger.attempt_values(row)]
    assert ledger.from_values(ledger.exchange_values(row), attempts) == row


def test_days_are_utc():
    assert ledger.day(1_700_006_399_999) == "2023-11-14"
    assert ledger.day(1_700_006_400_000) == "2023-11-15"
