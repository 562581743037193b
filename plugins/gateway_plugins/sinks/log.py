"""Writes one line of log for each exchange: who, what, how it ended, how long it took. Never content or credentials.

    - use: sink.log

Level and format are those of `logging` in the same file.
"""

import logging

import structlog
from structlog.typing import FilteringBoundLogger

from gateway import Exchange, hookimpl
from gateway.money import dollars


class LogSink:
    """Logs finished exchanges at level info."""

    name = "sink.log"

    def __init__(self) -> None:
        self._log: FilteringBoundLogger | None = None
        self._on = True

    @hookimpl
    async def on_usage(self, exchange: Exchange) -> None:
        """Log one exchange."""
        if self._log is None:  # bound once, with the level that the configuration has by now
            self._log = structlog.get_logger("gateway.request").bind()
            self._on = self._log.is_enabled_for(logging.INFO)
        if not self._on:
            return
        caller, target, usage, error = exchange.caller, exchange.target, exchange.usage, exchange.error
        began = exchange.started
        self._log.info(
            "request",
            id=exchange.id,
            tenant=caller.tenant if caller else None,
            key=caller.key if caller else None,
            endpoint=exchange.endpoint,
            model=exchange.model,
            provider=target.provider.name if target else None,
            target_model=target.model if target else None,
            outcome=exchange.outcome,
            status=exchange.http_status,
            streamed=exchange.streamed,
            attempts=len(exchange.attempts),
            input=usage.input if usage else 0,
            output=usage.output if usage else 0,
            estimated=usage.estimated if usage else False,
            cost=dollars(exchange.cost),
            ttfb_ms=None if exchange.first_byte is None else round((exchange.first_byte - began) * 1000, 2),
            duration_ms=None if exchange.finished is None else round((exchange.finished - began) * 1000, 2),
            overhead_ms=round(exchange.overhead * 1000, 3),
            error=(error.code or error.type) if error else None,
        )
