"""Where requests come from, and when a cookie may count."""

import pytest

from gateway.admin.browser import Doors, Place, session_cookie
from gateway.errors import Forbidden


@pytest.mark.parametrize(
    ("peer", "headers", "place"),
    [
        ("127.0.0.1", {"host": "127.0.0.1:8000"}, Place("127.0.0.1", False, True)),
        ("127.0.0.1", {"host": "localhost"}, Place("127.0.0.1", False, True)),
        ("::1", {"host": "[::1]:8000"}, Place("::1", False, True)),
        ("127.0.0.1", {"host": "gateway.example.com"}, Place("127.0.0.1", False, False)),
        ("127.0.0.1", {"host": "localhost", "x-forwarded-for": "192.0.2.1"}, Place("127.0.0.1", False, False)),
        ("127.0.0.1", {"host": "localhost.evil.example"}, Place("127.0.0.1", False, False)),
        ("127.0.0.1", {}, Place("127.0.0.1", False, False)),
        ("192.0.2.1", {"host": "localhost"}, Place("192.0.2.1", False, False)),
        ("192.0.2.1", {"host": "x", "x-forwarded-proto": "https"}, Place("192.0.2.1", False, False)),
        ("192.0.2.1", {"host": "x", "x-forwarded-for": "198.51.100.7"}, Place("192.0.2.1", False, False)),
    ],
)
def test_without_trusted_proxies_only_the_connection_counts(peer, headers, place):
    assert Doors().place(peer, headers) == place


@pytest.mark.parametrize(
    ("headers", "place"),
    [
        ({"x-forwarded-for": "192.0.2.9", "x-forwarded-proto": "https"}, Place("192.0.2.9", True, False)),
        ({"x-forwarded-for": "6.6.6.6, 192.0.2.9, 10.0.0.7"}, Place("192.0.2.9", False, False)),
        ({"x-forwarded-for": "made-up, 10.0.0.7"}, Place("10.0.0.7", False, False)),
        ({"x-forwarded-proto": "https, http"}, Place("10.0.0.1", False, False)),
        ({}, Place("10.0.0.1", False, False)),
    ],
)
def test_a_trusted_proxy_says_who_the_client_is_and_nobody_before_it(headers, place):
    assert Doors(proxies=["10.0.0.0/8"]).place("10.0.0.1", {"host": "x", **headers}) == place


def test_a_public_url_with_https_makes_requests_for_it_secure():
    doors = Doors("https://gateway.example.com")
    assert doors.place("127.0.0.1", {"host": "gateway.example.com"}).secure
    assert not doors.place("127.0.0.1", {"host": "other.example.com"}).secure


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "g.example", "origin": "https://g.example"}, {"host": "g.example", "sec-fetch-site": "same-origin"},
        {"host": "127.0.0.1:8000", "origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"},
    ],
)  # fmt: skip
def test_a_page_of_this_gateway_may(headers):
    Doors().check_origin(headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "g.example"}, {"host": "g.example", "origin": "null"}, {"origin": "https://g.example"},
        {"host": "g.example", "origin": "https://evil.example"}, {"host": "g.example", "sec-fetch-site": "cross-site"},
        {"host": "g.example", "sec-fetch-site": "same-site"}, {"host": "g.example", "sec-fetch-site": "none"},
        {"host": "g.example", "sec-fetch-site": "same-origin", "origin": "https://evil.example"},
        {"host": "g.example", "origin": "https://g.example:8443"},
    ],
)  # fmt: skip
def test_any_other_page_may_not(headers):
    with pytest.raises(Forbidden):
        Doors().check_origin(headers)


def test_behind_a_proxy_that_changes_the_host_the_public_url_decides():
    doors = Doors("https://gateway.example.com/")
    doors.check_origin({"host": "10.0.0.5:8000", "origin": "https://gateway.example.com"})
    with pytest.raises(Forbidden):
        doors.check_origin({"host": "evil.example", "origin": "https://evil.example"})


def test_a_program_that_says_nothing_passes_where_no_cookie_counts():
    Doors().check_origin({"host": "g.example"}, strict=False)
    with pytest.raises(Forbidden):
        Doors().check_origin({"host": "g.example", "origin": "https://evil.example"}, strict=False)


def test_the_cookie_is_bound_to_the_host_and_hidden_from_scripts():
    secure = session_cookie("abc", Place("192.0.2.1", True, False), 60)
    assert secure == "__Host-gateway=abc; Path=/; HttpOnly; SameSite=Lax; Max-Age=60; Secure"
    plain = session_cookie("", Place("127.0.0.1", False, True), 60)
    assert plain == "gateway-session=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0"
