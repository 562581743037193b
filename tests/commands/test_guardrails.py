"""`gateway guardrails`: what it prints, and that it prints no text of a replay."""

import msgspec
import pytest
from click.testing import CliRunner

from gateway.commands.guardrails import guardrails

CONFIG = """\
guardrails:
  policy: mine
  policies:
    - name: mine
      rules:
        - {use: guardrail.regex, name: card, action: redact, with: {patterns: ['[0-9]{4}-[0-9]{4}'], category: CARD}}
        - {use: guardrail.keywords, name: word, action: block, with: {deny: {fruit: [banana]}}}
"""
DRAFT = """\
name: draft
shadow_of: mine
rules:
  - {use: guardrail.keywords, name: word, action: block, with: {deny: {fruit: [cherry]}}}
"""


@pytest.fixture
def run(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG)

    def call(*args: str, stdin: str | None = None):
        return CliRunner().invoke(guardrails, [args[0], "--config", str(file), *args[1:]], input=stdin)

    return call


def test_it_lists_shipped_policies_and_ones_own(run):
    told = msgspec.json.decode(run("list", "--json").output)
    names = {policy["name"]: policy["source"] for policy in told["policies"]}
    assert names == {"default": "shipped", "strict": "shipped", "finance": "shipped", "permissive": "shipped",
                     "mine": "configuration"}  # fmt: skip
    assert "word: both, block" in run("list").output


def test_a_text_is_tried_and_a_block_is_the_exit_status(run):
    result = run("test", "pay 1234-5678")
    assert result.exit_code == 0
    assert "pay [CARD_REDACTED]" in result.output
    blocked = run("test", "-", "--json", stdin="one banana")
    assert blocked.exit_code == 1
    told = msgspec.json.decode(blocked.output)
    assert told["blocked"]
    (found,) = told["triggered_guardrails"]
    assert (found["guardrail"], found["action"], found["kinds"]) == ("word", "block", ["fruit"])
    assert found["spans"] == [{"start": 4, "end": 10, "kind": "fruit", "score": 1.0}]
    assert "no guardrail policy `mime`; did you mean `mine`" in run("test", "x", "--policy", "mime").output


def test_it_measures(run):
    told = msgspec.json.decode(run("bench", "--json", "--characters", "500").output)
    assert [each["name"] for each in told["guardrails"]] == ["card", "word"]
    assert told["chain"]["p50_ms"] > 0
    assert "us a chunk" in run("bench").output


def test_a_draft_is_replayed_over_a_file_of_texts(run, tmp_path):
    draft, texts = tmp_path / "draft.yaml", tmp_path / "texts.jsonl"
    draft.write_text(DRAFT)
    texts.write_text(
        '{"text": "one banana"}\n\n{"text": "a cherry", "time": "2099-01-01T00:00:00+00:00"}\n'
        '{"messages": [{"role": "user", "content": "pay 1234-5678"}], "response": "hello"}\n'
        '{"text": "old cherry", "time": 1000}\n'
    )
    result = run("replay", "--policy", str(draft), "--file", str(texts), "--since", "7d", "--json")
    assert result.exit_code == 0, result.output
    told = msgspec.json.decode(result.output)
    assert (told["texts"], told["newly_blocked"], told["no_longer_blocked"], told["changed_otherwise"]) == (4, 1, 1, 1)
    assert told["lines"] == {"newly_blocked": [3], "no_longer_blocked": [1], "changed_otherwise": [4]}
    assert told["live"]["rules"] == {"card redact": 1, "word block": 1}
    assert "banana" not in run("replay", "--policy", str(draft), "--file", str(texts)).output


def test_a_replay_without_texts_says_why_there_are_none(run, tmp_path):
    draft = tmp_path / "draft.yaml"
    draft.write_text(DRAFT)
    assert "no gateway's data" in run("replay", "--policy", str(draft), "--since", "7d").output
    texts = tmp_path / "texts.jsonl"
    texts.write_text("no json\n")
    result = run("replay", "--policy", str(draft), "--file", str(texts))
    assert result.exit_code == 1
    assert "line 1 is no object of JSON" in result.output
