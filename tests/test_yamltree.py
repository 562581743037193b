"""YAML text becomes plain values with lines, inside fixed limits."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.problems import ConfigError
from gateway.yamltree import MAX_BYTES, MAX_DEPTH, Tree, parse, plain_scalar


def tree(text: str | bytes, **environ: str) -> Tree:
    return parse(text if isinstance(text, bytes) else text.encode(), "c.yaml", environ)


def error(text: str | bytes) -> str:
    with pytest.raises(ConfigError) as caught:
        tree(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("off", "off"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("12:30:00", "12:30:00"),
        ("2026-11-23", "2026-11-23"),
        ("1_000", "1_000"),
        ("10", 10),
        ("-3", -3),
        ("0x1F", 31),
        ("0o17", 15),
        ("010", 10),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        (".nan", ".nan"),
        (".inf", ".inf"),
        ("1e999", "1e999"),
        ("9" * 40, "9" * 40),
        ("1.2.3", "1.2.3"),
        ("y", "y"),
        ("NO", "NO"),
        ("=", "="),
    ],
)
def test_a_plain_scalar_means_what_yaml_1_2_says(text, value):
    assert plain_scalar(text) == value
    assert type(plain_scalar(text)) is type(value)
    assert tree(f"a: {text}").value == {"a": value}


def test_quoted_and_tagged_scalars_are_text():
    assert tree("a: '5'\nb: \"true\"\nc: !!str 5\nd: |\n  6").value == {"a": "5", "b": "true", "c": "5", "d": "6"}


def test_keys_are_text():
    assert tree("on: 1\n404: 2\n~: 3").value == {"on": 1, "404": 2, "~": 3}


def test_anchors_aliases_and_merge_keys_work():
    text = "base: &b {x: 1, y: 2}\none: *b\ntwo: {<<: *b, y: 3}\nthree: {<<: [*b, {z: 4}]}"
    assert tree(text).value == {
        "base": {"x": 1, "y": 2}, "one": {"x": 1, "y": 2}, "two": {"x": 1, "y": 3}, "three": {"x": 1, "y": 2, "z": 4},
    }  # fmt: skip


def test_every_value_has_a_line():
    lines = tree("a:\n  - b: 1\n    c: 2\n  - d\n").lines
    assert [lines.at(p) for p in [(), ("a",), ("a", 0, "b"), ("a", 0, "c"), ("a", 1), ("a", 0, "x")]] == [
        1,
        1,
        2,
        3,
        4,
        2,
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "a: [1, 2",
            "c.yaml:2: $: while parsing a flow sequence, did not find expected ',' or ']' (it begins on line 1)",
        ),
        ("x: 1\na: b: c", "c.yaml:2: $: mapping values are not allowed in this context"),
        ("a: 1\nb: \x01", "c.yaml:2: $: the character #x0001 is not allowed here"),
        (b"a: 1\nb: \xff", "c.yaml:2: $: the file is not UTF-8 (byte 8)"),
        ("a: *nobody", "c.yaml:1: $: the alias `*nobody` has no anchor before it"),
        ("a: &a [*a]", "c.yaml:1: $: the alias `*a` has no anchor before it"),
        ("a: 1\n---\nb: 2", "c.yaml:2: $: one document only: a second one begins with this `---`"),
        (
            "\na: !!python/name:os.system x",
            "c.yaml:2: $: the tag `tag:yaml.org,2002:python/name:os.system` is not supported",
        ),
        ("", "c.yaml:1: $: the file is empty"),
        ("# only a comment\n", "c.yaml:1: $: the file is empty"),
        ("a:\n\tb: 1", "c.yaml:2: $: while scanning for the next token, found character that cannot start any token"),
        ("a: {k: ${KEY}}", "inside [ ] and { } a variable needs quotes"),
    ],
)
def test_what_is_no_yaml_is_said_with_its_line(text, said):
    assert said in error(text)


def test_a_key_given_twice_is_a_problem_with_both_lines():
    problems = tree("a:\n  x: 1\n  y: 2\n  x: 3").problems
    assert [str(problem) for problem in problems] == ["c.yaml:4: $.a.x: `x` is given twice, first on line 2"]


def test_a_key_that_is_no_scalar_is_a_problem():
    assert [str(p) for p in tree("? [a]\n: 1").problems] == ["c.yaml:1: $: a key must be plain text"]


def test_an_alias_bomb_ends_at_the_limit():
    bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
    )
    assert "more than 100000 values, aliases included" in error(bomb)


def test_depth_is_limited_also_through_aliases():
    assert f"nested deeper than {MAX_DEPTH} levels" in error("[" * 1000)
    half = "[" * 40 + "x" + "]" * 40
    nested = "[" * 40 + "*a" + "]" * 40
    assert f"nested deeper than {MAX_DEPTH} levels" in error(f"a: &a {half}\nb: {nested}")


def test_many_values_and_large_files_are_refused():
    assert "more than 100000 values" in error("[" + "1," * 300_000 + "]")
    assert error(b"#" * (MAX_BYTES + 1)) == "c.yaml: $: the file is larger than 4 MiB"


def test_a_byte_order_mark_is_passed_over():
    assert tree(b"\xef\xbb\xbfa: 1").value == {"a": 1}


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200), st.text("ab:-[]{}&*!|>'\"#%@`,?\n \t${}<~0\u0085\ufeff", max_size=80).map(str.encode)
    )
)
@example(b"? ? ?")
@example(b"&a *a")
@example(b"<<: <<")
@example(b"a: &x {<<: *x}")
@example(b"\x00")
@example("\ufffe".encode())
@example(b"--- !<tag:x> a")
def test_any_bytes_give_a_tree_or_a_config_error(source):
    """Nothing but `ConfigError` ever leaves the reader."""
    try:
        parse(source, "c.yaml", {})
    except ConfigError:
        return
