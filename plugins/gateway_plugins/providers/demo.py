"""A local stand-in for a provider: a deterministic model that needs no key, and fails, hangs or stalls as told.

    providers:
      - name: demo
        use: provider.demo
        with: {faults: {delay_ms: 200}}

`faults` hold for every request, and a request's own `demo` field overlays them: `"demo": {"fail": 429}`. The fields
are those of `gateway.testing.Behaviour`; docs/plugins/demo-provider.md has them with examples. The model is served on
a loopback port of its own, so that requests to it take the way of all others.
"""

import secrets
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from gateway import Exchange, HttpRequest, Peer, Target, Timeouts, hookimpl
from gateway.config import PriceEntry
from gateway.jsonbody import outgoing
from gateway.testing import Behaviour, FakeUpstream

if TYPE_CHECKING:
    from gateway import Gateway

PATHS = {"chat.completions": "/chat/completions", "completions": "/completions", "embeddings": "/embeddings"}
PRICES = MappingProxyType({
    entry.model: entry
    for entry in (
        PriceEntry(model="demo-small", input="0.15", output="0.60", cached_input="0.075"),
        PriceEntry(model="demo-large", input="2.50", output="10.00", cached_input="1.25"),
        PriceEntry(model="demo-embed", input="0.02", output="0"),
    )
})


class Facts(msgspec.Struct, frozen=True):
    """What `/models` shows of a model."""

    context_length: int
    max_output: int | None = None
    modalities: tuple[str, ...] = ("text",)


FACTS = MappingProxyType({
    "demo-small": Facts(128_000, 16_384), "demo-large": Facts(1_000_000, 65_536), "demo-embed": Facts(8_192),
})


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What goes wrong with every request, unless the request says otherwise."""

    faults: Annotated[Behaviour, Meta(description="See docs/plugins/demo-provider.md.")] = Behaviour()


class Demo:
    """The models `demo-small`, `demo-large` (chat and text) and `demo-embed`, at made-up prices."""

    name = "demo"
    endpoints = frozenset(PATHS)
    wires = ("openai.chat", "openai.embeddings")
    takes = frozenset({"demo"})  # faults can be asked for in every dialect
    price_book = None
    prices: Mapping[str, PriceEntry] = PRICES
    facts: Mapping[str, Facts] = FACTS

    def __init__(self, config: Config) -> None:
        self._key = secrets.token_urlsafe(32)
        self._upstream = FakeUpstream(config.faults, key=self._key, models=tuple(PRICES), record=False)

    @hookimpl
    async def startup(self, gateway: "Gateway") -> None:  # noqa: ARG002
        """Serve the model; only this process knows the key."""
        await self._upstream.start()

    @hookimpl
    async def shutdown(self, gateway: "Gateway") -> None:  # noqa: ARG002
        """End it."""
        await self._upstream.close()

    def peer(self, timeouts: Timeouts) -> Peer:
        """The loopback."""
        return Peer(name=self.name, timeouts=timeouts, allow_private=True)

    def secrets(self) -> Sequence[str]:
        """The key of this process."""
        return (self._key,)

    def models(self) -> Sequence[str]:
        """What can be asked for."""
        return tuple(PRICES)

    def encode(self, exchange: Exchange, target: Target) -> HttpRequest:
        """The request as it came, to the model's port."""
        headers = (("content-type", "application/json"), ("authorization", f"Bearer {self._key}"))
        url = self._upstream.url + PATHS[exchange.wire_endpoint]
        return HttpRequest(method="POST", url=url, headers=headers, body=outgoing(exchange, target.model))
