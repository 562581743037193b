"""Keeps the names of secret projects out of requests and answers.

    plugins:
      - use: guardrail.codenames
        with: {names: [falcon, blue moon]}
"""

import re
from typing import Annotated

from msgspec import Meta, Struct

from gateway import Context, Redaction, Verdict

Name = Annotated[str, Meta(min_length=1)]


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """Which names, and what stands in their place."""

    names: Annotated[tuple[Name, ...], Meta(min_length=1)]
    replacement: str = "[PROJECT]"


class Codenames:
    """Replaces each name, whatever its case."""

    def __init__(self, config: Config) -> None:
        names = sorted(config.names, key=len, reverse=True)
        self.hold_back = len(names[0])
        self._names = re.compile("|".join(map(re.escape, names)), re.IGNORECASE)
        self._replacement = config.replacement

    async def check(self, text: str, context: Context) -> Verdict:
        """Judge one text of a request or an answer."""
        found = [Redaction(*match.span(), self._replacement) for match in self._names.finditer(text)]
        return Verdict("redact", redactions=tuple(found), reason="codename") if found else Verdict()
