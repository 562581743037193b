"""Opaque tokens: each for its purpose, and known by a keyed hash only."""

import pytest

from gateway.accounts.keys import new_key
from gateway.accounts.tokens import PREFIXES, Tokens

MASTER = b"m" * 32


@pytest.mark.parametrize("purpose", PREFIXES)
def test_a_token_is_known_again_and_no_other_is(purpose):
    tokens = Tokens(MASTER, purpose)
    made = tokens.make()
    ident, secret = tokens.parse(made.token)
    assert ident == made.id
    assert tokens.matches(made.digest, secret)
    assert not tokens.matches(made.digest, secret[:-1] + ("A" if secret[-1] != "A" else "B"))
    assert not tokens.matches(None, secret)
    assert secret not in repr(made)
    assert secret not in made.shown


def test_a_token_of_one_purpose_is_none_of_another():
    for purpose in PREFIXES:
        made = Tokens(MASTER, purpose).make()
        for other in set(PREFIXES) - {purpose}:
            tokens = Tokens(MASTER, other)
            assert tokens.parse(made.token) is None
            assert not tokens.matches(made.digest, made.token[-43:])
    assert not Tokens(b"n" * 32, "session").matches(Tokens(MASTER, "session").make().digest, "x" * 43)


@pytest.mark.parametrize("text", ["", "gws-", "gws-" + "a" * 54, "gws-" + "a" * 56, "gws-" + "é" * 55, "gws-" + "-" * 55, new_key()])
def test_anything_else_is_no_token(text):
    assert Tokens(MASTER, "session").parse(text) is None
