"""A detector acts as its entry in YAML says."""

import re

import pytest

from gateway import ContentBlocked, Finding, Text
from gateway.config import Acting
from gateway.events import Finish
from gateway.guardrails.stage import only
from gateway.testing import exchange


class Digits:
    """Finds numbers; long ones more surely."""

    hold_back = 12

    def scan(self, text: str, part: str = "content") -> list[Finding]:
        return [Finding(*found.span(), "NUMBER", min(1.0, len(found[0]) / 10)) for found in re.finditer(r"\d+", text)]


async def left(entry: Acting, pieces) -> str:
    guard = await only("g", Digits(), entry=entry).post_response(exchange())
    out = [event for piece in pieces for event in await guard.feed(Text(piece))]
    out += await guard.feed(Finish("stop"))
    return "".join(event.text for event in out if isinstance(event, Text))


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (Acting(action="redact"), "call [NUMBER_REDACTED] or 12"),
        (Acting(action="mask"), "call ******7890 or 12"),
        (Acting(actions={"NUMBER": "redact"}), "call [NUMBER_REDACTED] or 12"),
        (Acting(action="redact", threshold=0.2), "call [NUMBER_REDACTED] or [NUMBER_REDACTED]"),
        (Acting(action="warn"), "call 1234567890 or 12"),
        (Acting(action="pseudonymise", actions={"OTHER": "redact"}), "call 1234567890 or 12"),
    ],
)
async def test_what_scores_enough_is_replaced_on_streams_too(entry, expected):
    assert await left(entry, "call 1234567890 or 12") == expected


async def test_without_an_action_a_finding_is_refused():
    with pytest.raises(ContentBlocked) as caught:
        await left(Acting(message="Numbers are private."), "call 1234567890 or 12")
    assert caught.value.message == "The answer was refused by the guardrail g (NUMBER): Numbers are private."
    assert caught.value.details == {"guardrail": "g", "category": "NUMBER"}


async def test_a_stage_of_the_entry_counts():
    stage = only("g", Digits(), entry=Acting(action="redact", stage="input", threshold=0.1))
    await stage.pre_request(made := exchange("room 12"))
    assert made.request.body["messages"][0]["content"] == "room [NUMBER_REDACTED]"
    assert await stage.post_response(made) is None
