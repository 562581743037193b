"""The demo provider: a provider like any other, on the loopback, whose answers and faults are told in advance."""

import msgspec
import pytest

from gateway import Target, Timeouts, UpstreamTimeout
from gateway.money.prices import PriceBook
from gateway.testing import ProviderContract, exchange
from gateway.upstream import Upstream
from gateway_plugins.providers.demo import Config, Demo


class TestDemo(ProviderContract):
    async def make(self) -> Demo:
        return Demo(Config())


async def answer(plugin: Demo, timeouts: Timeouts | None = None, **fields: object) -> tuple[int, dict]:
    upstream = Upstream()
    await plugin.startup(None)
    try:
        request = plugin.encode(exchange(**fields), Target(provider=plugin, model="demo-small"))
        reply = await upstream.send(plugin.peer(timeouts or Timeouts()), request)
        return reply.status, msgspec.json.decode(await reply.body(1 << 20))
    finally:
        await upstream.close()
        await plugin.shutdown(None)


def configured(**faults: object) -> Demo:
    return Demo(msgspec.convert({"faults": faults}, Config))


async def test_it_answers_through_the_gateways_own_client() -> None:
    status, reply = await answer(configured())
    assert status == 200
    assert reply["model"] == "demo-small"
    assert "Hello" in reply["choices"][0]["message"]["content"]


async def test_configured_faults_hold_unless_the_request_says_otherwise() -> None:
    demo = configured(fail=503, size=3)
    assert (await answer(demo))[0] == 503
    assert (await answer(demo, demo={"fail": None}))[1]["usage"]["completion_tokens"] == 3


async def test_a_hanging_model_meets_the_deadline() -> None:
    with pytest.raises(UpstreamTimeout):
        await answer(configured(hang="before_headers"), Timeouts(first_byte=0.05))


async def test_only_its_own_process_knows_the_key() -> None:
    first, second = configured(), configured()
    assert first.secrets() != second.secrets()
    second._key = first._key
    assert (await answer(second))[0] == 401


async def test_every_model_has_a_price_and_facts() -> None:
    demo = configured()
    book = PriceBook().with_declared("demo", demo.prices)
    for model in demo.models():
        price = book.find("demo", model, None)
        assert price is not None
        assert price.input > 0
        assert demo.facts[model].context_length > 0


def test_a_misspelt_fault_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="fale"):
        configured(fale=1)
