"""Guardrails that ask a service: what is sent, how answers are read, and what failures mean."""

import pytest
from judging import judging

from gateway import ContentBlocked, Secret, Unavailable
from gateway.config import Acting
from gateway.guardrails.stage import only
from gateway.testing import exchange
from gateway_plugins.guardrails.http import HttpJudge
from gateway_plugins.guardrails.http import Options as HttpOptions
from gateway_plugins.guardrails.openai_moderation import OpenAIModeration
from gateway_plugins.guardrails.openai_moderation import Options as ModerationOptions
from gateway_plugins.guardrails.presidio import Options as PresidioOptions
from gateway_plugins.guardrails.presidio import Presidio


@pytest.fixture
async def judge():
    async with judging() as (judge, process):
        judge.process = process
        yield judge


async def sent(judge, guardrail, text="call Ann at 1234", on_error="closed", **entry):
    """What of a request is left, and its warnings."""
    await guardrail.startup(judge.process)
    made = exchange(text)
    await only("judge", guardrail, on_error, Acting(**entry)).pre_request(made)
    return made.request.body["messages"][0]["content"], made.warnings


def http(judge, **options):
    options = {"url": judge.url + "/check", "headers": {"Authorization": Secret("Bearer s")}, "allow_private": True} | options
    return HttpJudge(HttpOptions(**options))


async def test_a_service_of_ones_own_is_told_where_a_text_stands(judge):
    judge.answer = {"action": "pass"}
    assert await sent(judge, http(judge)) == ("call Ann at 1234", [])
    ((path, headers, body),) = judge.seen
    assert (path, headers["authorization"]) == ("/check", "Bearer s")
    assert body == {
        "text": "call Ann at 1234", "direction": "input", "part": "content", "request_id": "req-test",
        "tenant": "tenant-1", "model": "demo-small",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "left"),
    [
        ({"action": "redact", "text": "call X at 1234"}, "call X at 1234"),
        ({"action": "redact", "redactions": [{"start": 5, "end": 8, "text": "[N]"}]}, "call [N] at 1234"),
        ({"findings": [{"start": 12, "end": 16, "kind": "PIN"}]}, "call Ann at [PIN_REDACTED]"),
        ({"findings": [{"start": 12, "end": 16, "kind": "PIN", "score": 0.1}]}, "call Ann at 1234"),
    ],
)
async def test_its_verdict_or_its_findings_count(judge, answer, left):
    judge.answer = answer
    assert (await sent(judge, http(judge), action="redact"))[0] == left


async def test_its_block_is_a_refusal_with_its_reason(judge):
    judge.answer = {"action": "block", "reason": "politics"}
    with pytest.raises(ContentBlocked, match="politics"):
        await sent(judge, http(judge))


@pytest.mark.parametrize("answer", [500, 404, b"no json", {"action": "perhaps"}, [1], None])
async def test_its_failure_is_what_on_error_says(judge, answer):
    judge.answer = answer
    with pytest.raises(Unavailable):
        await sent(judge, http(judge, timeout=0.3))
    text, warnings = await sent(judge, http(judge, timeout=0.3), on_error="open")
    assert text == "call Ann at 1234"
    assert warnings == ["guardrail judge: failed, not checked (input)"]


async def test_a_service_that_is_not_there_is_a_failure(judge):
    with pytest.raises(Unavailable):
        await sent(judge, http(judge, url="http://127.0.0.1:1/x"))


async def test_the_same_text_is_asked_about_once(judge):
    judge.answer = {"action": "pass"}
    guardrail = http(judge)
    await guardrail.startup(judge.process)
    stage = only("judge", guardrail)
    for _ in range(3):
        await stage.pre_request(exchange("hello"))
    assert len(judge.seen) == 1
    again = http(judge, repeatable=False)
    await again.startup(judge.process)
    stage = only("judge", again)
    for _ in range(3):
        await stage.pre_request(exchange("hello"))
    assert len(judge.seen) == 4


async def test_moderation_has_a_threshold_for_each_category(judge):
    scores = {"hate": 0.6, "violence": 0.6, "sexual": 0.1, "self-harm": None}
    judge.answer = {"results": [{"flagged": True, "category_scores": scores}]}
    options = {"api_key": Secret("sk-test"), "base_url": judge.url + "/v1", "allow_private": True}
    guardrail = OpenAIModeration(ModerationOptions(**options, thresholds={"hate": 0.9}))
    with pytest.raises(ContentBlocked) as caught:
        await sent(judge, guardrail)
    assert caught.value.details["category"] == "violence"
    ((path, headers, body),) = judge.seen
    assert (path, headers["authorization"]) == ("/v1/moderations", "Bearer sk-test")
    assert body == {"model": "omni-moderation-latest", "input": "call Ann at 1234"}
    calm = OpenAIModeration(ModerationOptions(**options, threshold=0.7))
    assert await sent(judge, calm) == ("call Ann at 1234", [])


async def test_presidio_s_entities_are_redacted_by_kind(judge):
    judge.answer = [{"start": 5, "end": 8, "entity_type": "PERSON", "score": 0.85}]
    guardrail = Presidio(PresidioOptions(url=judge.url, entities=("PERSON",), allow_private=True))
    assert (await sent(judge, guardrail))[0] == "call [PERSON_REDACTED] at 1234"
    assert judge.seen[0][0] == "/analyze"
    assert judge.seen[0][2] == {
        "language": "en", "score_threshold": 0.35, "entities": ["PERSON"], "text": "call Ann at 1234",
    }  # fmt: skip
    judge.answer = {"error": "language?"}
    with pytest.raises(Unavailable):
        await sent(judge, guardrail, text="another")
