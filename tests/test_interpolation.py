"""`${...}` in scalars."""

import os

import pytest

from gateway.interpolation import MAX_FILE, CannotFillError, Filled, fill, hidden


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("plain", "plain"), ("${A}", "one"), ("x-${A}-${B}", "x-one-two"), ("${NO:-}", ""), ("${NO:-d:-e}", "d:-e"),
        ("${EMPTY:-d}", "d"), ("${EMPTY}", ""), ("$$", "$"), ("$${A}", "${A}"), ("^a$", "^a$"), ("$A", "$A"),
        ("$$${A}", "$one"), ("${DOLLAR}", "${A}"), ("${file:-d}", "d"),
    ],
)  # fmt: skip
def test_variables_defaults_and_escapes(text, result):
    environ = {"A": "one", "B": "two", "EMPTY": "", "DOLLAR": "${A}"}
    assert fill(text, environ) == result


def test_it_is_noted_what_came_from_outside():
    whole, part = fill("${A}", {"A": "secret"}), fill("key ${A}", {"A": "secret"})
    assert isinstance(whole, Filled)
    assert whole.whole
    assert whole.values == ("secret",)
    assert isinstance(part, Filled)
    assert not part.whole
    assert type(fill("$$x", {})) is str
    assert hidden("bad: 'secret'", part) == "bad: '***'"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("${A", "`${` without `}`"),
        ("${}", "`${}` names no variable"),
        ("${1A}", "`${1A}` names no variable"),
        ("${A:+x}", "`${A:+x}` names no variable"),
        ("${A}", "the variable A is not set (`${A:-}` allows that)"),
        ("${BAD}", "the variable BAD is not UTF-8"),
        ("${file:relative}", "`${file:relative}` needs an absolute path"),
        ("${file:}", "needs an absolute path"),
        ("${file:/no/such/file}", "cannot read /no/such/file: No such file or directory"),
        ("${file:/}", "/ is not a regular file"),
        ("${file:/dev/zero}", "/dev/zero is not a regular file"),
    ],
)
def test_what_cannot_be_filled_is_said(text, said):
    with pytest.raises(CannotFillError) as caught:
        fill(text, {"BAD": "\udcff"})
    assert said in str(caught.value)


def test_a_file_gives_its_text_without_the_last_newline(tmp_path):
    path = tmp_path / "secret"
    for data, text in [(b"key\n", "key"), (b"key\r\n", "key"), (b"a\nb\n\n", "a\nb\n"), (b"", "")]:
        path.write_bytes(data)
        assert fill(f"${{file:{path}}}", {}) == text


def test_a_pipe_a_large_file_and_bytes_are_refused(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(CannotFillError, match="not a regular file"):
        fill(f"${{file:{path}}}", {})
    path = tmp_path / "large"
    path.write_bytes(b"x" * MAX_FILE)
    assert len(fill(f"${{file:{path}}}", {})) == MAX_FILE
    path.write_bytes(b"x" * (MAX_FILE + 1))
    with pytest.raises(CannotFillError, match="larger than 64 KiB"):
        fill(f"${{file:{path}}}", {})
    path.write_bytes(b"secret\xff")
    with pytest.raises(CannotFillError, match="not UTF-8") as caught:
        fill(f"${{file:{path}}}", {})
    assert "secret" not in str(caught.value)
