"""Writes what is generated in docs/: the pages of hooks and options, and the marked parts of other pages.

    python contrib/docs/generate.py           # write them
    python contrib/docs/generate.py --check   # fail when one is stale

A marked part is what stands between `<!-- generated: NAME WORDS… -->` and `<!-- end -->`; `PARTS` has the names.
"""

import inspect
import re
import sys
from pathlib import Path

import click
import msgspec
import yaml
from click.testing import CliRunner
from prometheus_client.core import Metric

from gateway import hookspecs
from gateway.cli import cli
from gateway.commands.plugins import listing
from gateway.config import Config
from gateway.dispatch import ROLES
from gateway.metrics import Metrics

ROOT = Path(__file__).resolve().parents[2]
MARKED = re.compile(r"(<!-- generated: (\w+)([^>]*) -->\n).*?(<!-- end -->)", re.DOTALL)


def hooks_page() -> str:
    """One section a hook: its signature and its docstring, then the roles."""
    parts = ["# Hooks and roles\n", "Generated from `gateway/hookspecs.py` by `contrib/docs/generate.py`.\n"]
    parts.append(inspect.getdoc(hookspecs).partition("\n\n")[2] + "\n")
    for name, hook in vars(hookspecs.Hooks).items():
        if hasattr(hook, f"{hookspecs.PROJECT}_spec"):
            kind = "async " if inspect.iscoroutinefunction(hook) else ""
            parts.append(f"## {kind}{name}{_signature(hook)}\n\n{inspect.getdoc(hook)}\n")
    parts.append("# Roles\n\nIn the order of calls: " + ", ".join(f"`{role}`" for role in ROLES) + ".\n")
    for role in (hookspecs.Provider, hookspecs.Guardrail, hookspecs.Filter, hookspecs.Sink):
        parts.append(f"## {role.__name__}\n\n{inspect.getdoc(role)}\n")
        for name, method in vars(role).items():
            if inspect.isfunction(method) and not name.startswith("_") and inspect.getdoc(method):
                parts.append(f"- `{name}{_signature(method)}`: {' '.join(inspect.getdoc(method).split())}")
        parts.append("")
    return "\n".join(parts)


def options_page() -> str:
    """Every option of the YAML file section by section, then those of the built-in plugins."""
    about = "Generated from `gateway/config.py` and the plugins by `contrib/docs/generate.py`."
    parts = [f"# Options\n\n{about} By task: [Configuration](configuration.md).\n"]
    seen: set[type] = set()
    queue: list[tuple[str, type]] = [("The file", Config)]
    while queue:
        title, struct = queue.pop(0)
        if struct in seen:
            continue
        seen.add(struct)
        parts.append(f"## {title}\n\n{inspect.getdoc(struct)}\n\n| option | type | default | |\n|---|---|---|---|")
        for field in msgspec.structs.fields(struct):
            parts.append(_row(field))
            queue.extend((f"`{field.encode_name}`", found) for found in _structs(field.type))
        parts.append("")
    parts.append("# Options of plugins\n\nUnder `with:`. `gateway plugins` shows those of all installed plugins.\n")
    for plugin in listing(None):
        if plugin.options and "/gateway_plugins/" in plugin.file:
            parts.append(f"## `{plugin.id}`\n\n{plugin.about}\n\n| option | type | default | |\n|---|---|---|---|")
            for option in plugin.options:
                kind = option.type.replace(" | ", " or ")
                default = "required" if option.default is None else f"`{option.default}`"
                parts.append(f"| `{option.name}` | {kind} | {default} | {option.description} |")
            parts.append("")
    return "\n".join(parts)


def metrics_table() -> str:
    """Every metric with its kind and labels, as Prometheus sees them."""
    collectors = Metrics(ROOT)._registry._collector_to_names  # the library has no public list of them
    rows = [_metric(family, made._labelnames) for made in collectors for family in made.describe()]
    return "\n".join(["| metric | kind | labels | |", "|---|---|---|---|", *rows])


def _metric(family: Metric, labels: tuple[str, ...]) -> str:
    name = f"{family.name}_total" if family.type == "counter" else family.name
    return f"| `{name}` | {family.type} | {', '.join(f'`{label}`' for label in labels)} | {family.documentation} |"


def fidelity_page() -> str:
    """What each golden conversation shows: per client's dialect and provider, what becomes of each feature."""
    outcomes: dict[tuple[str, str], dict[str, set[str]]] = {}
    for path in sorted((ROOT / "tests/conversations").glob("*/*/*.yaml")):
        told = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        pair = (path.parts[-3], path.parts[-2])
        outcomes.setdefault(pair, {}).setdefault(told["feature"], set()).add(told["outcome"])
    features = sorted({feature for found in outcomes.values() for feature in found})
    lines = [FIDELITY, "| | " + " | ".join(f"{client} → {provider}" for client, provider in outcomes) + " |"]
    lines.append("|---" * (len(outcomes) + 1) + "|")
    for feature in features:
        cells = [", ".join(sorted(found.get(feature, ()))) or "-" for found in outcomes.values()]
        lines.append(f"| {feature} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


FIDELITY = """# Fidelity

Generated from the golden conversations in `tests/conversations` by `contrib/docs/generate.py`. A cell says what is
made of a feature between dialect and provider. *kept*: byte for byte; *converted*: said in the other format; *warned*:
part of it is dropped and named in `x-gateway-warnings`; *refused*: a 400 that names the field. A dash: no case.
How things are carried is in [Dialects and translation](dialects.md).
"""


def help_text(*words: str) -> str:
    """What `gateway WORDS… --help` prints."""
    result = CliRunner().invoke(cli, [*words, "--help"], prog_name="gateway", terminal_width=100, max_content_width=100)
    if result.exit_code:
        raise click.ClickException(result.output)
    return f"```text\n{result.output.rstrip()}\n```"


def _row(field: msgspec.structs.FieldInfo) -> str:
    schema = msgspec.json.schema(field.type) if not _structs(field.type) else {}
    kind = " or ".join(dict.fromkeys(_kinds(schema))) or "section"
    default = "" if field.default is msgspec.NODEFAULT or _structs(field.type) else f"`{_yaml(field.default)}`"
    return f"| `{field.encode_name}` | {kind} | {default} | {_description(field.type)} |"


def _kinds(schema: dict) -> list[str]:
    if "enum" in schema:
        return [str(each) for each in schema["enum"]]
    return [schema["type"]] if "type" in schema else [kind for each in schema.get("anyOf", ()) for kind in _kinds(each)]


def _description(kind: object) -> str:
    return next((m.description for m in getattr(kind, "__metadata__", ()) if getattr(m, "description", None)), "")


def _yaml(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _structs(kind: object) -> list[type]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return [kind]
    return [found for inner in getattr(kind, "__args__", ()) for found in _structs(inner)]


def _signature(function: object) -> str:
    text = str(inspect.signature(function)).replace("(self, ", "(").replace("(self)", "()")
    return re.sub(r"(?:[a-z_]+\.)+([A-Z])", r"\1", text).replace("'", "")


PAGES = {"docs/plugins/hooks.md": hooks_page, "docs/options.md": options_page, "docs/fidelity.md": fidelity_page}
PARTS = {"metrics": metrics_table, "help": help_text}


def pages() -> dict[str, str]:
    """Every page that is generated or has generated parts, as it should be."""
    found = {name: page() for name, page in PAGES.items()}
    for path in sorted((ROOT / "docs").rglob("*.md")):
        name = path.relative_to(ROOT).as_posix()
        if name not in found and MARKED.search(text := path.read_text()):
            found[name] = MARKED.sub(lambda m: f"{m[1]}{PARTS[m[2]](*m[3].split())}\n{m[4]}", text)
    return found


def main() -> int:
    """Write the pages, or say which are stale."""
    wanted = pages()
    stale = [name for name, text in wanted.items() if not _same(ROOT / name, text)]
    if "--check" in sys.argv:
        for name in stale:
            print(f"{name} is stale: run python contrib/docs/generate.py")
        return int(bool(stale))
    for name in stale:
        (ROOT / name).write_text(wanted[name])
        print("wrote", name)
    return 0


def _same(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


if __name__ == "__main__":
    sys.exit(main())
