"""What is wrong with a configuration: problems with file, line and YAML path, and the error that carries them all.

A path is a tuple of keys and indices inside, and text such as `$.plugins[0].with` outside.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

YamlValue = Any  # what a file may hold before it is checked
Path = tuple[str | int, ...]


class Problem(msgspec.Struct, frozen=True):
    """One mistake. `line` counts from 1; 0 means that it has no line. `text` never holds a value from `${...}`."""

    file: str
    line: int
    path: str
    text: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        whole = f"{where}: {self.path}: {self.text}"
        # One problem, one line, whatever a key or a plugin's error text holds.
        return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in whole)


class ConfigError(Exception):
    """The configuration cannot be used; `problems` are all that were found, in the order of the file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = in_order(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Problems as they stand in the file."""
    return tuple(sorted(problems, key=lambda problem: problem.line))


class Lines:
    """Where each path of a file stands."""

    def __init__(self, origin: str = "configuration", table: Mapping[Path, int] | None = None) -> None:
        self.origin = origin
        self._table: Mapping[Path, int] = table or {}

    def at(self, path: Path) -> int:
        """The line of `path`, or of the nearest thing around it; 0 without a file."""
        for end in range(len(path), -1, -1):
            if (line := self._table.get(path[:end])) is not None:
                return line
        return 0

    def problem(self, path: Path, text: str) -> Problem:
        """A problem at `path`."""
        return Problem(file=self.origin, line=self.at(path), path=shown(path), text=text)


def shown(path: Path) -> str:
    """`("plugins", 0, "with")` as `$.plugins[0].with`."""
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
