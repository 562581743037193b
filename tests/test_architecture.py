"""The rules of the house, checked on the source: import direction, sizes, entry points, who may touch HTTP."""

import ast
import statistics
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CODE = sorted([*ROOT.glob("gateway/**/*.py"), *ROOT.glob("plugins/gateway_plugins/**/*.py")])
MAX_FILE, MAX_FUNCTION = 400, 50

# Lower layers know nothing of higher ones. What is not named here belongs to the layer `others`.
LAYERS = {
    "errors": 0, "events": 0, "clock": 0, "secrets": 0, "nearest": 0, "tasks": 0, "config": 0, "sse": 1, "exchange": 2,
    "hookspecs": 3, "filters": 4, "jsonbody": 4, "guardrails": 5, "dialects": 5, "registry": 6, "router": 6, "upstream": 6, "framing": 2, "dialect": 3, "bridge": 6,
    "accounting": 6, "runtime": 6, "relay": 7, "pipeline": 8, "explain": 9, "app": 10, "boot": 11, "serve": 12,
    "supervisor": 12, "worker": 12, "owner": 12, "commands": 13, "cli": 14,
}
DOMAIN = ("accounts", "money", "store", "shared_state")
HTTP_LIBRARIES = {
    "aiohttp": {"httpserver", "httpguard", "httpturns", "httprequest", "httplog"}, "httptools": {"httpclient"},
}
WIRE = {"dialects", "pipeline", "relay", "app", "httpserver", "upstream", "httpclient", "boot"}


def module(path: Path) -> str:
    """`gateway.money.cost` for gateway/money/cost.py."""
    base = ROOT / "plugins" if "plugins" in path.relative_to(ROOT).parts[:1] else ROOT
    return ".".join(path.relative_to(base).with_suffix("").parts).removesuffix(".__init__")


def run_time_imports(tree: ast.Module) -> set[str]:
    """Modules imported when the code runs: not those under TYPE_CHECKING."""
    guarded = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for node in ast.walk(block)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in guarded:
            continue
        if isinstance(node, ast.Import):
            found.update(name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            if node.module == "gateway":
                found.update(f"gateway.{name.name}" for name in node.names)
    return found


def part(name: str) -> str:
    """The second part of a dotted module name."""
    pieces = name.split(".")
    return pieces[1] if len(pieces) > 1 else ""


TREES = {path: ast.parse(path.read_text()) for path in CODE}


@pytest.mark.parametrize("path", CODE, ids=[module(p) for p in CODE])
def test_a_file_keeps_the_rules(path):
    """Size, docstring, function length, and imports that point downwards only."""
    tree, name = TREES[path], module(path)
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_FILE, f"{name} has more than {MAX_FILE} lines: split it"
    assert ast.get_docstring(tree), f"{name} needs a docstring: what it is, and what it is not"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            doc = node.body[0] if ast.get_docstring(node) else None
            length -= (doc.end_lineno - doc.lineno + 1) if doc else 0
            assert length <= MAX_FUNCTION, f"{name}.{node.name} has {length} lines: split it"
    for imported in run_time_imports(tree):
        check_import(name, imported)


def check_import(name: str, imported: str) -> None:
    """One import against the layers and the doors to HTTP."""
    top = imported.split(".", maxsplit=1)[0]
    if top in HTTP_LIBRARIES and name.startswith("gateway"):
        assert part(name) in HTTP_LIBRARIES[top] or part(name) == "testing", f"{name} must not import {top}"
    if name.startswith("gateway_plugins"):
        assert top != "gateway_plugins" or name.split(".")[1] == imported.split(".")[1] == "providers", (
            f"{name} imports another plugin: {imported}"
        )
        return
    if not imported.startswith("gateway.") or imported.startswith("gateway_plugins"):
        assert top != "gateway_plugins", f"{name} imports a plugin by name"
        return
    if part(name) in DOMAIN:
        assert part(imported) not in WIRE, f"{name} is domain and must not know {imported}"
    own, other = LAYERS.get(part(name)), LAYERS.get(part(imported))
    if own is not None and other is not None and part(name) != part(imported):
        assert other <= own, f"{name} (layer {own}) imports {imported} (layer {other})"


def test_every_plugin_file_has_an_entry_point_and_the_reverse():
    """The table in pyproject.toml is the list of built-in plugins, `<role>.<file stem>`."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["ai_gateway.plugins"]
    files = {
        (path.parent.name, path.stem)
        for path in CODE
        if "gateway_plugins" in path.parts and path.parent.name != "gateway_plugins" and path.stem != "__init__"
    }
    pointed = set()
    for plugin_id, target in table.items():
        where = target.partition(":")[0].split(".")
        pointed.add((where[1], where[2]))
        assert plugin_id.partition(".")[2] == where[2], f"{plugin_id} does not match its file {where[2]}.py"
    assert files == pointed


def test_names_say_what_things_are():
    """No managers, handlers, helpers or utils."""
    banned = ("Manager", "Handler", "Helper", "Util")
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                assert not node.name.endswith(banned), f"{path.name}: {node.name}"
        assert not path.stem.endswith(("utils", "helpers", "manager"))


def test_no_module_state():
    """No `global` statement anywhere: what a function needs is an argument."""
    for path, tree in TREES.items():
        assert not any(isinstance(node, ast.Global) for node in ast.walk(tree)), path


def test_the_request_path_fits_one_screen():
    """`Pipeline.serve` calls every stage within 40 lines, and the hook specification is one page."""
    tree = TREES[ROOT / "gateway/pipeline.py"]
    serve = next(n for n in ast.walk(tree) if isinstance(n, ast.AsyncFunctionDef) and n.name == "serve")
    assert serve.end_lineno - serve.lineno < 40


def test_sizes_are_reported(record_property):
    """Medians and tails, for the reader of the report; the hard limits are above."""
    files = [len(path.read_text().splitlines()) for path in CODE]
    functions = [
        node.end_lineno - node.lineno + 1
        for tree in TREES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    record_property("file_lines_median", statistics.median(files))
    record_property("function_lines_median", statistics.median(functions))
    record_property("function_lines_p90", statistics.quantiles(functions, n=10)[-1])
    assert statistics.median(files) <= 160
    assert statistics.median(functions) <= 9
