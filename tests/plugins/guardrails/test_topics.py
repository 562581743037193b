"""Topics are found by enough of their terms; what is about none of the allowed ones is off topic."""

import pytest

from gateway_plugins.guardrails.topics import Options, Topic, Topics

GAMBLING = Topic(name="gambling", terms=("casino", "betting odds", "roulett*", "poker"), at_least=2)
BANKING = Topic(name="banking", terms=("account", "transfer*", "credit card"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Which casino has the best betting odds?", ["gambling"]), ("Meet me at the Casino hotel", []),
        ("Roulettes and POKER tonight", ["gambling"]), ("", []),
    ],
)  # fmt: skip
def test_a_denied_topic_needs_enough_of_its_terms(text, expected):
    assert [found.kind for found in Topics(Options(deny=(GAMBLING,))).scan(text)] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("How do I close my account with you today?", []), ("Please tell me a long joke about ducks", ["off_topic"]),
        ("Hello!", []), ("Why were my transfers so slow this week?", []),
    ],
)  # fmt: skip
def test_what_is_about_no_allowed_topic_is_off_topic(text, expected):
    assert [found.kind for found in Topics(Options(allow=(BANKING,))).scan(text)] == expected


def test_arguments_of_tools_have_no_topic():
    assert not Topics(Options(allow=(BANKING,))).scan('{"a": "one two three four five six"}', "arguments")


def test_without_topics_it_is_refused():
    with pytest.raises(ValueError, match="deny"):
        Topics(Options())
