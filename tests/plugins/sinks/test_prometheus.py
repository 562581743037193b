"""The Prometheus sink counts every kind of end, under bounded labels."""

import time

import pytest

from gateway.errors import QuotaExceeded, RateLimited, UpstreamCut
from gateway_plugins.sinks.prometheus import PrometheusSink

LABELS = 'endpoint="chat.completions",model="small",provider="demo"'


async def test_an_exchange_is_counted_under_bounded_labels(place, exchange):
    sink = await place.start(PrometheusSink())
    await sink.on_usage(exchange())
    got = place.series()
    assert got[f'requests_total{{{LABELS},status="200"}}'] == 1
    tokens = {kind: got.get(f'tokens_total{{model="small",provider="demo",type="{kind}"}}', 0)
              for kind in ("input", "output", "cached", "reasoning", "cache_write")}
    assert tokens == {"input": 100, "output": 50, "cached": 40, "reasoning": 10, "cache_write": 0}
    assert got['cost_dollars_total{model="small",provider="demo",tenant_id="acme"}'] == pytest.approx(0.0001825)
    assert got['attempts_total{outcome="ok",provider="demo"}'] == 1
    assert got[f"request_latency_seconds_sum{{{LABELS}}}"] == pytest.approx(1.0)
    assert got[f"time_to_first_token_seconds_sum{{{LABELS}}}"] == pytest.approx(0.2)
    assert got["overhead_seconds_sum"] == pytest.approx(0.0004)
    assert not any("k1" in name or "alias" in name for name in got)


@pytest.mark.parametrize(("error", "limit"), [(RateLimited("no"), "rate"), (QuotaExceeded("no"), "cost")])
async def test_a_refusal_by_a_limit_is_counted_and_no_attempt(place, error, limit, refused):
    sink = await place.start(PrometheusSink())
    await sink.on_usage(refused(error))
    got = place.series()
    assert got[f'rate_limit_hits_total{{limit="{limit}"}}'] == 1
    assert got[f'errors_total{{endpoint="chat.completions",error="{type(error).__name__}"}}'] == 1
    assert not any(name.startswith(("attempts", "overhead", "unpriced")) for name in got)


async def test_an_error_of_the_upstream_is_counted_by_its_kind_never_by_its_text(place, exchange):
    sink = await place.start(PrometheusSink())
    await sink.on_usage(exchange(error=UpstreamCut("cut", code="made-up-by-upstream"), outcome="upstream_cut"))
    got = place.series()
    assert got['errors_total{endpoint="chat.completions",error="UpstreamCut"}'] == 1
    assert not any("made-up" in name for name in got)


async def test_an_unpriced_request_is_counted_and_a_free_one_is_not(place, exchange, target):
    sink = await place.start(PrometheusSink())
    for free in (False, True):
        await sink.on_usage(exchange(cost=0, target=target(free)))
    assert place.series()['unpriced_requests_total{model="small",provider="demo"}'] == 1


async def test_a_client_that_went_before_any_status_is_counted_by_its_outcome(place, exchange):
    sink = await place.start(PrometheusSink())
    await sink.on_usage(exchange(http_status=0, outcome="client_closed"))
    assert place.series()[f'requests_total{{{LABELS},status="client_closed"}}'] == 1


async def test_counts_go_on_after_a_reload_made_new_sinks(place, exchange):
    for _ in range(2):
        await (await place.start(PrometheusSink())).on_usage(exchange())
    assert place.series()[f'requests_total{{{LABELS},status="200"}}'] == 2


async def test_counting_costs_a_few_microseconds(place, exchange):
    """The bound is loose, for busy machines: 9 us were measured with one worker, 17 with several."""
    sink, one, best = await place.start(PrometheusSink()), exchange(), 1.0
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(500):
            await sink.on_usage(one)
        best = min(best, (time.perf_counter() - began) / 500)
    assert best < 200e-6


async def test_a_guardrails_verdict_is_counted_once_for_an_exchange(place, exchange):
    sink = await place.start(PrometheusSink())
    seen = exchange()
    seen.internal["triggered"] = {("no-hosts", "redact")}
    await sink.on_usage(seen)
    assert place.series()['guardrail_triggers_total{action="redact",rule="no-hosts"}'] == 1
