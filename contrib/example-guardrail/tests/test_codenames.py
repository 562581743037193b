"""The guardrail as the gateway relies on it, and what this one promises beyond."""

from gateway_codenames import Codenames, Config

from gateway.testing import GuardrailContract, answered, exchange


class TestCodenames(GuardrailContract):
    """Every test of the contract: streams cut at every place among them."""

    catches = "Blue Moon"

    async def make(self) -> Codenames:
        return Codenames(Config(names=("falcon", "blue moon")))


async def test_a_name_is_replaced_even_when_it_comes_in_pieces():
    guardrail = Codenames(Config(names=("falcon",), replacement="*"))
    steps = await answered(guardrail, ["The Fal", "con has la", "nded."], exchange())
    assert "".join(steps) == "The * has landed."
