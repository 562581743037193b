"""Metrics are named as documented, bounded, and the same over one process or several."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.metrics import MAX_TENANTS, Metrics, prepare
from gateway.money.drain import Lag

NAMES = {
    "ai_gateway_requests_total", "ai_gateway_tokens_total", "ai_gateway_cost_dollars_total",
    "ai_gateway_request_latency_seconds", "ai_gateway_time_to_first_token_seconds", "ai_gateway_overhead_seconds",
    "ai_gateway_attempts_total", "ai_gateway_errors_total", "ai_gateway_rate_limit_hits_total",
    "ai_gateway_unpriced_requests_total", "ai_gateway_unauthenticated_total", "ai_gateway_config_reload_total",
    "ai_gateway_sink_dropped_total", "ai_gateway_active_requests", "ai_gateway_journal_waiting_rows",
    "ai_gateway_journal_waiting_bytes", "ai_gateway_disk_free_bytes", "ai_gateway_idempotent_replays_total", "ai_gateway_budget_reserved_dollars", "ai_gateway_shared_state_away", "ai_gateway_build_info",
    "ai_gateway_guardrail_triggers_total", "ai_gateway_guardrail_calls_total", "ai_gateway_guardrail_cost_dollars_total",
    "ai_gateway_tenant_budget_usage_ratio",
    "ai_gateway_upstream_ready",
    "ai_gateway_upstream_ratelimit_limit", "ai_gateway_upstream_ratelimit_remaining",
}

WORKER = """
import sys
from pathlib import Path
from gateway.metrics import Metrics, SUPERVISOR
from gateway.money.drain import Lag
what, slot = sys.argv[2], int(sys.argv[3])
metrics = Metrics(Path(sys.argv[1]), slot=slot, workers=2)
if what == "count":
    for _ in range(int(sys.argv[4])):
        metrics.requests.labels("chat", "m", "p", "200").inc()
        metrics.latency.labels("chat", "m", "p").observe(0.3)
    metrics.active.inc(2)
if what == "stores":
    metrics.stores(Lag(7, 700), 2_500_000_000)
if what == "render":
    sys.stdout.buffer.write(metrics.render()[0])
"""


@pytest.fixture
def metrics(tmp_path):
    return Metrics(tmp_path)


def worker(directory, *args):
    """Run one process with metrics of its own, to its end."""
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(directory), *map(str, args)], check=True, capture_output=True,
        env={"PYTHONPATH": str(Path(__file__).parents[1])}, timeout=120,
    )
    return done.stdout.decode()


def value(page, line):
    """The value of a series."""
    found = re.search(rf"^{re.escape(line)} (\S+)$", page, re.MULTILINE)
    assert found, f"{line} is not in\n{page}"
    return float(found[1])


def test_the_page_has_every_documented_name_and_no_other(metrics):
    page, content_type = metrics.render()
    assert set(re.findall(r"^# TYPE (\S+)", page.decode(), re.MULTILINE)) == NAMES
    assert content_type.startswith("text/plain")


def test_no_label_is_a_key_or_a_user(metrics):
    labels = {name for collector in vars(metrics).values() for name in getattr(collector, "_labelnames", ())}
    assert labels == {
        "endpoint", "model", "provider", "status", "type", "tenant_id", "outcome", "error", "limit", "result", "plugin",
        "hook", "rule", "action", "guardrail", "unit",
    }


def test_the_tenants_beyond_200_are_one(metrics):
    labels = {metrics.tenant(f"t{n}") for n in range(1000)}
    assert len(labels) == MAX_TENANTS + 1
    assert "other" in labels
    assert metrics.tenant("t5") == "t5"


def test_standings_of_the_stores_are_shown_in_base_units(metrics):
    metrics.stores(Lag(3, 300), 1_500_000_000)
    page = metrics.render()[0].decode()
    assert value(page, "ai_gateway_journal_waiting_rows") == 3
    assert value(page, "ai_gateway_journal_waiting_bytes") == 300
    assert value(page, "ai_gateway_budget_reserved_dollars") == 1.5


def test_a_failure_of_a_plugin_is_counted(metrics):
    metrics.dropped("sink.log", "on_usage")
    page = metrics.render()[0].decode()
    assert value(page, 'ai_gateway_sink_dropped_total{hook="on_usage",plugin="sink.log"}') == 1


def test_workers_add_up_and_a_replacement_goes_on_counting(tmp_path):
    prepare(tmp_path)
    worker(tmp_path, "count", 0, 3)
    worker(tmp_path, "count", 1, 4)
    worker(tmp_path, "count", 0, 10)  # the replacement of the first
    worker(tmp_path, "stores", -1)
    page = worker(tmp_path, "render", 1)
    series = '{endpoint="chat",model="m",provider="p",status="200"}'
    assert value(page, f"ai_gateway_requests_total{series}") == 17
    assert value(page, 'ai_gateway_request_latency_seconds_count{endpoint="chat",model="m",provider="p"}') == 17
    assert value(page, "ai_gateway_journal_waiting_rows") == 7
    assert value(page, "ai_gateway_budget_reserved_dollars") == 2.5
    # Slot 1 was made anew to render: what its predecessor had open is gone with it.
    assert value(page, "ai_gateway_active_requests") == 2
    assert page.count("\nai_gateway_build_info{") == 1


def test_a_new_run_starts_from_nothing(tmp_path):
    prepare(tmp_path)
    worker(tmp_path, "count", 0, 3)
    prepare(tmp_path)
    assert "ai_gateway_requests_total{" not in worker(tmp_path, "render", 0)
    assert (tmp_path / "metrics").stat().st_mode & 0o777 == 0o700


def test_tenants_budgets_are_shown_as_ratios(metrics):
    metrics.tenant_budgets({"acme": 0.25})
    assert value(metrics.render()[0].decode(), 'ai_gateway_tenant_budget_usage_ratio{tenant_id="acme"}') == 0.25
