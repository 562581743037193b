"""YAML text -> plain values, with the line of each and with `${...}` filled in.

A narrow YAML 1.2: `yes`, `on`, `12:30` and dates are text, keys are text, a key given twice is an error. Anchors,
aliases and `<<` work inside fixed limits. Not here: what the values mean (`configfile.py`).
"""

import math
import re
from collections.abc import Iterator, Mapping

import msgspec
import yaml
from yaml.events import AliasEvent, Event, MappingStartEvent, ScalarEvent, SequenceStartEvent

from gateway.interpolation import CannotFillError, NotFetchedError, broken, fill
from gateway.problems import ConfigError, Lines, Path, Problem, YamlValue, shown

MAX_BYTES = 4 << 20
MAX_NODES = 100_000
MAX_DEPTH = 64

_INT = re.compile(r"[-+]?[0-9]{1,18}")
_BASED = re.compile(r"0o[0-7]{1,20}|0x[0-9a-fA-F]{1,15}")
_FLOAT = re.compile(r"(?![-+]?[0-9]+$)[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,4})?")
_WORDS = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip


class Tree(msgspec.Struct, frozen=True, eq=False):
    """A file's values (scalars from `${...}` as `Filled`), their lines, and what is wrong with some.

    `references` are secrets of sources that the environment does not have yet; each is a problem, too.
    """

    value: YamlValue
    lines: Lines
    problems: tuple[Problem, ...]
    references: tuple[str, ...] = ()


def parse(source: bytes, origin: str, environ: Mapping[str, str]) -> Tree:
    """Read one YAML document. Raises `ConfigError` where the text is no YAML or goes beyond a limit."""
    text = _text(source, origin)
    try:
        root = _compose(yaml.parse(text, Loader=yaml.CSafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _failure(origin, mark.line + 1 if mark else 0, _syntax(error, text)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _failure(origin, line, f"the character #x{error.character:04x} is not allowed here") from None
    except _RefusedError as error:
        raise _failure(origin, error.line, error.text) from None
    if root is None or (isinstance(root, _Scalar) and root.plain and not root.text):
        raise _failure(origin, 1, "the file is empty")
    walk = _Walk(origin, environ)
    value = walk.value(root, ())
    return Tree(value, Lines(origin, walk.lines), tuple(walk.problems), tuple(walk.references))


def plain_scalar(text: str) -> YamlValue:
    """What an unquoted scalar means: null, a bool, a number, else the text itself."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text) and math.isfinite(number := float(text)):
        return number
    return text


class _Node:
    __slots__ = ("line",)

    def __init__(self, line: int) -> None:
        self.line = line


class _Scalar(_Node):
    __slots__ = ("plain", "text")

    def __init__(self, line: int, text: str, plain: bool) -> None:
        super().__init__(line)
        self.text = text
        self.plain = plain


class _Items(_Node):
    """A sequence, or a mapping as alternating keys and values."""

    __slots__ = ("anchor", "items", "mapping")

    def __init__(self, line: int, mapping: bool, anchor: str | None) -> None:
        super().__init__(line)
        self.items: list[_Node] = []
        self.mapping = mapping
        self.anchor = anchor


class _RefusedError(Exception):
    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line
        self.text = text


def _failure(origin: str, line: int, text: str) -> ConfigError:
    return ConfigError([Problem(file=origin, line=line, path="$", text=text)])


def _text(source: bytes, origin: str) -> str:
    if len(source) > MAX_BYTES:
        raise _failure(origin, 0, f"the file is larger than {MAX_BYTES >> 20} MiB")
    try:
        return source.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = source.count(b"\n", 0, error.start) + 1
        raise _failure(origin, line, f"the file is not UTF-8 (byte {error.start})") from None


def _syntax(error: yaml.MarkedYAMLError, text: str) -> str:
    said = ", ".join(part for part in (error.context, error.problem) if part) or "this is not YAML"
    marks = [mark.line for mark in (error.context_mark, error.problem_mark) if mark]
    first, last = min(marks, default=0), max(marks, default=0)
    if first < last:
        said += f" (it begins on line {first + 1})"
    if any("${" in line for line in text.split("\n")[first : last + 1]):
        said += '; inside [ ] and { } a variable needs quotes: "${NAME}"'
    return said


def _compose(events: Iterator[Event]) -> _Node | None:
    """Nodes from parser events, without recursion: depth and size are checked while reading."""
    root: _Node | None = None
    anchors: dict[str, _Node] = {}
    open_items: list[_Items] = []
    for count, event in enumerate(events):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if count > 2 * MAX_NODES:
            raise _RefusedError(line, f"more than {MAX_NODES} values")
        node: _Node
        if isinstance(event, ScalarEvent | SequenceStartEvent | MappingStartEvent):
            node = _node(event, line)
            if isinstance(node, _Items):
                open_items.append(node)
                if len(open_items) > MAX_DEPTH:
                    raise _RefusedError(line, f"nested deeper than {MAX_DEPTH} levels")
                continue
            if event.anchor:
                anchors[event.anchor] = node
        elif isinstance(event, AliasEvent):
            if event.anchor not in anchors:
                raise _RefusedError(line, f"the alias `*{event.anchor}` has no anchor before it")
            node = anchors[event.anchor]
        elif isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
            node = open_items.pop()
            if node.anchor:
                anchors[node.anchor] = node
        elif isinstance(event, yaml.DocumentStartEvent) and root is not None:
            raise _RefusedError(line, "one document only: a second one begins with this `---`")
        else:
            continue
        if open_items:
            open_items[-1].items.append(node)
        else:
            root = node
    return root


def _node(event: ScalarEvent | SequenceStartEvent | MappingStartEvent, line: int) -> _Scalar | _Items:
    tag = event.tag
    if tag not in (None, "!", "tag:yaml.org,2002:str"):
        raise _RefusedError(line, f"the tag `{tag}` is not supported")
    if isinstance(event, ScalarEvent):
        return _Scalar(line, event.value, plain=event.implicit[0] and tag is None)
    return _Items(line, isinstance(event, MappingStartEvent), event.anchor)


class _Walk:
    """Turns nodes into values, noting lines and problems."""

    def __init__(self, origin: str, environ: Mapping[str, str]) -> None:
        self.origin = origin
        self.environ = environ
        self.lines: dict[Path, int] = {}
        self.problems: list[Problem] = []
        self.references: list[str] = []
        self._count = 0

    def value(self, node: _Node, path: Path) -> YamlValue:
        self._count += 1
        # Aliases multiply: both limits hold for what comes out, not for what was written.
        if self._count > MAX_NODES:
            raise _failure(self.origin, node.line, f"more than {MAX_NODES} values, aliases included")
        if len(path) > MAX_DEPTH:
            raise _failure(self.origin, node.line, f"nested deeper than {MAX_DEPTH} levels")
        self.lines.setdefault(path, node.line)
        if isinstance(node, _Items):
            if node.mapping:
                return self._mapping(node, path)
            return [self.value(item, (*path, index)) for index, item in enumerate(node.items)]
        assert isinstance(node, _Scalar)
        return self._scalar(node, path)

    def _scalar(self, node: _Scalar, path: Path) -> YamlValue:
        if "$" in node.text:
            try:
                return fill(node.text, self.environ)
            except CannotFillError as error:
                if isinstance(error, NotFetchedError):
                    self.references.append(error.reference)
                self._problem(node.line, path, str(error))
                return broken()
        return plain_scalar(node.text) if node.plain else node.text

    def _mapping(self, node: _Items, path: Path) -> dict[str, YamlValue]:
        result: dict[str, YamlValue] = {}
        merged: list[_Node] = []
        for key, item in zip(node.items[::2], node.items[1::2], strict=True):
            if not isinstance(key, _Scalar):
                self._problem(key.line, path, "a key must be plain text")
            elif key.plain and key.text == "<<":
                merged.append(item)
            elif key.text in result:
                first = self.lines[(*path, key.text)]
                self._problem(key.line, (*path, key.text), f"`{key.text}` is given twice, first on line {first}")
            else:
                self.lines[(*path, key.text)] = key.line
                result[key.text] = self.value(item, (*path, key.text))
        for source in merged:
            self._merge(source, path, result)
        return result

    def _merge(self, node: _Node, path: Path, result: dict[str, YamlValue]) -> None:
        sources = node.items if isinstance(node, _Items) and not node.mapping else [node]
        for source in sources:
            if not isinstance(source, _Items) or not source.mapping:
                self._problem(source.line, path, "`<<` takes a mapping or a list of mappings")
                continue
            for key, item in self._pairs(source):
                if key.plain and key.text == "<<":
                    self._merge(item, path, result)
                elif key.text not in result:
                    self.lines[(*path, key.text)] = key.line
                    result[key.text] = self.value(item, (*path, key.text))

    def _pairs(self, node: _Items) -> Iterator[tuple[_Scalar, _Node]]:
        for key, item in zip(node.items[::2], node.items[1::2], strict=True):
            if isinstance(key, _Scalar):  # another kind was reported where the mapping itself stands
                yield key, item

    def _problem(self, line: int, path: Path, text: str) -> None:
        self.problems.append(Problem(file=self.origin, line=line, path=shown(path), text=text))
