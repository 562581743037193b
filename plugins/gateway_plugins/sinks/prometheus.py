"""Counts every exchange for `/metrics`.

    - use: sink.prometheus

Without it `/metrics` shows the process only. What is counted, under which names, is in `gateway.metrics`.
"""

from typing import TYPE_CHECKING, Final

from prometheus_client import Counter, Histogram

from gateway import Exchange, QuotaExceeded, RateLimited, Usage, hookimpl

if TYPE_CHECKING:
    from gateway import Gateway
    from gateway.metrics import Metrics

_KINDS: Final = ("input", "output", "cached", "cache_write", "reasoning")


class PrometheusSink:
    """Adds each finished exchange to the process's metrics."""

    name = "sink.prometheus"

    def __init__(self) -> None:
        # Looking a child up by labels costs more than counting: the few combinations are kept.
        self._targets: dict[tuple[str, str, str], _Target] = {}
        self._attempts: dict[tuple[str, str], Counter] = {}

    @hookimpl
    async def startup(self, gateway: "Gateway") -> None:
        """The metrics are the process's, so that they outlive a reload."""
        self._metrics = gateway.metrics

    @hookimpl
    async def on_usage(self, exchange: Exchange) -> None:
        """Count one exchange."""
        labels = (exchange.endpoint, exchange.model, exchange.target.provider.name if exchange.target else "none")
        target = self._targets.get(labels)
        if target is None:
            target = self._targets[labels] = _Target(self._metrics, *labels)
        target.count(exchange)
        if exchange.attempts:
            self._metrics.overhead.observe(exchange.overhead)
            self._tried(exchange)
            target.spent(exchange)
        if "triggered" in exchange.internal:
            for rule, action in exchange.internal["triggered"]:
                self._metrics.guardrail_triggers.labels(rule, action).inc()
        if exchange.error is not None:
            self._error(exchange)

    def _tried(self, exchange: Exchange) -> None:
        for attempt in exchange.attempts:
            tried = (attempt.provider, attempt.outcome)
            counter = self._attempts.get(tried)
            if counter is None:
                counter = self._attempts[tried] = self._metrics.attempts.labels(*tried)
            counter.inc()

    def _error(self, exchange: Exchange) -> None:
        error = exchange.error
        self._metrics.errors.labels(exchange.endpoint, type(error).__name__).inc()
        if isinstance(error, RateLimited | QuotaExceeded):
            self._metrics.limit_hits.labels("rate" if isinstance(error, RateLimited) else "cost").inc()


class _Target:
    """The counters of one endpoint, model and provider."""

    def __init__(self, metrics: "Metrics", endpoint: str, model: str, provider: str) -> None:
        self._metrics = metrics
        self._labels = (endpoint, model, provider)
        self._latency: Histogram = metrics.latency.labels(*self._labels)
        self._first_byte: Histogram = metrics.first_byte.labels(*self._labels)
        self._requests: dict[int, Counter] = {}
        self._costs: dict[str, Counter] = {}
        self._tokens: dict[str, Counter] = {kind: metrics.tokens.labels(kind, model, provider) for kind in _KINDS}

    def count(self, exchange: Exchange) -> None:
        """That there was one, and how long it took."""
        status, started = exchange.http_status, exchange.started
        counter = self._requests.get(status)
        if counter is None:
            counter = self._metrics.requests.labels(*self._labels, str(status or exchange.outcome))
            if status:
                self._requests[status] = counter
        counter.inc()
        self._latency.observe(0.0 if exchange.finished is None else exchange.finished - started)
        if exchange.first_byte is not None:
            self._first_byte.observe(exchange.first_byte - started)

    def spent(self, exchange: Exchange) -> None:
        """Its tokens and its cost."""
        if exchange.usage is not None:
            self._used(exchange.usage)
        _, model, provider = self._labels
        if exchange.cost:
            tenant = self._metrics.tenant(exchange.caller.tenant) if exchange.caller else ""
            counter = self._costs.get(tenant)
            if counter is None:
                counter = self._costs[tenant] = self._metrics.cost.labels(model, provider, tenant)
            counter.inc(exchange.cost / 1e9)
        elif exchange.target is not None and exchange.target.price is None and not exchange.target.free:
            self._metrics.unpriced.labels(model, provider).inc()

    def _used(self, usage: Usage) -> None:
        tokens = self._tokens
        if usage.input > 0:
            tokens["input"].inc(usage.input)
        if usage.output > 0:
            tokens["output"].inc(usage.output)
        if usage.cached > 0:
            tokens["cached"].inc(usage.cached)
        if usage.cache_write > 0:
            tokens["cache_write"].inc(usage.cache_write)
        if usage.reasoning > 0:
            tokens["reasoning"].inc(usage.reasoning)
