"""On a stream nothing of a value leaves before it is found, wherever the text is cut."""

import random

import pytest

from gateway.detect.pii import HOLD_BACK, KINDS, PersonalData
from gateway.detect.secrets import HOLD_BACK as SECRETS_HOLD_BACK
from gateway.detect.secrets import Secrets

PROSE = "The committee met again in March and thanked everyone who had helped with the move to the new building. "
BODY = "Zk3vT9qLw7RxY2mNb8PcD4sFgH6jKaQe"
VALUES = [
    "jane.doe@example.org", "jane dot doe at example dot org", "j a n e @ e x a m p l e . o r g", "(212) 555-0147 x12",
    "+49 (0) 30 123456", "4111 1111 1111 1111", "SSN 123-45-6789", "DE89 3704 0044 0532 0130 00", "203.0.113.9",
    "2001:db8::8a2e:370:7334", "born on 5 May 1980", "passport no. C01X00T47", "Is 192334196 a valid social security number",
    "742 Evergreen Terrace, Springfield, IL 62704", "Calle Mayor 5, 28013 Madrid", "my phone is two one two five five five one two one two",
    "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "codice fiscale RSSMRA85T10A562S",
]
SECRET_VALUES = [
    f"sk-proj-{BODY}", f"ghp_{BODY}abcd", "password: Tr4ck9xQ", "postgres://app:" + "Tr4ck9xQ@db.internal:5432/prod",
    "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0In0" + ".c2lnbmF0dXJl",
    "-----BEGIN " + "PRIVATE KEY-----\n" + (BODY + "\n") * 12 + "-----END " + "PRIVATE KEY-----",
]


def released(scan, settled, text, size):
    """What leaves a stream that holds back what is not settled, with `*` for what was found."""
    out, done, heard = "", 0, ""
    for at in range(0, len(text), size):
        heard += text[at : at + size]
        last = at + size >= len(text)
        found = scan(heard)
        limit = len(heard) if last else settled(heard)
        limit = min([limit, *(span.start for span in found if span.end > limit)])
        for place in range(done, limit):
            out += "*" if any(span.start <= place < span.end for span in found) else heard[place]
        done = max(done, limit)
    return out


def whole(scan, text):
    found = scan(text)
    return "".join("*" if any(s.start <= at < s.end for s in found) else sign for at, sign in enumerate(text))


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("size", [1, 3, 7])
def test_personal_data_leaves_as_it_would_from_the_whole_text(value, size):
    detector = PersonalData([kind for kind in KINDS if kind != "NAME"])
    text = f"{PROSE}So it says: {value}, and that is it. {PROSE}"
    assert "*" in whole(detector.scan, text)
    assert released(detector.scan, detector.settled, text, size) == whole(detector.scan, text)


@pytest.mark.parametrize("value", SECRET_VALUES)
@pytest.mark.parametrize("size", [1, 3, 7])
def test_secrets_leave_as_they_would_from_the_whole_text(value, size):
    detector = Secrets()
    text = f"{PROSE}So it says: {value} and that is it. {PROSE}"
    assert "*" in whole(detector.scan, text)
    assert released(detector.scan, detector.settled, text, size) == whole(detector.scan, text)


@pytest.mark.parametrize("value", VALUES)
def test_holding_back_a_fixed_length_is_enough_too(value):
    detector = PersonalData([kind for kind in KINDS if kind != "NAME"])
    text = f"{PROSE}So it says: {value}, and that is it. {PROSE}"
    fixed = released(detector.scan, lambda heard: max(0, len(heard) - HOLD_BACK), text, 1)
    assert fixed == whole(detector.scan, text)


def test_little_is_held_back_of_ordinary_text():
    detector, secrets = PersonalData([kind for kind in KINDS if kind != "NAME"]), Secrets()
    text = PROSE * 5
    held = [size - detector.settled(text[:size]) for size in range(200, len(text))]
    assert sum(held) / len(held) < 25
    assert max(size - secrets.settled(text[:size]) for size in range(300, len(text))) < 25


def test_never_more_is_held_back_than_promised():
    generator = random.Random(3)
    detector, secrets = PersonalData(), Secrets()
    for _ in range(300):
        text = "".join(generator.choices("ab1@. -BEGIN\n\u200b", k=generator.randint(0, 600)))
        assert len(text) - HOLD_BACK <= detector.settled(text) <= len(text)
        assert len(text) - SECRETS_HOLD_BACK <= secrets.settled(text) <= len(text)
