"""One cookie of a request, as browsers send it."""

import pytest

from gateway.cookies import read_cookie


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("a=1", "1"), ("b=2; a=1", "1"), ("b=2;a=1 ;c", "1"), ('a="1"', "1"), ("a=x=y", "x=y"), ("", None), ("a", None),
        ("aa=1", None), ("A=1", None), ("a=1; a=2", None), (";;=;", None),
    ],
)  # fmt: skip
def test_a_cookie_is_found_by_its_exact_name_and_never_guessed(header, value):
    assert read_cookie({"cookie": header}, "a") == value


def test_no_cookies_at_all():
    assert read_cookie({}, "a") is None
