"""Code is found in fences and without them; prose is not code."""

import pytest

from gateway_plugins.guardrails.code import Code, Options

PYTHON = "def add(a, b):\n    return a\n\nprint(add(1, 2))\n"


def kinds(text: str, **options) -> list[str]:
    return [found.kind for found in Code(Options(**options)).scan(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"Here:\n```python\n{PYTHON}```\nbye", ["python"]), ("```\nx\n```", ["code"]), ("```text\nx\n```", []),
        (PYTHON, ["python"]), ("SELECT a FROM b;\nDELETE FROM c;", ["sql"]), ("```js\nlet a = 1", ["javascript"]),
        ("#include <stdio.h>\nint main(void) {\n  return 0;\n}", ["c"]),
        ("$ sudo rm x\n$ apt install y", ["shell"]),
    ],
)  # fmt: skip
def test_code_is_found(text, expected):
    assert kinds(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Please select a date from the list.\nIf you like, we can meet:\nfor lunch, or:\nwith friends.",
        "Import duties are high this year.\nReturn the form by Friday.\nClass starts at nine:", "", "x = y",
        "What is a for loop in Python? How does `print()` work?",
    ],
)
def test_prose_is_not_code(text):
    assert kinds(text) == []


def test_lists_say_which_languages_count():
    assert kinds(PYTHON, allow=("py",)) == []
    assert kinds(f"```sql\nselect 1\n```\n{PYTHON}", deny=("sql",)) == ["sql"]


def test_a_finding_covers_the_code():
    text = f"Look:\n```python\n{PYTHON}```\nbye"
    (found,) = Code(Options()).scan(text)
    assert text[found.start : found.end] == f"```python\n{PYTHON}```"
