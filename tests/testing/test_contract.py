"""The contract suites: they pass for right plugins and fail for those that would hurt."""

import pytest

from gateway import Context, Exchange, Redaction, Verdict, hookimpl
from gateway.testing import GuardrailContract, SinkContract


class Secret:
    """Redacts `xyzzy`, wherever it is asked to look."""

    def __init__(self, hold_back: int = 5) -> None:
        self.hold_back = hold_back

    async def check(self, text: str, context: Context) -> Verdict:
        at = text.find("xyzzy")
        return Verdict("redact", redactions=(Redaction(at, at + 5, "*"),)) if at >= 0 else Verdict()


class TestSecret(GuardrailContract):
    catches = "xyzzy"

    async def make(self) -> Secret:
        return Secret()


async def test_a_guardrail_that_holds_back_too_little_fails() -> None:
    class Short(TestSecret):
        async def make(self) -> Secret:
            return Secret(hold_back=2)

    with pytest.raises(AssertionError, match="leaked when cut"):
        await Short().test_no_split_of_a_stream_lets_it_out()


class Collecting:
    """A sink that keeps ids."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    @hookimpl
    async def on_usage(self, exchange: Exchange) -> None:
        self.ids.append(exchange.id)


class TestCollecting(SinkContract):
    async def make(self) -> Collecting:
        return Collecting()


async def test_a_contract_needs_to_know_how_to_make_the_plugin() -> None:
    with pytest.raises(NotImplementedError, match="GuardrailContract"):
        await GuardrailContract().make()
