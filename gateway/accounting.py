"""Closes the books on an exchange: usage, cost, outcome, and `on_usage`, exactly once, whatever happened."""

import asyncio
import time

import msgspec
import structlog

from gateway.errors import GatewayError, InternalError, Unavailable, UpstreamError
from gateway.events import Usage
from gateway.exchange import Attempt, Exchange, Outcome, Target
from gateway.metrics import Metrics
from gateway.money.cost import bill
from gateway.money.estimate import Estimator, counted_input, output_tokens

_log = structlog.get_logger("gateway.accounting")


class Accounting:
    """The books of one process. `expired` is true once the drain's time is over: then a cancel means shutdown."""

    def __init__(self, estimator: Estimator, metrics: Metrics) -> None:
        self.active: dict[str, Exchange] = {}
        self.expired = False
        self.estimator = estimator
        self._metrics = metrics

    def open(self, exchange: Exchange, task: "asyncio.Task[None] | None" = None) -> None:
        """An exchange has begun. `task` is the one that serves it, where that is not this one."""
        exchange.internal["estimator"] = self.estimator
        exchange.internal["task"] = task or asyncio.current_task()
        self.active[exchange.id] = exchange

    def show(self) -> None:
        """Bring the gauge of running requests up to date: done now and then, a request should not pay for it."""
        self._metrics.active.set(len(self.active))

    def expire(self) -> None:
        """The drain's time is over: end every running exchange, each with an error that its client can read."""
        self.expired = True
        for exchange in list(self.active.values()):
            exchange.internal["task"].cancel()

    def attempted(self, exchange: Exchange, target: Target, error: GatewayError, since: float) -> None:
        """An attempt failed before anything was sent to the client: note it with its outcome."""
        exchange.attempts.append(
            Attempt(
                provider=target.provider.name, model=target.model, outcome=self.outcome_of(error),
                status=error.status, error=error.code,
                duration=time.monotonic() - since,
            )
        )

    async def close(self, exchange: Exchange) -> None:
        """Settle and record; a second call does nothing. Runs to its end even while the client's going cancels it."""
        if exchange.finished is None:
            exchange.finished = time.monotonic()
            await self._close(exchange)

    async def _close(self, exchange: Exchange) -> None:
        try:
            if "on_close" in exchange.internal:
                await self._note(exchange)
        finally:  # whatever became of that, the exchange is recorded
            await self._record(exchange)

    async def _note(self, exchange: Exchange) -> None:
        try:
            await exchange.internal["on_close"](exchange)
        except GatewayError as error:
            _log.error("what an exchange made could not be noted", request_id=exchange.id, error=error.message)

    async def _record(self, exchange: Exchange) -> None:
        try:
            self._last_attempt(exchange)
            if exchange.caller is not None:
                await exchange.internal["plugins"].on_usage(exchange)
            else:
                self._metrics.unauthenticated.inc()
        finally:
            self.active.pop(exchange.id, None)

    def _last_attempt(self, exchange: Exchange) -> None:
        """The attempt that answered: its usage as reported, or estimated from what came, and its cost."""
        since = exchange.internal.get("attempt_started")
        target = exchange.target
        if since is None or target is None:
            return
        usage = _usage(exchange, self.estimator)
        duration = time.monotonic() - since
        cost, lines = bill(target.price, usage, exchange.started_ms, duration) if target.price is not None else (0, "")
        exchange.usage = usage
        exchange.cost += cost
        exchange.attempts.append(
            Attempt(
                provider=target.provider.name, model=target.model, outcome=exchange.outcome,
                status=exchange.internal.get("upstream_status", 0),
                error=exchange.error.code if exchange.error is not None else None,
                duration=duration, usage=usage, cost=cost, lines=lines,
            )
        )
        self.estimator.learn(exchange)

    def outcome_of(self, error: GatewayError) -> Outcome:
        """The ledger's word for an error."""
        if isinstance(error, UpstreamError):
            outcome: Outcome = error.outcome  # type: ignore[assignment]
            return outcome
        if isinstance(error, InternalError):
            return "internal_error"
        if isinstance(error, Unavailable) and self.expired:
            return "shutdown"
        return "refused"

    def defect(self, exchange: Exchange, error: BaseException) -> None:
        """Log a defect of ours; the client gets only the request id."""
        _log.error("defect in the request path", request_id=exchange.id, endpoint=exchange.endpoint, exc_info=error)


def _usage(exchange: Exchange, estimator: Estimator) -> Usage:
    """Reported tokens where the provider's last word came; else what can be counted from the bytes, marked so."""
    reported: Usage | None = exchange.internal.get("usage")
    tap = exchange.internal.get("tap")
    if tap is not None:
        reported = tap.usage
    if reported is not None and (tap is None or tap.complete):
        return reported
    status = exchange.internal.get("upstream_status", 0)
    expected: Usage | None = exchange.internal.get("expected")  # what is no text: sound and images
    if status == 0 and exchange.outcome in ("client_closed", "shutdown"):
        if exchange.upload is not None and not exchange.upload.complete:
            return Usage()  # the target never had the whole of it
        # It had the request, and may have read it.
        return expected or Usage(input=counted_input(exchange), estimated=True)
    if not 200 <= status < 300:
        return Usage()  # refused, or never answered: nothing was generated
    if expected is not None and reported is None:
        return expected
    said: int = exchange.internal.get("said", 0)
    if tap is not None:
        said = output_tokens(tap.text_bytes, tap.records, estimator.said_ratio(exchange.model))
    if reported is not None:  # running totals of a stream that was cut
        return msgspec.structs.replace(reported, output=max(said, reported.output), estimated=True)
    return Usage(input=counted_input(exchange), output=said, estimated=True)
