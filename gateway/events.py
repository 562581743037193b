"""What flows: the typed pieces of a reply that filters see.

Not here: how a wire format spells them (`dialects/`), who changes them (`filters.py`).
"""

from typing import Literal

import msgspec


class Record(msgspec.Struct, frozen=True, eq=False):
    """One record of a stream as it came (`raw`, its blank line included), and how many events it holds."""

    raw: bytes
    events: int = 1


class Text(msgspec.Struct, frozen=True, tag=True):
    """A piece of text that the model says.

    `part` tells where: the answer itself, its reasoning, a refusal, or the arguments of the tool call `tool`
    (its index in the choice).
    """

    text: str
    choice: int = 0
    part: Literal["content", "reasoning", "refusal", "arguments"] = "content"
    tool: int = 0
    record: Record | None = None


class Finish(msgspec.Struct, frozen=True, tag=True):
    """A choice has ended, with the dialect's own reason."""

    reason: str
    choice: int = 0
    record: Record | None = None


class Usage(msgspec.Struct, frozen=True, tag=True):
    """Tokens as billed. `input` includes `cached` and `cache_write`; `output` includes `reasoning`.

    `estimated` is true where the provider sent no numbers and the gateway counted.
    """

    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0
    estimated: bool = False
    record: Record | None = None


class Opaque(msgspec.Struct, frozen=True, tag=True):
    """Anything without text for a filter: a role, a tool's name, a comment, an unknown field. It passes as it is."""

    record: Record


class End(msgspec.Struct, frozen=True, tag=True):
    """The reply's own terminal record (such as `[DONE]`), or its clean end without one."""

    record: Record | None = None


Event = Text | Finish | Usage | Opaque | End
