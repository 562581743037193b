"""Rate-limit headers as services send them."""

import pytest

from gateway import ratelimits
from gateway.errors import UpstreamRefused
from gateway.ratelimits import Limit, limits_in, tells, wait_of


@pytest.mark.parametrize(
    ("headers", "limits"),
    [
        (
            {"x-ratelimit-limit-requests": "500", "x-ratelimit-remaining-requests": "499", "x-ratelimit-reset-requests": "120ms",
             "x-ratelimit-limit-tokens": "30000", "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"},
            [Limit("requests", 500, 499, 0.12), Limit("tokens", 30000, 0, 360.0)],
        ),
        ({"x-ratelimit-remaining-tokens": "8", "x-ratelimit-remaining-requests": "9"},
         [Limit("requests", None, 9, None), Limit("tokens", None, 8, None)]),
        ({"x-ratelimit-remaining-requests": "14399", "x-ratelimit-reset-requests": "1h0m6.5s"}, [Limit("requests", None, 14399, 3606.5)]),
        ({"x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": "17"}, [Limit("requests", None, 1, 17.0)]),
        ({"x-ratelimit-remaining-requests": "-1", "x-ratelimit-remaining-tokens": "many"}, []), ({}, []),
        ({"x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": "soon"}, [Limit("requests", None, 1, None)]),
    ],
)
def test_openais_headers_are_read(headers, limits):
    assert list(limits_in(headers)) == limits
    assert tells(headers) == any("remaining" in name for name in headers)


def test_anthropics_moments_become_seconds(monkeypatch):
    monkeypatch.setattr(ratelimits, "now_ms", lambda: 1_767_225_600_000)  # 2026-01-01
    headers = {
        "anthropic-ratelimit-requests-limit": "50", "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": "2026-01-01T00:00:30Z", "anthropic-ratelimit-input-tokens-limit": "40000",
        "anthropic-ratelimit-input-tokens-remaining": "39000", "anthropic-ratelimit-input-tokens-reset": "2025-12-31T23:59:00Z",
    }
    assert limits_in(headers) == (Limit("requests", 50, 0, 30.0), Limit("input-tokens", 40000, 39000, 0.0))


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({"headers": {"retry-after": "7"}}, 7.0), ({"headers": {"retry-after": "7", "retry-after-ms": "250"}}, 0.25),
        ({"retry_after": 3.0}, 3.0), ({"body": b'{"error": {"details": [{"retryDelay": "41.5s"}]}}'}, 41.5),
        ({"headers": {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}}, None), ({}, None),
    ],
)
def test_a_refusal_says_how_long_to_wait(fields, seconds):
    assert wait_of(UpstreamRefused(429, "slow down", **fields)) == seconds
