"""Sealed secrets open where they were sealed, and nowhere else."""

import pytest

from gateway.accounts.sealing import SealBroken, Sealer

MASTER = b"m" * 32


@pytest.fixture
def sealer() -> Sealer:
    return Sealer(MASTER, "provider-credential")


@pytest.mark.parametrize("text", ["sk-upstream-0001", "", "ü€\ud800", "x" * 100_000])
def test_what_is_sealed_comes_back_out_and_stands_nowhere_in_it(sealer, text):
    sealed = sealer.seal(text, "credentials", "c1", "acme")
    assert sealer.open(sealed, "credentials", "c1", "acme") == text
    assert not text or text not in sealed
    assert sealer.seal(text, "credentials", "c1", "acme") != sealed


@pytest.mark.parametrize("place", [("credentials", "c2", "acme"), ("credentials", "c1", "other"), ("credentials", "c1acme"), ()])
def test_a_text_that_was_moved_to_another_place_does_not_open(sealer, place):
    sealed = sealer.seal("secret", "credentials", "c1", "acme")
    with pytest.raises(SealBroken, match="belongs elsewhere"):
        sealer.open(sealed, *place)


def test_another_purpose_or_master_secret_opens_nothing_and_says_why(sealer):
    sealed = sealer.seal("secret", "here")
    for other in (Sealer(MASTER, "webhook"), Sealer(b"n" * 32, "provider-credential")):
        with pytest.raises(SealBroken, match="another master secret"):
            other.open(sealed, "here")


def test_every_changed_character_is_noticed(sealer):
    sealed = sealer.seal("secret", "here")
    for place in range(len(sealed)):
        changed = sealed[:place] + ("A" if sealed[place] != "A" else "B") + sealed[place + 1 :]
        with pytest.raises(SealBroken):
            sealer.open(changed, "here")
    for broken in ("", "v1", "v1..", sealed[:20], sealed + "!", "x" * 50):
        with pytest.raises(SealBroken):
            sealer.open(broken, "here")


def test_fingerprints_are_equal_for_equal_secrets_under_one_master_secret_only(sealer):
    assert sealer.fingerprint("a") == sealer.fingerprint("a") != sealer.fingerprint("b")
    assert sealer.fingerprint("a") != Sealer(b"n" * 32, "provider-credential").fingerprint("a")
