"""Bedrock's guardrails against a fake that answers as the published ApplyGuardrail API does."""

import re

import pytest
from judging import judging

from gateway import ContentBlocked, Secret, Unavailable
from gateway.config import Acting
from gateway.guardrails.stage import only
from gateway.testing import exchange
from gateway_plugins.guardrails.bedrock import BedrockGuardrail, Options

TEXT = "call Ann at ann@example.com or ann@example.com"
USAGE = {"topicPolicyUnits": 1, "contentPolicyUnits": 2, "wordPolicyUnits": 1, "sensitiveInformationPolicyUnits": 1}


def answer(action="GUARDRAIL_INTERVENED", **policies):
    return {
        "usage": USAGE, "action": action, "outputs": [{"text": "Sorry."}] if action != "NONE" else [],
        "assessments": [{**policies, "invocationMetrics": {"guardrailProcessingLatency": 12, "usage": USAGE}}],
        "guardrailCoverage": {"textCharacters": {"guarded": 10, "total": 10}},
    }  # fmt: skip


@pytest.fixture
async def judge():
    async with judging() as (judge, process):
        judge.process = process
        yield judge


def made(judge, **options):
    given = {"guardrail_id": "gr1abc", "version": "3", "region": "eu-central-1", "base_url": judge.url, "allow_private": True}
    keys = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": Secret("wJalrXUtnFEMI")}
    return BedrockGuardrail(Options(**{**given, **(keys if "api_key" not in options else {}), **options}))


async def sent(judge, guardrail, on_error="closed", **entry):
    """What of a request is left."""
    await guardrail.startup(judge.process)
    asked = exchange(TEXT)
    await only("judge", guardrail, on_error, Acting(**entry)).pre_request(asked)
    return asked.request.body["messages"][0]["content"]


async def test_the_request_is_signed_and_says_whose_text_it_is(judge):
    judge.answer = answer("NONE")
    assert await sent(judge, made(judge)) == TEXT
    ((path, headers, body),) = judge.seen
    assert path == "/guardrail/gr1abc/version/3/apply"
    assert body == {"source": "INPUT", "content": [{"text": {"text": TEXT}}]}
    assert re.match(
        r"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/\d{8}/eu-central-1/bedrock/aws4_request, ", headers["authorization"]
    )
    assert await sent(judge, made(judge, api_key=Secret("bedrock-key"))) == TEXT
    assert judge.seen[-1][1]["authorization"] == "Bearer bedrock-key"


BLOCKS = [
    ({"topicPolicy": {"topics": [{"name": "Politics", "type": "DENY", "action": "BLOCKED"}]}}, "Politics"),
    ({"contentPolicy": {"filters": [{"type": "HATE", "confidence": "HIGH", "action": "BLOCKED"}]}}, "HATE"),
    ({"wordPolicy": {"customWords": [{"match": "Ann", "action": "BLOCKED"}], "managedWordLists": []}}, "word"),
    ({"wordPolicy": {"managedWordLists": [{"match": "Ann", "type": "PROFANITY", "action": "BLOCKED"}]}}, "PROFANITY"),
]


@pytest.mark.parametrize(("policies", "category"), BLOCKS)
async def test_what_it_blocks_is_refused_with_its_category_and_never_the_word(judge, policies, category):
    judge.answer = answer(**policies)
    with pytest.raises(ContentBlocked) as caught:
        await sent(judge, made(judge))
    assert caught.value.details["category"] == category
    assert "Ann" not in str(caught.value)


def entity(action="ANONYMIZED", match="ann@example.com"):
    return {"sensitiveInformationPolicy": {
        "piiEntities": [{"match": match, "type": "EMAIL", "action": action}], "regexes": [],
    }}  # fmt: skip


async def test_what_it_anonymises_is_redacted_wherever_it_stands(judge):
    judge.answer = answer(**entity())
    assert await sent(judge, made(judge)) == "call Ann at [EMAIL_REDACTED] or [EMAIL_REDACTED]"
    judge.answer = answer(**entity("NONE"))
    with pytest.raises(ContentBlocked):  # it intervened, and does not say where
        await sent(judge, made(judge))
    judge.answer = answer(**entity(match="elsewhere"))
    with pytest.raises(ContentBlocked):
        await sent(judge, made(judge))


@pytest.mark.parametrize("told", [500, 403, 429, b"no json", {"action": "MAYBE"}, [1], None, {"action": "GUARDRAIL_INTERVENED", "assessments": [{"a": 3}, 4]}])  # fmt: skip
async def test_its_failure_is_what_on_error_says(judge, told):
    judge.answer = told
    with pytest.raises(Unavailable):
        await sent(judge, made(judge, timeout=0.3))
    assert await sent(judge, made(judge, timeout=0.3), on_error="open") == TEXT


async def test_its_calls_and_what_they_cost_are_counted(judge):
    judge.answer = answer("NONE")
    await sent(judge, made(judge, price_per_1000="1", prices={"contentPolicyUnits": "0.15", "topicPolicyUnits": "0.15"}))
    assert judge.process.metrics.judge_calls.values == {("guardrail.bedrock", "ok"): 1}
    assert judge.process.metrics.judge_cost.values == pytest.approx({("guardrail.bedrock",): 0.00145})


async def test_credentials_are_found_where_the_aws_tools_find_them(judge, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDFOUND")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    judge.answer = answer("NONE")
    guardrail = made(judge, access_key_id="", secret_access_key=None)
    assert await sent(judge, guardrail) == TEXT
    assert "Credential=AKIDFOUND/" in judge.seen[-1][1]["authorization"]
    await guardrail.shutdown(judge.process)


@pytest.mark.parametrize("wrong", [{"access_key_id": ""}, {"region": "Europe!"}])
def test_options_that_cannot_work_are_refused_at_the_start(wrong):
    given = {"guardrail_id": "g", "region": "us-east-1", "secret_access_key": Secret("x"), "access_key_id": "A"} | wrong
    with pytest.raises(ValueError, match=r"access_key_id|region"):
        BedrockGuardrail(Options(**given))
