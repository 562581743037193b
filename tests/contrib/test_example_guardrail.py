"""The tutorial shows the example plugin as it is, and that plugin passes its own tests."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest

from gateway.testing import Behaviour

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "contrib/example-guardrail"
SHOWN = re.compile(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```\n", re.DOTALL)


def test_the_tutorial_holds_the_plugin_verbatim() -> None:
    page = (ROOT / "docs/plugins/first-plugin.md").read_text()
    shown = SHOWN.findall(page)
    assert len(shown) == page.count("<!-- file:") == 3
    for path, text in shown:
        assert text == (ROOT / path).read_text(), f"docs/plugins/first-plugin.md shows another {path}"


def test_the_example_fits_on_one_screen() -> None:
    assert len((EXAMPLE / "src/gateway_codenames.py").read_text().splitlines()) <= 45


def test_the_entry_point_leads_to_the_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLE / "src")
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    target = project["entry-points"]["ai_gateway.plugins"]["guardrail.codenames"]
    module, _, name = target.partition(":")
    plugin = getattr(__import__(module), name)
    assert plugin(sys.modules[module].Config(names=("a", "abc"))).hold_back == 3


def test_the_example_passes_its_own_tests() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(command, cwd=EXAMPLE, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_of_the_demo_provider_lists_every_field() -> None:
    page = (ROOT / "docs/plugins/demo-provider.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \| (.*) \|$", page, re.MULTILINE)
    properties = msgspec.json.schema_components([Behaviour])[1]["Behaviour"]["properties"]
    assert listed == [(name, field["description"]) for name, field in properties.items()]
