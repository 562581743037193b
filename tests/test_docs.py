"""The documentation is true: its YAML decodes, its Python runs, its commands and links exist, its tables are complete."""

import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import click
import pytest
import yaml

from gateway import Exchange, GatewayError, Level, Price
from gateway.cli import cli
from gateway.configfile import inspect
from gateway.dispatch import HOOKS
from gateway.exchange import Outcome
from gateway.limits import title
from gateway.metrics import Metrics
from gateway.money.ledger import COLUMNS
from gateway.registry import Registry
from gateway.shared_state.memory import MemoryState
from gateway.store import Page
from gateway.testing import caller, exchange

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("contrib/**/*.md")])
BLOCK = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
NAMES = ("demo", "openai", "anthropic", "gemini", "groq", "vllm", "local")
SECRET = "x" * 40


def blocks(*languages: str):
    """Every fenced block whose info string is one of these: page, line and text."""
    found = []
    for page in PAGES:
        text = page.read_text()
        for match in BLOCK.finditer(text):
            if match[1].strip() in languages:
                line = text.count("\n", 0, match.start()) + 1
                found.append(pytest.param(page, match[2], id=f"{page.relative_to(ROOT)}:{line}"))
    return found


def commands():
    """Every line of a shell block that calls `gateway`, as far as the call goes."""
    lines = {
        (page, line.removeprefix("$ "))
        for page, text in (param.values for param in blocks("sh", "console"))
        for line in text.splitlines()
        if line.startswith("$ " if "$ " in text else "")
    }
    calls = sorted((page.name, re.split(r" [#|>] ", line)[0]) for page, line in lines if line.startswith("gateway "))
    return [pytest.param(line, id=f"{name}: {line}") for name, line in calls]


def anchors(page: Path) -> set[str]:
    """What the page's headings are called in links."""
    plain = BLOCK.sub("", page.read_text())
    heads = re.findall(r"^#+ (.+)$", plain, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize(("page", "text"), blocks("yaml"))
def test_yaml_is_a_configuration(page, text):
    """A fragment is put into a small whole file; the options of plugins are checked as well."""
    text = re.sub(r"\$\{file:[^}]*\}", SECRET, text)
    environ = dict.fromkeys(re.findall(r"\$\{(\w+)", text), "http://127.0.0.1:1/v1")
    whole = "\n".join(f"{name}: {value}" for name, value in base(yaml.safe_load(text)).items()) + "\n" + text
    inspected = inspect(whole.encode(), page.name, environ)
    problems = [*inspected.problems, *Registry().examine(inspected)]
    assert [str(problem) for problem in problems if "`guardrail.codenames` is installed" not in problem.text] == []


def base(fragment: dict) -> dict[str, str]:
    """What a fragment needs beside it, as YAML in one line each."""
    providers = ", ".join(
        f"{{name: {name}, use: provider.openai_compatible, with: {{base_url: 'http://127.0.0.1:1/v1'}}}}" for name in NAMES
    )
    needed = {"data_dir": "data", "providers": f"[{providers}]"}
    return {name: value for name, value in needed.items() if name not in fragment}


@pytest.mark.parametrize(("page", "text"), blocks("yaml other"))
def test_other_yaml_is_yaml(page, text):
    assert yaml.safe_load(text)


@pytest.mark.parametrize(("page", "text"), blocks("python"))
def test_python_runs(page, text, monkeypatch):
    """In a module of its own, with the example plugin importable; `python no-run` marks what needs a server."""
    monkeypatch.syspath_prepend(ROOT / "contrib/example-guardrail/src")
    module = types.ModuleType("shown")
    monkeypatch.setitem(sys.modules, "shown", module)
    exec(compile(text, str(page), "exec"), vars(module))


@pytest.mark.parametrize(("page", "text"), blocks("python no-run"))
def test_python_that_is_not_run_compiles(page, text):
    compile(text, str(page), "exec")


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
@pytest.mark.parametrize(("page", "text"), blocks("nginx"))
def test_nginx_takes_its_configuration(page, text, tmp_path):
    text = re.sub(r"^ *ssl_.*\n", "", text, flags=re.MULTILINE).replace("443 ssl", "127.0.0.1:18443")
    file = tmp_path / "nginx.conf"
    file.write_text(
        f"error_log stderr;\npid {tmp_path}/pid;\nevents {{}}\nhttp {{\naccess_log off;\n{text}\n}}\n"
    )
    done = subprocess.run(
        ["nginx", "-t", "-q", "-p", tmp_path, "-c", file], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("line", commands())
def test_commands_exist_with_their_options(line):
    words = re.sub(r"'[^']*'|\"[^\"]*\"", "VALUE", line).split()[1:]
    command: click.Command = cli
    context = click.Context(cli)
    while isinstance(command, click.Group) and words:
        found = command.get_command(context, words.pop(0))
        assert found is not None, line
        command = found
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    used = {word.partition("=")[0] for word in words if word.startswith("-") and word != "-"}
    assert used <= options | {"-h", "--help"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in LINK.findall(BLOCK.sub("", page.read_text())):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{page.name}: {link}"


def test_every_page_of_docs_is_in_the_index():
    linked = {(ROOT / "docs" / link.partition("#")[0]).resolve() for link in LINK.findall((ROOT / "docs/index.md").read_text())}
    assert {page for page in PAGES if page.is_relative_to(ROOT / "docs")} - linked == {ROOT / "docs/index.md"}


def test_generated_pages_are_what_the_generator_writes():
    # In a process of its own: commands keep a help option from how other tests called them first.
    told = subprocess.run(
        [sys.executable, "contrib/docs/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert told.returncode == 0, told.stdout + told.stderr


def test_every_hook_has_a_section():
    page = (ROOT / "docs/plugins/hooks.md").read_text()
    for hook, arguments in HOOKS.items():
        (section,) = re.findall(rf"^## (?:async )?{hook}\((.*)\).*\n\n\S", page, re.MULTILINE)
        assert tuple(re.findall(r"(\w+): ", section)) == arguments


def test_make_targets_exist():
    rules = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    said = {target for page in PAGES for target in re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.MULTILINE)}
    assert {"run", "test", "check"} <= said <= rules


def test_every_label_of_a_metric_is_explained(tmp_path):
    page = (ROOT / "docs/metrics.md").read_text()
    explained = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", page, re.MULTILINE))))
    collectors = Metrics(tmp_path)._registry._collector_to_names
    assert {label for made in collectors for label in made._labelnames} <= explained
    for name in re.findall(r"\bai_gateway_\w+", "".join(other.read_text() for other in PAGES)):
        assert any(name in names for names in collectors.values()), name


def test_every_column_and_outcome_of_the_ledger_is_explained():
    page = (ROOT / "docs/keys-limits-usage.md").read_text()
    columns, outcomes = page.split("### The ledger's columns")[1].split("| outcome | meaning |")
    named = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`[^|]*) \|", columns, re.MULTILINE)))
    assert sorted(named) == sorted([*COLUMNS, "attempts"])
    assert set(re.findall(r"^\| `(\w+)` \|", outcomes, re.MULTILINE)) == set(Outcome.__args__)


def shape(text: str) -> str:
    """A text without its numbers."""
    return re.sub(r"[0-9]+(\.[0-9]+)?", "0", text)


@pytest.mark.parametrize(
    ("plugin", "limits"),
    [
        ("limiter.requests", {"requests_per_minute": 1}), ("limiter.tokens", {"tokens_per_minute": 10}),
        ("limiter.concurrency", {"concurrency": 1}), ("limiter.budget", {"cost_daily": 100}),
    ],
)  # fmt: skip
async def test_refusals_read_as_documented(plugin, limits):
    page = (ROOT / "docs/keys-limits-usage.md").read_text()
    status, code, text = re.search(rf"`{plugin}` \| ([0-9]+) `(\w+)` \| (.*) \|$", page, re.MULTILINE).groups()
    error = await refusal(plugin, limits)
    assert (error.status, error.code) == (int(status), code)
    said = error.message.replace(title(Level("key", "key-1", "Test key")), r"key \`ci\`")
    assert shape(said) == shape(text)


class NoBudgets:
    """A store without any."""

    async def page(self, *kind, **options):
        return Page(())


async def refusal(plugin: str, limits: dict[str, int]) -> GatewayError:
    """What a limiter says to the request that is too many."""
    cls = Registry().load(plugin)
    module = sys.modules[cls.__module__]
    limiter = cls(module.Config())
    limiter.name = plugin
    await limiter.startup(types.SimpleNamespace(state=MemoryState(), store=NoBudgets()))
    for number in range(2):
        one: Exchange = exchange(max_tokens=100)
        one.id, one.caller = f"req-{number}", caller(**limits)
        try:
            if plugin == "limiter.budget":
                price = Price(10**6, 10**6, 0, 0, "")
                target = types.SimpleNamespace(free=False, price=price, max_output=None, model="m")
                await limiter.before_attempt(one, target)
            else:
                await limiter.pre_request(one)
        except GatewayError as error:
            return error
    raise AssertionError("nothing was refused")
