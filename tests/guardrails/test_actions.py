"""What stands in place of a finding says what it was, and does not say it."""

import pytest

from gateway.guardrails.actions import label, masked


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("US_SSN", "[SSN_REDACTED]"), ("EMAIL", "[EMAIL_REDACTED]"), ("credit card", "[CREDIT_CARD_REDACTED]"),
        ("", "[REDACTED]"), ("--", "[REDACTED]"),
    ],
)
def test_a_label_names_the_kind(kind, expected):
    assert label(kind) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("123-45-6789", "***-**-6789"), ("4111 1111 1111 1234", "**** **** **** 1234"), ("ab", "*b"), ("", ""),
        ("abc", "**c"), ("j.doe@example.com", "*.***@******e.com"),
    ],
)
def test_a_mask_keeps_the_last_four_or_half(text, expected):
    assert masked(text) == expected
