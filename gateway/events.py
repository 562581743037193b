"""What flows: the typed pieces of a reply that filters see.

Not here: how a wire format spells them (`dialects/`), who changes them (`filters.py`).
"""

from typing import Final, Literal

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


SEALED: Final = "sealed"


class Finish(msgspec.Struct, frozen=True, tag=True):
    """A choice has ended, with the dialect's own reason.

    A negative choice is a text of its own beside the answer: one that is complete in its record, or in its block. The
    reason `SEALED` says that the record is the provider's signature of that text, and goes where the text goes.
    """

    reason: str
    choice: int = 0
    record: Record | None = None


class Usage(msgspec.Struct, frozen=True, tag=True):
    """Tokens as billed. `input` includes `cached` and `cache_write`; `output` includes `reasoning`.

    `estimated` is true where the provider sent no numbers and the gateway counted. `special` has what some providers
    bill at rates of their own, where there was any; `tier` is the service tier that answered (`flex`, `priority`,
    `batch`), empty for the standard one.
    """

    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0
    estimated: bool = False
    record: Record | None = None
    special: "Special | None" = None
    tier: str = ""


class Special(msgspec.Struct, frozen=True, kw_only=True):
    """Parts of a `Usage`: each is included in the number that it names.

    `cache_write_1h` is part of `cache_write`; `audio_input` and `image_input` of `input` (with their cached ones);
    `audio_cached` and `image_cached` of `cached` and of those; `audio_output` and `image_output` of `output`.
    No tokens are: `searches` of the web, `audio_ms` (milliseconds of sound), `characters` of text that was spoken, and
    `images` that were made.
    """

    cache_write_1h: int = 0
    audio_input: int = 0
    audio_cached: int = 0
    audio_output: int = 0
    image_input: int = 0
    image_cached: int = 0
    image_output: int = 0
    searches: int = 0
    audio_ms: int = 0
    characters: int = 0
    images: int = 0


class Opaque(msgspec.Struct, frozen=True, tag=True):
    """Anything without text for a filter: a role, a tool's name, a comment, an unknown field. It passes as it is."""

    record: Record


class End(msgspec.Struct, frozen=True, tag=True):
    """The reply's own terminal record (such as `[DONE]`), or its clean end without one."""

    record: Record | None = None


Event = Text | Finish | Usage | Opaque | End
