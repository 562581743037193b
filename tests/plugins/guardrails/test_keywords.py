"""Words of one's own: whole ones, in any case, but not in phrases that are allowed."""

import pytest

from gateway.testing import GuardrailContract
from gateway_plugins.guardrails.keywords import Keywords, Options


class TestKeywords(GuardrailContract):
    catches = "Blue  Moon"

    async def make(self) -> Keywords:
        return Keywords(Options(deny={"codename": ("blue moon", "falcon")}))


def kinds(text: str, **options) -> list[tuple[str, str]]:
    made = Keywords(Options(**options))
    return [(text[found.start : found.end], found.kind) for found in made.scan(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Falcon and falcons", [("Falcon", "bird")]),
        ("a peregrine falcon flies", []),
        ("BLUE\nMOON rises", [("BLUE\nMOON", "moon")]),
        ("\u4f60falcon", []), ("'falcon'", [("falcon", "bird")]), ("C++ code", [("C++", "language")]),
        ("stra\u00dfe", []), ("", []),
    ],
)  # fmt: skip
def test_what_is_denied_is_found_as_whole_words(text, expected):
    deny = {"bird": ("falcon",), "moon": ("blue moon",), "language": ("c++",)}
    assert kinds(text, deny=deny, allow=("peregrine falcon",)) == expected


def test_case_and_parts_of_words_count_if_asked():
    assert kinds("Falcon falconry", deny={"b": ("falcon",)}, ignore_case=False, whole_words=False) == [("falcon", "b")]


def test_a_long_list_is_quick_and_the_longest_phrase_wins():
    deny = {"many": tuple(f"term{number}" for number in range(5000)), "long": ("term77 extra",)}
    assert kinds("say term77 extra, term4999", deny=deny) == [("term77 extra", "long"), ("term4999", "many")]
