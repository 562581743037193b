"""A detector acts as its entry in YAML says."""

import re

import pytest

from gateway import Context, Finding
from gateway.guard import GuardStage
from gateway.guardrails.acting import Acting
from gateway.testing import answered, exchange


class Digits:
    """Finds numbers; long ones more surely."""

    hold_back = 12

    def scan(self, text: str, part: str = "content") -> list[Finding]:
        return [Finding(*found.span(), "NUMBER", min(1.0, len(found[0]) / 10)) for found in re.finditer(r"\d+", text)]


@pytest.mark.parametrize(
    ("action", "left"), [("redact", "call [NUMBER_REDACTED] or 12"), ("mask", "call ******7890 or 12")]
)
async def test_what_scores_enough_is_replaced_on_streams_too(action, left):
    steps = await answered(Acting(Digits(), action), list("call 1234567890 or 12"), exchange())
    assert "".join(steps) == left


@pytest.mark.parametrize(("action", "said"), [("block", "block"), ("warn", "warn"), (None, "block")])
async def test_the_action_is_the_entrys_or_else_a_block(action, said):
    verdict = await Acting(Digits(), action).check("1234567890", Context("input", exchange()))
    assert (verdict.action, verdict.reason) == (said, "NUMBER")


async def test_a_stage_and_a_threshold_of_the_entry_count():
    stage = GuardStage("g", Acting(Digits(), "redact", "input", 0.1))
    await stage.pre_request(made := exchange("room 12"))
    assert made.request.body["messages"][0]["content"] == "room [NUMBER_REDACTED]"
    assert await stage.post_response(made) is None
