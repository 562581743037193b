"""Word lists of the built-in guardrails, as data: `read(name)` gives one of the files beside this one.

`gateway.detect` makes patterns of them. A line's end inside a value means nothing.
"""

import tomllib
from importlib.resources import files
from typing import Any


def read(name: str) -> dict[str, Any]:
    """The tables of `<name>.toml`."""
    tables: dict[str, Any] = _joined(tomllib.loads(files(__name__).joinpath(f"{name}.toml").read_text("utf-8")))
    return tables


def _joined(value: Any) -> Any:  # noqa: ANN401 - whatever stands in the file
    if isinstance(value, str):
        return value.replace("\n", "")
    if isinstance(value, list):
        return [_joined(item) for item in value]
    return {key: _joined(item) for key, item in value.items()} if isinstance(value, dict) else value
