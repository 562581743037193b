"""Keeps the names of secret projects out of requests and answers.

    plugins:
      - use: guardrail.codenames
        with: {names: [falcon, blue moon]}
"""

import re
from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct

from gateway import Finding

Name = Annotated[str, Meta(min_length=1)]


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """Which names, and what stands in their place."""

    names: Annotated[tuple[Name, ...], Meta(min_length=1)]
    replacement: str = "[PROJECT]"


class Codenames:
    """Finds each name, whatever its case."""

    action = "redact"

    def __init__(self, config: Config) -> None:
        names = sorted(config.names, key=len, reverse=True)
        self.hold_back = len(names[0])
        self.replacement = config.replacement
        self._names = re.compile("|".join(map(re.escape, names)), re.IGNORECASE)

    def scan(self, text: str, part: str = "content") -> Sequence[Finding]:
        """All names in one text of a request or an answer."""
        return [Finding(*match.span(), "CODENAME") for match in self._names.finditer(text)]
