r"""Finds secrets in texts: keys and tokens of many issuers, private keys, connection strings, passwords.

    - use: guardrail.secrets
      with: {patterns: [{name: BADGE, pattern: '\bbadge-[0-9a-f]{16}\b'}], allow: ["sk-test-*"]}

It says what stands where; what is done about it, the policy decides. Nothing leaves the process.
"""

import re
from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from gateway import Finding
from gateway.detect.patterns import compile_custom, compile_text
from gateway.detect.secrets import HOLD_BACK
from gateway.detect.secrets import Secrets as Finder
from gateway.detect.spans import Span


class OwnPattern(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A secret format of your own. A group named `value` narrows what is reported."""

    name: Annotated[str, Meta(pattern=r"^[A-Z][A-Z0-9_]{0,47}$", description="The kind it reports.")]
    pattern: Annotated[str, Meta(min_length=1, max_length=4096)]
    ignore_case: bool = False
    span: Annotated[
        int, Meta(ge=1, le=10_000, description="The most characters that a match can have; streams wait for as many.")
    ] = 128


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What counts as a secret."""

    patterns: tuple[OwnPattern, ...] = ()
    min_score: Annotated[float, Meta(ge=0, le=1, description="Findings that are less sure are left out.")] = 0.5
    allow: Annotated[
        tuple[str, ...], Meta(description="Values that are never reported; `*` stands for anything.")
    ] = ()
    timeout: Annotated[
        float, Meta(gt=0, le=10, description="Seconds for an own pattern that needs look-around or back references.")
    ] = 0.1


class Secrets:
    """The detector of secrets."""

    name = "guardrail.secrets"
    Config = Options

    def __init__(self, config: Options) -> None:
        self._finder = Finder(config.min_score)
        self._own = [
            (own.name, compile_custom(own.pattern, ignore_case=own.ignore_case, timeout=config.timeout))
            for own in config.patterns
        ]
        any_of = "|".join(".*".join(map(re.escape, value.split("*"))) for value in config.allow)
        self._allowed = compile_text(f"(?s)^(?:{any_of})$") if config.allow else None
        self.hold_back = max((HOLD_BACK, *(own.span for own in config.patterns)))

    def scan(self, text: str, part: str = "content") -> Sequence[Finding]:  # noqa: ARG002
        """All secrets in the text."""
        own = [Span(*span, name, 0.95) for name, pattern in self._own for span in pattern.spans(text)]
        found = self._finder.scan(text, own)
        if self._allowed is not None:
            found = [span for span in found if not self._allowed.found_in(text[span.start : span.end])]
        return [Finding(*span) for span in found]

    def settled(self, text: str) -> int:
        """How many characters at the front keep their findings whatever text follows."""
        return max(0, len(text) - self.hold_back) if self._own else self._finder.settled(text)
