"""A judge outside of the gateway: one HTTP service with an address, a credential and a deadline.

Whatever goes wrong is a `ServiceFailure`, so that `on_error` of the guardrail decides what it means.
"""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from gateway.config import Dollars, Seconds, Timeouts
from gateway.errors import GatewayError
from gateway.hookspecs import HttpRequest
from gateway.upstream import Peer

if TYPE_CHECKING:
    from gateway.runtime import Gateway

_LONGEST_ANSWER = 4 << 20


class ServiceFailure(Exception):
    """The service did not answer in time, or with nothing that can be read. The text names neither URL nor content."""


class ServiceOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a judge is, and how long it may take."""

    timeout: Annotated[Seconds, Meta(description="For one text; after it the service counts as failed.")] = 3.0
    allow_private: Annotated[bool, Meta(description="Its name may resolve to a private address.")] = False
    ca_file: str | None = None
    max_connections: Annotated[int, Meta(ge=1, le=4096)] = 64
    price_per_1000: Annotated[
        Dollars, Meta(description="What 1000 calls cost: counted in `ai_gateway_guardrail_cost_dollars_total`.")
    ] = "0"


class Service:
    """The connection to a judge. Usable after `bind`."""

    def __init__(self, name: str, options: ServiceOptions) -> None:
        timeouts = Timeouts(connect=options.timeout, first_byte=options.timeout, idle=options.timeout)
        self._peer = Peer(
            name=name, timeouts=timeouts, allow_private=options.allow_private, ca_file=options.ca_file,
            max_connections=options.max_connections,
        )
        self._timeout = options.timeout
        self._gateway: Gateway | None = None
        self._price = float(options.price_per_1000) / 1000
        self._name = name

    def bind(self, gateway: "Gateway | None") -> None:
        """Take the process's HTTP client."""
        self._gateway = gateway

    async def post(self, url: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> Any:  # noqa: ANN401 - JSON
        """What the service answers with status 200, decoded. Raises `ServiceFailure`."""
        sent = (("content-type", "application/json"), ("accept", "application/json"), *headers.items())
        return await self.send(HttpRequest("POST", url, sent, msgspec.json.encode(body)))

    async def send(self, request: HttpRequest) -> Any:  # noqa: ANN401 - JSON
        """The same for a request that was made before, such as a signed one."""
        if self._gateway is None:
            raise ServiceFailure("the guardrail was not started")
        try:
            answer = await self._sent(self._gateway, request)
        except ServiceFailure:
            self._gateway.metrics.judge_calls.labels(self._name, "failed").inc()
            raise
        self._gateway.metrics.judge_calls.labels(self._name, "ok").inc()
        self.count_cost(self._price)
        return answer

    def count_cost(self, dollars: float) -> None:
        """Note what a call has cost."""
        if dollars and self._gateway is not None:
            self._gateway.metrics.judge_cost.labels(self._name).inc(dollars)

    async def _sent(self, gateway: "Gateway", request: HttpRequest) -> Any:  # noqa: ANN401 - JSON
        try:
            async with asyncio.timeout(self._timeout):
                reply = await gateway.upstream.send(self._peer, request)
                try:
                    answer = await reply.body(_LONGEST_ANSWER)
                finally:
                    reply.close()
        except TimeoutError:
            raise ServiceFailure("no answer in time") from None
        except GatewayError as error:
            raise ServiceFailure(f"no answer: {error.code}") from None
        if reply.status != 200:
            raise ServiceFailure(f"status {reply.status}")
        try:
            return msgspec.json.decode(answer)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise ServiceFailure("an answer that is no JSON") from None
