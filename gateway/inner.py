"""Requests of the gateway's own making, such as those to a model that judges: admitted and billed like any other."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.accounting import Accounting
from gateway.clock import now_ms
from gateway.dialects.openai_chat import Chat
from gateway.errors import GatewayError, InternalError
from gateway.exchange import Caller, Exchange
from gateway.hookspecs import Reply
from gateway.pipeline import Pipeline, new_id
from gateway.runtime import Gateway


class InnerCalls:
    """What `Gateway.ask` is."""

    def __init__(self, gateway: Gateway, pipeline: Pipeline, accounting: Accounting) -> None:
        self._gateway = gateway
        self._pipeline = pipeline
        self._accounting = accounting

    async def ask(self, caller: Caller, body: Mapping[str, Any]) -> Reply:
        """The answer to a chat, unstreamed, for the money of `caller`, recorded as an exchange of its own.

        Budgets and permissions hold; rate limits and guardrails are for what callers send. Raises as requests of
        clients are refused.
        """
        snapshot = self._gateway.snapshot
        exchange = Exchange(new_id(), "chat.completions", Chat(), {}, now_ms())
        exchange.internal.update(plugins=snapshot.plugins, inner=True)
        exchange.caller = caller
        snapshot.use.enter()
        self._accounting.open(exchange)
        try:
            exchange.request = exchange.dialect.decode(msgspec.json.encode(body), dict(body))
            reply = await self._pipeline.ask_targets(snapshot, exchange, None)
            if not isinstance(reply, Reply):
                raise InternalError("A request that was not to be streamed was.")
            exchange.http_status = reply.status
        except GatewayError as error:
            exchange.error, exchange.http_status = error, error.status
            exchange.outcome = self._accounting.outcome_of(error)
            raise
        except asyncio.CancelledError:
            exchange.outcome = "client_closed"
            raise
        finally:
            await self._accounting.close(exchange)
            snapshot.use.leave()
        return reply
