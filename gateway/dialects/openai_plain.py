"""The chunk that nearly all are: one choice, one piece of its answer, nothing else that anyone would read.

It is recognised by its exact fields, at a fifth of the cost of a search. Whatever differs is for `openai_chunks.py`.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.events import Event, Opaque, Record, Text


class _Delta(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    content: str
    role: msgspec.Raw = msgspec.Raw()
    refusal: None = None
    reasoning: None = None
    reasoning_content: None = None
    tool_calls: None = None
    function_call: None = None


class _Choice(msgspec.Struct, forbid_unknown_fields=True):
    index: Annotated[int, Meta(ge=0)]
    delta: _Delta
    finish_reason: None = None
    logprobs: None = None


class _Chunk(msgspec.Struct, forbid_unknown_fields=True):
    choices: tuple[_Choice]
    id: msgspec.Raw = msgspec.Raw()
    object: msgspec.Raw = msgspec.Raw()
    created: msgspec.Raw = msgspec.Raw()
    model: msgspec.Raw = msgspec.Raw()
    system_fingerprint: msgspec.Raw = msgspec.Raw()
    service_tier: msgspec.Raw = msgspec.Raw()
    obfuscation: msgspec.Raw = msgspec.Raw()
    usage: None = None


_decode = msgspec.json.Decoder(_Chunk).decode


def plain_events(record: bytes, payload: bytes) -> list[Event] | None:
    """The one event of such a chunk; `None` for any other record."""
    try:
        choice = _decode(payload).choices[0]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    text = choice.delta.content
    return [Text(text, choice.index, "content", 0, Record(record))] if text else [Opaque(Record(record))]
