"""A reply's stream in one form: what a reader of one dialect hands to a writer of another, piece by piece.

A part's pieces are `PartBegin`, any `Delta`s, `PartEnd`; parts of one choice do not overlap. Readers of dialects that
do not mark the ends of parts make these up, so that writers need not guess. Whole replies are in `conversation.py`.
"""

from typing import Any, Literal

import msgspec

from gateway.conversation import Reason
from gateway.errors import GatewayError
from gateway.events import Usage


class Begin(msgspec.Struct, frozen=True, gc=False):
    """The reply begins. `usage` is what is known of it already (Anthropic tells the input's tokens here)."""

    id: str
    model: str
    created: int = 0
    usage: Usage | None = None
    service_tier: str = ""
    fingerprint: str = ""


class PartBegin(msgspec.Struct, frozen=True):
    """Part number `part` of a choice begins (0, 1, … in order). `id`, `name` are a call's; `value` is a foreign part's
    whole, a `Foreign`; `signature` what a call carries; `redacted` says that a thinking part has only a signature."""

    kind: Literal["text", "thinking", "call", "refusal", "foreign"]
    part: int
    choice: int = 0
    id: str = ""
    name: str = ""
    signature: str = ""
    redacted: bool = False
    value: Any = None


class Delta(msgspec.Struct, frozen=True):
    """More of a part: text of it (for a call: of its arguments), its `signature`, a citation, or log probabilities."""

    part: int
    text: str = ""
    choice: int = 0
    signature: str = ""
    citation: dict[str, Any] | None = None
    logprobs: dict[str, Any] | None = None


class PartEnd(msgspec.Struct, frozen=True, gc=False):
    """Part number `part` is complete."""

    part: int
    choice: int = 0


class ChoiceEnd(msgspec.Struct, frozen=True, gc=False):
    """A choice has ended."""

    reason: Reason
    choice: int = 0
    raw_reason: str = ""
    stop_sequence: str | None = None


class Tokens(msgspec.Struct, frozen=True, gc=False):
    """Tokens so far, cumulative: a later one replaces an earlier one."""

    usage: Usage


class Fail(msgspec.Struct, frozen=True):
    """The provider ends the stream with an error of its own."""

    error: GatewayError


class Over(msgspec.Struct, frozen=True, gc=False):
    """The reply is complete."""


Piece = Begin | PartBegin | Delta | PartEnd | ChoiceEnd | Tokens | Fail | Over
