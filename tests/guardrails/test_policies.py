"""Which policy holds for a request, and what policies do together, through a whole gateway."""

import msgspec
import pytest
from running import PLUGINS, chat, provider, running

from gateway.configfile import parse
from gateway.problems import ConfigError
from gateway.registry import Registry
from gateway.testing import FakeUpstream

CARD = r"\b[0-9]{4}-[0-9]{4}\b"
WORD = r"\bbanana\b"


def rule(pattern: str, name: str, **fields) -> dict:
    return {"use": "guardrail.regex", "name": name, "with": {"patterns": [pattern], "category": name}, **fields}


POLICIES = [
    {"name": "soft", "rules": [rule(CARD, "card", action="warn"), rule(WORD, "word", action="monitor")]},
    {"name": "hard", "rules": [rule(CARD, "card", action="redact"), rule(WORD, "word", action="block")]},
    {"name": "draft", "shadow_of": "soft", "rules": [rule(WORD, "word", action="block")]},
    {"name": "names", "rules": [rule(CARD, "card", action="pseudonymise")]},
]
MODELS = [
    {"name": "m", "targets": ["up/m"]},
    {"name": "hard-*", "targets": ["up/m"], "guardrail_policy": "hard"},
]
TEXT = "my card is 1234-5678"


@pytest.fixture
async def upstream():
    async with FakeUpstream() as server:
        yield server


@pytest.fixture
async def gw(tmp_path, upstream):
    settings = {"policy": "soft", "policies": POLICIES}
    async with running(
        tmp_path, providers=[provider(upstream)], models=MODELS, guardrails=settings, plugins=PLUGINS
    ) as started:
        yield started


async def sent(gw, upstream, *, headers=None, **fields):
    """The reply, and the text that the upstream got."""
    async with gw.post(json=chat(**{"text": TEXT, **fields}), headers=headers or {}) as reply:
        body = await reply.json()
    last = upstream.requests[-1].json if upstream.requests else None
    return reply, body, last and last["messages"][0]["content"]


async def test_the_configured_policy_holds_where_nobody_chose(gw, upstream):
    reply, _, text = await sent(gw, upstream)
    assert reply.status == 200
    assert text == TEXT
    assert reply.headers["x-gateway-guardrail-policy"] == "soft"
    assert reply.headers["x-gateway-guardrail"] == "card;action=warn"
    assert "guardrail card: card (input)" in reply.headers["x-gateway-warnings"]


@pytest.mark.parametrize("how", ["field", "header"])
async def test_a_request_may_choose_a_stricter_one_and_the_upstream_does_not_see_that(gw, upstream, how):
    extra = {"guardrail_policy": "hard"} if how == "field" else {"headers": {"x-gateway-guardrail-policy": "hard"}}
    reply, _, text = await sent(gw, upstream, **extra)
    assert text == "my card is [CARD_REDACTED]"
    assert b"guardrail_policy" not in upstream.requests[-1].body
    assert "x-gateway-guardrail-policy" not in upstream.requests[-1].headers
    assert reply.headers["x-gateway-guardrail-policy"] == "soft,hard"


async def test_a_request_cannot_choose_a_laxer_one(gw, upstream):
    _, _, text = await sent(gw, upstream, model="hard-x", guardrail_policy="soft")
    assert text == "my card is [CARD_REDACTED]"


async def test_a_models_policy_holds_for_whoever_calls_it(gw, upstream):
    _, _, text = await sent(gw, upstream, model="hard-x")
    assert text == "my card is [CARD_REDACTED]"


@pytest.mark.parametrize("name", ["sofd", "draft", ""])
async def test_a_name_that_no_policy_has_is_refused(gw, upstream, name):
    reply, body, _ = await sent(gw, upstream, guardrail_policy=name)
    assert reply.status == 400
    assert body["error"]["param"] == "guardrail_policy"
    assert not upstream.requests


async def test_a_refusal_says_who_refused_what_to_do_and_not_what_was_found(gw, upstream):
    reply, body, _ = await sent(gw, upstream, text="one banana", guardrail_policy="hard")
    assert reply.status == 400
    assert body["error"]["code"] == "content_policy_violation"
    assert (body["error"]["guardrail"], body["error"]["category"]) == ("word", "word")
    assert body["request_id"]
    assert "Remove it" in body["error"]["message"]
    assert "banana" not in msgspec.json.encode(body).decode()
    assert reply.headers["x-gateway-guardrail"] == "word;action=block"
    assert not upstream.requests


async def test_a_draft_is_counted_and_does_nothing(gw, upstream):
    reply, _, text = await sent(gw, upstream, text="one banana")
    assert (reply.status, text) == (200, "one banana")
    async with gw.client.get(f"{gw.root}/metrics") as page:
        lines = (await page.text()).splitlines()
    assert any('rule="draft/word"' in line and 'action="shadow-block"' in line for line in lines)


async def test_stand_ins_reach_the_upstream_and_originals_the_client(gw, upstream):
    reply, _, text = await sent(gw, upstream, guardrail_policy="names")
    assert reply.status == 200
    assert "1234-5678" not in text
    stand_in = text.removeprefix("my card is ")
    again = (await sent(gw, upstream, text=f"again: {TEXT}", guardrail_policy="names"))[2]
    assert stand_in in again


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("policy: nobody", "there is no guardrail policy `nobody`"),
        ("policies: [{name: a, rules: [{use: limiter.requests}]}]", "`limiter.requests` is no guardrail"),
        ("policies: [{name: a, rules: [{use: guardrail.regex, with: {patterns: ['(']}}]}]", "is wrong"),
        ("policies: [{name: a, shadow_of: b, rules: []}]", "there is no guardrail policy `b`"),
    ],
)
def test_mistakes_are_found_before_the_start(section, said):
    text = f"guardrails: {{{section}}}"
    with pytest.raises(ConfigError) as caught:
        Registry().build(parse(text.encode(), "file.yaml", {}))
    assert said in str(caught.value)
