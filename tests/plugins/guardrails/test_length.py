"""Texts over or under a limit."""

import pytest

from gateway_plugins.guardrails.length import Length, Options


@pytest.mark.parametrize(
    ("options", "text", "kind"),
    [
        ({"max_characters": 5}, "123456", "too_long"), ({"max_characters": 5}, "12345", None),
        ({"max_words": 2}, "one two three", "too_long"), ({"max_words": 3}, "one  two\nthree", None),
        ({"max_lines": 2}, "a\nb\nc", "too_long"), ({"min_characters": 3}, " a ", "too_short"),
        ({"min_characters": 1}, "a", None),
    ],
)  # fmt: skip
def test_limits_hold(options, text, kind):
    found = list(Length(Options(**options)).scan(text))
    assert [(each.start, each.end, each.kind) for each in found] == ([(0, len(text), kind)] if kind else [])


def test_without_a_limit_it_is_refused():
    with pytest.raises(ValueError, match="limit"):
        Length(Options())
