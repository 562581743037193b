"""Finds program code in texts: in fences, and without them where several lines look like it.

    - use: guardrail.code
      action: block
      with: {allow: [sql, json]}

Without `allow` and `deny` every language counts. Findings are called after their language (`python`), or `code`.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gateway import Finding
from gateway.detect.patterns import compile_text

Language = Annotated[str, Meta(pattern=r"^[a-z0-9+#.-]{1,24}$")]
_ALIASES = {
    "py": "python", "python3": "python", "js": "javascript", "jsx": "javascript", "node": "javascript",
    "ts": "typescript", "tsx": "typescript", "sh": "shell", "bash": "shell", "zsh": "shell", "console": "shell",
    "c++": "cpp", "cc": "cpp", "h": "c", "cs": "csharp", "c#": "csharp", "golang": "go", "rs": "rust", "rb": "ruby",
    "kt": "kotlin", "yml": "yaml", "htm": "html", "ps1": "powershell", "pl": "perl", "postgres": "sql", "mysql": "sql",
}  # fmt: skip
_NOT_CODE = frozenset({"text", "txt", "plain", "plaintext", "markdown", "md", "output", "log"})
# A line that begins so is hardly prose. Each is looked for at the beginning of a line.
_LINES = {
    "python": r"(?:def \w+\(.*\).*:|class \w+(?:\(.*\))?:\s*$|from [\w.]+ import |import \w[\w.]*(?: as \w+)?\s*$|"
    r"(?:el)?if .*(?:[=<>(.]| in | not ).*:\s*$|for \w+ in .*:\s*$|try:\s*$|except\b.*:\s*$|with .* as \w+:\s*$|"
    r"print\(.*\)\s*$|return [\w(\[{'\"]+[\w.()\[\]]*\s*$)",
    "javascript": r"(?:(?:const|let|var) [\w{\[].*=|function \w*\s*\(|import .+ from ['\"]|"
    r"export (?:default|const|function)|console\.\w+\(|.*=>\s*\{?\s*$|module\.exports)",
    "java": r"(?:(?:public|private|protected|static|final) [\w<>\[\], ]+[({=;]|package [\w.]+;|import [\w.*]+;|"
    r"@Override)",
    "c": r"(?:#include\s*[<\"]|#define \w+|(?:int|void|char|double|float|struct) [\w* ]+\(.*\)\s*\{?|typedef )",
    "go": r"(?:package \w+\s*$|func (?:\(.*\) )?\w+\(|import \(|\w+ := )",
    "rust": r"(?:fn \w+.*\{|let mut |use [\w:]+(?:::|;)|impl\b.*\{|pub (?:fn|struct|enum|mod) )",
    "sql": r"(?i:(?:select\b.+\bfrom|insert into|update \w+ set|delete from|create (?:table|index|view)|alter table|"
    r"drop table)\b)",
    "shell": r"(?:#!/|\$ \w|sudo \w|apt(?:-get)? install|pip3? install|curl -|chmod |export \w+=|echo ['\"$])",
    "html": r"(?i:<!doctype html|</?(?:html|head|body|div|script|table|span|form)\b[^>]*>)",
    "php": r"(?:<\?php|\$\w+\s*=)",
}  # fmt: skip
_FENCE = r"(?m)^[ \t]{0,3}(?:```|~~~)[ \t]*(?P<language>[A-Za-z0-9+#.-]{0,24})[^\n`]*$"


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which languages count."""

    deny: Annotated[tuple[Language, ...], Meta(description="Only these count.")] = ()
    allow: Annotated[tuple[Language, ...], Meta(description="These never do.")] = ()
    min_lines: Annotated[int, Meta(ge=1, le=50, description="So many lines without a fence must look like it.")] = 2
    apply_to: Literal["input", "output", "both"] = "both"


class Code:
    """A detector of code."""

    name = "guardrail.code"
    Config = Options
    hold_back = 0

    def __init__(self, options: Options) -> None:
        self._deny = frozenset(_ALIASES.get(name, name) for name in options.deny)
        self._allow = frozenset(_ALIASES.get(name, name) for name in options.allow)
        self._min_lines = options.min_lines
        self._fence = compile_text(_FENCE)
        self._lines = {name: compile_text(rf"(?m)^[ \t]*{pattern}") for name, pattern in _LINES.items()}
        self.apply_to = options.apply_to

    def scan(self, text: str, part: str = "content") -> Sequence[Finding]:
        """Every fence with code in it, and stretches of lines that look like code."""
        if part in ("arguments", "tools"):
            return ()
        fenced = list(self._fenced(text))
        found = [Finding(start, end, name) for start, end, name in fenced if self._counts(name)]
        bare = "".join(_blanked(text, [(start, end) for start, end, _ in fenced])) if fenced else text
        best = self._looks_like(bare)
        return [*found, best] if best is not None else found

    def _fenced(self, text: str) -> Iterator[tuple[int, int, str]]:
        marks = self._fence.spans(text)
        names = self._fence.spans(text, "language")
        for number in range(0, len(marks), 2):
            end = marks[number + 1][1] if number + 1 < len(marks) else len(text)
            name = text[slice(*names[number])].lower()
            if name not in _NOT_CODE:
                yield marks[number][0], end, _ALIASES.get(name, name) or "code"

    def _looks_like(self, text: str) -> Finding | None:
        """The language that most lines look like; lines of several count for the one with more."""
        spans = {name: pattern.spans(text) for name, pattern in self._lines.items() if self._counts(name)}
        name, lines = max(spans.items(), key=lambda each: len(each[1]), default=("", []))
        if len(lines) < self._min_lines:
            return None
        return Finding(lines[0][0], lines[-1][1], name, min(1.0, 0.5 + 0.1 * len(lines)))

    def _counts(self, name: str) -> bool:
        return name not in self._allow and (not self._deny or name in self._deny)


def _blanked(text: str, spans: Sequence[tuple[int, int]]) -> Iterator[str]:
    at = 0
    for start, end in spans:
        yield text[at:start]
        yield " " * (end - start)
        at = end
    yield text[at:]
