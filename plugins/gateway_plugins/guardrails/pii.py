r"""Finds personal data: e-mails, phones, cards, accounts, national numbers and more, in any script, also disguised.

    - use: guardrail.pii
      with:
        types: {IP_ADDRESS: {enabled: false}, EMAIL: {allow: ["support@example.com", "*@example.org"]}}
        patterns: [{name: EMPLOYEE, pattern: '\bE[0-9]{6}\b'}]

It says what stands where; what is done about it, the policy decides. Nothing leaves the process.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gateway import Finding
from gateway.detect.patterns import CustomPattern, TextPattern, compile_custom, compile_text
from gateway.detect.pii import HOLD_BACK, KINDS, PersonalData
from gateway.detect.spans import Span

Kind = Literal[
    "EMAIL", "PHONE", "CREDIT_CARD", "US_SSN", "US_ITIN", "IBAN", "BANK_ACCOUNT", "DATE_OF_BIRTH", "PASSPORT",
    "NATIONAL_ID", "IP_ADDRESS", "MAC_ADDRESS", "CRYPTO", "ADDRESS", "NAME",
]  # fmt: skip
Score = Annotated[float, Meta(ge=0, le=1)]


class TypeOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of data: whether to look for it, how sure to be, and which values are nobody's."""

    enabled: bool = True
    min_score: Annotated[Score | None, Meta(description="Instead of the plugin's `min_score`.")] = None
    allow: Annotated[
        tuple[str, ...], Meta(description="Values that are never reported; `*` stands for anything, case is ignored.")
    ] = ()


class OwnPattern(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A pattern of your own. A group named `value` narrows what is reported."""

    name: Annotated[str, Meta(pattern=r"^[A-Z][A-Z0-9_]{0,47}$", description="The kind it reports.")]
    pattern: Annotated[str, Meta(min_length=1, max_length=4096)]
    ignore_case: bool = False
    score: Score = 0.9
    span: Annotated[
        int, Meta(ge=1, le=10_000, description="The most characters that a match can have; streams wait for as many.")
    ] = 128


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to look for. `NAME` is off unless `types` turns it on: patterns find only names that are announced."""

    types: dict[Kind, TypeOptions] = {}
    patterns: tuple[OwnPattern, ...] = ()
    min_score: Annotated[Score, Meta(description="Findings that are less sure are left out.")] = 0.5
    allow: Annotated[tuple[str, ...], Meta(description="Values of any kind that are never reported.")] = ()
    timeout: Annotated[
        float, Meta(gt=0, le=10, description="Seconds for an own pattern that needs look-around or back references.")
    ] = 0.1


class PII:
    """The detector of personal data."""

    name = "guardrail.pii"
    Config = Options

    def __init__(self, config: Options) -> None:
        off = {kind for kind, options in config.types.items() if not options.enabled}
        if "NAME" not in config.types:
            off.add("NAME")
        self._floors: dict[str, float] = {
            kind: options.min_score for kind, options in config.types.items() if options.min_score is not None
        }
        floor = min((config.min_score, *self._floors.values()))
        self._data = PersonalData([kind for kind in KINDS if kind not in off], floor)
        self._min_score = config.min_score
        self._everywhere = _wildcards(config.allow)
        self._allowed: dict[str, TextPattern | None] = {
            kind: _wildcards(config.allow + options.allow) for kind, options in config.types.items()
        }
        self._own: list[tuple[OwnPattern, CustomPattern]] = [
            (own, compile_custom(own.pattern, ignore_case=own.ignore_case, timeout=config.timeout))
            for own in config.patterns
        ]
        self.hold_back = max((HOLD_BACK, *(own.span for own in config.patterns)))

    def scan(self, text: str, part: str = "content") -> Sequence[Finding]:  # noqa: ARG002
        """All personal data in the text."""
        own = [Span(*span, own.name, own.score) for own, pattern in self._own for span in pattern.spans(text)]
        found = self._data.scan(text, own)
        return [Finding(*span) for span in found if self._counts(text, span)]

    def settled(self, text: str) -> int:
        """How many characters at the front keep their findings whatever text follows."""
        return len(text) - self.hold_back if self._own else self._data.settled(text)

    def _counts(self, text: str, span: Span) -> bool:
        if span.score < self._floors.get(span.kind, self._min_score):
            return False
        allowed = self._allowed.get(span.kind, self._everywhere)
        return allowed is None or not allowed.found_in(text[span.start : span.end])


def _wildcards(values: Sequence[str]) -> TextPattern | None:
    any_of = "|".join(".*".join(map(re.escape, value.split("*"))) for value in values)
    return compile_text(f"(?is)^(?:{any_of})$") if values else None
