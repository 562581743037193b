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
        self._requests: dict[tuple[str, str, str, int], Counter] = {}
        self._targets: dict[tuple[str, str, str], _Target] = {}
        self._costs: dict[tuple[str, str, str], Counter] = {}
        self._attempts: dict[tuple[str, str], Counter] = {}

    @hookimpl
    async def startup(self, gateway: "Gateway") -> None:
        """The metrics are the process's, so that they outlive a reload."""
        self._metrics = gateway.metrics

    @hookimpl
    async def on_usage(self, exchange: Exchange) -> None:
        """Count one exchange."""
        provider = exchange.target.provider.name if exchange.target else "none"
        endpoint, model = exchange.endpoint, exchange.model
        self._request(endpoint, model, provider, exchange)
        target = self._targets.get((endpoint, model, provider))
        if target is None:
            target = self._targets[endpoint, model, provider] = _Target(self._metrics, endpoint, model, provider)
        finished = exchange.started if exchange.finished is None else exchange.finished
        target.latency.observe(finished - exchange.started)
        if exchange.first_byte is not None:
            target.first_byte.observe(exchange.first_byte - exchange.started)
        if exchange.attempts:
            self._metrics.overhead.observe(exchange.overhead)
            self._spent(exchange, target, model, provider)
        for rule, action in exchange.internal.get("triggered", ()):
            self._metrics.guardrail_triggers.labels(rule, action).inc()
        if exchange.error is not None:
            self._error(exchange)

    def _request(self, endpoint: str, model: str, provider: str, exchange: Exchange) -> None:
        key = (endpoint, model, provider, exchange.http_status)
        counter = self._requests.get(key)
        if counter is None:
            status = str(exchange.http_status or exchange.outcome)
            counter = self._metrics.requests.labels(endpoint, model, provider, status)
            if exchange.http_status:
                self._requests[key] = counter
        counter.inc()

    def _spent(self, exchange: Exchange, target: "_Target", model: str, provider: str) -> None:
        for attempt in exchange.attempts:
            tried = (attempt.provider, attempt.outcome)
            counter = self._attempts.get(tried)
            if counter is None:
                counter = self._attempts[tried] = self._metrics.attempts.labels(*tried)
            counter.inc()
        if exchange.usage is not None:
            target.count(exchange.usage)
        if exchange.cost:
            self._cost(exchange, model, provider)
        elif exchange.target is not None and exchange.target.price is None and not exchange.target.free:
            self._metrics.unpriced.labels(model, provider).inc()

    def _cost(self, exchange: Exchange, model: str, provider: str) -> None:
        tenant = self._metrics.tenant(exchange.caller.tenant) if exchange.caller else ""
        key = (model, provider, tenant)
        counter = self._costs.get(key)
        if counter is None:
            counter = self._costs[key] = self._metrics.cost.labels(*key)
        counter.inc(exchange.cost / 1e9)

    def _error(self, exchange: Exchange) -> None:
        error = exchange.error
        self._metrics.errors.labels(exchange.endpoint, type(error).__name__).inc()
        if isinstance(error, RateLimited | QuotaExceeded):
            self._metrics.limit_hits.labels("rate" if isinstance(error, RateLimited) else "cost").inc()


class _Target:
    """The counters of one endpoint, model and provider."""

    def __init__(self, metrics: "Metrics", endpoint: str, model: str, provider: str) -> None:
        self.latency: Histogram = metrics.latency.labels(endpoint, model, provider)
        self.first_byte: Histogram = metrics.first_byte.labels(endpoint, model, provider)
        self._tokens: dict[str, Counter] = {kind: metrics.tokens.labels(kind, model, provider) for kind in _KINDS}

    def count(self, usage: Usage) -> None:
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
