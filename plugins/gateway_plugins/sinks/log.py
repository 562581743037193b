"""Writes one line of log for each exchange: who, what, how it ended, how long it took. Never content or credentials.

    - use: sink.log

Level and format are those of `logging` in the same file.
"""

from typing import TYPE_CHECKING

import structlog

from gateway import Exchange, hookimpl
from gateway.money import dollars

if TYPE_CHECKING:
    from gateway import Gateway


class LogSink:
    """Logs finished exchanges at level info."""

    name = "sink.log"

    @hookimpl
    async def startup(self, gateway: "Gateway") -> None:  # noqa: ARG002
        """Bound once: putting a logger together for each line costs more than the line."""
        self._info = structlog.get_logger("gateway.request").bind().info

    @hookimpl
    async def on_usage(self, exchange: Exchange) -> None:
        """Log one exchange."""
        caller, target, usage, error = exchange.caller, exchange.target, exchange.usage, exchange.error
        began = exchange.started
        self._info(
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
