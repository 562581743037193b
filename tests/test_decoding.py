"""Values become structs, and every mistake is found."""

import enum
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from gateway.decoding import check, decode, plain
from gateway.interpolation import fill
from gateway.problems import Lines
from gateway.secrets import Secret


class Colour(enum.Enum):
    RED = "red"


class Inner(msgspec.Struct):
    size: int = 1


class Tagged(msgspec.Struct, tag="t", tag_field="kind"):
    size: int = 1


class Outer(msgspec.Struct):
    need: str
    inner: Inner | None = None
    many: tuple[Inner, ...] = ()
    named: dict[str, Inner] = {}
    mode: Literal["fast", "slow"] = "fast"
    colour: Colour = Colour.RED
    ratio: float = 1.0
    tagged: Tagged | None = None
    secret: Secret | None = None
    any: Any = None
    few: Annotated[list[int], Meta(max_length=2)] = []

    def __post_init__(self):
        if self.need == "broken":
            raise ValueError("need must not be broken")


def run(value):
    problems = []
    return decode(value, Outer, ("x",), Lines(), problems), [f"{problem.path}: {problem.text}" for problem in problems]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({}, "$.x: the field `need` is missing"),
        ({"need": "a", "inner": {"siz": 1}}, "$.x.inner.siz: unknown field `siz`; did you mean `size`?"),
        ({"need": "a", "many": [{}, {"size": "x"}]}, "$.x.many[1].size: expected a whole number, got text"),
        ({"need": "a", "named": {"k": {"size": []}}}, "$.x.named.k.size: expected a whole number, got a list"),
        ({"need": "a", "mode": "fats"}, "$.x.mode: `fats` is not allowed here: must be one of fast, slow"),
        (
            {"need": "a", "colour": "rad"},
            "$.x.colour: `rad` is not allowed here: must be one of red",
        ),
        ({"need": "a", "few": [1, 2, "x"]}, "$.x.few[2]: expected a whole number, got text"),
        ({"need": "a", "few": [1, 2, 3]}, "$.x.few: expected a list of length <= 2"),
        ({"need": "a", "tagged": {"kind": "u"}}, "$.x.tagged.kind: invalid value 'u'"),
        ({"need": "a", "secret": {"x": 1}}, "$.x.secret: expected text"),
        ({"need": "broken"}, "$.x: need must not be broken"),
        ({"need": None}, "$.x.need: expected text, got nothing (null)"),
        (["need"], "$.x: expected a mapping, got a list"),
    ],
)
def test_a_mistake_is_said_with_its_path(value, said):
    result, problems = run(value)
    assert result is None
    assert len(problems) == 1
    assert problems[0].startswith(said)


def test_several_mistakes_are_all_said():
    assert len(run({"nede": "a", "mode": 1, "ratio": "x", "many": [{"size": "a"}, {"size": "b"}]})[1]) == 6


def test_what_is_right_is_decoded():
    result, problems = run(
        {"need": "a", "tagged": {"kind": "t", "size": 2}, "named": {"k": {}}, "ratio": 2, "secret": "s"}
    )
    assert problems == []
    assert (result.tagged.size, result.named["k"].size, result.ratio, result.secret.reveal()) == (2, 1, 2.0, "s")


def test_whole_variables_take_the_type_that_is_wanted():
    environ = {"N": "5", "E": ""}
    value = {"need": fill("${N}", environ), "many": [{"size": fill("${N}", environ)}], "inner": fill("${E}", environ)}
    result, problems = run(value)
    assert problems == []
    assert (result.need, result.many[0].size, result.inner) == ("5", 5, None)


def test_a_field_of_any_type_gets_plain_text_unless_it_is_kept():
    value = {"need": "a", "any": {"k": [fill("${N}", {"N": "5"})]}}
    assert type(run(value)[0].any["k"][0]) is str
    kept = decode(value, Outer, (), Lines(), [], keep_filled=True)
    assert type(kept.any["k"][0]) is not str
    assert plain(kept.any) == {"k": ["5"]}


def test_check_finds_mistakes_without_making_the_struct():
    assert check({"need": "broken"}, Outer, (), Lines()) == []
    assert len(check({"need": 1}, Outer, (), Lines())) == 1
