"""Which passwords are taken."""

import pytest

from gateway.accounts.passwordpolicy import check_password
from gateway.accounts.passwords import generate
from gateway.errors import InvalidFields


@pytest.mark.parametrize(
    "password",
    [
        "", "elevenchars", "aaaaaaaaaaaaaaaa", "abababababab", "password1234", "Password123!", "P@ssw0rd12345", "passwordpassword",
        "123456789012", "qwertyuiopas", "abcdefghijklmn", "9876543210987", "letmeinletmein1", "Welcome2026!!!", "x" * 300,
        "ann.miller12", "annmiller2026", "ann.miller@x.example", "2024administrator",
    ],
)  # fmt: skip
def test_short_common_and_personal_ones_are_refused(password):
    with pytest.raises(InvalidFields) as refused:
        check_password(password, "new_password", "ann.miller@x.example", "annmiller")
    assert [path for path, _ in refused.value.fields] == ["new_password"]
    assert password == "" or password not in str(refused.value)


@pytest.mark.parametrize(
    "password", ["violet-Harbor-kettle-91", "correct horse battery", "ünïcödé pässwörd x", "ann.miller likes long walks", generate()]
)
def test_long_ones_that_nobody_guesses_are_taken(password):
    check_password(password, "password", "ann.miller@x.example", "Ann", "")
