"""docs/guarantees.md: each known way to get money wrong is on it, with tests that exist."""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs/guarantees.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith(("| no.", "| complaint"))]
NAMED = sorted(set(re.findall(r"`(tests/[^`:]+)::(\w+)`", PAGE)))


@functools.cache
def functions_of(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize(("path", "name"), NAMED, ids=[name for _, name in NAMED])
def test_a_named_test_exists(path, name):
    assert name in functions_of(path)


def test_every_incident_is_there_and_every_line_names_a_test():
    assert {line[2:6] for line in ROWS if line.startswith("| R-")} == {f"R-{number}" for number in range(51, 72)}
    assert [line for line in ROWS if "`tests/" not in line] == []


def test_the_page_of_metrics_says_where_money_is_read():
    page = (ROOT / "docs/metrics.md").read_text()
    assert "Counters begin at zero when the gateway starts" in page
    assert "[the ledger](keys-limits-usage.md#usage)" in page
