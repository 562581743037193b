"""Writes the generated pages: docs/plugins/hooks.md from the hook specification, docs/options.md from the schema.

    python contrib/docs/generate.py           # write them
    python contrib/docs/generate.py --check   # fail when one is stale
"""

import inspect
import re
import sys
from pathlib import Path

import msgspec

from gateway import hookspecs
from gateway.config import Config
from gateway.dispatch import ROLES

ROOT = Path(__file__).resolve().parents[2]


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
    """Every option of the YAML file, section by section."""
    parts = ["# Options\n", "Generated from `gateway/config.py` by `contrib/docs/generate.py`.\n"]
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
    return "\n".join(parts)


def _row(field: msgspec.structs.FieldInfo) -> str:
    schema = msgspec.json.schema(field.type) if not _structs(field.type) else {}
    kind = schema.get("type") or " or ".join(
        str(each.get("type", each.get("enum", ""))) for each in schema.get("anyOf", [])
    ) or "section"
    if schema.get("enum"):
        kind = " or ".join(map(str, schema["enum"]))
    default = "" if field.default is msgspec.NODEFAULT or _structs(field.type) else f"`{_yaml(field.default)}`"
    return f"| `{field.encode_name}` | {kind} | {default} | {_description(field.type)} |"


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


PAGES = {"docs/plugins/hooks.md": hooks_page, "docs/options.md": options_page}


def main() -> int:
    """Write the pages, or say which are stale."""
    stale = [name for name, page in PAGES.items() if not _same(ROOT / name, page())]
    if "--check" in sys.argv:
        for name in stale:
            print(f"{name} is stale: run python contrib/docs/generate.py")
        return int(bool(stale))
    for name in stale:
        (ROOT / name).write_text(PAGES[name]())
        print("wrote", name)
    return 0


def _same(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


if __name__ == "__main__":
    sys.exit(main())
