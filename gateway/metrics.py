"""The metrics of a process: what they are called, and `/metrics` over all workers.

With several workers each writes its values to files of its slot in `data_dir/metrics`, so that a replacement goes on
counting where its predecessor was killed, and whoever is asked adds them up. Labels are bounded: models and providers
are configured names, tenants are capped, keys and users never appear. Money is read from the ledger; these counters
live as long as the gateway runs.
"""

import os
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, Literal

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client import disable_created_metrics as _without_created
from prometheus_client.multiprocess import MultiProcessCollector

from gateway.money.drain import Lag

SUPERVISOR: Final = -1  # the slot of the process that owns the database, when it is no worker
MAX_TENANTS: Final = 200

_LONG: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300)
_SHORT: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1)
_OverWorkers = Literal["sum", "max", "mostrecent"]
_BY_TARGET: Final = ("endpoint", "model", "provider")
_LIMITED: Final = ("provider", "model", "unit")


def prepare(data_dir: Path) -> None:
    """Forget the values of the last run. The supervisor calls it once, before any worker starts."""
    directory = data_dir / "metrics"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file in directory.glob("*.db"):
        file.unlink()


class Metrics:
    """All metrics. Make one in a process; with one worker they are in memory."""

    def __init__(self, data_dir: Path, *, slot: int = 0, workers: int = 1) -> None:
        self._directory = data_dir / "metrics" if workers > 1 else None
        self._registry = CollectorRegistry()
        self._tenants: set[str] = set()
        _choose_values(self._directory, slot)
        self._of_exchanges()
        self._of_the_process()

    def render(self) -> tuple[bytes, str]:
        """The page for Prometheus, summed over all workers, and its content type."""
        registry = self._registry
        if self._directory is not None:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, str(self._directory))  # type: ignore[no-untyped-call]
        return generate_latest(registry), CONTENT_TYPE_LATEST

    def tenant(self, name: str) -> str:
        """The label for a tenant: its name for the first 200, then `other`."""
        if name not in self._tenants:
            if len(self._tenants) >= MAX_TENANTS:
                return "other"
            self._tenants.add(name)
        return name

    def stores(self, lag: Lag, reserved: int, *, state_away: bool = False) -> None:
        """What waits for the database, and the sum of open reservations in nano-dollars. From the database's owner."""
        self.state_away.set(state_away)
        self.journal_rows.set(lag.rows)
        self.journal_bytes.set(lag.bytes)
        self.reserved.set(reserved / 1e9)

    def tenant_budgets(self, used: Mapping[str, float]) -> None:
        """Spent and reserved of each tenant's monthly limit, as a share of it. From the database's owner."""
        for name, share in used.items():
            self.tenant_budget.labels(self.tenant(name)).set(share)

    def upstream_limit(self, provider: str, model: str, unit: str, limit: int | None, remaining: int) -> None:
        """What an upstream says of one of its own limits."""
        self.upstream_remaining.labels(provider, model, unit).set(remaining)
        if limit is not None:
            self.upstream_limits.labels(provider, model, unit).set(limit)

    def dropped(self, plugin: str, hook: str) -> None:
        """A plugin failed where no caller sees it."""
        self.sink_dropped.labels(plugin, hook).inc()

    def _of_exchanges(self) -> None:
        count, spread = self._counter, self._histogram
        self.requests = count("requests", "Finished requests.", (*_BY_TARGET, "status"))
        tokens = "Tokens as billed; cached, cache_write and reasoning are parts of input or output."
        self.tokens = count("tokens", tokens, ("type", "model", "provider"))
        self.cost = count("cost_dollars", "Cost in dollars.", ("model", "provider", "tenant_id"))
        self.latency = spread("request_latency_seconds", "From a request's headers to its end.", _BY_TARGET, _LONG)
        self.first_byte = spread("time_to_first_token_seconds", "Until the target's first byte.", _BY_TARGET, _LONG)
        self.overhead = spread("overhead_seconds", "Spent in the gateway before the first attempt.", (), _SHORT)
        self.attempts = count("attempts", "Tries at targets.", ("provider", "outcome"))
        self.errors = count("errors", "Requests that ended with an error, by its kind.", ("endpoint", "error"))
        self.limit_hits = count("rate_limit_hits", "Requests refused by a limit: rate or cost.", ("limit",))
        guarded = "Requests in which a guardrail warned, redacted or blocked."
        self.guardrail_triggers = count("guardrail_triggers", guarded, ("rule", "action"))
        self.judge_calls = count("guardrail_calls", "Texts that services outside judged.", ("guardrail", "outcome"))
        paid = "What services outside cost for judging, where their price is configured."
        self.judge_cost = count("guardrail_cost_dollars", paid, ("guardrail",))
        again = "Requests with an Idempotency-Key that were answered again, without a call upstream."
        self.replays = count("idempotent_replays", again, ())
        self.unpriced = count("unpriced_requests", "Requests to targets without a price.", ("model", "provider"))

    def _of_the_process(self) -> None:
        count, gauge = self._counter, self._gauge
        self.unauthenticated = count("unauthenticated", "Requests refused for want of a valid credential.", ())
        self.reloads = count("config_reload", "Reloads of the configuration: ok or refused.", ("result",))
        self.sink_dropped = count("sink_dropped", "Failures of plugins that no caller saw.", ("plugin", "hook"))
        self.active = gauge("active_requests", "Requests under way.", (), "sum")
        self.journal_rows = gauge("journal_waiting_rows", "Rows that wait for the database.", (), "mostrecent")
        self.journal_bytes = gauge("journal_waiting_bytes", "Bytes that wait for the database.", (), "mostrecent")
        self.disk_free = gauge("disk_free_bytes", "Free on the disk of the data directory.", (), "mostrecent")
        self.reserved = gauge("budget_reserved_dollars", "Open reservations.", (), "mostrecent")
        away = "1 while the shared state cannot be reached, and each process has its share of the limits."
        self.state_away = gauge("shared_state_away", away, (), "mostrecent")
        share = "Spent and reserved of a tenant's monthly cost limit, as a share of it."
        self.tenant_budget = gauge("tenant_budget_usage_ratio", share, ("tenant_id",), "mostrecent")
        limits, rest = "A limit of an upstream's, as it told.", "What of it is left, as the upstream told."
        self.upstream_limits = gauge("upstream_ratelimit_limit", limits, _LIMITED, "mostrecent")
        self.upstream_remaining = gauge("upstream_ratelimit_remaining", rest, _LIMITED, "mostrecent")
        ready = "1 where a provider's server was found ready, 0 where not."
        self.upstream_ready = gauge("upstream_ready", ready, ("provider",), "mostrecent")
        gauge("build_info", "The running version.", ("version",), "max").labels(_version()).set(1)
        self.active.set(0)  # a killed predecessor may have left its own number

    def _counter(self, name: str, text: str, labels: tuple[str, ...]) -> Counter:
        return _Counter(f"ai_gateway_{name}", text, labels, registry=self._registry)

    def _histogram(self, name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> Histogram:
        return _Histogram(f"ai_gateway_{name}", text, labels, buckets=buckets, registry=self._registry)

    def _gauge(self, name: str, text: str, labels: tuple[str, ...], over_workers: _OverWorkers) -> Gauge:
        return Gauge(f"ai_gateway_{name}", text, labels, registry=self._registry, multiprocess_mode=over_workers)


class _Counter(Counter):
    """The library's, without its checks at each count: a dozen counts are made for each request."""

    def inc(self, amount: float = 1, exemplar: dict[str, str] | None = None) -> None:  # noqa: ARG002
        self._value.inc(amount)

    def _metric_init(self) -> None:
        super()._metric_init()
        if isinstance(self._value, _Number):  # one call instead of two
            self.inc = self._value.inc  # type: ignore[method-assign, assignment]


class _Histogram(Histogram):
    """The same for what is spread over buckets."""

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:  # noqa: ARG002
        self._sum.inc(amount)
        self._buckets[bisect_left(self._upper_bounds, amount)].inc(1)

    def _metric_init(self) -> None:
        super()._metric_init()
        if isinstance(self._sum, _Number):
            self.observe = _spread(self._sum, self._buckets, self._upper_bounds)  # type: ignore[method-assign, assignment]


class _Number:
    """A value in the memory of one worker. No lock: only the event loop's thread counts."""

    __slots__ = ("_value",)
    _multiprocess = False  # the library asks

    def __init__(self, *_: object, **__: object) -> None:
        self._value = 0.0

    def inc(self, amount: float = 1) -> None:
        self._value += amount

    def set(self, value: float, timestamp: float | None = None) -> None:  # noqa: ARG002
        self._value = value

    def get(self) -> float:
        return self._value

    def get_exemplar(self) -> None:
        """There are none."""


def _spread(total: _Number, buckets: Sequence[_Number], bounds: Sequence[float]) -> Callable[[float], None]:
    """`observe` on numbers in memory."""

    def observe(amount: float) -> None:
        total._value += amount
        buckets[bisect_left(bounds, amount)]._value += 1

    return observe


def _choose_values(directory: Path | None, slot: int) -> None:
    """Where values are kept is one setting of the library for the whole process, read when a metric is made."""
    _without_created()  # type: ignore[no-untyped-call]
    kind: Callable[..., object] = _Number
    if directory is not None:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
        kind = values.MultiProcessValue(process_identifier=lambda: slot)  # type: ignore[no-untyped-call]
    values.ValueClass = kind


def _version() -> str:
    try:
        return version("ai-gateway")
    except PackageNotFoundError:
        return "unknown"
