"""What an API key may ask of guardrails."""

import msgspec
import pytest
from running import PLUGINS, provider, running

from gateway.testing import FakeUpstream

RULES = [
    {"use": "guardrail.regex", "name": "card", "action": "redact", "with": {"patterns": ["[0-9]{4}-[0-9]{4}"]}},
    {"use": "guardrail.keywords", "name": "word", "action": "block", "with": {"deny": {"fruit": ["banana"]}}},
    {"use": "guardrail.keywords", "name": "mild", "action": "warn", "with": {"deny": {"veg": ["kale"]}}},
]


@pytest.fixture
async def gw(tmp_path):
    settings = {"policy": "mine", "policies": [{"name": "mine", "description": "Ours", "rules": RULES}]}
    always = {"use": "guardrail.length", "with": {"max_characters": 100}}
    async with FakeUpstream() as upstream, running(
        tmp_path, providers=[provider(upstream)], models=[{"name": "m", "targets": ["up/m"]}], guardrails=settings,
        plugins=[*PLUGINS, always],
    ) as started:
        yield started


async def tried(gw, **body):
    async with gw.post("/guardrails/test", json=body) as reply:
        return reply.status, await reply.json()


async def test_a_text_is_tried_and_nothing_is_counted(gw):
    status, told = await tried(gw, text="kale for 1234-5678")
    assert status == 200
    assert told["original_text"] == "kale for 1234-5678"
    assert told["processed_text"] == "kale for [REDACTED]"
    assert (told["blocked"], told["policy"]) == (False, ["mine"])
    assert told["warnings"] == ["mild: veg"]
    assert set(told["actions_taken"]) == {"warn", "redact"}
    assert {each["guardrail"]: each["spans"] for each in told["triggered_guardrails"]} == {
        "card": [{"start": 9, "end": 18, "kind": "", "score": 1.0}],
        "mild": [{"start": 0, "end": 4, "kind": "veg", "score": 1.0}],
    }
    assert told["latency_ms"] > 0
    assert await gw.rows() == []


async def test_a_text_that_would_be_refused_is_told(gw):
    _, told = await tried(gw, text="one banana", policy="mine", is_input=False)
    assert (told["blocked"], told["processed_text"], told["is_input"]) == (True, "", False)
    _, told = await tried(gw, text="x" * 101)
    assert told["triggered_guardrails"][0]["guardrail"] == "guardrail.length"


@pytest.mark.parametrize("body", [{"text": 1}, {}, {"text": "a", "policy": "nobody"}, {"text": "a", "extra": 1}])
async def test_what_is_no_such_request_is_refused(gw, body):
    status, told = await tried(gw, **body)
    assert status in (400, 422)
    assert "error" in told or "detail" in told


async def test_guardrails_and_policies_are_listed(gw):
    async with gw.get("/guardrails") as reply:
        told = await reply.json()
    names = {each["name"]: each for each in told["guardrails"]}
    assert {"guardrail.length", "card", "word", "guardrail.pii"} <= set(names)
    assert names["word"]["policies"] == ["mine"]
    assert names["word"]["description"] == "A detector of phrases."
    assert told["policy"] == ["mine"]
    async with gw.get("/guardrails/policies") as reply:
        listed = {each["name"]: each for each in (await reply.json())["policies"]}
    assert listed["mine"]["source"] == "configuration"
    assert listed["strict"]["guardrails"][0] == "guardrail.pii"
    assert "[0-9]" not in msgspec.json.encode(listed).decode()


async def test_without_a_key_there_is_nothing_to_see(gw):
    async with gw.client.get(f"{gw.url}/guardrails") as reply:
        assert reply.status == 401
