"""The format of keys, and what is stored of them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.accounts import keys

MASTER = b"m" * 32


def test_a_key_has_the_documented_shape_and_parses_into_its_parts():
    text = keys.new_key()
    assert re.fullmatch(r"sk-gw-[0-9A-Za-z]{61}", text)
    key_id, secret = keys.parse(text)
    assert (len(key_id), len(secret)) == (12, 43)
    assert text.startswith("sk-gw-" + key_id + secret)


def test_no_two_keys_are_alike():
    assert len({keys.new_key() for _ in range(500)}) == 500


def test_the_checksum_is_fixed_for_good():
    """Keys outlive releases: this one was made by the first."""
    text = "sk-gw-" + "0" * 12 + "Az9" * 14 + "x"
    assert keys.parse(text + keys._checksum(text)) is not None
    assert keys._checksum(text) == "12QOxy"


@given(st.integers(0, 66), st.characters(codec="utf-8"))
def test_any_single_changed_character_is_noticed(position, other):
    text = keys.new_key()
    changed = text[:position] + other + text[position + 1 :]
    assert (keys.parse(changed) is None) == (changed != text)


@pytest.mark.parametrize(
    "text",
    ["", "sk-gw-", "sk-gw-" + "a" * 61, "sk-" + "a" * 64, "sk-gw-" + "ä" * 61, "\x00" * 67, "sk-gw-" + "\udcff" * 61],
)
def test_what_is_no_key_is_none(text):
    assert keys.parse(text) is None


def test_a_longer_or_shorter_key_is_none():
    text = keys.new_key()
    for wrong in (text + "0", text[:-1], " " + text, text + "\n"):
        assert keys.parse(wrong) is None


def test_what_is_shown_holds_no_character_of_the_secret():
    text = keys.new_key()
    assert keys.shown(text) == f"{text[:10]}…{text[-4:]}"
    assert len(text[:10] + text[-4:]) == 14
    assert text[18:61] == keys.parse(text)[1]


def test_a_digest_depends_on_every_part_of_secret_and_master():
    pepper = keys.pepper(MASTER)
    digest = keys.digest(pepper, "secret")
    assert keys.matches(digest, keys.digest(pepper, "secret"))
    assert not keys.matches(digest, keys.digest(pepper, "secreT"))
    assert not keys.matches(digest, keys.digest(keys.pepper(b"n" * 32), "secret"))
    assert re.fullmatch("[0-9a-f]{64}", digest)


def test_an_issued_record_holds_the_digest_and_not_the_secret():
    text, record = keys.issue(keys.pepper(MASTER), tenant="acme", created=5, name="n")
    key_id, secret = keys.parse(text)
    assert record.id == key_id
    assert record.digest == keys.digest(keys.pepper(MASTER), secret)
    assert secret not in repr(record)
