"""Stand-ins look like what they stand for, are always the same, and come back as the originals."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from running import PLUGINS, chat, provider, running

from gateway import Finish, InvalidRequest, Text, sse
from gateway.config import Acting
from gateway.guardrails.chain import Chain
from gateway.guardrails.check import Check
from gateway.guardrails.edits import applied, edits_of
from gateway.guardrails.pseudonyms import Pseudonyms, Restore
from gateway.guardrails.stage import only
from gateway.guardrails.stream import ReplyGuard
from gateway.testing import FakeUpstream, exchange
from gateway_plugins.guardrails.pii import PII, Options

KEY = b"k" * 32
DATA = {
    "EMAIL": "jane.doe@example.org", "CREDIT_CARD": "4111 1111 1111 1111", "US_SSN": "123-45-6789",
    "PHONE": "+1 (415) 555-0132", "IBAN": "DE89 3704 0044 0532 0130 00", "NAME": "Jane Doe", "DATE_OF_BIRTH": "1/2/1990",
    "NATIONAL_ID": "\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668\u0669",
}  # fmt: skip
PERSONAL = Check("pii", PII(Options()), Acting(action="pseudonymise"))


def luhn(text: str) -> bool:
    digits = [int(sign) for sign in text if sign.isdigit()]
    doubled = [digit * 2 - 9 * (digit > 4) if nth % 2 else digit for nth, digit in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0


def test_stand_ins_keep_the_shape():
    made = {kind: Pseudonyms(KEY).stand_in(kind, text) for kind, text in DATA.items()}
    assert made["EMAIL"].count("@") == 1
    assert made["EMAIL"].endswith(".example.com")
    for kind in ("CREDIT_CARD", "US_SSN", "PHONE", "IBAN"):
        assert [sign if not sign.isalnum() else sign.isdigit() for sign in made[kind]] == [
            sign if not sign.isalnum() else sign.isdigit() for sign in DATA[kind]
        ]
    assert luhn(made["CREDIT_CARD"])
    assert made["NAME"].startswith("[NAME_")
    assert made["DATE_OF_BIRTH"].startswith("[DATE_OF_BIRTH_")
    assert all(DATA[kind] not in text for kind, text in made.items())


def test_stand_ins_are_the_same_for_a_tenant_and_differ_between_tenants():
    for kind, text in DATA.items():
        assert Pseudonyms(KEY).stand_in(kind, text) == Pseudonyms(KEY).stand_in(kind, text)
        assert Pseudonyms(KEY).stand_in(kind, text) != Pseudonyms(b"o" * 32).stand_in(kind, text)


def test_a_stand_in_that_stands_in_the_request_is_not_taken():
    taken = Pseudonyms(KEY).stand_in("US_SSN", DATA["US_SSN"])
    assert Pseudonyms(KEY, [f"not {taken}"]).stand_in("US_SSN", DATA["US_SSN"]) != taken


words = st.sampled_from([*DATA.values(), "bob@example.net", "4000056655665556", "call ", "SSN ", " and ", ".", "\n", "x"])


async def restored(text: str, originals: dict[str, str], places: list[int], part: str = "content") -> str:
    guard = ReplyGuard(Chain([Restore(originals)]), exchange(), lambda hits, part: None)
    out = []
    cuts = sorted({0, len(text), *(min(place, len(text)) for place in places)})
    for start, end in pairwise(cuts):
        out += await guard.feed(Text(text[start:end], part=part))
    out += await guard.feed(Finish("stop"))
    return "".join(event.text for event in out if isinstance(event, Text))


@settings(deadline=None, max_examples=200)
@given(parts=st.lists(words, max_size=12), places=st.lists(st.integers(0, 250), max_size=20))
async def test_what_was_replaced_comes_back(parts, places):
    text = "".join(parts)
    names = Pseudonyms(KEY, [text])
    sent = applied(text, edits_of(text, PERSONAL.hits(text, "content"), names.stand_in))
    if not names.originals:
        assert sent == text
        return
    assert sent != text
    assert await restored(sent, names.originals, places) == text


async def test_originals_come_back_in_arguments_as_json():
    names = Pseudonyms(KEY)
    original = 'O"Neil \\ Sons 12345678'
    stand_in = names.stand_in("NAME", original)
    text = '{"to": "' + stand_in + ', please"}'
    for size in (1, 3, 100):
        left = await restored(text, names.originals, list(range(0, len(text), size)), "arguments")
        assert msgspec.json.decode(left) == {"to": original + ", please"}


async def test_stand_ins_do_not_delay_other_text():
    names = Pseudonyms(KEY)
    names.stand_in("EMAIL", DATA["EMAIL"])
    guard = ReplyGuard(Chain([Restore(names.originals)]), exchange(), lambda hits, part: None)
    assert [event.text for event in await guard.feed(Text("no stand-in here!"))] == ["no stand-in here!"]


async def test_a_previous_response_is_refused_with_stand_ins():
    stage = only("pii", PII(Options()), entry=Acting(action="pseudonymise"))
    made = exchange(f"mail {DATA['EMAIL']}", previous_response_id="resp_1")
    with pytest.raises(InvalidRequest, match="previous_response_id"):
        await stage.pre_request(made)


@pytest.mark.parametrize("stream", [False, True])
async def test_the_provider_sees_stand_ins_and_the_client_originals(tmp_path, stream):
    rule = {"use": "guardrail.pii", "action": "pseudonymise"}
    models = [{"name": "m", "targets": ["up/m"]}]
    policies = {"policy": "p", "policies": [{"name": "p", "rules": [rule]}]}
    redact_answers = {"use": "guardrail.pii", "stage": "output", "action": "redact"}
    async with FakeUpstream() as upstream, running(
        tmp_path, providers=[provider(upstream)], models=models, guardrails=policies, plugins=[*PLUGINS, redact_answers]
    ) as gw:
        text = f"Write to {DATA['EMAIL']} about {DATA['CREDIT_CARD']}"
        async with gw.post(json=chat(text=text)) as reply:
            await reply.read()
        sent = upstream.requests[-1].json["messages"][0]["content"]
        assert DATA["EMAIL"] not in sent
        assert DATA["CREDIT_CARD"] not in sent
        answer = f"{sent}; or to eve@example.net"
        if stream:
            chunks = [{"choices": [{"index": 0, "delta": {"content": sign}, "finish_reason": None}]} for sign in answer]
            chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
            records = [sse.write(msgspec.json.encode(chunk)) for chunk in chunks]
            upstream.script(*records, sse.DONE, content_type="text/event-stream")
        else:
            message = {"role": "assistant", "content": answer}
            upstream.script(msgspec.json.encode({"choices": [{"message": message, "finish_reason": "stop"}]}))
        async with gw.post(json=chat(text=text, stream=stream)) as reply:
            body = await reply.read()
    if stream:
        deltas = [msgspec.json.decode(line[6:]) for line in body.split(b"\n\n") if line[6:7] == b"{"]
        said = "".join(each["choices"][0]["delta"].get("content", "") for each in deltas)
    else:
        said = msgspec.json.decode(body)["choices"][0]["message"]["content"]
    assert said == f"{text}; or to [EMAIL_REDACTED]"
