"""How the records of a stream stand in its bytes: server-sent events for most dialects, other frames for a few."""

from collections.abc import Callable

import msgspec

from gateway import sse


class Framing(msgspec.Struct, frozen=True):
    """`content_type` is sent with a stream; an upstream's type that has `marker` in it is one.

    `split` cuts bytes that end at a record boundary into records. `keep_alive` is written into silence (`None`: this
    framing has nothing to say there), `separator` ends a record that an error breaks off. Without a content type the
    stream has the upstream's; `tells` is false where an error cannot be told in it: then the connection is cut.
    """

    content_type: str
    marker: str
    split: Callable[[bytes], list[bytes]]
    keep_alive: bytes | None
    separator: bytes
    tells: bool = True


SSE = Framing("text/event-stream; charset=utf-8", "event-stream", sse.split, sse.KEEP_ALIVE, b"\n\n")
# Bytes of any type, such as sound.
BINARY = Framing("", "", lambda whole: [whole], None, b"", tells=False)
